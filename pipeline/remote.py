"""A file of a web server as GDAL reads it: its head kept, small reads served from spans, large ones exact."""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from io import SEEK_CUR, SEEK_SET

from rasterio.abc import MultiByteRangeResourceContainer

from pipeline.transport import Part, Transport, transport

SPAN = 32768
"""Bytes that are read at least; a cloud-optimised file has its header in the first of them."""

GAP = 4096
"""Bytes that are read for nothing where that saves a request."""

HEADS = 512
"""Files whose head a process keeps: opening one again asks nothing of the server."""

AGE = 300.0
"""Seconds for which a head is kept."""

NAME = "remote/file"
"""What GDAL is told to open: it never learns an address."""


class Heads:
    """The heads of the files that a process has read from lately."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self._held: OrderedDict[str, tuple[Part, float]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, address: str) -> Part:
        """The first bytes of a file; raises as ``Transport.part``."""
        with self._lock:
            part, until = self._held.get(address, (None, 0.0))
        if part is None or time.monotonic() > until:
            part = self.transport.part(address, 0, SPAN - 1)
            with self._lock:
                self._held[address] = (part, time.monotonic() + AGE)
                if len(self._held) > HEADS:
                    self._held.popitem(last=False)
        return part

    def forget(self, address: str) -> None:
        """Read the head anew next time."""
        with self._lock:
            self._held.pop(address, None)


@cache
def heads() -> Heads:
    """The heads that this process keeps."""
    return Heads(transport())


@cache
def _readers() -> ThreadPoolExecutor:
    """Threads that fetch the further ranges of one read, so that each does not wait for the one before."""
    return ThreadPoolExecutor(max_workers=transport().patience.requests, thread_name_prefix="ranges")


class RemoteFile:
    """A file to be read from anywhere in it: what rasterio's opener wants of one.

    Nothing is raised from within GDAL, which cannot carry it: the first failure is kept in ``failure``, and what was read is
    not to be used where there is one.
    """

    def __init__(self, address: str, heads: Heads) -> None:
        self.address = address
        self.heads = heads
        self.failure: OSError | None = None
        self.head = heads.of(address)
        self.position = 0
        self._spans: OrderedDict[int, bytes] = OrderedDict({0: self.head.data})

    def __enter__(self) -> "RemoteFile":
        return self

    def __exit__(self, *ended: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget what was read."""
        self._spans.clear()

    def tell(self) -> int:
        """The position, bytes."""
        return self.position

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Go to a position."""
        base = 0 if whence == SEEK_SET else self.position if whence == SEEK_CUR else self.head.size
        self.position = base + offset
        return self.position

    def read(self, size: int = -1) -> bytes:
        """Bytes from the position on; fewer at the end of the file or where it cannot be read."""
        left = max(0, self.head.size - self.position)
        data = self._within(self.position, left if size < 0 else min(size, left))
        self.position += len(data)
        return data

    def get_byte_ranges(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """Many ranges at once: neighbours in one request, the requests side by side."""
        runs = merged(offsets, sizes)
        later = [_readers().submit(self._fetch, first, last) for first, last, _ in runs[1:]]
        fetched = [self._fetch(*runs[0][:2]), *(future.result() for future in later)]
        out = [b""] * len(offsets)
        for (first, _, members), data in zip(runs, fetched, strict=True):
            for index in members:
                start = offsets[index] - first
                out[index] = data[start : start + sizes[index]]
        return out

    def _within(self, start: int, size: int) -> bytes:
        """A range, from a span that is held where one covers it."""
        if size <= 0:
            return b""
        for first, held in self._spans.items():
            if first <= start and start + size <= first + len(held):
                return held[start - first : start - first + size]
        if size >= SPAN:
            return self._fetch(start, start + size - 1)
        data = self._fetch(start, min(start + SPAN, self.head.size) - 1)
        self._spans[start] = data
        if len(self._spans) > 16:
            self._spans.popitem(last=False)
        return data[:size]

    def _fetch(self, first: int, last: int) -> bytes:
        """A range from the server, of the very state of the file that its head is of."""
        try:
            if self.failure is not None:  # what comes after a failure is not used
                return b""
            part = self.heads.transport.part(self.address, first, last)
            if (part.size, part.tag) != (self.head.size, self.head.tag):
                self.heads.forget(self.address)
                raise OSError("the file was changed while it was read; run again")
        except OSError as error:
            self.failure = error
            return b""
        return part.data


def merged(offsets: Sequence[int], sizes: Sequence[int]) -> list[tuple[int, int, list[int]]]:
    """Ranges as few as may be: first and last byte of each, and which of those wanted lie in it."""
    runs: list[tuple[int, int, list[int]]] = []
    for index in sorted(range(len(offsets)), key=lambda i: offsets[i]):
        first, last = offsets[index], offsets[index] + sizes[index] - 1
        if runs and first <= runs[-1][1] + 1 + GAP:
            runs[-1] = (runs[-1][0], max(runs[-1][1], last), [*runs[-1][2], index])
        else:
            runs.append((first, last, [index]))
    return runs


class Opener(MultiByteRangeResourceContainer):
    """Gives GDAL one file of a web server, and nothing beside it."""

    def __init__(self, address: str, heads: Heads) -> None:
        self.address = address
        self.heads = heads
        self.files: list[RemoteFile] = []
        self.refusal: OSError | None = None

    @property
    def failure(self) -> OSError | None:
        """Why the file, or a part of it, could not be read."""
        return self.refusal or next((file.failure for file in self.files if file.failure), None)

    def open(self, path: str, mode: str = "rb", **unused: object) -> RemoteFile:
        """The file; raises ``FileNotFoundError`` for any other."""
        if not self.isfile(path):
            raise FileNotFoundError(path)
        try:
            self.files.append(RemoteFile(self.address, self.heads))
        except OSError as error:
            self.refusal = error
            raise
        return self.files[-1]

    def isfile(self, path: str) -> bool:
        """Whether a name is that of the file."""
        return path == NAME

    def isdir(self, path: str) -> bool:
        """There are no folders."""
        return False

    def ls(self, path: str) -> list[str]:
        """Nothing lies beside the file."""
        return []

    def mtime(self, path: str) -> int:
        """Not known."""
        return 0

    def size(self, path: str) -> int:
        """Bytes of the file."""
        if not self.isfile(path):
            raise FileNotFoundError(path)
        return self.heads.of(self.address).size

    def rm(self, path: str) -> None:
        """Nothing is removed."""
        raise PermissionError(path)
