"""The pixel grids of the simulated land's sensors: where their pixels lie, finer grids under them, pieces of them."""

from collections.abc import Iterator
from functools import cache, lru_cache
from math import ceil, floor

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.geom import box
from pyproj import Transformer

from pipeline.lattice import ROUNDING

Bounds = tuple[float, float, float, float]
"""Left, bottom, right, top."""


@lru_cache(maxsize=8)
def positions(geobox: GeoBox, crs: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres of the pixels of a north-up grid in a CRS: x of the columns and y of the rows, (cols,) and (rows,), where it is
    the grid's own; x and y of every pixel, (rows, cols) each, where it is another."""
    grid, (rows, cols) = geobox.affine, geobox.shape
    x = grid.c + grid.a * (np.arange(cols, dtype=np.float64) + 0.5)
    y = grid.f + grid.e * (np.arange(rows, dtype=np.float64) + 0.5)
    if geobox.crs == crs:
        return x, y
    there = transformer(str(geobox.crs), crs).transform(*np.meshgrid(x, y))
    return np.asarray(there[0], np.float64), np.asarray(there[1], np.float64)


@cache
def transformer(source: str, target: str) -> Transformer:
    """Coordinates of one CRS into another; x, then y."""
    return Transformer.from_crs(source, target, always_xy=True)


def bounds_of(geobox: GeoBox) -> Bounds:
    """Left, bottom, right, top of a grid in its own CRS."""
    left, bottom, right, top = geobox.boundingbox
    return left, bottom, right, top


def finer(geobox: GeoBox, ratio: int, margin: int = 0) -> GeoBox:
    """The grid of pixels ``ratio`` times finer under a grid and ``margin`` of its pixels around it."""
    grid, (rows, cols) = geobox.affine, geobox.shape
    left, top = grid.c - margin * grid.a, grid.f - margin * grid.e
    shape = ((rows + 2 * margin) * ratio, (cols + 2 * margin) * ratio)
    return GeoBox(shape, Affine(grid.a / ratio, 0, left, 0, grid.e / ratio, top), geobox.crs)


def coarser(geobox: GeoBox, ratio: int) -> GeoBox:
    """The grid of pixels ``ratio`` times coarser; rows and columns are multiples of it."""
    grid, (rows, cols) = geobox.affine, geobox.shape
    shape = (rows // ratio, cols // ratio)
    return GeoBox(shape, Affine(grid.a * ratio, 0, grid.c, 0, grid.e * ratio, grid.f), geobox.crs)


def pieces(geobox: GeoBox, edge: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the squares of ``edge`` pixels, or less at its end, that make up a grid."""
    rows, cols = geobox.shape
    for top in range(0, rows, edge):
        for left in range(0, cols, edge):
            yield slice(top, min(top + edge, rows)), slice(left, min(left + edge, cols))


def covering(bounds: Bounds, crs: str, resolution: float, offset: float = 0, multiple: int = 1) -> GeoBox:
    """The pixels that touch a rectangle, of the grid whose edges lie ``offset`` off multiples of ``resolution``.

    ``multiple``: rows and columns begin and end on multiples of so many pixels, counted from the origin.
    """
    step = resolution * multiple
    left, bottom, right, top = ((b - offset) / step for b in bounds)
    c, d = floor(left + ROUNDING), ceil(right - ROUNDING)
    a, b = ceil(top - ROUNDING), floor(bottom + ROUNDING)
    corner = Affine(resolution, 0, c * step + offset, 0, -resolution, a * step + offset)
    return GeoBox(((a - b) * multiple, (d - c) * multiple), corner, crs)


def projected(bounds: Bounds, source: str, target: str) -> Bounds:
    """Bounds of a rectangle in another CRS; its sides, which bend, are followed."""
    side = max(bounds[2] - bounds[0], bounds[3] - bounds[1])
    left, bottom, right, top = box(*bounds, source).to_crs(target, resolution=side / 50).boundingbox.bbox
    return left, bottom, right, top
