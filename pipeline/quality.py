"""How good a sharpened image is: beside a reference one scale down, and at full resolution where there is none.

Sums over pixels (PSNR, CC, SCC, SAM, ERGAS) are merged over windows exactly; those over sliding windows (SSIM, UIQI) are means
weighted by pixels. Formulas as in Liu et al. 2023 (doi:10.1109/JSTARS.2023.3326965, eqs. 8 to 17) with SSIM's constants
squared as in Wang et al. 2004; conventions that the paper leaves open are stated with each function.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from math import nan

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torchmetrics.functional.image import structural_similarity_index_measure

from pipeline.degrade import degrade
from pipeline.metrics import AngleSums, PairSums, ergas

Image = NDArray[np.floating]
"""(bands, rows, cols) reflectance."""

BLOCK = 8
"""Edge of UIQI's sliding window (Wang and Bovik 2002)."""


@dataclass(frozen=True)
class Score:
    """Quality beside a reference; means over bands where a metric is of one band."""

    ssim: float
    """Structural similarity, range the reference's largest value in the band."""
    psnr: float
    """Peak signal to noise ratio in dB, peak the reference's largest value in the band."""
    psnr_one: float
    """The same with reflectance 1 as the peak, which scenes can be compared by."""
    uiqi: float
    """Universal image quality index."""
    ergas: float
    """Relative dimensionless global error."""
    sam: float
    """Spectral angle in degrees."""
    cc: float
    """Correlation coefficient."""
    scc: float
    """Spatial correlation coefficient: CC of the images' Laplacians."""
    rmse: float
    """Root mean square error in digital numbers (1e-4 reflectance)."""


LOWER_IS_BETTER = frozenset({"ergas", "sam", "rmse", "rmse_index", "d_lambda", "d_s", "consistency"})
"""Metrics of which less is more."""


def score(estimates: Sequence[Image], references: Sequence[Image], ratio: int) -> Score:
    """Quality of estimates beside references, window by window; NaN in either is left out.

    ``ratio`` is coarse over fine ground sampling distance.
    """
    bands = range(len(references[0]))
    peaks = [max(float(np.nanmax(r[b])) for r in references) for b in bands]
    pairs, details = [PairSums() for _ in bands], [PairSums() for _ in bands]
    angles = AngleSums()
    similar, indexed, weights = [], [], []
    for estimate, reference in zip(estimates, references, strict=True):
        angles += AngleSums.of([*estimate], [*reference])
        weights.append(np.isfinite(estimate + reference).sum())
        similar.append(np.mean([ssim(estimate[b], reference[b], peaks[b]) for b in bands]))
        indexed.append(np.mean([uiqi(estimate[b], reference[b]) for b in bands]))
        for b in bands:
            pairs[b] += PairSums.of(estimate[b], reference[b])
            details[b] += PairSums.of(laplacian(estimate[b]), laplacian(reference[b]))
    return Score(
        ssim=float(np.average(similar, weights=weights)),
        psnr=_mean(p.psnr(None) for p in pairs),
        psnr_one=_mean(p.psnr(1.0) for p in pairs),
        uiqi=float(np.average(indexed, weights=weights)),
        ergas=ergas(pairs, ratio),
        sam=angles.degrees,
        cc=_mean(p.correlation for p in pairs),
        scc=_mean(p.correlation for p in details),
        rmse=1e4 * float(np.sqrt(_mean(p.mse for p in pairs))),
    )


def ssim(x: Image, y: Image, peak: float) -> float:
    """Structural similarity of two (rows, cols) images: 11×11 Gaussian of 1.5 px, K1 = 0.01, K2 = 0.03.

    Beyond the edge the images are mirrored, as torchmetrics does it; windows with a gap (NaN) in either are left out.
    """
    gaps = ~(np.isfinite(x) & np.isfinite(y))
    one, other = (torch.from_numpy(np.where(gaps, 0.0, i).astype(np.float64))[None, None] for i in (x, y))
    found = structural_similarity_index_measure(
        one, other, data_range=peak, sigma=1.5, kernel_size=11, return_full_image=True
    )
    return _outside_gaps(found[1][0, 0].numpy(), gaps, 5)


def _outside_gaps(image: Image, gaps: NDArray[np.bool_], radius: int) -> float:
    """Mean over the pixels that lie further than ``radius`` from any gap, NaN where there are none."""
    if not gaps.any():
        return float(image.mean())
    near = sliding_window_view(np.pad(gaps, radius), (2 * radius + 1, 2 * radius + 1)).any(axis=(2, 3))
    return float(image[~near].mean()) if not near.all() else nan


def uiqi(x: Image, y: Image) -> float:
    """Universal image quality index of two (rows, cols) images, mean over all 8×8 windows (Wang and Bovik 2002).

    Where both are constant over a window it is 1 if they are equal (their quotient of means otherwise). Windows with a gap
    (NaN) in either are left out.
    """
    mx, my, xx, yy, xy = (_box(i) for i in (x, y, x * x, y * y, x * y))
    vx, vy, cov = xx - mx * mx, yy - my * my, xy - mx * my
    spread, level = vx + vy, mx * mx + my * my
    flat = spread <= 1e-12 * np.maximum(level, 1e-12)
    structure = np.where(flat, 1.0, 2 * cov / np.where(flat, 1.0, spread))
    luminance = np.where(level > 0, 2 * mx * my / np.where(level > 0, level, 1.0), 1.0)
    known = np.isfinite(mx + my)
    return float((structure * luminance)[known].mean()) if known.any() else nan


