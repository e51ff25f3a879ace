"""How one band of an open file gets onto a window of a north-up grid: untouched wherever the grids allow.

There are four ways, and which one is taken depends on the two grids alone:

``native``
    The grids agree: the file's own numbers.
``repeated``
    The file's pixels are whole multiples of the grid's and lie on them: each is repeated over those that it covers.
``averaged``
    The grid's pixels are whole multiples of the file's and lie on them: means; of classes the most frequent.
``warped``
    Anything else (half a pixel off, another zone, sinusoidal, rotated): interpolated once, at positions right to a
    ten-thousandth of a pixel; on coarser pixels the mean over each of what bilinear interpolation makes of the file, and
    of classes the most frequent at points half a pixel of the file apart.

Nodata never enters a value. Nor does the number of a saturated pixel: a value that it would have a part in is saturated too.
The numbers have the dtype of the fill value: interpolated and averaged ones are rounded where that is an integer, by half
a unit at most, and not at all where it is float32.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, inf
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.windows import Window

from pipeline.kernels import (
    REACH,
    Image,
    Kernel,
    Samples,
    bilinear,
    block_means,
    box_means,
    cubic,
    majority,
    nearest,
)
from pipeline.placement import Extent, Placement, Target, Tile

__all__ = ["Numbers", "Target", "onto"]

SNAP = 1e-3
"""Grids that differ by less than this share of a pixel at every corner of the file agree: coordinates come as decimals."""

COARSER = 1.1
"""From this ratio of pixel sizes on, pixels are averaged; below, the kernel still weighs every pixel of the file."""

HELD = 1 << 24
"""Pixels of a file that are held at once; windows that need more are read in parts."""

POINTS = 1 << 16
"""Positions that are sampled at once."""

SHARE = 1e-5
"""Share of a value from which on a saturated pixel counts in it; less is what positions are wrong by."""

Decode = Callable[[NDArray[Any]], NDArray[Any]]
"""From the numbers of a file to a quantity, of any shape."""


@dataclass(frozen=True)
class Numbers:
    """What the numbers of a file mean, beside its nodata."""

    low: float = -inf
    """Least that counts as measured."""
    high: float = inf
    """Greatest that counts as measured."""
    saturated: float | None = None
    """The one of a saturated pixel; ``None`` where none says so. A value made of several pixels, one of which is saturated,
    is this number."""
    decode: Decode | None = None
    """What makes of them a quantity that may be averaged, NaN where not measured: decibels may not be. ``None`` where they
    may themselves."""
    declared: bool = False
    """Whether what the file itself declares as nodata was not measured either."""


PLAIN = Numbers()
"""Numbers of which all are measured, and may be averaged."""


KERNELS: dict[Resampling, Kernel] = {
    Resampling.cubic: cubic,
    Resampling.bilinear: bilinear,
    Resampling.nearest: nearest,
    Resampling.mode: nearest,
}


def onto(
    source: rasterio.DatasetReader,
    target: Target,
    fill: NDArray[Any],
    resampling: Resampling,
    *,
    nodata: float | None,
    index: int = 1,
    numbers: Numbers = PLAIN,
) -> tuple[NDArray[Any], str]:
    """Pixels of a band of ``source`` on the target grid, and the way they came.

    Windows of one grid agree with each other to the last bit; where a mean is taken over coarser pixels that do not lie on
    the file's, floating point numbers may differ in it. Positions are right to a thousandth of a pixel of the grid.

    Parameters
    ----------
    source
        An open file with a CRS.
    target
        The pixels wanted, (rows, cols).
    fill
        What stands where nothing was measured; the result has its dtype. A measured number that an interpolation would
        make equal to it becomes the next one.
    resampling
        ``cubic`` (convolution with a = -1/2: the sharpest of the field's kernels, overshoots an edge by 7 %) or ``bilinear``
        (never beyond the range of its inputs, for quantities that must stay positive, such as backscatter) for what was
        measured. ``mode`` for classes and bit fields: nearest onto finer pixels, the most frequent on coarser ones; never
        mixed. ``nearest`` takes the pixel that each centre lies in.
    nodata
        What stands in the file where nothing was measured; ``None`` where all of it was. NaN is never a measurement.
    index
        The band, from 1.
    numbers
        What else the file's numbers mean.

    Raises
    ------
    ValueError
        Where ``resampling`` is none of these.
    rasterio.errors.RasterioError
        Where the file cannot be read.
    """
    if resampling not in KERNELS:
        raise ValueError(f"resampling is one of {', '.join(r.name for r in KERNELS)}, not {resampling.name}")
    band = Band(source, index, nodata, fill, numbers)
    placement = Placement(source, target)
    if placement.same_crs and source.transform.b == source.transform.d == 0 and source.transform.e < 0:
        coarser, finer = _nested(placement)
        if coarser:
            return _repeated(band, placement, coarser), "native" if coarser == 1 else "repeated"
        if finer and resampling is not Resampling.nearest:
            return _averaged(
                band, placement, finer, majority if resampling is Resampling.mode else block_means
            ), "averaged"
    return _warped(band, placement, resampling), "warped"


@dataclass(frozen=True)
class Band:
    """One band of a file, and what its numbers mean."""

    source: rasterio.DatasetReader
    """The open file."""
    index: int
    """Number of the band, from 1."""
    nodata: float | None
    """What stands where nothing was measured."""
    fill: NDArray[Any]
    """What stands there in the result."""
    numbers: Numbers
    """What else the numbers mean."""

    @cached_property
    def declared(self) -> float | None:
        """What the file declares as nodata, where that counts and is not known anyway."""
        found = self.source.nodatavals[self.index - 1] if self.numbers.declared else None
        return None if found is None or np.isnan(found) or found == self.nodata else float(found)

    def read(self, top: int, left: int, bottom: int, right: int) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Numbers of the file, which may be asked for beyond its edges, and where they are valid."""
        first_row, first_col = max(top, 0), max(left, 0)
        last_row, last_col = min(bottom, self.source.height), min(right, self.source.width)
        empty = first_row >= last_row or first_col >= last_col
        if not empty:
            window = Window.from_slices((first_row, last_row), (first_col, last_col))
            inside = self.source.read(self.index, window=window)
            stored = None if self.declared is None else inside != self._as_held(self.declared, inside.dtype)
            if self.numbers.decode:
                inside = self.numbers.decode(inside)
            valid = self._valid(inside, stored)
            if inside.shape == (bottom - top, right - left):
                return inside, valid
        held = self.fill.dtype if self.numbers.decode else self.source.dtypes[self.index - 1]
        numbers = np.zeros((bottom - top, right - left), held)
        mask = np.zeros(numbers.shape, bool)
        if not empty:
            place = slice(first_row - top, last_row - top), slice(first_col - left, last_col - left)
            numbers[place], mask[place] = inside, True if valid is None else valid
        return numbers, mask

    @staticmethod
    def _as_held(nodata: float, kind: np.dtype) -> np.generic | float:
        """Nodata as numbers of a type have it."""
        with np.errstate(over="ignore"):  # a nodata beyond the dtype occurs nowhere
            return np.float64(nodata).astype(kind) if kind.kind == "f" else nodata

    def _valid(self, numbers: NDArray[Any], valid: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """Where numbers are measured, of those that may be; ``None`` where all are."""
        if numbers.dtype.kind == "f":
            measured = ~np.isnan(numbers)
            valid = measured if valid is None else valid & measured
        if self.nodata is not None and not np.isnan(self.nodata):
            measured = numbers != self._as_held(self.nodata, numbers.dtype)
            valid = measured if valid is None else valid & measured
        if (self.numbers.low, self.numbers.high) != (-inf, inf):
            measured = (numbers >= self.numbers.low) & (numbers <= self.numbers.high)
            valid = measured if valid is None else valid & measured
        return None if valid is None or valid.all() else valid

    def image(self, top: int, left: int, bottom: int, right: int) -> tuple[Image, Image | None]:
        """The same as floating point numbers, zero where not valid, of 64 bits where 32 do not hold every number; and how
        much of each pixel is saturated, 0 or 1, ``None`` where no pixel is. A saturated pixel is not valid in the first."""
        numbers, valid = self.read(top, left, bottom, right)
        values, excess = numbers.astype(np.result_type(numbers.dtype, np.float32), copy=False), None
        if self.numbers.saturated is not None:
            full = numbers == self.numbers.saturated
            if full.any():
                excess = Image((full if valid is None else full & valid).astype(np.float32), valid, top, left)
                valid = ~full if valid is None else valid & ~full
        return Image(
            values if valid is None else np.where(valid, values, values.dtype.type(0)), valid, top, left
        ), excess

    def codes(self, top: int, left: int, bottom: int, right: int) -> tuple[Image, None]:
        """The same as the file has them."""
        numbers, valid = self.read(top, left, bottom, right)
        return Image(numbers, valid, top, left), None

    def settled(self, samples: Samples, excess: Samples | None = None) -> NDArray[Any]:
        """Samples as the result has them: to an integer dtype rounded, and then never to the fill nor beyond what is valid;
        saturated where ``excess``, how much of each is, says so."""
        values, valid = samples
        kind, saturated = self.fill.dtype, self.numbers.saturated
        if kind.kind in "iu" and values.dtype.kind == "f":
            limits = np.iinfo(kind)
            values = np.clip(np.rint(values), max(limits.min, self.numbers.low), min(limits.max, self.numbers.high))
            values[values == self.fill] = int(self.fill) + (1 if self.fill < limits.max else -1)
            if saturated is not None:
                values[values == saturated] = saturated - 1
        out = values.astype(kind)
        if valid is not None:
            out[~valid] = self.fill
        if excess is not None:
            share, known = excess
            out[share > SHARE if known is None else (share > SHARE) & known] = saturated
        return out


def _nested(placement: Placement) -> tuple[int, int]:
    """How many pixels of the grid one of the file spans, and how many of the file one of the grid; 0 where not whole."""
    target, res = placement.target, placement.target.resolution
    (left, right, _, _), (top, _, bottom, _) = placement.corners
    at = np.array([left - target.left, right - target.left, target.top - top, target.top - bottom]) / res
    counts = np.array([placement.source.width, placement.source.height])

    def fits(unit: float, step: float) -> bool:
        """Whether pixels of ``step`` beginning on whole ``unit`` put every corner of the file where it is."""
        start = np.round(at[[0, 2]] / unit) * unit
        return bool(np.abs(np.stack([start, start + counts * step], axis=1).ravel() - at).max() < SNAP)

    coarser, finer = round(placement.source.transform.a / res), round(res / placement.source.transform.a)
    return (
        coarser if coarser and fits(1.0, coarser) else 0,
        finer if finer and fits(1.0 / finer, 1.0 / finer) else 0,
    )


def _offset(placement: Placement, unit: float) -> tuple[int, int]:
    """Rows and columns from the file's corner to the window's, in whole ``unit``."""
    target, grid = placement.target, placement.source.transform
    return round((grid.f - target.top) / unit), round((target.left - grid.c) / unit)


def _repeated(band: Band, placement: Placement, times: int) -> NDArray[Any]:
    """Each pixel of a coarser file repeated over the finer pixels it covers; ``times`` 1 is the file untouched."""
    (row, col), (rows, cols) = _offset(placement, placement.target.resolution), placement.target.shape
    top, left = row // times, col // times
    numbers, valid = band.read(top, left, ceil((row + rows) / times), ceil((col + cols) / times))
    out = numbers.astype(band.fill.dtype, copy=False)
    if valid is not None:
        out = np.where(valid, out, band.fill)
    if times > 1:
        out = out.repeat(times, axis=0).repeat(times, axis=1)
    return out[row - top * times :, col - left * times :][:rows, :cols]


def _averaged(
    band: Band, placement: Placement, times: int, summary: Callable[[Samples, int, int], Samples]
) -> NDArray[Any]:
    """A summary of the finer pixels below each coarser one, in strips of whole rows."""
    (row, col), (rows, cols) = _offset(placement, placement.target.resolution / times), placement.target.shape
    out = np.empty(placement.target.shape, band.fill.dtype)
    read = band.codes if summary is majority else band.image
    lines = max(1, HELD // (cols * times * times))
    for start in range(0, rows, lines):
        top, stop = row + start * times, row + min(start + lines, rows) * times
        image, excess = read(top, col, stop, col + cols * times)
        full = None if excess is None else block_means((excess.values, excess.valid), times, times)
        out[start : start + lines] = band.settled(summary((image.values, image.valid), times, times), full)
    return out


def _warped(band: Band, placement: Placement, resampling: Resampling) -> NDArray[Any]:
    """What is interpolated at exact positions, tile by tile."""
    out = np.full(placement.target.shape, band.fill)
    _filled(out, band, [(tile, extent) for tile in placement.tiles() if (extent := tile.extent)], resampling)
    return out


def _filled(out: NDArray[Any], band: Band, tiles: Sequence[tuple[Tile, Extent]], resampling: Resampling) -> None:
    """Put tiles into the result, in as few reads of the file as its size allows."""
    if not tiles:
        return
    tops, lefts, bottoms, rights = zip(*(extent for _, extent in tiles), strict=True)
    window = min(tops), min(lefts), max(bottoms), max(rights)
    if len(tiles) > 1 and (window[2] - window[0]) * (window[3] - window[1]) > HELD:
        _filled(out, band, tiles[: len(tiles) // 2], resampling)
        _filled(out, band, tiles[len(tiles) // 2 :], resampling)
        return
    image, excess = (band.codes if KERNELS[resampling] is nearest else band.image)(*window)
    for tile, extent in tiles:
        row, col = (origin - first for origin, first in zip(tile.origin, tile.placement.first, strict=True))
        place = slice(row + tile.rows[0], row + tile.rows[1]), slice(col + tile.cols[0], col + tile.cols[1])
        if resampling is Resampling.mode and max(tile.footprint) > COARSER:
            out[place] = band.settled(_most_frequent(image, tile))
            continue
        samples = _interpolated(image, tile, extent, KERNELS[resampling])
        full = None if excess is None else _interpolated(excess, tile, extent, bilinear)
        out[place] = band.settled(samples, full)


def _interpolated(image: Image, tile: Tile, extent: Extent, kernel: Kernel) -> Samples:
    """The kernel's values in a tile, or means over pixels that are coarser than the file's."""
    if max(tile.footprint) <= COARSER or kernel is nearest:
        return _sampled(image, tile, kernel, tile.rows, 1, 1)
    cols, rows = tile.at(np.arange(*tile.rows) + 0.5, np.arange(*tile.cols) + 0.5)
    return box_means(image.part(*extent), cols, rows, tile.footprint)


def _most_frequent(image: Image, tile: Tile) -> Samples:
    """The most frequent class of each pixel of a tile, at points half a pixel of the file apart, in strips of rows."""
    down, across = (ceil(2 * length - 0.1) for length in tile.scale)
    lines = max(1, POINTS // ((tile.cols[1] - tile.cols[0]) * down * across))
    parts = []
    for row in range(*tile.rows, lines):
        points = _sampled(image, tile, nearest, (row, min(row + lines, tile.rows[1])), down, across)
        parts.append(majority(points, down, across))
    return np.concatenate([codes for codes, _ in parts]), np.concatenate([valid for _, valid in parts])


def _sampled(image: Image, tile: Tile, kernel: Kernel, lines: tuple[int, int], down: int, across: int) -> Samples:
    """The kernel's values in some lines of a tile, at so many points ``down`` and ``across`` each pixel."""
    rows = (np.arange(lines[0] * down, lines[1] * down) + 0.5) / down
    cols = (np.arange(tile.cols[0] * across, tile.cols[1] * across) + 0.5) / across
    at_cols, at_rows = tile.at(rows, cols)
    inside = tile.placement.inside(at_cols, at_rows)
    if inside.all():
        return kernel(image, at_cols, at_rows)
    somewhere = image.left + REACH + 0.5, image.top + REACH + 0.5
    values, valid = kernel(image, np.where(inside, at_cols, somewhere[0]), np.where(inside, at_rows, somewhere[1]))
    return values, inside if valid is None else inside & valid
