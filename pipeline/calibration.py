"""What chunks took: read from the ledger of a store, or from those of earlier runs that lie beside it."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.job import Job
from pipeline.ledger import Ledger
from pipeline.objects import Objects
from pipeline.record import Record

STORES = 20
"""Stores that are looked at, the newest."""

RECORDS = 200
"""Records that are looked at in each."""

QUANTILES = (10, 90)
"""Percentiles of the chunks' seconds between which the next are expected."""


@dataclass(frozen=True)
class Calibration:
    """What chunks of the same model took on machines like these."""

    source: str
    """Where that is known from, such as ``200 chunks of berlin.zarr``."""
    seconds: tuple[float, float]
    """Of a worker for a pixel of the result, as a range."""
    memory: tuple[int, int] | None
    """Largest resident memory of a worker in bytes, of the typical and of the largest one, for chunks of the same size;
    ``None`` where there were none."""


def calibrated(job: Job, store: Path | str, gpu: bool = False) -> Calibration | None:
    """What is known of a job at a place: from its own ledger, else from those of the newest stores in the same folder.

    Only chunks of the same model, bands and kind of device count; ``None`` where there are none.
    """
    own = _chunks(job, store, gpu)
    if own:
        return _found([(store, *pair) for pair in own])
    folder = Objects.at(store).folder
    beside = [(path, *pair) for path in (_siblings(folder) if folder else ()) for pair in _chunks(job, path, gpu)]
    return _found(beside) if beside else None


def _found(chunks: Sequence[tuple[Path | str, Record, bool]]) -> Calibration:
    """The calibration of chunks: store, record, and whether it is of the same size as those to come."""
    rates = [(record.turn or sum(record.seconds.values())) / record.pixels for _, record, _ in chunks]
    low, high = np.percentile(rates, QUANTILES)
    peaks = [record.peak_memory for _, record, alike in chunks if alike and record.peak_memory]
    names = list(dict.fromkeys(Objects.at(store).name for store, *_ in chunks))
    source = f"{len(chunks)} chunk{'s' if len(chunks) > 1 else ''} of {', '.join(names[:3])}"
    return Calibration(
        source=source + (f" and {len(names) - 3} more" if len(names) > 3 else ""),
        seconds=(float(low), float(high)),
        memory=(int(np.median(peaks)), max(peaks)) if peaks else None,
    )


def _siblings(store: Path) -> list[Path]:
    """Stores in the same folder, the newest first."""
    try:
        every = [p for p in store.absolute().parent.iterdir() if p.name != store.name and (p / "zarr.json").is_file()]
        return sorted(every, key=lambda path: (path / "zarr.json").stat().st_mtime, reverse=True)[:STORES]
    except OSError:
        return []


def _chunks(job: Job, store: Path | str, gpu: bool) -> list[tuple[Record, bool]]:
    """Records of a store that tell of a job, and whether their chunks were cut to the same size with the same margins."""
    contents = _contents(store)
    if not contents or not _same_work(job, contents):
        return []
    alike = contents["layout"]["core"] == job.layout.core and contents["layout"]["lattice"]["step"] == str(
        job.layout.lattice.step
    )
    try:
        return [(record, alike) for record in _timed(Ledger(store).records(), gpu)]
    except (OSError, KeyError, TypeError, ValueError):  # of another version, whose records say other things
        return []


def _timed(records: Iterable[Record], gpu: bool) -> Iterator[Record]:
    """The first records that say what a chunk took on this kind of device."""
    for record in islice(records, RECORDS):
        if record.pixels and record.seconds and (record.gpu_memory > 0) == gpu:
            yield record


def _same_work(job: Job, contents: Mapping[str, Any]) -> bool:
    there = contents["identity"]
    return there["model"]["name"] == job.model.name and tuple(there["bands"]) == job.model.output.bands


def _contents(store: Path | str) -> Mapping[str, Any] | None:
    """What a store says of itself; ``None`` where there is none, or one of something else."""
    try:
        return json.loads(Objects.at(store).get("zarr.json") or b"{}")["attributes"]["fusecube"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
