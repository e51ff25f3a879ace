"""What lies where: parcels, forest, a river, roads and villages, as shapes in metres; abundances on any window of a grid."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor, pi

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely import Polygon, affinity, box
from shapely.geometry import LineString
from shapely.geometry.base import BaseGeometry

from pipeline.simulated.spectra import ENDMEMBERS

CROPS = ("crop", "crop", "crop", "grass", "grass", "straw", "soil")
"""What parcels grow, as often as they stand here."""

FOREST_SCALE = 900.0
"""Size of forests in metres."""


@dataclass(frozen=True)
class Feature:
    """A thing on the ground."""

    shape: BaseGeometry
    """Its outline in metres."""
    mix: tuple[tuple[str, float], ...]
    """Endmember and share; the shares sum to 1."""


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

    def features(self) -> tuple[list[Feature], list[Feature]]:
        """Fields, then what lies on top of them; in each, later ones on top."""
        rng = np.random.default_rng([self.seed, 1])
        centre = (self.left + self.size / 2, self.top - self.size / 2)
        angle = rng.uniform(-25, 25)
        land = box(centre[0] - self.size, centre[1] - self.size, centre[0] + self.size, centre[1] + self.size)
        parcels = list(_parcels(rng, land))
        fields = [Feature(affinity.rotate(p.buffer(-3), angle, centre), _crop(rng)) for p in parcels]
        roads = list(self._roads(rng, angle, centre))
        return fields, [*self._waters(rng), *roads, *self._villages(rng, angle)]

    def _waters(self, rng: np.random.Generator) -> Iterator[Feature]:
        """A river that winds through from west to east, and ponds."""
        xs = np.linspace(self.left - 500, self.left + self.size + 500, 120)
        phase, swing = rng.uniform(0, 2 * pi), 0.08 * self.size
        middle = self.top - self.size * rng.uniform(0.55, 0.75)
        ys = middle + swing * np.sin(2 * pi * (xs - self.left) / (0.7 * self.size) + phase)
        ys += 60 * np.sin(2 * pi * (xs - self.left) / 900 + 2 * phase)
        river = LineString(np.column_stack([xs, ys]))
        yield Feature(river.buffer(55), (("grass", 0.9), ("soil", 0.1)))
        yield Feature(river.buffer(28), (("water", 1.0),))
        for _ in range(max(1, round((self.size / 3000) ** 2))):
            x, y = self.left + self.size * rng.uniform(0.1, 0.9), self.top - self.size * rng.uniform(0.1, 0.9)
            turns = np.linspace(0, 2 * pi, 24, endpoint=False)
            radii = rng.uniform(60, 180) * (1 + 0.25 * np.sin(3 * turns + rng.uniform(0, 6)))
            yield Feature(
                Polygon(np.column_stack([x + radii * np.cos(turns), y + radii * np.sin(turns)])), (("water", 1.0),)
            )

    def _roads(self, rng: np.random.Generator, angle: float, centre: tuple[float, float]) -> Iterator[Feature]:
        """Straight roads along the fields, wide and narrow."""
        for index in range(max(3, round(self.size / 900))):
            place = rng.uniform(-0.6, 0.6) * self.size
            half = self.size
            ends = [(-half, place), (half, place)] if index % 2 else [(place, -half), (place, half)]
            line = LineString([(centre[0] + x, centre[1] + y) for x, y in ends])
            width = rng.choice([5.0, 9.0, 16.0])
            yield Feature(affinity.rotate(line, angle, centre).buffer(width / 2), (("asphalt", 0.9), ("soil", 0.1)))

    def _villages(self, rng: np.random.Generator, angle: float) -> Iterator[Feature]:
        """Clusters of houses among gardens, and a hall of metal each."""
        for _ in range(max(1, round((self.size / 2500) ** 2))):
            x, y = self.left + self.size * rng.uniform(0.1, 0.9), self.top - self.size * rng.uniform(0.1, 0.9)
            radius = rng.uniform(150, 350)
            garden = affinity.scale(box(x - radius, y - radius, x + radius, y + radius), 1, 0.7)
            yield Feature(affinity.rotate(garden, angle), (("grass", 0.6), ("forest", 0.2), ("asphalt", 0.2)))
            for _ in range(round(radius / 3)):
                hx, hy = x + rng.uniform(-1, 1) * radius, y + rng.uniform(-0.7, 0.7) * radius
                house = box(hx, hy, hx + rng.uniform(9, 18), hy + rng.uniform(8, 14))
                yield Feature(affinity.rotate(house, angle), (("tile", 1.0),))
            hall = box(x, y, x + rng.uniform(40, 90), y + rng.uniform(25, 50))
            yield Feature(affinity.rotate(hall, angle), (("metal", 1.0),))

    def abundances(self, left: float, top: float, resolution: float, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Shares of the endmembers on a window of a north-up grid, (endmembers, rows, cols); they sum to 1 everywhere.

        A pixel is what lies at its centre, so a window of a larger one gives the same values: look at the land a few times
        finer than the sensor and average.
        """
        fields, above = self.features()
        features = [*fields, *above]
        names = list(ENDMEMBERS)
        table = np.zeros((len(features) + 2, len(names)), np.float32)
        table[0, names.index("grass")] = 1  # what nothing else covers
        table[-1, names.index("forest")] = 1
        for row, feature in enumerate(features, start=1):
            for name, share in feature.mix:
                table[row, names.index(name)] += share
        grid = Affine(resolution, 0, left, 0, -resolution, top)
        shapes = [(feature.shape, row) for row, feature in enumerate(features, start=1)]
        label = rasterize(shapes, out_shape=shape, transform=grid, fill=0, dtype="int32")
        x = left + resolution * (np.arange(shape[1]) + 0.5)
        y = top - resolution * (np.arange(shape[0]) + 0.5)
        woods = noise(x, y, FOREST_SCALE, self.seed + 1) + 0.3 * noise(x, y, 60, self.seed + 2) > 0.82
        label[woods & (label <= len(fields))] = len(features) + 1
        shares = np.moveaxis(table[label], -1, 0)
        return _weathered(shares, x, y, self.seed)


