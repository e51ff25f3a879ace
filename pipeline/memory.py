"""A worker's memory: how much it took at most, and giving back what a chunk has left free."""

import ctypes
import resource
import sys
from pathlib import Path

import psutil


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


def resident_memory() -> int:
    """Memory that this process holds now, in bytes."""
    return int(psutil.Process().memory_info().rss)


def release_memory() -> None:
    """Give free memory back to the system, where the C library can (glibc).

    Workers keep what they free (``cluster.environment``), since the layers of a network need it again at once.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
