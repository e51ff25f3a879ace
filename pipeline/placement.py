"""Where the pixels of a north-up grid lie in a file: exact to a ten-thousandth of a pixel, at little cost.

The grid is cut into tiles anchored to the origin of its CRS. In each, positions are transformed exactly at 4 x 4 nodes and
interpolated by cubics between them; at nine more points the result is compared with the exact one, and a tile that misses
the bound (at a pole, at the antimeridian, at the rim of a projection) is transformed pixel by pixel. What comes out for a
pixel depends on its place alone, not on the window that it is part of.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # what warp.transform raises, and none of the public errors
from rasterio.crs import CRS
from rasterio.warp import transform

from pipeline.kernels import REACH

TILE = 256
"""Edge in pixels of a tile."""

TOLERANCE = 1e-4
"""How far a position may be off, in pixels of the grid."""

# Chebyshev's extremes, where a cubic is pinned down, and the places between them where it errs most; shares of a tile.
NODES = np.array([0.0, 0.25, 0.75, 1.0])
BETWEEN = np.array([0.1, 0.5, 0.9])

Positions = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Columns and rows of a file, pixel centres at halves, (rows, cols) of the grid each; NaN where there is no such place."""


Extent = tuple[int, int, int, int]
"""Top, left, bottom and right of pixels of a file, half open; it may reach beyond the file."""


@dataclass(frozen=True)
class Target:
    """The pixels wanted: a window of a north-up grid."""

    crs: str
    """Its CRS: ``EPSG:code`` or WKT."""
    left: float
    """Easting of the left edge, in the unit of the CRS."""
    top: float
    """Northing of the upper edge."""
    resolution: float
    """Edge of a pixel."""
    shape: tuple[int, int]
    """Rows, columns."""


