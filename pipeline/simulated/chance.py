"""Chance that is the same on every look: smooth fields in metres, and draws a pixel that no cut of a scene changes."""

from collections.abc import Callable
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

PATCH = 128
"""Edge in pixels of the squares, anchored to the origin of the grid, that draws are made for."""


def key(*parts: int | str) -> int:
    """A seed from numbers and words; other parts give another."""
    words = [part if isinstance(part, int) else int.from_bytes(part.encode(), "little") for part in parts]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])


def uniform(*parts: int | str) -> float:
    """A number from 0 to 1 that follows from numbers and words."""
    return key(*parts) / 2**64


def noise(x: NDArray[np.floating], y: NDArray[np.floating], scale: float, seed: int) -> NDArray[np.float32]:
    """Smooth values from 0 to 1 with bumps of ``scale`` metres.

    Value noise: random values at the nodes of a square grid anchored to the origin of the CRS, blended between. Any window
    gives the same values.

    Parameters
    ----------
    x, y
        Metres: of the columns and rows of a grid, (cols,) and (rows,); or of points, both of any one shape of two or more
        dimensions.
    """
    first_x, first_y = floor(x.min() / scale), floor(y.min() / scale)
    nodes_x = np.arange(first_x, ceil(x.max() / scale) + 2)
    nodes_y = np.arange(first_y, ceil(y.max() / scale) + 2)
    values = _hashed(nodes_x[None, :], nodes_y[:, None], seed)
    i, u = _blend(x / scale, first_x)
    j, v = _blend(y / scale, first_y)
    if x.ndim == 1:
        along = values[:, i] * (1 - u) + values[:, i + 1] * u
        return (along[j] * (1 - v[:, None]) + along[j + 1] * v[:, None]).astype(np.float32)
    upper = values[j, i] * (1 - u) + values[j, i + 1] * u
    lower = values[j + 1, i] * (1 - u) + values[j + 1, i + 1] * u
    return (upper * (1 - v) + lower * v).astype(np.float32)


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


Draw = Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float32]]
"""Draws an array of a shape, (rows, cols)."""


def drawn(geobox: GeoBox, seed: int, draw: Draw) -> NDArray[np.float32]:
    """Independent draws for the pixels of a window of a north-up grid, (rows, cols).

    They are made for whole squares of the grid, so that a window of a larger one has the larger one's.
    """
    grid = geobox.affine
    left, top = round(grid.c / grid.a - 1e-6), round(grid.f / grid.e - 1e-6)
    rows, cols = geobox.shape
    out = np.empty((rows, cols), np.float32)
    for row in range(top // PATCH, (top + rows - 1) // PATCH + 1):
        for col in range(left // PATCH, (left + cols - 1) // PATCH + 1):
            rng = np.random.default_rng([seed, row + 2**31, col + 2**31])
            patch = draw(rng, (PATCH, PATCH))
            a, b = max(top, row * PATCH), min(top + rows, (row + 1) * PATCH)
            c, d = max(left, col * PATCH), min(left + cols, (col + 1) * PATCH)
            cut = patch[a - row * PATCH : b - row * PATCH, c - col * PATCH : d - col * PATCH]
            out[a - top : b - top, c - left : d - left] = cut
    return out
