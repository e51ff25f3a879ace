"""What every worker process needs before it starts, wherever it runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.errors import Refused

# glibc gives freed memory back to the system at once under Dask's default (MALLOC_TRIM_THRESHOLD_ of 64 kB), and every
# layer of a network faults its pages in again: kept, the same convolutions ran 2.3 times as fast on two cores (measured;
# tests/benchmarks/throughput.py), and 1.3 times as fast again once what is larger than 32 MB is kept too (no mappings of its
# own: MALLOC_MMAP_MAX_), for 1.3 to 1.8 times the memory of a network's layers (features.py; plan counts it). What is kept is
# bounded: a worker that holds more than was planned gives back.
MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": str(512 * 2**20),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
    "MALLOC_MMAP_MAX_": "0",
}

# Chunks are bounded by the plan, so a worker near its limit is one that must end: to pause it, as Dask would, is to wait for
# memory that nobody frees. A worker that is killed blames each strip it held, so the blame must be patient. Dask's profile
# keeps a tree of calls for each second of the last hour: some 50 kB a second without a network (over 14 s), so 170 MB.
SETTINGS: dict[str, Any] = {
    "distributed.scheduler.allowed-failures": 100,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.profile.enabled": False,
}


# Ctrl-C reaches the workers of a terminal's cluster too, which end when their client does.
OF_A_TERMINAL: dict[str, Any] = SETTINGS | {"distributed.worker.preload": ["cluster.uninterrupted"]}


@contextmanager
def starting(host: str, dashboard: str) -> Iterator[None]:
    """What keeps a cluster from starting, as one sentence: mostly an address that is not this machine's, or is taken."""
    try:
        yield
    except (RuntimeError, OSError, ValueError, OverflowError) as error:
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__  # type: ignore[assignment]
        raise Refused(
            f"no cluster can start at host {host} with its dashboard at {dashboard} ({' '.join(str(cause).split())[:160]}); "
            "see cluster.host and cluster.dashboard."
        ) from None


def environment(threads: int) -> dict[str, str]:
    """Variables of a worker process with so many cores to itself."""
    return MEMORY | {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")}


def exports(threads: int) -> list[str]:
    """The same, and Dask's settings, as lines of a shell script."""
    settings = {f"DASK_{key.upper().replace('.', '__').replace('-', '_')}": value for key, value in SETTINGS.items()}
    return [f"export {name}={value}" for name, value in (environment(threads) | settings).items()]
