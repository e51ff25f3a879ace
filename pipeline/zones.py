"""A region over several zones: the stores of its zones, each on its own pixels, laid together on the region's grid.

Pixels of a zone in the region's own CRS are copied; those of another are resampled once, by cubic convolution at exact
positions, flags by the nearest. Where zones overlap a pixel is that of the zone that its longitude lies in, where that has a
value; else of the first that has one, in the order of their codes. So a pixel depends on its place and on the zones' pixels
around it, not on the cut into chunks nor on the order of work.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import date
from functools import cache, cached_property
from math import ceil
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geom import box as rectangle
from pyproj import Transformer
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.windows import Window

from pipeline import __version__
from pipeline.changing import changing
from pipeline.flags import Flag
from pipeline.job import Job, fingerprint
from pipeline.lattice import Box, Chunk, Lattice, Layout
from pipeline.ledger import Ledger
from pipeline.measure import band_sums, flag_counts, pixel_digest
from pipeline.memory import peak_memory
from pipeline.record import Failure, Record
from pipeline.region import outside, projected
from pipeline.store import Store, store_errors
from pipeline.warp import Target, onto

SUPPORT = 6
"""Pixels of a zone around those that a part of the region shows: more than a kernel reaches."""

FAR = 20_000_000
"""Metres from the lattice's anchor to where pixels of a zone are counted from: further than any place of its CRS."""


@dataclass(frozen=True)
class Zone:
    """The store of a zone."""

    crs: str
    """Its CRS."""
    where: str
    """Where it is, as ``Store`` takes it."""


@dataclass(frozen=True)
class Source:
    """What a chunk of a zone has to say to the mosaic."""

    digest: str
    """Hash of its pixels."""
    scenes: tuple[str, ...]
    """Ids of its scenes."""
    weights: str
    """Hash of the weights it was made with."""
    failures: tuple[Failure, ...]
    """Files that it missed."""


@dataclass(frozen=True)
class Piece:
    """A chunk of the mosaic on one day."""

    chunk: Chunk
    """Where."""
    day: date
    """When."""
    key: str
    """Name of its work, from the job, the place, and the pixels of every zone that it is made of."""
    sources: tuple[Source, ...]
    """Those."""
    waits: bool
    """Whether a chunk that it needs is not there."""

    @property
    def name(self) -> str:
        """What people and logs call it."""
        core = self.chunk.core
        return f"{self.day} mosaic ({core.left}, {core.top})"


def pieces(job: Job, days: Sequence[date], zones: Sequence[Zone]) -> Iterator[Piece]:
    """Every chunk of a mosaic, day by day, neighbours together; of each chunk of a zone on one day a few words are held."""
    held = [Held.of(zone) for zone in zones]
    chunks = [(chunk, [h.window(job.layout.lattice, chunk.core) for h in held]) for chunk in job.layout.chunks()]
    for day in days:
        there = [h.on(day) for h in held]
        for chunk, windows in chunks:
            below = [h.under(day, w, sources) if w else {} for h, w, sources in zip(held, windows, there, strict=True)]
            found = [[zone.crs, _named(sources)] for zone, sources in zip(zones, below, strict=True) if sources]
            core = chunk.core
            place = [core.left, core.top, core.right, core.bottom]
            sources = tuple(source for some in below for source in some.values() if source)
            waits = any(source is None for some in below for source in some.values())
            yield Piece(chunk, day, fingerprint([job.identity, str(day), place, found]), sources, waits)


def _named(sources: "Mapping[Box, Source | None]") -> list[Any]:
    """The chunks of a zone as plain values: their pixels and the files that they missed."""
    return [
        [
            box.left,
            box.top,
            box.right,
            box.bottom,
            source and source.digest,
            *map(astuple, source.failures if source else ()),
        ]
        for box, source in sources.items()
    ]


