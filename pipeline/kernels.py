"""The value of an image between its pixels, and over areas of them: interpolation, area means and majorities.

Nodata never enters a value: where it lies within the reach of a kernel, the valid ones of the four nearest pixels are
weighed bilinearly, and a position whose own pixel is nodata stays nodata. Every value depends on its position and the
image alone, to the last bit, never on what else is asked for in the same call.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = tuple[NDArray[Any], NDArray[np.bool_] | None]
"""Values, and where they are valid; ``None`` where all are."""

Kernel = Callable[["Image", NDArray[np.float64], NDArray[np.float64]], Samples]
"""Samples of an image at columns and rows of its file, pixel centres at halves."""

Weights = Callable[[NDArray[Any]], tuple[NDArray[Any], ...]]
"""Weights of neighbouring pixels by how far right of the centre of one a position lies."""

REACH = 2
"""Pixels around a position that a kernel may look at: the image must have them, be they invalid."""


@dataclass(frozen=True)
class Image:
    """Part of a file in memory."""

    values: NDArray[Any]
    """(rows, cols), zero where not valid."""
    valid: NDArray[np.bool_] | None
    """The same shape; ``None`` where all are."""
    top: int = 0
    """Row of the file that the first one is."""
    left: int = 0
    """Column of the file that the first one is."""

    def index(self, rows: NDArray[Any], cols: NDArray[Any]) -> NDArray[np.intp]:
        """Where pixels of the file, by whole rows and columns, stand in the flat image."""
        return (rows.astype(np.intp) - self.top) * self.values.shape[1] + (cols.astype(np.intp) - self.left)

    def part(self, top: int, left: int, bottom: int, right: int) -> "Image":
        """What lies between rows and columns of the file."""
        place = slice(top - self.top, bottom - self.top), slice(left - self.left, right - self.left)
        valid = None if self.valid is None or self.valid[place].all() else self.valid[place]
        return Image(self.values[place], valid, top, left)

    @cached_property
    def disturbed(self) -> NDArray[np.bool_]:
        """Whether any of the 4 x 4 pixels that begin at a pixel is invalid."""
        assert self.valid is not None
        across, both = ~self.valid, np.zeros(self.valid.shape, bool)
        across[:, :-3] |= across[:, 1:-2] | across[:, 2:-1] | across[:, 3:]
        both[:-3] = across[:-3] | across[1:-2] | across[2:-1] | across[3:]
        return both


def cubic(image: Image, cols: NDArray[np.float64], rows: NDArray[np.float64]) -> Samples:
    """Cubic convolution of 4 x 4 pixels with a = -1/2 (Keys 1981, IEEE Trans. ASSP 29, 1153)."""
    return _convolved(image, cols, rows, _cubic_weights)


def bilinear(image: Image, cols: NDArray[np.float64], rows: NDArray[np.float64]) -> Samples:
    """Bilinear interpolation of 2 x 2 pixels: never beyond the range of its inputs."""
    return _convolved(image, cols, rows, _linear_weights)


def nearest(image: Image, cols: NDArray[np.float64], rows: NDArray[np.float64]) -> Samples:
    """The pixel that a position lies in."""
    index = image.index(np.floor(rows), np.floor(cols))
    return image.values.take(index), None if image.valid is None else image.valid.take(index)


def _cubic_weights(t: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    squared = t * t
    return (
        ((1 - t / 2) * t - 0.5) * t,
        (1.5 * t - 2.5) * squared + 1,
        ((2 - 1.5 * t) * t + 0.5) * t,
        (t - 1) / 2 * squared,
    )


def _linear_weights(t: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    return 1 - t, t


def _convolved(
    image: Image,
    cols: NDArray[np.float64],
    rows: NDArray[np.float64],
    weights: Weights,
) -> Samples:
    """Pixels below a separable kernel, weighed and added row by row of it."""
    width, flat = image.values.shape[1], image.values.ravel()
    left, top = np.floor(cols - 0.5), np.floor(rows - 0.5)
    across = weights((cols - 0.5 - left).astype(flat.dtype))
    down = weights((rows - 0.5 - top).astype(flat.dtype))
    corner = image.index(top, left)
    out = _weighed(flat, width, corner - (len(down) // 2 - 1) * (width + 1), down, across)
    if image.valid is None:
        return out, None
    valid = np.ones(cols.shape, bool)
    near = image.disturbed.take(corner - width - 1).nonzero()
    if near[0].size:
        out[near], valid[near] = _cautious(image, cols[near], rows[near])
    return out, valid


def _weighed(
    flat: NDArray[Any],
    width: int,
    start: NDArray[np.intp],
    down: Sequence[NDArray[Any]],
    across: Sequence[NDArray[Any]],
) -> NDArray[Any]:
    """Sums over the pixels right of and below ``start``, by the weights of their rows and columns."""
    out = np.zeros(start.shape, flat.dtype)
    for j, weight in enumerate(down):
        line = flat[j * width :].take(start)
        line *= across[0]
        for i in range(1, len(across)):
            part = flat[j * width + i :].take(start)
            part *= across[i]
            line += part
        line *= weight
        out += line
    return out


def _cautious(
    image: Image, cols: NDArray[np.float64], rows: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Bilinear interpolation among the valid ones of four pixels; none where the position's own pixel is invalid."""
    assert image.valid is not None
    left, top = np.floor(cols - 0.5), np.floor(rows - 0.5)
    corner = image.index(top, left)
    total, weight = np.zeros(cols.shape), np.zeros(cols.shape)
    for j, down in enumerate(_linear_weights(rows - 0.5 - top)):
        for i, across in enumerate(_linear_weights(cols - 0.5 - left)):
            index = corner + j * image.values.shape[1] + i
            share = down * across * image.valid.take(index)
            total += share * image.values.take(index)
            weight += share
    _, valid = nearest(image, cols, rows)
    assert valid is not None
    return np.where(valid, total / np.where(valid, weight, 1), 0).astype(image.values.dtype), valid


