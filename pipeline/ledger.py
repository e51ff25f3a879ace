"""Which chunks are done: one small object each, named by the work that it records.

A Zarr store killed midway opens as if nothing had happened, so completion is not read from its arrays. A record is written
after the chunk's data and taken away before the data is touched again; what has a record is complete.

::

    ledger/2024-06-01/6716_-96666_6736_-96646/0123456789abcdef.json
    ledger/2024-06-01/6716_-96666_6736_-96646/trouble.txt
"""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

from pipeline.lattice import Box
from pipeline.objects import Objects
from pipeline.record import Record

FOLDER = "ledger"

FAILED = ".failed.json"
"""Ending of the record of a chunk that missed a file: complete, and to be tried again."""

TROUBLE = "trouble.txt"


class Ledger:
    """The records of a store, partitioned by day and place."""

    def __init__(self, store: Objects | str | Path) -> None:
        self.objects = store if isinstance(store, Objects) else Objects.at(store)

    def done(self) -> set[str]:
        """Keys of the chunks that are complete and missed no file; by listing alone."""
        names = (key.rpartition("/")[2] for key in self._keys())
        return {name.removesuffix(".json") for name in names if not name.endswith(FAILED)}

    def has(self, day: date, box: Box, key: str) -> bool:
        """Whether a work is done and missed no file."""
        return self.objects.exists(f"{_place(day, box)}/{key}.json")

    def state(self) -> str:
        """A hash that changes whenever a record does, by listing alone: the sum of hashes, for listings have no order."""
        listed = (e for e in self.objects.entries(FOLDER) if e.key.endswith(".json"))
        entries = (f"{e.key} {e.modified.isoformat()} {e.size}" for e in listed)
        total = sum(int.from_bytes(hashlib.sha256(entry.encode()).digest()) for entry in entries)
        return f"{total % 2**256:064x}"

    def put(self, record: Record) -> None:
        """Write a record, whole or not at all."""
        name = f"{record.key}{FAILED if record.failures else '.json'}"
        self.objects.put(f"{_place(record.day, record.box)}/{name}", record.to_json().encode())

    def drop(self, day: date, box: Box) -> None:
        """Take away every record of a place: its data is about to change."""
        self.objects.delete([entry.key for entry in self.objects.entries(_place(day, box))])

    def trouble(self, day: date, box: Box, reason: str) -> None:
        """Keep why a chunk could not be finished, until it is tried again."""
        self.objects.put(f"{_place(day, box)}/{TROUBLE}", reason.encode())

    def forget_troubles(self) -> None:
        """Take away all reasons: the next run knows better."""
        self.objects.delete(entry.key for entry in self.objects.entries(FOLDER) if entry.key.endswith(TROUBLE))

    def troubles(self) -> dict[str, str]:
        """Day and place of the chunks that could not be finished, with the reason."""
        found = sorted(e.key for e in self.objects.entries(FOLDER) if e.key.endswith(TROUBLE))
        return {" ".join(key.split("/")[1:3]): (self.objects.get(key) or b"").decode() for key in found}

    def records(self) -> Iterator[Record]:
        """All records, in the order of their names; of all that there are a few are held at once."""
        return self.read(sorted(self._keys()))

    def places(self, day: date) -> Iterator[tuple[Box, str]]:
        """Cores that have a record on a day, each with the record's key, in no order; by listing alone."""
        for entry in self.objects.entries(f"{FOLDER}/{day.isoformat()}"):
            if entry.key.endswith(".json"):
                yield _box(entry.key.split("/")[2]), entry.key

    def read(self, keys: Iterable[str]) -> Iterator[Record]:
        """Records by their keys, in order; those that have been dropped meanwhile are left out."""
        return (Record.from_json(found.decode()) for _, found in self.objects.each(keys) if found is not None)

    def _keys(self) -> Iterator[str]:
        return (entry.key for entry in self.objects.entries(FOLDER) if entry.key.endswith(".json"))


def _place(day: date, box: Box) -> str:
    return f"{FOLDER}/{day.isoformat()}/{box.left}_{box.top}_{box.right}_{box.bottom}"


def _box(place: str) -> Box:
    return Box(*(int(side) for side in place.split("_")))
