"""A cluster on this machine: one process a worker, each with its share of the cores."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster

from cluster.preload import Preload
from pipeline.models.declaration import FusionModel

# glibc gives freed memory back to the system at once under Dask's default (MALLOC_TRIM_THRESHOLD_ of 64 kB), and every
# layer of a network faults its pages in again: kept, the same convolutions ran 2.3 times as fast on two cores (measured;
# tests/benchmarks/throughput.py). What is kept is bounded by the largest chunk, so memory still does not grow with a region.
MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": str(512 * 2**20),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
}


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
    threads = max(1, CPU_COUNT // count)
    environment = MEMORY | {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")}
    with (
        dask.config.set({"distributed.nanny.pre-spawn-environ": environment}),
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,  # chunks are bounded by the plan; Dask's own pausing would wait for memory that none frees
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        client.register_plugin(Preload(model, threads))
        yield client
