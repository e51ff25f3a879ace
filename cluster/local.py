"""A cluster on this machine: one process a worker, each with its share of the cores."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster

from cluster.preload import Preload
from pipeline.models.declaration import FusionModel


@contextmanager
def local(model: FusionModel, workers: int | None = None) -> Iterator[Client]:
    """A client of a new local cluster, closed at the end; everything binds to 127.0.0.1.

    Parameters
    ----------
    model
        What the workers load when they start.
    workers
        Processes; by default one a core.
    """
    count = workers or CPU_COUNT
    settings = {"distributed.worker.daemon": True, "distributed.admin.tick.limit": "30s"}
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        client.register_plugin(Preload(model, threads=max(1, CPU_COUNT // count)))
        yield client
