"""What a window of any grid stands on: which thing lies under each pixel centre, and what that is made of on a day."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely import box

from pipeline.simulated.chance import noise
from pipeline.simulated.grids import bounds_of, positions, projected, transformer
from pipeline.simulated.seasons import DEPTH, HELD, shares, snow_line, year_shift
from pipeline.simulated.spectra import ENDMEMBERS
from pipeline.simulated.world import CRS, SUMMIT, Change, Feature, World, landscape

OPEN = Feature(box(0, 0, 0, 0), "meadow")
"""What nothing else covers."""

WOOD = Feature(box(0, 0, 0, 0), "wood")
"""Forest, wherever its field stands."""

WORN = ("crop", "grass", "straw")
"""Endmembers that give way to soil where growth is uneven."""

_SOIL, _GRASS, _FOREST, _SNOW = (ENDMEMBERS.index(name) for name in ("soil", "grass", "forest", "snow"))


@dataclass(frozen=True)
class Ground:
    """A window of the land at the centres of its pixels: what does not change from day to day."""

    world: World
    """The land."""
    x: NDArray[np.float64]
    """Eastings of the columns, (cols,), or of every pixel, (rows, cols), as ``grids.positions`` has them."""
    y: NDArray[np.float64]
    """Northings likewise."""
    label: NDArray[np.intp]
    """Index into ``things``, (rows, cols)."""
    things: tuple[tuple[Feature, Change | None], ...]
    """What lies there, and what is built on it."""
    wear: NDArray[np.float32]
    """How uneven growth is, 0 to 1, (rows, cols)."""

    def snow(self, day: date) -> NDArray[np.float32] | None:
        """Share of open ground under snow on a day, (rows, cols); ``None`` where the snow line is above all heights."""
        line = snow_line(self.world.seed, day)
        if line >= SUMMIT:
            return None
        return np.clip((self.world.heights(self.x, self.y) - line) / DEPTH, 0, 1).astype(np.float32)


@lru_cache(maxsize=64)
def ground(world: World, geobox: GeoBox) -> Ground:
    """The ground under a window of a north-up grid in any projected CRS.

    A pixel is what lies at its centre, so a window of a larger one has the same values.
    """
    x, y = positions(geobox, CRS)
    land = landscape(world)
    features = (OPEN, *land.fields, *land.above, WOOD)
    label = _drawn(geobox, [feature.shape for feature in features[1:-1]])
    wood = world.woods(x, y) & (label <= len(land.fields))
    label[wood] = len(features) - 1
    site = _drawn(geobox, [change.shape for change in land.changes])
    sites = (None, *land.changes)
    both = label * len(sites) + site
    there = np.bincount(both.ravel()) > 0
    codes = np.flatnonzero(there).tolist()
    things = tuple((features[code // len(sites)], sites[code % len(sites)]) for code in codes)
    places = (np.cumsum(there) - 1)[both]
    seed = world.seed
    bare = 0.2 * noise(x, y, 140, seed + 3) + 0.1 * noise(x, y, 12, seed + 4)
    thin = 0.4 * noise(x, y, 25, seed + 5) * noise(x, y, 400, seed + 6)
    return Ground(world, x, y, places, things, np.where(wood, thin, bare))


def _drawn(geobox: GeoBox, shapes: Sequence[shapely.Geometry]) -> NDArray[np.int64]:
    """Number of the shape under each pixel centre, (rows, cols): 1 for the first, 0 for none; later ones on top."""
    crs = str(geobox.crs)
    left, bottom, right, top = projected(bounds_of(geobox), crs, CRS)
    edges = shapely.bounds(np.array(shapes, object)) if shapes else np.empty((0, 4))
    near = (edges[:, 0] < right) & (edges[:, 2] > left) & (edges[:, 1] < top) & (edges[:, 3] > bottom)
    chosen = [(shapes[k], k + 1) for k in np.flatnonzero(near).tolist()]
    if not chosen:
        return np.zeros(geobox.shape, np.int64)
    if geobox.crs != CRS:
        there = transformer(CRS, crs).transform
        chosen = [(shapely.transform(shape, there, interleaved=False), number) for shape, number in chosen]
    return rasterize(chosen, out_shape=geobox.shape, transform=geobox.affine, dtype="int32").astype(np.int64)


def composition(thing: tuple[Feature, Change | None], seed: int, day: date) -> tuple[float, ...]:
    """Share of each endmember (``ENDMEMBERS``) in a thing on a day, where growth is even and no snow lies."""
    feature, change = thing
    late = year_shift(seed, day.year)
    if change is None or day < change.cleared:
        return shares(feature.kind, feature.vigour, feature.shift, late, day)
    return shares(change.kind if day >= change.built else "bare", 1.0, 0.0, late, day)


def planes(land: Ground, day: date, signatures: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """What bands measure of the ground on a day, one plane (rows, cols) a row of ``signatures``, (bands, endmembers)."""
    table = np.array([composition(thing, land.world.seed, day) for thing in land.things])
    lost = np.zeros_like(table)  # what uneven growth takes away, where it is at its worst
    for index in (ENDMEMBERS.index(name) for name in WORN):
        lost[:, index] -= table[:, index]
        lost[:, _SOIL] += table[:, index]
    woods = [feature is WOOD for feature, _ in land.things]
    lost[woods] = 0
    lost[woods, _FOREST] = -table[woods, _FOREST]
    lost[woods, _GRASS] = table[woods, _FOREST]
    base, change = ((part @ signatures.T.astype(np.float64)).astype(np.float32) for part in (table, lost))
    white = land.snow(day)
    if white is not None:
        white *= (table @ [HELD.get(name, 1.0) for name in ENDMEMBERS]).astype(np.float32)[land.label]
    for band, signature in enumerate(signatures):
        plane = base[:, band][land.label] + change[:, band][land.label] * land.wear
        yield plane if white is None else plane + white * (signature[_SNOW] - plane)


def abundances(world: World, geobox: GeoBox, day: date) -> NDArray[np.float32]:
    """Shares of the endmembers (``ENDMEMBERS``) at the pixel centres of a grid, (endmembers, rows, cols); they sum to 1.

    Look at the land a few times finer than a sensor and average.
    """
    return np.stack(list(planes(ground(world, geobox), day, np.eye(len(ENDMEMBERS), dtype=np.float32))))
