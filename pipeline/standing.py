"""How a store stands: what of it is done, what is missing and why, and whether a run is at work on it.

All of it comes from the store alone, so that it can be asked from any machine that reaches it, while a run goes on.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

from pipeline.lattice import Box
from pipeline.lease import Holder, holder
from pipeline.ledger import FAILED, FOLDER
from pipeline.record import Record
from pipeline.store import Store
from pipeline.watch import Progress

READ = 5000
"""Records up to which each is read, for what only they know; of more, those of chunks that missed a file."""


@dataclass(frozen=True)
class Day:
    """One day of a store."""

    day: date
    """The day."""
    done: int
    """Chunks that have a record."""
    missed: int
    """Files that could not be read."""
    valid: float | None
    """Share of the pixels with a value; ``None`` where the records were not read."""
    cloud: float | None
    """Share of the pixels under clouds; the same."""
    weights: tuple[str, ...]
    """Hashes of the weights."""


@dataclass(frozen=True)
class Standing:
    """How a store stands."""

    store: str
    """Its name."""
    chunks: int
    """Chunks of a day."""
    days: tuple[Day, ...]
    """Its days."""
    missed: tuple[tuple[str, str, str], ...]
    """Files that could not be read: scene, band, reason."""
    troubles: dict[str, str]
    """Chunks that could not be finished, with the reason."""
    holder: Holder | None
    """Who held the store last."""
    progress: Progress | None
    """What the latest run said last."""

    @property
    def expected(self) -> int:
        """Chunks of all days."""
        return self.chunks * len(self.days)

    @property
    def done(self) -> int:
        """Chunks that have a record."""
        return sum(day.done for day in self.days)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.done >= self.expected and not self.missed and not self.troubles

    @property
    def running(self) -> bool:
        """Whether a run is at work on it."""
        return self.holder is not None and self.holder.alive

    @property
    def stopped(self) -> bool:
        """Whether the last run ended without saying so: it was killed, or its machine is gone."""
        return self.holder is not None and not self.holder.alive and not self.holder.ended

    def plain(self) -> dict[str, Any]:
        """All of it as plain values, for machines."""
        here = self.holder
        running = (
            {"host": here.host, "process": here.process, "since": _time(here.since), "heard": _time(here.heard)}
            if (here and self.running)
            else None
        )
        progress = self.progress
        return {
            "store": self.store,
            "complete": self.complete,
            "chunks": self.expected,
            "done": self.done,
            "running": running,
            "stopped": self.stopped,
            "progress": asdict(progress) | {"slowest": progress.slowest} if progress else None,
            "days": [asdict(day) | {"day": day.day.isoformat()} for day in self.days],
            "missed": [dict(zip(("scene", "band", "reason"), found, strict=True)) for found in self.missed],
            "troubles": self.troubles,
        }


def standing(store: Store) -> Standing:
    """How a store stands now; counted by listing, its records read one by one."""
    layout = store.contents.layout
    counts = dict.fromkeys(store.contents.days, 0)
    failed: list[str] = []
    for day, key in _listed(store):
        counts[day] += 1
        if key.endswith(FAILED):
            failed.append(key)
    whole = sum(counts.values()) <= READ
    sums = {day: _Sums() for day in counts}
    for record in _read(store, [key for _, key in _listed(store)] if whole else failed):
        sums[record.day].add(record)
    return Standing(
        store=store.objects.name,
        chunks=sum(1 for _ in layout.chunks()),
        days=tuple(sums[day].day(day, count, whole) for day, count in counts.items()),
        missed=tuple(sorted({found for each in sums.values() for found in each.missed})),
        troubles=store.ledger.troubles(),
        holder=holder(store.objects),
        progress=Progress.read(store.objects),
    )


class _Sums:
    """What the records of a day add up to."""

    def __init__(self) -> None:
        self.pixels = self.valid = self.cloud = 0
        self.missed: set[tuple[str, str, str]] = set()
        self.weights: set[str] = set()

    def add(self, record: Record) -> None:
        self.pixels += record.pixels
        self.valid += record.valid
        self.cloud += record.flags.get("CLOUD", 0)
        self.missed |= {(failure.scene, failure.band, failure.reason) for failure in record.failures}
        self.weights |= {record.weights} - {""}

    def day(self, day: date, count: int, whole: bool) -> Day:
        pixels = max(1, self.pixels)
        valid, cloud = (self.valid / pixels, self.cloud / pixels) if whole else (None, None)
        return Day(day, count, len(self.missed), valid, cloud, tuple(sorted(self.weights)))


def _listed(store: Store) -> Iterator[tuple[date, str]]:
    """Day and key of the records of a store's own chunks; those of partial cores that have grown since are left out."""
    days = {day.isoformat(): day for day in store.contents.days}
    for entry in store.objects.entries(FOLDER):
        _, day, place, _ = entry.key.split("/")
        if entry.key.endswith(".json") and day in days and store.contents.layout.cuts(_box(place)):
            yield days[day], entry.key


def _box(place: str) -> Box:
    return Box(*(int(side) for side in place.split("_")))


def _read(store: Store, keys: list[str]) -> Iterator[Record]:
    """Records by their keys; one that is gone meanwhile is left out."""
    for key in keys:
        found = store.objects.get(key)
        if found is not None:
            yield Record.from_json(found.decode())


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
