"""Which chunks are done: one small file each, named by the work that it records.

A Zarr store killed midway opens as if nothing had happened, so completion is not read from its arrays. A record is written
after the chunk's data and taken away before the data is touched again; what has a record is complete.
"""

import hashlib
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
        names = (path.name for path in self.root.glob("*/*.json"))
        return {name.split("-")[-1].removesuffix(".json") for name in names if not name.endswith(".failed.json")}

    def state(self) -> str:
        """A hash that changes whenever a record does, by listing alone."""
        entries = sorted(
            f"{path.parent.name}/{path.name} {path.stat().st_mtime_ns}" for path in self.root.glob("*/*.json")
        )
        return hashlib.sha256("\n".join(entries).encode()).hexdigest()

    def put(self, record: Record) -> None:
        """Write a record, whole or not at all."""
        folder = self.root / record.day.isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        suffix = ".failed.json" if record.failures else ".json"
        target = folder / f"{_place(record.box)}-{record.key}{suffix}"
        draft = target.with_name(f"{target.name}.{os.getpid()}.draft")
        draft.write_text(record.to_json())
        draft.replace(target)

    def drop(self, day: date, box: Box) -> None:
        """Take away every record of a place: its data is about to change."""
        folder = self.root / day.isoformat()
        for old in (*folder.glob(f"{_place(box)}-*.json"), *folder.glob(f"{_place(box)}.trouble")):
            old.unlink()

    def trouble(self, day: date, box: Box, reason: str) -> None:
        """Keep why a chunk could not be finished, until it is tried again."""
        folder = self.root / day.isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{_place(box)}.trouble").write_text(reason)

    def troubles(self) -> dict[str, str]:
        """Day and place of the chunks that could not be finished, with the reason."""
        found = sorted(self.root.glob("*/*.trouble"))
        return {f"{path.parent.name} {path.stem}": path.read_text() for path in found}

    def records(self) -> Iterator[Record]:
        """All records, in the order of their names."""
        for path in sorted(self.root.glob("*/*.json")):
            yield Record.from_json(path.read_text())


def _place(box: Box) -> str:
    return f"{box.left}_{box.top}_{box.right}_{box.bottom}"
