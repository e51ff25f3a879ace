"""What a worker process holds for a job: told once when it joins, so that tasks carry nothing but their chunks."""

from dataclasses import replace
from datetime import date
from threading import Lock
from uuid import uuid4

import zarr
from distributed import Worker, WorkerPlugin

from pipeline.device import Equipment, Runner
from pipeline.job import Job
from pipeline.models.declaration import FusionModel
from pipeline.models.weights import here
from pipeline.store import WEIGHTS, Store

KEPT = 3
"""Networks that a worker holds at once: days have weights of their own where they were adapted."""


class Runners:
    """The latest networks of this process, each built once however many threads ask at once."""

    def __init__(self, equipment: Equipment) -> None:
        self.equipment = equipment
        self._built: dict[FusionModel, Runner] = {}
        self._lock = Lock()

    def get(self, model: FusionModel) -> Runner:
        """What runs the network of a declaration."""
        with self._lock:
            runner = self._built.pop(model, None)
            if runner is None:
                from pipeline.models.registry import build

                runner = Runner(build(model), model, self.equipment)
            self._built[model] = runner  # now the latest
            for oldest in list(self._built)[:-KEPT]:
                del self._built[oldest]
            return runner


class Post(WorkerPlugin):
    """A job at its post on a worker. Dask sets it up on every worker, also on one that joins later.

    Parameters
    ----------
    job
        What is to be done.
    where
        The store, as ``Objects.at`` takes it.
    lease
        Token of the run's lease on the store, 0 without one.
    equipment
        What the worker computes on.
    """

    def __init__(self, job: Job, where: str, lease: int, equipment: Equipment) -> None:
        self.name = f"fusecube-{uuid4().hex[:12]}"
        self.job = job
        self.where = where
        self.lease = lease
        self.equipment = equipment

    def setup(self, worker: Worker) -> None:
        """Take the worker's share of the cores, load the network of the job once, try it once."""
        import torch

        threads = self.equipment.threads or worker.state.nthreads
        torch.set_num_threads(threads)
        zarr.config.set({"threading.max_workers": threads})  # compression must not take the neighbour's core
        self.store = Store(self.where)
        self.runners = Runners(self.equipment)
        if not self.job.adapt:
            self.runners.get(self.job.model).warm_up()

    def runner(self, day: date) -> Runner:
        """What runs the network of a day; weights that are not on this machine come from the store."""
        model = self.job.model_on(day)
        if model.weights and not here(model.weights_file).is_file():
            file = self.store.local(f"{WEIGHTS}/{model.weights_file.name}", model.weights)
            model = replace(model, weights_file=file)
        return self.runners.get(model)
