"""Co-registration: how far an image lies from a reference, to a fraction of a pixel, and its grid put right.

Phase correlation (Kuglin and Hines 1975): two images of one ground, of which one is moved, differ in the phases of their
spectra by a plane whose slopes are the shift. It is fitted cell by cell, so that clouds, change on the ground and water
spoil only the cells that they lie in, and the cells' median is the scene's shift. Nothing is resampled: a shift corrects the
transform that an image is read with.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

CELL = 128
"""Edge of a cell in pixels."""

MOST = 64
"""Cells that suffice for a scene."""

REACH = 16
"""Greatest shift in pixels, along each axis, that is looked for."""

BAND = (0.04, 0.35)
"""Spatial frequencies that are compared, in cycles per pixel: slower ones are taken by shading and by edges of masks,
faster ones by noise and by what the sampling folded over."""

SMOOTH = 6.0
"""Standard deviation in pixels of the local mean that is taken off: nothing slower than ``BAND`` is needed."""

TAPER = 10
"""Pixels over which an image fades to nothing towards a pixel that is not valid."""

FLAT = 1e-6
"""Spread of an image, as a share of its greatest value, below which it is flat: what is left of a constant is how it was
rounded, alike in both images."""

VALID = 0.4
"""Least share of a cell that must be valid in both images."""

SIGNIFICANT = 7.0
"""Least coherence of a cell that counts, in standard deviations of that of unrelated images, which is 1 over the root of the
number of phases compared. Unrelated images come to 5 at the best of all shifts."""

PASSES = 3
"""How often a cell is compared: each time what is masked in one image is masked at the same ground in the other, for which
the shift must be known. Left where it lies, a mask would itself be found, unmoved, in both."""

AGREE = 0.5
"""Pixels, along each axis, from the median within which a cell agrees."""

LEAST = 3
"""Least number of cells that must agree for a shift to be claimed."""


@dataclass(frozen=True)
class Peak:
    """The shift of one cell."""

    rows: float
    """Rows by which the image's ground lies further down than the reference's."""
    cols: float
    """Columns by which it lies further right."""
    coherence: float
    """How far the phases agree with the shift: their mean resultant, 1 for a copy, near 0 for unrelated images."""


@dataclass(frozen=True)
class Shift:
    """The shift of a scene, in pixels of the grid that it was measured on."""

    rows: float
    """Rows by which the scene's ground lies further down than the reference's."""
    cols: float
    """Columns by which it lies further right."""
    confidence: float
    """Mean coherence of the cells that agree, 0 to 1."""
    cells: int
    """How many cells agree."""


def shift(
    image: NDArray[np.floating],
    reference: NDArray[np.floating],
    cell: int = CELL,
    origin: tuple[int, int] = (0, 0),
    most: int = MOST,
) -> Shift | None:
    """The shift between two images (rows, cols) of one grid, NaN where not to be used (nodata, clouds, their shadows).

    Compared are the ``anchored`` cells. ``None`` where no shift can be claimed: over water, flat ground or noise, where
    cells contradict one another, or where fewer than three cells fit. Bands should be alike (the same, or of like wavelength);
    levels need not. Of land alike but for noise the shift is right to a hundredth of a pixel or two; at a confidence below
    0.2 to about a fifth. Raises ``ValueError`` for images of different shape.
    """
    if image.shape != reference.shape:
        raise ValueError(f"an image of {image.shape} pixels lies on another grid than a reference of {reference.shape}")
    return agreed(peak(image[at], reference[at]) for at in anchored(image.shape, cell, origin, most))


def anchored(
    shape: tuple[int, ...], cell: int = CELL, origin: tuple[int, int] = (0, 0), most: int = MOST
) -> list[tuple[slice, slice]]:
    """Whole cells in an image of a shape (rows, cols), row by row, at most about ``most`` of them, evenly spread.

    Cells of ``cell`` pixels, half over one another, are counted from the anchor of the grid, where the image's first pixel
    is row and column ``origin``: images of other areas, which begin elsewhere, are cut into the same cells.
    """
    half = cell // 2
    starts = [range(-first % half, size - cell + 1, half) for size, first in zip(shape, origin, strict=True)]
    every = ceil(sqrt(max(1, len(starts[0]) * len(starts[1]) / most)))
    rows, cols = (
        [start for start in line if (start + first) // half % every == 0]
        for line, first in zip(starts, origin, strict=True)
    )
    return [(slice(top, top + cell), slice(left, left + cell)) for top in rows for left in cols]


def agreed(peaks: Iterable[Peak | None]) -> Shift | None:
    """What the cells of a scene say together: the median of those that lie near the median; ``None`` without a majority.

    A majority is at least ``LEAST`` cells, and more than half of those that found anything.
    """
    found = [peak for peak in peaks if peak is not None]
    if len(found) < LEAST:
        return None
    places = np.array([(peak.rows, peak.cols) for peak in found])
    near = (np.abs(places - np.median(places, axis=0)) <= AGREE).all(axis=1)
    if near.sum() < LEAST or 2 * near.sum() <= len(found):
        return None
    rows, cols = np.median(places[near], axis=0)
    confidence = float(np.mean([peak.coherence for peak, agrees in zip(found, near, strict=True) if agrees]))
    return Shift(float(rows), float(cols), confidence, int(near.sum()))


def peak(image: NDArray[np.floating], reference: NDArray[np.floating]) -> Peak | None:
    """The shift of one cell (n, n), NaN where not valid; ``None`` where too little is valid or the phases do not agree."""
    found = Peak(0.0, 0.0, 0.0)
    for _ in range(PASSES):
        whole = (round(found.rows), round(found.cols))
        valid = np.isfinite(reference) & _moved(np.isfinite(image), (-whole[0], -whole[1]))
        if valid.mean() < VALID:
            return None
        fade = _fade(valid)
        here = _detail(reference, valid) * fade
        there = _detail(image, _moved(valid, whole)) * ndimage.shift(fade, (found.rows, found.cols), order=1)
        found = _compared(there, here)
        if found.coherence * np.sqrt(fade.mean()) < SIGNIFICANT / np.sqrt(_frequencies(*fade.shape)[2].sum()):
            return None
    return found


def _compared(image: NDArray[np.float64], reference: NDArray[np.float64]) -> Peak:
    """The shift under which the phases of two cells agree best, whether they agree or not."""
    y, x, used = _frequencies(*image.shape)
    cross = (np.fft.fft2(image) * np.fft.fft2(reference).conj()) * used
    phases = np.divide(cross, np.abs(cross), out=np.zeros_like(cross), where=cross != 0)
    reach = min(REACH, *(size // 4 for size in image.shape))
    window = np.arange(-reach, reach + 1)
    near = np.fft.ifft2(phases).real[np.ix_(window, window)]
    row, col = np.unravel_index(near.argmax(), near.shape)
    compared = phases[used], np.stack((y[used], x[used]))
    rows, cols = _refined(*compared, np.array((window[row], window[col]), float))
    return Peak(rows, cols, float(_turned(*compared, np.array((rows, cols))).real.mean()))


@cache
def _frequencies(rows: int, cols: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Frequencies of a cell along rows and columns in cycles per pixel, and which of them lie in ``BAND``."""
    y, x = np.meshgrid(np.fft.fftfreq(rows), np.fft.fftfreq(cols), indexing="ij")
    radius = np.hypot(y, x)
    return y, x, (radius >= BAND[0]) & (radius <= BAND[1])


