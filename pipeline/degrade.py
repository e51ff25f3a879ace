"""The physics downwards: what a coarser sensor would have seen of a finer image.

A band's optics and detector are taken together as a Gaussian whose response at the Nyquist frequency of the band's own
sampling is its MTF (Aiazzi et al. 2006, doi:10.14358/PERS.72.5.591). Blur and decimation are one step: the kernel is
evaluated only at the centres of the coarse pixels.
"""

from collections.abc import Callable, Sequence
from math import log, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

SUPPORT = 2
"""Coarse pixels on either side of its own that a kernel reaches: at least 3.8 standard deviations for every band."""


Decode = Callable[[NDArray[Any]], NDArray[Any]]
"""From numbers to a quantity, of any shape."""

TOGETHER = 32
"""Coarse rows that are made at once: what they are made from stays in the processor's cache."""


def mtf_sigma(mtf: float, ratio: int) -> float:
    """Standard deviation, in fine pixels, of the Gaussian whose response is ``mtf`` at the coarse Nyquist frequency.

    From ``exp(-2 pi² sigma² f²) = mtf`` at ``f = 1 / (2 ratio)``: ``sigma = ratio sqrt(-2 ln mtf) / pi``.

    >>> round(mtf_sigma(0.38, 2), 3)
    0.886
    """
    return ratio * sqrt(-2 * log(mtf)) / pi


def reach(ratio: int) -> int:
    """Fine pixels beyond a coarse pixel's own that its value depends on."""
    return SUPPORT * ratio if ratio > 1 else 0


def kernel(mtf: float, ratio: int) -> NDArray[np.float64]:
    """Weights of the ``(2 SUPPORT + 1) ratio`` fine pixels around a coarse one, centred on it; their sum is 1."""
    sigma = mtf_sigma(mtf, ratio)
    distance = np.arange(-reach(ratio), ratio + reach(ratio)) - (ratio - 1) / 2
    weights = np.exp(-(distance**2) / (2 * sigma**2))
    return weights / weights.sum()


def degrade(
    image: NDArray[np.number], mtf: Sequence[float], ratio: int, decode: Decode = np.asarray
) -> NDArray[np.float64]:
    """A fine image as a sensor with ``ratio`` times coarser pixels would have seen it.

    Parameters
    ----------
    image
        (bands, rows, cols); rows and cols are multiples of ``ratio``. NaN where unknown.
    mtf
        One value a band.
    ratio
        Coarse over fine ground sampling distance; 1 gives the image back.
    decode
        What makes of some rows of the image what is to be degraded, of the same shape: the numbers of a store are many.

    Returns
    -------
    (bands, rows / ratio, cols / ratio), NaN wherever the kernel meets something unknown: at gaps, and within
    ``reach(ratio)`` of the image's edge. Values do not depend on where the image was cut.
    """
    return _weighted(image, [kernel(m, ratio) for m in mtf], ratio, decode)


def average(image: NDArray[np.floating], ratio: int) -> NDArray[np.float64]:
    """A fine image degraded as DSen2's authors do (Lanaras et al. 2018, section 3.2), whatever the band.

    A Gaussian whose standard deviation is 1 / ratio fine pixels, then the mean over ratio × ratio pixels. Shapes, gaps and
    edges as ``degrade`` has them.
    """
    if ratio == 1:
        return image.astype(np.float64)
    distance = np.arange(-3, 4)
    blur = np.exp(-(distance**2) / (2 * ratio**-2))
    box = np.convolve(blur / blur.sum(), np.full(ratio, 1 / ratio))  # ratio + 6 taps, centred on the coarse pixel
    return _weighted(image, [np.pad(box, reach(ratio) - 3)] * len(image), ratio)


def _weighted(
    image: NDArray[np.number], kernels: Sequence[NDArray[np.float64]], ratio: int, decode: Decode = np.asarray
) -> NDArray[np.float64]:
    if ratio == 1:
        return decode(image).astype(np.float64)
    if image.shape[1] % ratio or image.shape[2] % ratio:
        raise ValueError(f"{image.shape[1:]} pixels are not a multiple of the ratio {ratio}")
    out = np.empty((len(image), image.shape[1] // ratio, image.shape[2] // ratio))
    for plane, weights, found in zip(image, kernels, out, strict=True):
        for top in range(0, len(found), TOGETHER):
            found[top : top + TOGETHER] = _rows(plane, weights, ratio, top, min(top + TOGETHER, len(found)), decode)
    return out


def _rows(
    plane: NDArray[np.number], weights: NDArray[np.float64], ratio: int, top: int, bottom: int, decode: Decode
) -> NDArray[np.float64]:
    """Coarse rows of one band, from ``top`` to before ``bottom``."""
    margin = reach(ratio)
    first, last = top * ratio - margin, bottom * ratio + margin
    fine = np.full((last - first, plane.shape[1] + 2 * margin), np.nan)
    known = slice(max(first, 0), min(last, len(plane)))
    fine[known.start - first : known.stop - first, margin : margin + plane.shape[1]] = decode(plane[known])
    return _decimate(_decimate(fine, weights, ratio).T, weights, ratio).T


def _decimate(padded: NDArray[np.float64], weights: NDArray[np.float64], ratio: int) -> NDArray[np.float64]:
    """Weighted sums along the first axis, one a coarse pixel."""
    count = (len(padded) - len(weights)) // ratio + 1
    total = np.zeros((count, padded.shape[1]))
    term = np.empty_like(total)
    for tap, weight in enumerate(weights):
        np.multiply(padded[tap : tap + ratio * (count - 1) + 1 : ratio], weight, out=term)
        total += term
    return total