def _weathered(shares: NDArray[np.float32], x: NDArray, y: NDArray, seed: int) -> NDArray[np.float32]:
    """Uneven growth, in patches and from metre to metre: fields give way to soil, forest to grass."""
    bare = 0.2 * noise(x, y, 140, seed + 3) + 0.1 * noise(x, y, 12, seed + 4)
    names = list(ENDMEMBERS)
    out = shares.copy()
    for name in ("crop", "grass", "straw"):
        lost = out[names.index(name)] * bare
        out[names.index(name)] -= lost
        out[names.index("soil")] += lost
    thin = out[names.index("forest")] * 0.4 * noise(x, y, 25, seed + 5) * noise(x, y, 400, seed + 6)
    out[names.index("forest")] -= thin
    out[names.index("grass")] += thin
    return out


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


def _crop(rng: np.random.Generator) -> tuple[tuple[str, float], ...]:
    kind = str(rng.choice(CROPS))
    vigour = 1.0 if kind == "soil" else float(rng.uniform(0.7, 1.0))
    return ((kind, vigour), ("soil", 1 - vigour))


def noise(x: NDArray[np.floating], y: NDArray[np.floating], scale: float, seed: int) -> NDArray[np.float32]:
    """Smooth values from 0 to 1 on the grid of ``y`` (rows) and ``x`` (cols), in metres, with bumps of ``scale`` metres.

    Value noise: random values at the nodes of a square grid anchored to the origin of the CRS, blended between. Any window
    gives the same values.
    """
    first_x, first_y = floor(x.min() / scale), floor(y.min() / scale)
    nodes_x = np.arange(first_x, ceil(x.max() / scale) + 2)
    nodes_y = np.arange(first_y, ceil(y.max() / scale) + 2)
    values = _hashed(nodes_x[None, :], nodes_y[:, None], seed)
    i, u = _blend(x / scale, first_x)
    j, v = _blend(y / scale, first_y)
    upper = values[j][:, i] * (1 - u) + values[j][:, i + 1] * u
    lower = values[j + 1][:, i] * (1 - u) + values[j + 1][:, i + 1] * u
    return (upper * (1 - v[:, None]) + lower * v[:, None]).astype(np.float32)


def _blend(position: NDArray[np.floating], first: int) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """Index of the node before a position, and the smooth share of the node after it."""
    node = np.floor(position).astype(np.int64)
    part = position - node
    return node - first, part * part * (3 - 2 * part)


def _hashed(i: NDArray[np.int64], j: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Uniform values from 0 to 1 that depend on two whole numbers and a seed (splitmix64's finaliser)."""
    with np.errstate(over="ignore"):
        h = i.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ j.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
        h = h + np.uint64(seed * 2654435761 % 2**63)
        h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        h = h ^ (h >> np.uint64(31))
    return h.astype(np.float64) / 2**64
