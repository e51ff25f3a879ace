"""What every worker does before its first chunk: take its share of the cores, load the model once, try it once."""

import zarr
from distributed import Worker, WorkerPlugin

from pipeline.engine import networks
from pipeline.inference import warm_up
from pipeline.models.declaration import FusionModel


class Preload(WorkerPlugin):
    """Loads a model when a worker starts, so that no chunk waits for it and no worker loads it twice."""

    name = "fusecube-preload"

    def __init__(self, model: FusionModel, threads: int) -> None:
        self.model = model
        self.threads = threads

    def setup(self, worker: Worker) -> None:
        """Called by Dask on every worker, also on one that joins later."""
        import torch

        torch.set_num_threads(self.threads)
        zarr.config.set({"threading.max_workers": self.threads})  # compression must not take the neighbour's core
        warm_up(networks.get(self.model), self.model)