def _moved(valid: NDArray[np.bool_], by: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask moved down and right by whole pixels; what comes in is not valid."""
    return ndimage.shift(valid, by, order=0)


def _fade(valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """From 0 at pixels that are not valid and at the edges of the cell to 1 at ``TAPER`` pixels from them."""
    distance = ndimage.distance_transform_edt(np.pad(valid, 1))[1:-1, 1:-1]
    return np.sin(np.pi / 2 * np.minimum(distance / TAPER, 1)) ** 2


def _detail(image: NDArray[np.floating], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """A cell less the local mean of its valid pixels; 0 where it is flat."""
    values = np.where(valid, image, 0).astype(np.float64)
    share = ndimage.gaussian_filter(valid.astype(np.float64), SMOOTH, mode="constant")
    mean = ndimage.gaussian_filter(values, SMOOTH, mode="constant") / np.maximum(share, 1e-9)
    detail = np.where(valid, values - mean, 0)
    flat = detail.std() <= FLAT * np.abs(values).max()
    return np.zeros_like(detail) if flat else detail


def _turned(
    phases: NDArray[np.complexfloating], frequencies: NDArray[np.float64], place: NDArray[np.float64]
) -> NDArray[np.complexfloating]:
    """Phases (k,) at frequencies (2, k) less those of a shift (2,)."""
    return phases * np.exp(2j * np.pi * (place @ frequencies))


def _refined(
    phases: NDArray[np.complexfloating], frequencies: NDArray[np.float64], place: NDArray[np.float64]
) -> tuple[float, float]:
    """The shift within a pixel of ``place`` under which phases agree best, by Newton's steps on their mean resultant."""
    found = place
    for _ in range(20):
        left = _turned(phases, frequencies, found)
        slope = -(frequencies * left.imag).sum(axis=1)
        curvature = -2 * np.pi * (frequencies * left.real) @ frequencies.T
        if not np.all(np.linalg.eigvalsh(curvature) < 0):
            break  # not the top of a hill
        step = -np.linalg.solve(curvature, slope)
        found = np.clip(found + step, place - 1, place + 1)
        if np.abs(step).max() < 1e-5:
            break
    return float(found[0]), float(found[1])
