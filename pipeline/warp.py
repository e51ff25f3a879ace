"""How one band of an open file gets onto a window of a north-up grid: untouched wherever the grids allow."""

from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

BLOCK = 512
"""Edge in pixels of the anchored blocks that are warped whole, so that a pixel does not depend on the window."""


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


def onto(
    source: rasterio.DatasetReader,
    target: Target,
    fill: NDArray[Any],
    resampling: Resampling,
    *,
    nodata: float | None,
    index: int = 1,
) -> tuple[NDArray[Any], str]:
    """Pixels of a band of ``source`` on the target grid, and the way they came.

    Parameters
    ----------
    source
        An open file.
    target
        The pixels wanted.
    fill
        What stands where nothing was measured.
    resampling
        ``mode`` for classes; anything else is for what was measured.
    nodata
        What stands in the file where nothing was measured; ``None`` where all of it was.
    index
        The band, from 1.
    """
    grid = source.transform
    same_axes = source.crs is not None and source.crs == CRS.from_user_input(target.crs) and grid.b == grid.d == 0
    if same_axes and grid.a == -grid.e:
        coarser, finer = _whole(grid.a / target.resolution), _whole(target.resolution / grid.a)
        unit = min(grid.a, target.resolution)
        col, row = _whole((target.left - grid.c) / unit), _whole((grid.f - target.top) / unit)
        if col is not None and row is not None:
            if coarser:
                return _repeated(source, (row, col), target.shape, coarser, fill)
            if finer and resampling is not Resampling.mode:
                return _averaged(source, (row, col), target.shape, finer, fill)
    return _warped(source, target, fill, resampling)


def _whole(value: float) -> int | None:
    """The whole number that ``value`` is, but for the rounding of decimal coordinates; ``None`` where it is none."""
    nearest = round(value)
    return nearest if abs(value - nearest) < 1e-6 else None


def _read(
    source: rasterio.DatasetReader, origin: tuple[int, int], shape: tuple[int, int], fill: NDArray[Any]
) -> NDArray[Any]:
    """Pixels from (row, col) on, nodata where the file ends."""
    (row, col), (rows, cols) = origin, shape
    top, left = max(row, 0), max(col, 0)
    bottom, right = min(row + rows, source.height), min(col + cols, source.width)
    out = np.full(shape, fill, dtype=source.dtypes[0])
    if top < bottom and left < right:
        inside = source.read(1, window=Window.from_slices((top, bottom), (left, right)))
        out[top - row : bottom - row, left - col : right - col] = inside
    return out


def _repeated(
    source: rasterio.DatasetReader, origin: tuple[int, int], shape: tuple[int, int], times: int, fill: NDArray[Any]
) -> tuple[NDArray[Any], str]:
    """Each pixel of a coarser file repeated over the finer pixels it covers; ``times`` 1 is the file untouched."""
    (row, col), (rows, cols) = origin, shape
    top, left = floor(row / times), floor(col / times)
    bottom, right = ceil((row + rows) / times), ceil((col + cols) / times)
    pixels = _read(source, (top, left), (bottom - top, right - left), fill)
    if times == 1:
        return pixels, "native"
    fine = pixels.repeat(times, axis=0).repeat(times, axis=1)
    return fine[row - top * times :, col - left * times :][:rows, :cols], "repeated"


def _averaged(
    source: rasterio.DatasetReader, origin: tuple[int, int], shape: tuple[int, int], times: int, fill: NDArray[Any]
) -> tuple[NDArray[Any], str]:
    """Means of the valid pixels below each coarser pixel; one without any stays nodata."""
    rows, cols = shape
    fine = _read(source, origin, (rows * times, cols * times), fill).reshape(rows, times, cols, times)
    valid = fine != fill
    count = valid.sum(axis=(1, 3))
    total = np.where(valid, fine, 0).sum(axis=(1, 3), dtype=np.float64)
    mean = np.where(count > 0, np.rint(total / np.maximum(count, 1)), fill)
    return mean.astype(fine.dtype), "averaged"


def _warped(
    source: rasterio.DatasetReader, target: Target, fill: NDArray[Any], resampling: Resampling
) -> tuple[NDArray[Any], str]:
    """Pixels of a file on a foreign grid, resampled once; onto coarser pixels by averaging.

    GDAL's default tolerance misplaces by up to 0.1 px, and what it gives depends on the window: so the transformation is
    exact (tolerance 1e-6 px) and whole blocks, anchored to the origin of the CRS, are warped and then cut.
    """
    res, (rows, cols) = target.resolution, target.shape
    accuracy = {"tolerance": 1e-6, "XSCALE": 1, "YSCALE": 1}
    if res > 1.01 * max(abs(source.transform.a), abs(source.transform.e)) and resampling is not Resampling.mode:
        resampling, accuracy = Resampling.average, {"tolerance": 1e-6}
    first_col, first_row = round(target.left / res), round(-target.top / res)
    phase_x, phase_y = target.left - first_col * res, target.top + first_row * res
    out = np.full(target.shape, fill, dtype=source.dtypes[0])
    for block_row in range(first_row // BLOCK, ceil((first_row + rows) / BLOCK)):
        for block_col in range(first_col // BLOCK, ceil((first_col + cols) / BLOCK)):
            top, left = block_row * BLOCK, block_col * BLOCK
            with WarpedVRT(
                source,
                crs=target.crs,
                transform=Affine(res, 0, left * res + phase_x, 0, -res, -top * res + phase_y),
                width=BLOCK,
                height=BLOCK,
                resampling=resampling,
                **accuracy,
                src_nodata=float(fill),
                nodata=float(fill),
            ) as warped:
                block = warped.read(1)
            r0, r1 = max(top, first_row), min(top + BLOCK, first_row + rows)
            c0, c1 = max(left, first_col), min(left + BLOCK, first_col + cols)
            out[r0 - first_row : r1 - first_row, c0 - first_col : c1 - first_col] = block[
                r0 - top : r1 - top, c0 - left : c1 - left
            ]
    return out, "warped"