def block_means(samples: Samples, down: int, across: int) -> Samples:
    """Means of the valid samples in blocks of ``down`` rows and ``across`` columns; a block without any is invalid."""
    values, valid = samples
    if valid is None:
        return _sums(values, down, across) / values.dtype.type(down * across), None
    count = _sums(valid.astype(values.dtype), down, across)
    return _sums(np.where(valid, values, 0), down, across) / np.maximum(count, 1), count > 0


def _sums(values: NDArray[Any], down: int, across: int) -> NDArray[Any]:
    """Sums of blocks, added one row and one column of them after another."""
    lines = values[0::down].copy()
    for j in range(1, down):
        lines += values[j::down]
    out = lines[:, 0::across].copy()
    for i in range(1, across):
        out += lines[:, i::across]
    return out


def majority(samples: Samples, down: int, across: int) -> Samples:
    """The most frequent valid code in blocks of ``down`` rows and ``across`` columns; of equals the smallest."""
    codes, valid = samples
    shape = (codes.shape[0] // down, codes.shape[1] // across)
    most, winner = np.zeros(shape, np.int32), np.zeros(shape, codes.dtype)
    for code in np.unique(codes if valid is None else codes[valid]):
        here = codes == code if valid is None else (codes == code) & valid
        count = _sums(here.astype(np.int32), down, across)
        np.copyto(winner, code, where=count > most)
        np.maximum(most, count, out=most)
    return winner, most > 0


def box_means(image: Image, cols: NDArray[np.float64], rows: NDArray[np.float64], size: tuple[float, float]) -> Samples:
    """Means of what bilinear interpolation makes of an image over boxes of ``size`` (height, width) around positions.

    They come from sums over all pixels above and left of a corner (Crow 1984, SIGGRAPH 18, 207), so the size costs nothing.
    Weighing pixels by the area that a box covers of them instead misplaces a ramp by up to an eighth of their width over
    the width of the box. A box is valid where it covers a part of a valid pixel; not where its position is NaN.
    """
    bottom, right = (first + length for first, length in zip((image.top, image.left), image.values.shape, strict=True))
    down, across = [
        [np.clip(np.nan_to_num(middle, nan=-np.inf) + half, first, last) - first for half in (-length / 2, length / 2)]
        for middle, length, first, last in ((rows, size[0], image.top, bottom), (cols, size[1], image.left, right))
    ]
    total = _box_sums(_summed(image.values), down, across, _smooth_taps)
    if image.valid is None:
        return (total / (size[0] * size[1])).astype(image.values.dtype), None
    above = _summed(image.valid)
    weight, covered = _box_sums(above, down, across, _smooth_taps), _box_sums(above, down, across, _sharp_taps)
    valid = covered > 1e-6 * size[0] * size[1]
    return np.where(valid, total / np.where(valid, weight, 1), 0).astype(image.values.dtype), valid


def _summed(values: NDArray[Any]) -> NDArray[np.float64]:
    """Sums of all pixels above and left of each corner of the pixels, and of one more row and column around them."""
    out = np.zeros((values.shape[0] + 3, values.shape[1] + 3))
    inner = out[2:-1, 2:-1]
    np.cumsum(values, axis=0, dtype=np.float64, out=inner)
    np.cumsum(inner, axis=1, out=inner)
    out[2:-1, -1] = inner[:, -1]
    out[-1] = out[-2]
    return out


def _box_sums(
    summed: NDArray[np.float64],
    down: Sequence[NDArray[np.float64]],
    across: Sequence[NDArray[np.float64]],
    taps: Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], tuple[NDArray[np.float64], ...]]],
) -> NDArray[np.float64]:
    """Sums over boxes between their (upper, lower) and (left, right) edges, by weights of the corners around those."""
    width, flat = summed.shape[1], summed.ravel()
    columns = [taps(edge) for edge in across]
    sums = []
    for row, lines in (taps(edge) for edge in down):
        sums += [_weighed(flat, width, (row * width + col).astype(np.intp), lines, w) for col, w in columns]
    return sums[3] - sums[2] - sums[1] + sums[0]


def _smooth_taps(edge: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[NDArray[np.float64], ...]]:
    """Quadratic B-splines: sums between corners as if pixels were interpolated linearly."""
    corner = np.rint(edge)
    t = edge - corner
    return corner, ((0.5 - t) ** 2 / 2, 0.75 - t * t, (0.5 + t) ** 2 / 2)


def _sharp_taps(edge: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[NDArray[np.float64], ...]]:
    """Linear: sums between corners of pixels as they are."""
    corner = np.floor(edge)
    return corner + 1, _linear_weights(edge - corner)
