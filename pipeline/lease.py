"""One run at a time on a store: a lease that its holder renews, and that lapses when the holder is gone.

A lease is an object named by its generation, ``lease/00000001.json``, made only where there is none; whoever makes the next
generation has taken the store. So a folder and a bucket need nothing but "create where absent", and a run that was taken
for dead finds a later generation and stops. Generations are counted from the millisecond in which the first run came, so that a
run which outlives its store is not taken for one on a later store at the same place.
"""

import json
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

import psutil

from pipeline.errors import Refused
from pipeline.objects import Objects

FOLDER = "lease"

BEGUN = f"{FOLDER}/begun"
"""Object that holds what generations are counted from."""

RENEWED = 15.0
"""Seconds between renewals."""

LAPSES = 60.0
"""Seconds without renewal after which a lease has lapsed."""


class Superseded(OSError):
    """Another run has taken the store."""


@dataclass(frozen=True)
class Holder:
    """Who holds a store."""

    host: str
    """Name of the machine."""
    process: int
    """Number of the process there."""
    born: float
    """When that process began, seconds since its machine did."""
    boot: str
    """What tells the machine, since it was started, from others of the same name; empty where the system does not say."""
    since: float
    """When it took the store, seconds since 1970."""
    heard: float
    """When it was last heard of, seconds since 1970."""
    ended: bool
    """Whether it has given the store back."""
    about: Mapping[str, str]
    """What it says of itself."""

    @property
    def alive(self) -> bool:
        """Whether it may still be at work, as far as this machine's clock and processes tell."""
        return not self.gone and time.time() - self.heard <= LAPSES

    @property
    def gone(self) -> bool:
        """Whether it is known to be at work no more: it has said so, or was a process of this machine that is no more."""
        elsewhere = (self.host, self.boot) != (socket.gethostname(), _boot())
        return self.ended or not (elsewhere or abs(_born(self.process) - self.born) < 1)


class Lease:
    """A lease that is held; renewed in a thread until it is left."""

    def __init__(self, objects: Objects, token: int, holder: Holder) -> None:
        self.objects = objects
        self.token = token
        self.lost = Event()
        self._holder = holder
        self._left = Event()
        self._thread = Thread(target=self._renew, daemon=True, name="lease")

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()
        if not self.lost.is_set():
            with suppress(OSError):  # unsaid, it lapses
                self._say(ended=True)

    def check(self) -> None:
        """Raise ``Superseded`` where another run has taken the store."""
        guard(self.objects, self.token)

    def _renew(self) -> None:
        while not self._left.wait(RENEWED):
            try:
                if _latest(self.objects) != self.token:
                    self.lost.set()
                    return
                self._say(ended=False)
            except OSError:
                continue  # a store that cannot be reached now may be so again before the lease lapses

    def _say(self, ended: bool) -> None:
        self._holder = replace(self._holder, heard=time.time(), ended=ended)
        self.objects.put(_key(self.token), _plain(self._holder))


def take(objects: Objects, about: Mapping[str, str], wait: bool) -> Lease:
    """The lease of a store, to be entered; raises ``Refused``, naming its holder, where another run is at work.

    Parameters
    ----------
    objects
        The store's place.
    about
        What the run says of itself, for others to see.
    wait
        Whether to wait for the other run to end.
    """
    while True:
        token = _latest(objects) or _begun(objects)
        other = _holder(objects, token)
        if other is None or other.gone or _silent(objects, token) > LAPSES:
            mine = _self(about)
            # the latest again: a generation may be made anew that has come and gone since the one before it was read
            if objects.create(_key(token + 1), _plain(mine)) and _latest(objects) == token + 1:
                objects.delete([_key(old) for old in range(max(1, token - 3), token + 1)])
                return Lease(objects, token + 1, mine)
        elif wait:
            time.sleep(1.0)
        else:
            since = time.strftime("%H:%M", time.localtime(other.since))
            raise Refused(
                f"{objects.where} is being written by another run (process {other.process} on {other.host}, since {since}, "
                f"last heard of {max(0, round(time.time() - other.heard))} s ago); wait for it with --wait, or end it and run "
                "again."
            )


def holder(objects: Objects) -> Holder | None:
    """Who held a store last, ``None`` where nobody ever did."""
    return _holder(objects, _latest(objects))


def guard(objects: Objects, token: int) -> None:
    """Raise ``Superseded`` where a later run has taken the store than the one with this token; 0 is not guarded."""
    if token and _latest(objects) != token:
        raise Superseded(f"{objects.where} has been taken by another run; this one stops.")


def _latest(objects: Objects) -> int:
    """The latest generation, 0 where there is none."""
    names = (entry.key.rpartition("/")[2].removesuffix(".json") for entry in objects.entries(FOLDER))
    return max((int(name) for name in names if name.isdigit()), default=0)


def _begun(objects: Objects) -> int:
    """What generations are counted from, the same for all who come at once."""
    objects.create(BEGUN, str(time.time_ns() // 10**6).encode())
    return int(objects.get(BEGUN) or 0)


def _silent(objects: Objects, token: int) -> float:
    """Seconds since a holder renewed its lease, by the one clock of the store: those of two machines differ."""
    probe = f"{FOLDER}/now-{uuid4().hex}"
    objects.put(probe, b"")
    written = {entry.key: entry.modified for entry in objects.entries(FOLDER)}
    objects.delete([probe])
    last = written.get(_key(token))
    return (written[probe] - last).total_seconds() if last else 0.0  # taken away just now: by whoever has the next


def _holder(objects: Objects, token: int) -> Holder | None:
    found = objects.get(_key(token)) if token else None
    if found is None:
        return None
    try:
        return Holder(**json.loads(found))
    except (ValueError, TypeError):
        raise Refused(
            f"{objects.where}: {_key(token)} cannot be read; delete the folder {FOLDER} where no run is at work, and run again."
        ) from None


def _key(token: int) -> str:
    return f"{FOLDER}/{token:08d}.json"


def _plain(holder: Holder) -> bytes:
    return json.dumps(asdict(holder)).encode()


def _self(about: Mapping[str, str]) -> Holder:
    """This process, as a holder that begins now."""
    now, process = time.time(), os.getpid()
    return Holder(socket.gethostname(), process, _born(process), _boot(), now, now, False, dict(about))


def _born(process: int) -> float:
    """When a process began, in seconds since its machine did, -1 where there is none: numbers of processes are used again.

    Not by the clock, which may be set while a run is on.
    """
    try:
        began, found = psutil.boot_time(), psutil.Process(process)
        return -1.0 if found.status() == psutil.STATUS_ZOMBIE else found.create_time() - began
    except psutil.Error:
        return -1.0


@cache
def _boot() -> str:
    """This start of this machine, and within it the set of processes whose numbers this one sees: a container has its own."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
