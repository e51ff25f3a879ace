"""Quality as sums that can be merged: averages of averages are wrong, sums of sums are not.

All sums are whole numbers (reflectance in units of ``UNIT``, angles in microdegrees), so that merging chunks gives the
same result in any order and for any cut, to the last digit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10, nan, sqrt
from typing import Self

import numpy as np
from numpy.typing import NDArray

UNIT = 1e-5
"""Reflectance of one unit: a tenth of a digital number."""


ROWS = 64
"""Rows that are taken together: what is made of them on the way stays in the processor's cache."""


def _parts(rows: int) -> list[slice]:
    return [slice(top, top + ROWS) for top in range(0, rows, ROWS)]


def _total(values: NDArray[np.int64]) -> int:
    """Exact sum of (rows, cols) integers, beyond the range of 64 bits."""
    return sum(values.sum(axis=-1).tolist()) if values.size else 0


@dataclass(frozen=True)
class BandSums:
    """One band on its own, over the pixels where it is valid."""

    n: int = 0
    """Pixels."""
    x: int = 0
    """Sum of values."""
    xx: int = 0
    """Sum of squares."""

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> Self:
        """Sums over (rows, cols) reflectance; NaN is left out."""
        valid = np.isfinite(values)
        units = np.where(valid, np.rint(np.where(valid, values, 0) / UNIT), 0).astype(np.int64)
        return cls(int(valid.sum()), _total(units), _total(units * units))

    @classmethod
    def of_levels(cls, counts: NDArray[np.integer], values: NDArray[np.floating]) -> Self:
        """The same sums from how many pixels have each of some values; a value that is NaN is left out."""
        valid = np.isfinite(values) & (counts > 0)
        n = counts[valid].astype(np.int64)
        units = np.rint(values[valid] / UNIT).astype(np.int64)
        high, low = np.divmod(units * units, 2**20)  # in two parts, whose sums stay within 64 bits for any chunk
        return cls(int(n.sum()), int(n @ units), int(n @ high) * 2**20 + int(n @ low))

    def __add__(self, other: "BandSums") -> Self:
        return type(self)(self.n + other.n, self.x + other.x, self.xx + other.xx)

    @property
    def mean(self) -> float:
        """Mean reflectance."""
        return UNIT * self.x / self.n if self.n else nan

    @property
    def std(self) -> float:
        """Standard deviation (of the population), reflectance."""
        return UNIT * sqrt(self.xx * self.n - self.x**2) / self.n if self.n else nan


@dataclass(frozen=True)
class PairSums:
    """An estimate x beside a reference y, over the pixels where both are valid."""

    n: int = 0
    """Pixels."""
    x: int = 0
    """Sum of the estimate."""
    y: int = 0
    """Sum of the reference."""
    xx: int = 0
    """Sum of squares of the estimate."""
    yy: int = 0
    """Sum of squares of the reference."""
    xy: int = 0
    """Sum of products."""
    top: int = 0
    """Largest value of the reference, 0 where none is positive."""

    @classmethod
    def of(cls, estimate: NDArray[np.floating], reference: NDArray[np.floating]) -> Self:
        """Sums over (rows, cols) reflectance; a pixel that is NaN in either is left out."""
        return sum((cls._of(estimate[part], reference[part]) for part in _parts(len(estimate))), cls())

    @classmethod
    def _of(cls, estimate: NDArray[np.floating], reference: NDArray[np.floating]) -> Self:
        estimate, reference = estimate.astype(np.float64), reference.astype(np.float64)
        valid = np.isfinite(estimate) & np.isfinite(reference)
        x = np.rint(np.where(valid, estimate, 0) / UNIT).astype(np.int64)
        y = np.rint(np.where(valid, reference, 0) / UNIT).astype(np.int64)
        top = int(y.max()) if y.size else 0
        return cls(int(valid.sum()), _total(x), _total(y), _total(x * x), _total(y * y), _total(x * y), top)

    def __add__(self, other: "PairSums") -> Self:
        return type(self)(
            n=self.n + other.n,
            x=self.x + other.x,
            y=self.y + other.y,
            xx=self.xx + other.xx,
            yy=self.yy + other.yy,
            xy=self.xy + other.xy,
            top=max(self.top, other.top),
        )

    @property
    def mse(self) -> float:
        """Mean square error, reflectance squared."""
        return UNIT**2 * (self.xx - 2 * self.xy + self.yy) / self.n if self.n else nan

    @property
    def rmse(self) -> float:
        """Root mean square error, reflectance."""
        return sqrt(self.mse) if self.n else nan

    @property
    def bias(self) -> float:
        """Mean of estimate minus reference, reflectance."""
        return UNIT * (self.x - self.y) / self.n if self.n else nan

    @property
    def correlation(self) -> float:
        """Pearson's correlation coefficient (CC)."""
        spread = (self.n * self.xx - self.x**2) * (self.n * self.yy - self.y**2)
        return (self.n * self.xy - self.x * self.y) / sqrt(spread) if spread > 0 else nan

    def psnr(self, peak: float | None = 1.0) -> float:
        """Peak signal to noise ratio in dB, ``10 log10(peak² / MSE)``; ``peak=None`` takes the reference's largest."""
        level = self.top * UNIT if peak is None else peak
        return 10 * log10(level**2 / self.mse) if self.n and self.mse > 0 and level > 0 else nan


@dataclass(frozen=True)
class AngleSums:
    """Spectral angles between estimate and reference."""

    n: int = 0
    """Pixels."""
    total: int = 0
    """Sum of angles in microdegrees."""

    @classmethod
    def of(cls, estimate: Sequence[NDArray[np.floating]], reference: Sequence[NDArray[np.floating]]) -> Self:
        """Sums over bands of (rows, cols) each; pixels that are NaN or zero in every band of either are left out."""
        sides = (([x[part] for x in estimate], [y[part] for y in reference]) for part in _parts(len(estimate[0])))
        return sum((cls._of(*side) for side in sides), cls())

    @classmethod
    def _of(cls, estimate: Sequence[NDArray[np.floating]], reference: Sequence[NDArray[np.floating]]) -> Self:
        dot, xx, yy = (np.zeros(estimate[0].shape) for _ in range(3))
        for x, y in zip(estimate, reference, strict=True):
            x, y = x.astype(np.float64), y.astype(np.float64)
            dot += x * y  # band by band: one order of summation for any shape
            xx += x * x
            yy += y * y
        norms = np.sqrt(xx * yy)
        valid = np.isfinite(dot) & (norms > 0)
        cosine = np.clip(dot / np.where(valid, norms, 1), -1, 1)
        angles = np.where(valid, np.rint(np.degrees(np.arccos(np.where(valid, cosine, 1))) * 1e6), 0)
        return cls(int(valid.sum()), _total(angles.astype(np.int64)))

    def __add__(self, other: "AngleSums") -> Self:
        return type(self)(self.n + other.n, self.total + other.total)

    @property
    def degrees(self) -> float:
        """Spectral angle mapper (SAM): the mean angle in degrees."""
        return 1e-6 * self.total / self.n if self.n else nan


def ergas(bands: Sequence[PairSums], ratio: int) -> float:
    """Relative dimensionless global error, ``100 / ratio * sqrt(mean(MSE_b / mean_b²))`` (Wald 2002).

    ``ratio`` is coarse over fine ground sampling distance; ``mean_b`` is the reference's.
    """
    terms = [pair.mse / (UNIT * pair.y / pair.n) ** 2 for pair in bands if pair.n and pair.y]
    return 100 / ratio * sqrt(sum(terms) / len(terms)) if terms else nan
