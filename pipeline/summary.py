"""A store's records folded: metric arrays beside the pixels, totals by day and band, the digest."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import date
from math import nan

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics import AngleSums, BandSums, PairSums, ergas
from pipeline.record import Failure, Record
from pipeline.store import Store


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
            total.chunks += 1
            total.pixels += record.pixels
            total.peak_memory = max(total.peak_memory, record.peak_memory)
            total.failures |= set(record.failures)
            for name, count in record.flags.items():
                total.flags[name] = total.flags.get(name, 0) + count
            for name, seconds in record.seconds.items():
                total.seconds[name] = total.seconds.get(name, 0.0) + seconds
            for band, single in record.bands.items():
                total.bands[band] = total.bands.get(band, BandSums()) + single
            for band, pair in record.consistency.items():
                total.consistency[band] = total.consistency.get(band, PairSums()) + pair
            for band, pair in record.before.items():
                total.before[band] = total.before.get(band, PairSums()) + pair
            for name, angle in record.angles.items():
                total.angles[name] = total.angles.get(name, AngleSums()) + angle
        return total

    def ergas(self, inputs: Iterable[tuple[Iterable[str], int]], resolution: int) -> dict[str, float]:
        """ERGAS of the comparison with the measurement, for each input given as its bands and their resolution."""
        found = {}
        for bands, coarse in inputs:
            pairs = [self.consistency[band] for band in bands if band in self.consistency]
            if any(pair.n for pair in pairs):
                found[f"{coarse}m"] = ergas(pairs, coarse // resolution)
        return found


def current(store: Store) -> list[Record]:
    """The records of the store's own chunks; those of partial cores that have grown since are left out."""
    boxes = {chunk.core for chunk in store.contents.layout.chunks()}
    latest = {(r.day, r.box): r for r in store.ledger.records() if r.box in boxes}
    return list(latest.values())


def fold(store: Store) -> None:
    """Write the metric arrays of a store from its ledger: one value a chunk, NaN where none is known."""
    layout, days, bands = store.contents.layout, store.contents.days, store.contents.bands
    place = {chunk.core: (chunk.row, chunk.col) for chunk in layout.chunks()}
    shape = (len(days), layout.rows, layout.cols)
    chunk_dims, band_dims = ("time", "chunk_y", "chunk_x"), ("time", "chunk_y", "chunk_x", "band")
    whole = ("valid_fraction", "cloud_fraction", "seconds", "peak_memory", "failures")
    each = ("mean", "std", "consistency_rmse", "consistency_bias", "consistency_correlation", "rmse_before_projection")
    single: dict[str, NDArray] = {name: np.full(shape, nan) for name in whole}
    by_band: dict[str, NDArray] = {name: np.full((*shape, len(bands)), nan) for name in each}
    for record in current(store):
        at = (days.index(record.day), *place[record.box])
        single["valid_fraction"][at] = record.valid / record.pixels
        single["cloud_fraction"][at] = record.flags.get("CLOUD", 0) / record.pixels
        single["seconds"][at] = sum(record.seconds.values())
        single["peak_memory"][at] = record.peak_memory
        single["failures"][at] = len(record.failures)
        for index, band in enumerate(bands):
            pair = record.consistency.get(band, PairSums())
            before = record.before.get(band, PairSums())
            own = record.bands[band]
            values = (own.mean, own.std, pair.rmse, pair.bias, pair.correlation, before.rmse)
            for name, value in zip(each, values, strict=True):
                by_band[name][(*at, index)] = value
    state = store.ledger.state()
    arrays = {name: (chunk_dims, values) for name, values in single.items()}
    store.write_group(
        "metrics", arrays | {name: (band_dims, values) for name, values in by_band.items()}, {"ledger": state}
    )


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
    by_day: dict[date, list[Record]] = {}
    for record in current(store):
        by_day.setdefault(record.day, []).append(record)
    for day, records in sorted(by_day.items()):
        total = Totals.of(records)
        sums = {band: asdict(s) for band, s in total.bands.items()}
        hashed.update(json.dumps([str(day), total.pixels, total.flags, sums], sort_keys=True).encode())
    return hashed.hexdigest()