@dataclass(frozen=True)
class Placement:
    """The way from a grid into a file."""

    source: rasterio.DatasetReader
    """The open file."""
    target: Target
    """The window of the grid."""

    @cached_property
    def crs(self) -> CRS:
        """The CRS of the grid."""
        return CRS.from_user_input(self.target.crs)

    @cached_property
    def same_crs(self) -> bool:
        """Whether grid and file share a CRS, by name or by where it puts the file (ETRS89 and WGS 84 differ by 0.1 mm)."""
        if self.source.crs == self.crs:
            return True
        corners = self.corners
        try:
            xs, ys = transform(self.source.crs, self.crs, corners[0], corners[1])
        except CPLE_BaseError:  # of a place that the grid's CRS does not have
            return False
        return bool(np.abs(np.array([xs, ys]) - corners).max() < TOLERANCE * self.target.resolution)

    @cached_property
    def corners(self) -> NDArray[np.float64]:
        """Eastings and northings of the four corners of the file in its own CRS, (2, 4)."""
        width, height = self.source.width, self.source.height
        cols, rows = np.array([0, width, 0, width]), np.array([0, 0, height, height])
        return np.array(self.source.transform * (cols, rows), dtype=float)

    @cached_property
    def first(self) -> tuple[int, int]:
        """Row and column of the window's first pixel, counted from the origin of the CRS."""
        return round(-self.target.top / self.target.resolution), round(self.target.left / self.target.resolution)

    @cached_property
    def phase(self) -> tuple[float, float]:
        """How far down and right of those the grid's pixels really begin, in pixels; the same for all its windows."""
        (row, col), res = self.first, self.target.resolution
        return round(-self.target.top / res - row, 6), round(self.target.left / res - col, 6)

    def exact(self, rows: NDArray[Any], cols: NDArray[Any]) -> Positions:
        """Places of points of the grid, by pixels from the origin of the CRS, in the file; raises ``OSError``."""
        res, (down, right) = self.target.resolution, self.phase
        xs, ys = (cols + right) * res, -(rows + down) * res
        if not self.same_crs:
            shape = xs.shape
            try:
                east, north = transform(self.crs, self.source.crs, xs.ravel(), ys.ravel())
            except CPLE_BaseError:
                raise OSError("no way is known from the grid's CRS to the file's") from None
            xs, ys = np.reshape(east, shape), np.reshape(north, shape)
        if self.source.crs.is_geographic:  # the same meridian may be counted once more around the Earth
            xs = xs + 360 * np.round((self.corners[0].mean() - xs) / 360)
        at_cols, at_rows = ~self.source.transform * (xs, ys)
        lost = ~(np.isfinite(at_cols) & np.isfinite(at_rows))
        return np.where(lost, np.nan, at_cols), np.where(lost, np.nan, at_rows)

    def inside(self, cols: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether positions lie in the file."""
        return (cols >= 0) & (cols < self.source.width) & (rows >= 0) & (rows < self.source.height)

    def tiles(self) -> Iterator["Tile"]:
        """The tiles that the window touches."""
        (row, col), (height, width) = self.first, self.target.shape
        tops = np.arange(row // TILE, ceil((row + height) / TILE)) * TILE
        lefts = np.arange(col // TILE, ceil((col + width) / TILE)) * TILE
        points = np.concatenate([NODES, BETWEEN]) * TILE
        rows = tops[:, None, None, None] + points[:, None]
        cols = lefts[None, :, None, None] + points
        known = np.stack(self.exact(*np.broadcast_arrays(rows, cols)))
        for i, top in enumerate(tops):
            for j, left in enumerate(lefts):
                yield Tile(
                    self,
                    (int(top), int(left)),
                    (max(row - int(top), 0), min(row + height - int(top), TILE)),
                    (max(col - int(left), 0), min(col + width - int(left), TILE)),
                    known[:, i, j],
                )


@dataclass(frozen=True)
class Tile:
    """The positions of one tile."""

    placement: Placement
    """The way into the file."""
    origin: tuple[int, int]
    """Row and column of its first pixel, counted from the origin of the CRS."""
    rows: tuple[int, int]
    """First row and the one after the last that are wanted, counted in the tile."""
    cols: tuple[int, int]
    """First column and the one after the last."""
    known: NDArray[np.float64]
    """Exact columns and rows in the file at ``NODES`` and then ``BETWEEN``, (2, 7, 7)."""

    @cached_property
    def slopes(self) -> NDArray[np.float64]:
        """Columns and rows of the file, by pixels of the grid across and down, (2, 2); 0 where there is no such place."""
        nodes, span = self.known[:, :4, :4], np.diff(NODES) * TILE
        across = (np.diff(nodes, axis=2) / span).reshape(2, -1)
        down = (np.diff(nodes, axis=1) / span[:, None]).reshape(2, -1)
        # A median, as the file's edge, where it meets itself around the Earth, may run through the tile.
        return np.median(np.nan_to_num(np.stack([across, down], axis=1)), axis=2)

    @cached_property
    def scale(self) -> tuple[float, float]:
        """Pixels of the file that a pixel of the grid spans downwards and across."""
        across, down = np.hypot(*self.slopes)
        return float(down), float(across)

    @cached_property
    def footprint(self) -> tuple[float, float]:
        """Height and width in the file of the box that stands for a pixel of the grid: of its area, and as wide on average."""
        width = float(np.hypot(*self.slopes[0]))
        return (float(abs(np.linalg.det(self.slopes))) / width if width else 0.0), width

    @cached_property
    def smooth(self) -> bool:
        """Whether cubics hold the tolerance within the tile."""
        between = _basis(BETWEEN)
        error = [np.abs(_mixed(k[:4, :4], between, between) - k[4:, 4:]).max() for k in self.known]
        return bool(np.hypot(*error) < TOLERANCE * min(self.scale))  # not where any is NaN

    def at(self, rows: NDArray[Any], cols: NDArray[Any]) -> Positions:
        """Positions at the crossings of rows and columns, counted in pixels within the tile."""
        if not self.smooth:
            return self.placement.exact(*np.meshgrid(self.origin[0] + rows, self.origin[1] + cols, indexing="ij"))
        down, across = _basis(rows / TILE), _basis(cols / TILE)
        return _mixed(self.known[0, :4, :4], down, across), _mixed(self.known[1, :4, :4], down, across)

    @cached_property
    def extent(self) -> Extent | None:
        """Pixels of the file below what is wanted and the reach of kernels around; ``None`` where it lies off the file."""
        rows, cols = np.arange(self.rows[0], self.rows[1] + 1), np.arange(self.cols[0], self.cols[1] + 1)
        # Where positions are smooth, the rim of the image is the image of the rim.
        rims = [(rows[[0, -1]], cols), (rows, cols[[0, -1]])] if self.smooth else [(rows, cols)]
        across, down = (
            np.concatenate(parts, axis=None) for parts in zip(*(self.at(*rim) for rim in rims), strict=True)
        )
        known = np.isfinite(across)
        source = self.placement.source
        if not known.any():
            return None
        top, bottom = max(floor(down[known].min()), 0), min(ceil(down[known].max()), source.height)
        left, right = max(floor(across[known].min()), 0), min(ceil(across[known].max()), source.width)
        if top >= bottom or left >= right:
            return None
        down_by, across_by = (ceil(length / 2) + REACH for length in self.footprint)
        return top - down_by, left - across_by, bottom + down_by, right + across_by


def _basis(at: NDArray[Any]) -> NDArray[np.float64]:
    """Lagrange's cubics through ``NODES``, (positions, 4)."""
    out = np.ones((len(at), 4))
    for k, node in enumerate(NODES):
        for other in (*NODES[:k], *NODES[k + 1 :]):
            out[:, k] *= (at - other) / (node - other)
    return out


def _mixed(nodes: NDArray[Any], down: NDArray[Any], across: NDArray[Any]) -> NDArray[np.float64]:
    """Nodes weighed to (rows, cols); term by term, as a product of matrices rounds by the shape of its factors."""
    a, b, c, d = nodes.T[:, :, None] * across.T[:, None]
    first, second, third, fourth = a + b + c + d
    out = down[:, :1] * first
    for k, line in enumerate((second, third, fourth), start=1):
        out += down[:, k : k + 1] * line
    return out
