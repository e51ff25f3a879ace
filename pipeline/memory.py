"""A worker's memory: how much it took at most, and giving back what a chunk has left free."""

import ctypes
import resource
import sys
from pathlib import Path


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes.

    On Linux from the kernel's high-water mark of the process itself: ``getrusage`` there begins with the parent's.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def release_memory() -> None:
    """Give free memory back to the system, where the C library can (glibc).

    Workers keep the memory they free while a chunk is in the works, since the layers of a network need it again at once
    (``cluster.environment``). What piles up in gaps from chunk to chunk must not grow with the region, so it goes back after
    each: then the peaks of 9 and of 729 chunks are within 4 % of each other, where once in two chunks leaves 6, and once in
    four 7 to 9 (``tests/benchmarks/memory.py``). The pages are faulted in again, a tenth of the time of a chunk without a
    network.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
