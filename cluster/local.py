"""A cluster on this machine: one process a worker, each with its share of the cores."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster

from cluster.environment import OF_A_TERMINAL, environment, starting

HOST = "127.0.0.1"
"""Where schedulers bind to unless told otherwise: nobody but this machine reaches them."""

DASHBOARD = "127.0.0.1:0"
"""Where dashboards bind to unless told otherwise, on any free port; ``client.dashboard_link`` tells which."""


@contextmanager
def local(
    workers: int | None = None,
    *,
    memory: str | None = None,
    host: str = HOST,
    dashboard: str = DASHBOARD,
    resources: Mapping[str, float] | None = None,
) -> Iterator[Client]:
    """A client of a new local cluster, closed at the end; a worker that dies is started again.

    Parameters
    ----------
    workers
        Processes; by default one a core.
    memory
        What a worker may take, such as ``8 GB``: one that takes more is ended and started again. By default no limit.
    host
        Address that scheduler and workers bind to.
    dashboard
        Address and port that Dask's dashboard binds to.
    resources
        What each worker offers, such as ``{"GPU": 1}``.
    """
    count = workers or CPU_COUNT
    variables = environment(max(1, CPU_COUNT // count))
    with dask.config.set({"distributed.nanny.pre-spawn-environ": variables} | OF_A_TERMINAL):
        with starting(host, dashboard):
            cluster = LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                processes=True,
                host=host,
                dashboard_address=dashboard,
                memory_limit=memory or 0,
                resources=dict(resources or {}),
                silence_logs=logging.CRITICAL,
            )
        with cluster, Client(cluster) as client:
            yield client
