"""Which chunks are done: one small file each, named by the work that it records.

A Zarr store killed midway opens as if nothing had happened, so completion is not read from its arrays. A record is written
after the chunk's data and taken away before the data is touched again; what has a record is complete.
"""

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from pipeline.lattice import Box
from pipeline.record import Record

FOLDER = "ledger"


class Ledger:
    """The records of a store, partitioned by day."""

    def __init__(self, store: Path) -> None:
        self.root = store / FOLDER

    def done(self) -> set[str]:
        """Keys of the chunks that are complete and missed no file; by listing alone."""
        return {
            name.split("-")[-1].removesuffix(".json") for name in self._names() if not name.endswith(".failed.json")
        }

    def put(self, record: Record) -> None:
        """Write a record, whole or not at all."""
        folder = self.root / record.day.isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        suffix = ".failed.json" if record.failures else ".json"
        target = folder / f"{_place(record.box)}-{record.key}{suffix}"
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        draft.write_text(record.to_json())
        draft.replace(target)

    def drop(self, day: date, box: Box) -> None:
        """Take away every record of a place: its data is about to change."""
        folder = self.root / day.isoformat()
        for old in folder.glob(f"{_place(box)}-*.json"):
            old.unlink()

    def records(self) -> Iterator[Record]:
        """All records, in the order of their names."""
        for path in sorted(self.root.glob("*/*.json")):
            if not path.name.startswith("."):
                yield Record.from_json(path.read_text())

    def _names(self) -> Iterator[str]:
        return (path.name for path in self.root.glob("*/*.json") if not path.name.startswith("."))


def _place(box: Box) -> str:
    return f"{box.left}_{box.top}_{box.right}_{box.bottom}"
