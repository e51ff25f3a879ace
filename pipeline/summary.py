"""A store's records folded: metric arrays beside the pixels, totals by day and band, the digest."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from itertools import groupby
from math import nan

import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.metrics import AngleSums, BandSums, PairSums, ergas
from pipeline.record import Failure, Record
from pipeline.store import Contents, Store

STRIP = 64
"""Rows and columns of chunks whose metrics are kept together."""

WHOLE = ("valid_fraction", "cloud_fraction", "seconds", "peak_memory", "failures")
"""Metrics of a chunk."""

EACH = ("mean", "std", "consistency_rmse", "consistency_bias", "consistency_correlation", "rmse_before_projection")
"""Metrics of a chunk band by band."""


@dataclass
class Totals:
    """The sums of many records."""

    chunks: int = 0
    """Records."""
    pixels: int = 0
    """Pixels."""
    flags: dict[str, int] = field(default_factory=dict)
    """Pixels that carry each flag."""
    bands: dict[str, BandSums] = field(default_factory=dict)
    """Sums by band."""
    consistency: dict[str, PairSums] = field(default_factory=dict)
    """Result degraded beside measurement, by band."""
    before: dict[str, PairSums] = field(default_factory=dict)
    """The same before the result was projected onto consistency, by band."""
    angles: dict[str, AngleSums] = field(default_factory=dict)
    """Spectral angles, by resolution."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds of all workers, by stage."""
    peak_memory: int = 0
    """Largest of any worker, bytes."""
    failures: set[Failure] = field(default_factory=set)
    """Files that could not be read."""

    @classmethod
    def of(cls, records: Iterable[Record]) -> "Totals":
        """The totals of records; the order does not matter."""
        total = cls()
        for record in records:
            total.add(record)
        return total

    def add(self, record: Record) -> None:
        """Count a record in."""
        self.chunks += 1
        self.pixels += record.pixels
        self.peak_memory = max(self.peak_memory, record.peak_memory)
        self.failures |= set(record.failures)
        for name, count in record.flags.items():
            self.flags[name] = self.flags.get(name, 0) + count
        for name, seconds in record.seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        for band, single in record.bands.items():
            self.bands[band] = self.bands.get(band, BandSums()) + single
        for band, pair in record.consistency.items():
            self.consistency[band] = self.consistency.get(band, PairSums()) + pair
        for band, pair in record.before.items():
            self.before[band] = self.before.get(band, PairSums()) + pair
        for name, angle in record.angles.items():
            self.angles[name] = self.angles.get(name, AngleSums()) + angle

    @property
    def clear(self) -> int:
        """Pixels with a value and without clouds."""
        return self.pixels - sum(self.flags.get(name, 0) for name in ("NODATA", "CLOUD", "CIRRUS"))

    def ergas(self, inputs: Iterable[tuple[Iterable[str], int]], resolution: int) -> dict[str, float]:
        """ERGAS of the comparison with the measurement, for each input given as its bands and their resolution."""
        found = {}
        for bands, coarse in inputs:
            pairs = [self.consistency[band] for band in bands if band in self.consistency]
            if any(pair.n for pair in pairs):
                found[f"{coarse}m"] = ergas(pairs, coarse // resolution)
        return found


def current(store: Store) -> Iterator[Record]:
    """The records of the store's own chunks, day by day, row by row; those of partial cores that have grown since are left
    out. However many there are, a few are held at once."""
    return (record for day in store.contents.days for record in current_on(store, day))


def current_on(store: Store, day: date) -> Iterator[Record]:
    """The same of one day."""
    layout = store.contents.layout
    keys = {layout.place(box): key for box, key in store.ledger.places(day) if layout.cuts(box)}
    return store.ledger.read(keys[place] for place in sorted(keys))


def count(store: Store) -> int:
    """How many records ``current`` gives; by listing alone."""
    cuts = store.contents.layout.cuts
    return sum(cuts(box) for day in store.contents.days for box, _ in store.ledger.places(day))


def fold(store: Store) -> None:
    """Write the metric arrays of a store from its ledger: one value a chunk, NaN where none is known.

    Some rows of chunks are held at once.
    """
    layout, contents, state = store.contents.layout, store.contents, store.ledger.state()
    with store.new_group("metrics", {"ledger": state}) as group:
        arrays = {name: _array(group, name, contents) for name in (*WHOLE, *EACH)}
        for time, day in enumerate(contents.days):
            strips = groupby(current_on(store, day), lambda record: layout.place(record.box)[0] // STRIP)
            for strip, records in strips:
                rows = slice(strip * STRIP, min((strip + 1) * STRIP, layout.rows))
                for name, values in _metrics(contents, rows, records).items():
                    arrays[name][time, rows] = values


def _array(group: zarr.Group, name: str, contents: Contents) -> zarr.Array:
    """An array for a metric, without a value yet."""
    layout, bands = contents.layout, len(contents.bands)
    shape, chunks = (
        (len(contents.days), layout.rows, layout.cols),
        (1, min(STRIP, layout.rows), min(STRIP, layout.cols)),
    )
    by_band = name in EACH
    return group.create_array(
        name,
        shape=(*shape, bands) if by_band else shape,
        chunks=(*chunks, bands) if by_band else chunks,
        dtype="float64",
        fill_value=nan,
        dimension_names=("time", "chunk_y", "chunk_x", "band")[: 4 if by_band else 3],
    )


def _metrics(contents: Contents, rows: slice, records: Iterable[Record]) -> dict[str, NDArray[np.float64]]:
    """Every metric over some rows of chunks on one day, (rows, cols) or (rows, cols, bands)."""
    shape, bands = (rows.stop - rows.start, contents.layout.cols), contents.bands
    found = {name: np.full(shape, nan) for name in WHOLE} | {name: np.full((*shape, len(bands)), nan) for name in EACH}
    for record in records:
        row, col = contents.layout.place(record.box)
        at = row - rows.start, col
        found["valid_fraction"][at] = record.valid / record.pixels
        found["cloud_fraction"][at] = record.flags.get("CLOUD", 0) / record.pixels
        found["seconds"][at] = sum(record.seconds.values())
        found["peak_memory"][at] = record.peak_memory
        found["failures"][at] = len(record.failures)
        for index, band in enumerate(bands):
            pair = record.consistency.get(band, PairSums())
            before = record.before.get(band, PairSums())
            own = record.bands[band]
            values = (own.mean, own.std, pair.rmse, pair.bias, pair.correlation, before.rmse)
            for name, value in zip(EACH, values, strict=True):
                found[name][(*at, index)] = value
    return found


def folded(store: Store) -> bool:
    """Whether the metric arrays tell of the ledger as it is."""
    return "metrics" in store.group and store.group["metrics"].attrs.get("ledger") == store.ledger.state()


def digest(store: Store) -> str:
    """What makes two results the same: SHA-256 over pixels, flags and the sums of every band in canonical order.

    Row by row over the area that was asked for, band by band, day by day, then the sums over all chunks. Not in it: times,
    ids of runs, the cut into chunks, and the consistency with the measurement, which is taken inside chunks and so depends
    on the cut.
    """
    contents = store.contents
    rows, cols = contents.layout.pixels_of(contents.layout.area)
    height = contents.layout.core_pixels
    hashed = hashlib.sha256()
    header = [contents.identity, [str(d) for d in contents.days], contents.layout.lattice.bounds(contents.layout.area)]
    hashed.update(json.dumps(header, sort_keys=True).encode())
    reflectance, flags = store.array("reflectance"), store.array("flags")
    for time in range(len(contents.days)):
        for band in range(len(contents.bands)):
            for top in range(rows.start, rows.stop, height):
                strip = reflectance[time, band, top : min(top + height, rows.stop), cols]
                hashed.update(np.ascontiguousarray(strip).tobytes())
        for top in range(rows.start, rows.stop, height):
            hashed.update(np.ascontiguousarray(flags[time, top : min(top + height, rows.stop), cols]).tobytes())
    for day in contents.days:
        total = Totals.of(current_on(store, day))
        if total.chunks:
            sums = {band: asdict(s) for band, s in total.bands.items()}
            hashed.update(json.dumps([str(day), total.pixels, total.flags, sums], sort_keys=True).encode())
    return hashed.hexdigest()
