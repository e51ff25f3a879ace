"""A cluster on this machine's GPUs: one process a GPU, by dask-cuda."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from dask.system import CPU_COUNT
from distributed import Client

from cluster.environment import OF_A_TERMINAL, environment, starting
from cluster.local import DASHBOARD, HOST
from pipeline.errors import Refused


@contextmanager
def cuda(
    workers: int | None = None, *, memory: str | None = None, host: str = HOST, dashboard: str = DASHBOARD
) -> Iterator[Client]:
    """A client of a new cluster with a process for each GPU, which offers ``{"GPU": 1}``; closed at the end.

    Parameters
    ----------
    workers
        Processes, no more than there are GPUs; by default one a GPU.
    memory
        What a worker may take of the machine's memory, such as ``32 GB``; by default no limit.
    host
        Address that scheduler and workers bind to.
    dashboard
        Address and port that Dask's dashboard binds to.

    Raises ``Refused`` where dask-cuda is not installed, or there are too few GPUs.
    """
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not found:
        raise Refused(
            "cluster: cuda finds no GPU here; see that nvidia-smi lists one and that torch is a CUDA build, "
            "or take cluster: local."
        )
    if workers and workers > found:
        raise Refused(f"cluster: cuda is to run {workers} workers, but there are {found} GPUs; it runs one on each.")
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError:
        raise Refused("cluster: cuda needs dask-cuda; install it by pip install 'fusecube[cuda]'.") from None

    count = workers or found
    variables = environment(max(1, CPU_COUNT // count))
    with dask.config.set({"distributed.nanny.pre-spawn-environ": variables} | OF_A_TERMINAL):
        with starting(host, dashboard):
            cluster = LocalCUDACluster(
                n_workers=count,
                threads_per_worker=1,
                host=host,
                dashboard_address=dashboard,
                memory_limit=memory or 0,
                device_memory_limit=None,  # nothing is kept on a GPU between chunks, so there is nothing to spill
                resources={"GPU": 1},
                silence_logs=logging.CRITICAL,
            )
        with cluster, Client(cluster) as client:
            yield client