@dataclass(frozen=True)
class Held:
    """What the store of a zone holds."""

    layout: Layout
    """Its chunks."""
    days: frozenset[date]
    """Its days."""
    ledger: Ledger
    """Its records."""

    @classmethod
    def of(cls, zone: Zone) -> "Held":
        """What a store holds."""
        store = Store(zone.where)
        return cls(store.contents.layout, frozenset(store.contents.days), store.ledger)

    def on(self, day: date) -> dict[Box, Source]:
        """Its chunks on a day, by core; sources of equal scenes share their names."""
        shared = dict[tuple, tuple]()
        records = self.ledger.read(sorted(key for _, key in self.ledger.places(day)))
        return {r.box: Source(r.digest, shared.setdefault(r.scenes, r.scenes), r.weights, r.failures) for r in records}

    def window(self, lattice: Lattice, core: Box) -> Box | None:
        """Steps of the zone that a core of the region is made of, ``None`` where it is made of none."""
        return support(lattice, core, self.layout.lattice).intersection(self.layout.area)

    def under(self, day: date, window: Box, sources: Mapping[Box, Source]) -> dict[Box, Source | None]:
        """Of the chunks of a day those that a window touches, ``None`` for those that are not there."""
        if day not in self.days:
            return {}
        layout = self.layout
        frame, size = layout.frame, layout.core
        rows = range((window.top - frame.top) // size, ceil((window.bottom - frame.top) / size))
        cols = range((window.left - frame.left) // size, ceil((window.right - frame.left) / size))
        cores = (layout.slot(row, col).intersection(layout.area) for row in rows for col in cols)
        return {core: sources.get(core) for core in cores if core}


def support(lattice: Lattice, box: Box, zone: Lattice) -> Box:
    """Steps of a zone's lattice that a box of the region's is made of, whatever of it the zone has."""
    if zone.crs == lattice.crs:
        return box
    there = projected(rectangle(*lattice.bounds(box), lattice.crs), zone.crs)
    return zone.box(there.boundingbox.bbox).pad(zone.steps_for(SUPPORT))


def lay_into(where: str, job: Job, zones: Sequence[Zone], lease: int, piece: Piece) -> Record:
    """Lay a chunk of a mosaic and write it: the old record goes first, then the data comes, then the new record."""
    start = time.perf_counter()
    laid = lay(job, piece.chunk.core, piece.day, zones)
    between = time.perf_counter()
    store = Store(where)
    with store_errors(), changing(store, piece.chunk, piece.day, lease):
        store.write(piece.chunk, piece.day, laid.numbers, laid.flags)
        end = time.perf_counter()
        record = _record(job, piece, laid, {"mosaic": round(between - start, 4), "write": round(end - between, 4)})
        store.ledger.put(record)
    return record


@dataclass(frozen=True)
class Laid:
    """A part of a mosaic."""

    numbers: NDArray
    """Stored numbers, (bands, rows, cols)."""
    flags: NDArray[np.uint16]
    """Flags, (rows, cols)."""
    ways: tuple[str, ...]
    """How pixels came: ``native``, ``warped``."""


def lay(job: Job, core: Box, day: date, zones: Sequence[Zone]) -> Laid:
    """The zones over a box of the region's lattice on one day, those first in order that come first by code."""
    lattice = job.layout.lattice
    shape = lattice.geobox(core).shape
    numbers = np.full((len(job.model.output.bands), *shape), job.encoding.fill, job.encoding.dtype)
    flags = np.full(shape, Flag.NODATA, np.uint16)
    seen = [(zone, view) for zone in ordered(zones) if (view := _view(job, core, day, zone))]
    own = _own(lattice, core, [zone.crs for zone, _ in seen])
    taken = np.zeros(shape, bool)
    turns = [(index, own == index) for index in range(len(seen))] + [(index, None) for index in range(len(seen))]
    for index, theirs in turns:
        view = seen[index][1]
        here = view.valid & ~taken if theirs is None else view.valid & theirs
        np.copyto(numbers, view.numbers, where=here)
        np.copyto(flags, view.flags, where=here)
        taken |= here
    for _, view in seen:
        np.bitwise_or(flags, view.flags, out=flags, where=~taken)
    beyond = outside(lattice, core, job.clip)
    numbers[:, beyond] = job.encoding.fill
    flags[beyond] = (flags[beyond] & ~np.uint16(Flag.PARTIAL)) | np.uint16(Flag.OUTSIDE | Flag.NODATA)
    return Laid(numbers, flags, tuple(sorted({view.way for _, view in seen})))


def ordered(zones: Sequence[Zone]) -> list[Zone]:
    """Zones in the order in which they are asked for a pixel that is in none of them."""
    return sorted(zones, key=lambda zone: zone.crs)


@dataclass(frozen=True)
class View:
    """A zone on pixels of the region."""

    numbers: NDArray
    """Stored numbers, (bands, rows, cols)."""
    flags: NDArray[np.uint16]
    """Flags, (rows, cols)."""
    way: str
    """How they came."""
    fill: float
    """Stored number of a pixel without a value."""

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """Where any band has a value, (rows, cols)."""
        there = ~np.isnan(self.numbers) if np.isnan(self.fill) else self.numbers != self.fill
        return np.asarray(there.any(axis=0))


def _view(job: Job, core: Box, day: date, zone: Zone) -> View | None:
    """A zone over a box of the region, ``None`` where it has nothing there on that day."""
    store = Store(zone.where)
    layout, fill = store.contents.layout, job.encoding.fill
    needed = support(job.layout.lattice, core, layout.lattice)
    window = needed.intersection(layout.area)
    if window is None or day not in store.contents.days:
        return None
    rows, cols = layout.pixels_of(window)
    time = store.contents.days.index(day)
    lattice, n = layout.lattice, layout.lattice.pixels()
    at = (window.top * n, window.left * n)
    bands = [Pixels(lattice, at, plane, fill) for plane in np.asarray(store.array("reflectance")[time, :, rows, cols])]
    flags = Pixels(lattice, at, np.asarray(store.array("flags")[time, rows, cols]), Flag.NODATA)
    if lattice.crs == job.layout.lattice.crs:
        whole = (core.top * n, core.left * n, core.bottom * n, core.right * n)
        return View(np.stack([band.part(*whole) for band in bands]), flags.part(*whole), "native", fill)
    geobox = job.layout.lattice.geobox(core)
    grid = geobox.affine
    target = Target(job.layout.lattice.crs, grid.c, grid.f, grid.a, (geobox.shape[0], geobox.shape[1]))
    empty = np.array(fill, job.encoding.dtype)
    planes = [onto(band, target, empty, Resampling.cubic, nodata=fill)[0] for band in bands]
    why, way = onto(flags, target, np.array(Flag.NODATA, np.uint16), Resampling.nearest, nodata=None)
    return View(np.stack(planes), why, way, fill)


@dataclass(frozen=True)
class Pixels:
    """A plane of a zone as ``warp.onto`` takes it: an endless file, so that a place has the same row and column in it however
    large the store and whichever part of it is at hand; it has the fill where that part ends."""

    lattice: Lattice
    """Lattice of the zone."""
    at: tuple[int, int]
    """First row and column of the part, counted from the lattice's anchor."""
    values: NDArray
    """The part, (rows, cols)."""
    fill: float
    """What stands beyond."""

    @property
    def _spare(self) -> int:
        """Pixels from the anchor to the file's corner."""
        return ceil(FAR / self.lattice.resolution)

    @property
    def crs(self) -> CRS:
        """CRS of the zone."""
        return _crs(self.lattice.crs)

    @property
    def transform(self) -> Affine:
        """From columns and rows of the file to metres."""
        (x, y), res = self.lattice.anchor, self.lattice.resolution
        return Affine(float(res), 0, float(x - self._spare * res), 0, -float(res), float(y + self._spare * res))

    @property
    def width(self) -> int:
        """Columns."""
        return 2 * self._spare

    height = width

    @property
    def dtypes(self) -> tuple[str]:
        """Type of the numbers."""
        return (str(self.values.dtype),)

    def read(self, index: int, window: Window) -> NDArray:
        """Numbers of a window."""
        (top, bottom), (left, right) = window.toranges()
        return self.part(*(round(edge) - self._spare for edge in (top, left, bottom, right)))

    def part(self, top: int, left: int, bottom: int, right: int) -> NDArray:
        """Numbers between rows and columns that are counted from the anchor."""
        out = np.full((bottom - top, right - left), self.fill, self.values.dtype)
        (first, start), (rows, cols) = self.at, self.values.shape
        a, b = max(top, first), min(bottom, first + rows)
        c, d = max(left, start), min(right, start + cols)
        if a < b and c < d:
            out[a - top : b - top, c - left : d - left] = self.values[a - first : b - first, c - start : d - start]
        return out


@cache
def _crs(code: str) -> CRS:
    return CRS.from_user_input(code)


@cache
def _to_degrees(crs: str) -> Transformer:
    return Transformer.from_crs(crs, "EPSG:4326", always_xy=True)


def _own(lattice: Lattice, core: Box, zones: Sequence[str]) -> NDArray[np.int8]:
    """For each pixel of a box which of the zones, by their CRS, its centre lies in; -1 for none of them.

    Where all pixels of the rim lie in one zone, all within do: its borders are meridians.
    """
    geobox = lattice.geobox(core)
    (rows, cols), grid = geobox.shape, geobox.affine
    table = np.full(61, -1, np.int8)
    for index, crs in reversed(list(enumerate(zones))):
        table[zone_number(crs)] = index
    table[0] = -1
    x = grid.c + grid.a * (np.arange(cols) + 0.5)
    y = grid.f + grid.e * (np.arange(rows) + 0.5)

    def numbers(xs: NDArray, ys: NDArray) -> NDArray[np.int8]:
        longitude, _ = _to_degrees(lattice.crs).transform(xs, ys)
        return table[(np.floor((np.asarray(longitude) + 180) / 6) % 60).astype(int) + 1]

    rim = numbers(np.concatenate([x, x, np.full(rows, x[0]), np.full(rows, x[-1])]),
                  np.concatenate([np.full(cols, y[0]), np.full(cols, y[-1]), y, y]))  # fmt: skip
    if (rim == rim[0]).all():
        return np.full((rows, cols), rim[0], np.int8)
    return numbers(*np.meshgrid(x, y))


def zone_number(crs: str) -> int:
    """Number of a UTM zone from 1 to 60 of its CRS, 0 of any other."""
    code = int(crs.removeprefix("EPSG:")) if crs.startswith("EPSG:") else 0
    return code % 100 if code // 100 in (326, 327) and 1 <= code % 100 <= 60 else 0


def _record(job: Job, piece: Piece, laid: Laid, seconds: Mapping[str, float]) -> Record:
    """What a chunk of a mosaic has to say."""
    failures = dict.fromkeys(failure for source in piece.sources for failure in source.failures)
    scenes = sorted({scene for source in piece.sources for scene in source.scenes})
    return Record(
        key=piece.key,
        day=piece.day,
        box=piece.chunk.core,
        pixels=laid.flags.size,
        scenes=tuple(scenes),
        weights=" ".join(sorted({source.weights for source in piece.sources if source.weights})),
        readings=dict.fromkeys(job.model.output.bands, laid.ways),
        failures=tuple(failures),
        shifts={},
        flags=flag_counts(laid.flags),
        bands=band_sums(job, laid.numbers),
        consistency={},
        before={},
        angles={},
        seconds=seconds,
        peak_memory=peak_memory(),
        digest=pixel_digest(laid.numbers, laid.flags),
        software=__version__,
    )
