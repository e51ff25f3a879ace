"""A promise of physics: the nearest image to a result that, degraded, gives back what was measured.

With D the degradation to a band's own pixels (``degrade``), the image nearest to y in the least-squares sense that
satisfies ``D y' = x`` is ``y' = y + Dᵀ (D Dᵀ)⁻¹ (x - D y)``. D is separable and the same everywhere, so ``D Dᵀ`` is a short
symmetric filter on the coarse grid along each axis, and its inverse decays from pixel to pixel: cut off after ``TAPS``
pixels it is a filter too, the correction is local, and chunks agree to the last digit. What the store cannot hold is
clipped and the rest corrected for it, in as many rounds as the reach allows.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.degrade import SUPPORT, degrade, kernel, reach

VERSION = 1
"""Raised whenever the same result would be projected to other pixels."""

TAPS = 8
"""Coarse pixels after which the inverse is cut off: one round leaves at most three thousandths of a difference."""


FARTHEST = 78
"""Fine pixels that projecting may reach: one round at a ratio of 6, three at 2."""

LOWEST = -0.0999
"""Reflectance that the store can still hold. Beside a glint the nearest consistent image may lie below; it is raised to
this and projected again."""


def projection_reach(ratio: int) -> int:
    """Fine pixels beyond a pixel that its projected value depends on."""
    return _rounds(ratio) * _reach_of_one(ratio) if ratio > 1 else 0


def _reach_of_one(ratio: int) -> int:
    return (2 * SUPPORT + TAPS + 1) * ratio


def _rounds(ratio: int) -> int:
    return max(1, FARTHEST // _reach_of_one(ratio))


@cache
def inverse(mtf: float, ratio: int) -> NDArray[np.float64]:
    """The ``2 TAPS + 1`` weights of ``(D Dᵀ)⁻¹`` along one axis, on the coarse grid."""
    down = kernel(mtf, ratio)
    lags = range(2 * SUPPORT + 1)
    overlap = [float(down[lag * ratio :] @ down[: len(down) - lag * ratio]) for lag in lags]
    size = 8 * TAPS + 1
    distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    matrix = np.where(distance <= 2 * SUPPORT, np.array(overlap)[np.minimum(distance, 2 * SUPPORT)], 0.0)
    middle = np.linalg.inv(matrix)[size // 2]
    cut = middle[size // 2 - TAPS : size // 2 + TAPS + 1].copy()
    response = overlap[0] + 2 * sum(overlap[1:])  # of D Dᵀ to a constant, the largest part of any difference
    cut[TAPS] += 1 / response - cut.sum()
    return cut


def project(fine: NDArray[np.floating], measured: NDArray[np.floating], mtf: float, ratio: int) -> NDArray[np.float64]:
    """One band of a result, consistent with its measurement.

    Parameters
    ----------
    fine
        (rows, cols) reflectance on the fine grid; NaN where unknown.
    measured
        (rows / ratio, cols / ratio); NaN where not measured: there, and where the comparison meets a gap or the image's edge,
        nothing is corrected.
    mtf
        The band's MTF at the Nyquist frequency of its own sampling.
    ratio
        Coarse over fine ground sampling distance.
    """
    out = fine.astype(np.float64)
    for _ in range(_rounds(ratio)):
        missing = np.nan_to_num(measured - degrade(out[None], [mtf], ratio)[0], nan=0.0)
        sharp = _filtered(_filtered(missing, inverse(mtf, ratio), 0), inverse(mtf, ratio), 1)
        out += _spread(_spread(sharp, kernel(mtf, ratio), ratio, 0), kernel(mtf, ratio), ratio, 1)
        np.maximum(out, LOWEST, out=out)
    return out


def _filtered(image: NDArray[np.float64], weights: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """A symmetric filter along an axis, zero beyond the edge; tap by tap, so that sums come in one order everywhere."""
    half = len(weights) // 2
    padded = np.pad(image, [(half, half) if a == axis else (0, 0) for a in (0, 1)])
    total = np.zeros_like(image)
    for tap, weight in enumerate(weights):
        window = np.take(padded, range(tap, tap + image.shape[axis]), axis=axis)
        total += window * weight
    return total


def _spread(image: NDArray[np.float64], weights: NDArray[np.float64], ratio: int, axis: int) -> NDArray[np.float64]:
    """The transpose of blur and decimation along an axis: every coarse pixel spread over the fine ones it was made of."""
    margin, count = reach(ratio), image.shape[axis]
    shape = list(image.shape)
    shape[axis] = count * ratio + 2 * margin
    total = np.zeros(shape)
    for tap, weight in enumerate(weights):
        part = slice(tap, tap + ratio * (count - 1) + 1, ratio)
        total[(part, slice(None)) if axis == 0 else (slice(None), part)] += image * weight
    inner = slice(margin, margin + count * ratio)
    return total[(inner, slice(None)) if axis == 0 else (slice(None), inner)]
