"""What lies where: parcels, forest, a river, roads and villages, heights, and what is built when; shapes in metres."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from math import pi

import numpy as np
from numpy.typing import NDArray
from shapely import Polygon, STRtree, affinity, box, unary_union
from shapely.geometry import LineString, mapping
from shapely.geometry.base import BaseGeometry
from shapely.ops import transform

from pipeline.simulated.chance import key, noise
from pipeline.simulated.grids import Bounds, projected, transformer

CRS = "EPSG:32633"
"""The projection that the land is laid out in."""

CROPS = ("cereal", "cereal", "rape", "meadow", "meadow", "silage", "maize")
"""What parcels grow, as often as they stand here."""

FOREST_SCALE = 900.0
"""Size of forests in metres."""

RELIEF = ((3000.0, 620.0), (900.0, 120.0))
"""Size of hills and how high they are, in metres."""

VALLEY = 40.0
"""Height in metres that no place lies below."""

SUMMIT = VALLEY + sum(high for _, high in RELIEF)
"""Height in metres that no place lies above."""

CLEARED = timedelta(days=21)
"""How long before a building stands its site is bare ground."""


@dataclass(frozen=True)
class Feature:
    """A thing on the ground."""

    shape: BaseGeometry
    """Its outline in metres."""
    kind: str
    """Kind of surface (``seasons.COVERS``)."""
    vigour: float = 1.0
    """How much of what could grow there does, 0 to 1."""
    shift: float = 0.0
    """Days by which its seasons are late."""


@dataclass(frozen=True)
class Change:
    """A place that is built on: what lay there until it is cleared, bare ground, then what is built."""

    shape: BaseGeometry
    """Its outline in metres."""
    kind: str
    """Kind of surface that it becomes (``seasons.COVERS``)."""
    cleared: date
    """First day on which it is bare."""
    built: date
    """First day on which it stands."""


@dataclass(frozen=True)
class World:
    """A square of land; the same seed gives the same land."""

    left: float
    """Easting of its western edge, metres."""
    top: float
    """Northing of its northern edge, metres."""
    size: float
    """Length of an edge, metres."""
    seed: int
    """Everything follows from it."""
    period: tuple[date, date] = (date(2024, 1, 1), date(2024, 12, 31))
    """First and last day between which things are built."""

    @property
    def bounds(self) -> Bounds:
        """Left, bottom, right, top in metres."""
        return self.left, self.top - self.size, self.left + self.size, self.top

    def heights(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.float32]:
        """Metres above the sea; ``x`` and ``y`` as ``chance.noise`` has them."""
        hills = [high * noise(x, y, scale, key(self.seed, "relief", k)) for k, (scale, high) in enumerate(RELIEF)]
        return (VALLEY + sum(hills[1:], hills[0])).astype(np.float32)

    def woods(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Where forest stands, if nothing is built there."""
        return noise(x, y, FOREST_SCALE, self.seed + 1) + 0.3 * noise(x, y, 60, self.seed + 2) > 0.82

    def changes(self) -> tuple[Change, ...]:
        """What is built in the period; later ones lie on top."""
        return landscape(self).changes


@dataclass(frozen=True)
class Landscape:
    """The things of a world; in each, later ones lie on top."""

    fields: tuple[Feature, ...]
    """Parcels, where forest may stand."""
    above: tuple[Feature, ...]
    """What lies on top of them."""
    changes: tuple[Change, ...]
    """What is built on top of those."""


@lru_cache(maxsize=8)
def landscape(world: World) -> Landscape:
    """What lies in a world and around it."""
    rng, late = np.random.default_rng([world.seed, 1]), np.random.default_rng([world.seed, 2])
    centre = (world.left + world.size / 2, world.top - world.size / 2)
    angle = rng.uniform(-25, 25)
    land = box(centre[0] - world.size, centre[1] - world.size, centre[0] + world.size, centre[1] + world.size)
    parcels = [affinity.rotate(parcel.buffer(-3), angle, centre) for parcel in list(_parcels(rng, land))]
    fields = tuple(Feature(parcel, *_crop(rng), late.uniform(-8, 8)) for parcel in parcels)
    roads = list(_roads(rng, world, angle, centre))
    above = (*_waters(rng, world), *roads, *_villages(rng, world, angle))
    return Landscape(fields, above, tuple(_sites(world, angle, above)))


def changes_geojson(world: World) -> dict:
    """What is built where and when, as a GeoJSON feature collection in degrees (WGS 84).

    Every feature has the properties ``kind``, ``cleared`` and ``built`` (dates: the first on which it is so).
    """
    degrees = transformer(CRS, "EPSG:4326").transform
    features = [
        {
            "type": "Feature",
            "geometry": mapping(transform(degrees, change.shape)),
            "properties": {
                "kind": change.kind,
                "cleared": change.cleared.isoformat(),
                "built": change.built.isoformat(),
            },
        }
        for change in world.changes()
    ]
    return {"type": "FeatureCollection", "bbox": list(projected(world.bounds, CRS, "EPSG:4326")), "features": features}