def _box(image: Image) -> Image:
    """Means over all 8×8 windows."""
    rows = sliding_window_view(image.astype(np.float64), BLOCK, axis=0).mean(axis=-1)
    return sliding_window_view(rows, BLOCK, axis=1).mean(axis=-1)


def laplacian(image: Image) -> Image:
    """The image's detail by the 3×3 Laplacian (8 in the middle, -1 around), (rows - 2, cols - 2)."""
    return 9 * image[1:-1, 1:-1] - sliding_window_view(image, (3, 3)).sum(axis=(2, 3))


def vegetation_index(bands: Image, red_edge: int, near_infrared: int) -> Image:
    """NDVI-RE = (B7 - B5) / (B7 + B5), (1, rows, cols), from the places of the two bands.

    NaN where their sum is not positive.
    """
    low, high = bands[red_edge].astype(np.float64), bands[near_infrared].astype(np.float64)
    total = low + high
    return np.where(total > 0, (high - low) / np.where(total > 0, total, 1.0), nan)[None]


@dataclass(frozen=True)
class FullScore:
    """Quality at full resolution, without a reference."""

    qnr: float
    """Quality with no reference, (1 - D_lambda)(1 - D_S)."""
    d_lambda: float
    """Spectral distortion: how far UIQI between bands differs from that between them as measured."""
    d_s: float
    """Spatial distortion: how far UIQI with the fine bands' mean differs from that one scale down."""
    consistency: float
    """RMSE in digital numbers between the result, degraded, and what was measured."""


def full_score(
    results: Sequence[Image], measured: Sequence[Image], fine: Sequence[Image], mtf: Sequence[float]
) -> FullScore:
    """Quality of results at full resolution, mean over windows.

    Parameters
    ----------
    results
        (bands, rows, cols) each.
    measured
        The same bands as measured, (bands, rows / ratio, cols / ratio).
    fine
        The bands of the fine resolution; their mean stands for the panchromatic image, whose MTF is taken as their mean.
    mtf
        One value a band of the result; the mean of the fine ones last.
    """
    lambdas, spatial, misses = [], [], []
    for result, seen, sharp in zip(results, measured, fine, strict=True):
        ratio = result.shape[1] // seen.shape[1]
        pan = filled(sharp).mean(axis=0)
        pan_low = degrade(pan[None], [mtf[-1]], ratio)[0]
        inside = np.isfinite(pan_low)
        rows, cols = (np.flatnonzero(inside.any(axis=a)) for a in (1, 0))
        low = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
        high = tuple(slice(s.start * ratio, s.stop * ratio) for s in low)
        x, y = result[:, *high].astype(np.float64), filled(seen)[:, *low].astype(np.float64)
        p, q = pan[high], pan_low[low]
        lambdas.append(np.mean([abs(uiqi(x[i], x[j]) - uiqi(y[i], y[j])) for i, j in combinations(range(len(x)), 2)]))
        spatial.append(np.mean([abs(uiqi(band, p) - uiqi(coarse, q)) for band, coarse in zip(x, y, strict=True)]))
        misses.append(np.nanmean((degrade(result, mtf[:-1], ratio) - seen) ** 2))
    d_lambda, d_s = float(np.mean(lambdas)), float(np.mean(spatial))
    return FullScore((1 - d_lambda) * (1 - d_s), d_lambda, d_s, 1e4 * float(np.sqrt(np.mean(misses))))


def power_spectrum(image: Image) -> NDArray[np.float64]:
    """Radially averaged power of a (rows, cols) image, by cycles across its shorter side, mean removed, Hann window."""
    edge = min(image.shape)
    part = image[:edge, :edge] - image[:edge, :edge].mean()
    taper = np.hanning(edge)
    power = np.abs(np.fft.fftshift(np.fft.fft2(part * taper[:, None] * taper))) ** 2
    axis = np.arange(edge) - edge // 2
    radius = np.rint(np.hypot(axis[:, None], axis)).astype(int)
    count = np.maximum(np.bincount(radius.ravel()), 1)
    return (np.bincount(radius.ravel(), power.ravel()) / count)[: edge // 2]


def values(found: Score | FullScore) -> dict[str, float]:
    """A score's metrics by name."""
    return {f.name: getattr(found, f.name) for f in fields(found)}


def filled(image: Image) -> Image:
    """An image with its bands' means in its gaps."""
    gaps = np.isnan(image)
    return (
        np.where(gaps, np.nanmean(image, axis=(1, 2), keepdims=True), image).astype(image.dtype)
        if gaps.any()
        else image
    )


def _mean(found) -> float:  # type: ignore[no-untyped-def]
    return float(np.mean(list(found)))