def _waters(rng: np.random.Generator, world: World) -> Iterator[Feature]:
    """A river that winds through from west to east, and ponds."""
    size = world.size
    xs = np.linspace(world.left - 500, world.left + size + 500, 120)
    phase, swing = rng.uniform(0, 2 * pi), 0.08 * size
    middle = world.top - size * rng.uniform(0.55, 0.75)
    ys = middle + swing * np.sin(2 * pi * (xs - world.left) / (0.7 * size) + phase)
    ys += 60 * np.sin(2 * pi * (xs - world.left) / 900 + 2 * phase)
    river = LineString(np.column_stack([xs, ys]))
    yield Feature(river.buffer(55), "bank")
    yield Feature(river.buffer(28), "water")
    for _ in range(max(1, round((size / 3000) ** 2))):
        x, y = _somewhere(rng, world)
        turns = np.linspace(0, 2 * pi, 24, endpoint=False)
        radii = rng.uniform(60, 180) * (1 + 0.25 * np.sin(3 * turns + rng.uniform(0, 6)))
        yield Feature(Polygon(np.column_stack([x + radii * np.cos(turns), y + radii * np.sin(turns)])), "water")


def _roads(rng: np.random.Generator, world: World, angle: float, centre: tuple[float, float]) -> Iterator[Feature]:
    """Straight roads along the fields, wide and narrow."""
    for index in range(max(3, round(world.size / 900))):
        place = rng.uniform(-0.6, 0.6) * world.size
        half = world.size
        ends = [(-half, place), (half, place)] if index % 2 else [(place, -half), (place, half)]
        line = LineString([(centre[0] + x, centre[1] + y) for x, y in ends])
        width = rng.choice([5.0, 9.0, 16.0])
        yield Feature(affinity.rotate(line, angle, centre).buffer(width / 2), "road")


def _villages(rng: np.random.Generator, world: World, angle: float) -> Iterator[Feature]:
    """Clusters of houses among gardens, and a hall of metal each."""
    for _ in range(max(1, round((world.size / 2500) ** 2))):
        x, y = _somewhere(rng, world)
        radius = rng.uniform(150, 350)
        garden = affinity.scale(box(x - radius, y - radius, x + radius, y + radius), 1, 0.7)
        yield Feature(affinity.rotate(garden, angle), "garden")
        for _ in range(round(radius / 3)):
            hx, hy = x + rng.uniform(-1, 1) * radius, y + rng.uniform(-0.7, 0.7) * radius
            house = box(hx, hy, hx + rng.uniform(9, 18), hy + rng.uniform(8, 14))
            yield Feature(affinity.rotate(house, angle), "house")
        hall = box(x, y, x + rng.uniform(40, 90), y + rng.uniform(25, 50))
        yield Feature(affinity.rotate(hall, angle), "hall")


def _somewhere(rng: np.random.Generator, world: World) -> tuple[float, float]:
    return world.left + world.size * rng.uniform(0.1, 0.9), world.top - world.size * rng.uniform(0.1, 0.9)


def _sites(world: World, angle: float, above: tuple[Feature, ...]) -> Iterator[Change]:
    """Halls with their yards, and rows of houses, on fields; as many as find room, one after the other in time."""
    rng = np.random.default_rng([world.seed, 3])
    taken = STRtree([feature.shape for feature in above])
    first, last = world.period
    wanted = max(4, round(6 * (world.size / 3000) ** 2))
    yards: list[Polygon] = []
    for index in range(wanted):
        built = first + (last - first) * ((index + rng.uniform(0.3, 0.7)) / wanted)
        for _ in range(30):
            x, y = _somewhere(rng, world)
            wide, deep = rng.uniform(60, 140), rng.uniform(40, 90)
            yard = affinity.rotate(box(x - 12, y - 12, x + wide + 12, y + deep + 12), angle)
            if not taken.query(yard, predicate="intersects").size and yard.disjoint(unary_union(yards)):
                break
        else:
            continue
        yards.append(yard)
        yield Change(yard, "yard" if index % 2 == 0 else "garden", built - CLEARED, built)
        if index % 2 == 0:
            yield Change(affinity.rotate(box(x, y, x + wide, y + deep), angle), "hall", built - CLEARED, built)
            continue
        for place in np.arange(x, x + wide - 12, 24.0):
            house = affinity.rotate(box(place, y, place + 13, y + 16), angle, yard.centroid)
            yield Change(house, "house", built - CLEARED, built)


def _parcels(rng: np.random.Generator, land: Polygon) -> Iterator[Polygon]:
    """A rectangle cut in two, again and again, until its parts are the size of fields."""
    left, bottom, right, top = land.bounds
    width, height = right - left, top - bottom
    if max(width, height) < rng.uniform(150, 500):
        yield land
        return
    cut = rng.uniform(0.35, 0.65)
    if width > height:
        parts = (box(left, bottom, left + cut * width, top), box(left + cut * width, bottom, right, top))
    else:
        parts = (box(left, bottom, right, bottom + cut * height), box(left, bottom + cut * height, right, top))
    for part in parts:
        yield from _parcels(rng, part)


def _crop(rng: np.random.Generator) -> tuple[str, float]:
    """What a parcel grows, and how well."""
    kind = str(rng.choice(CROPS))
    return kind, 1.0 if kind == "maize" else float(rng.uniform(0.7, 1.0))
