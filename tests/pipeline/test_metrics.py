"""Quality as sums that merge exactly."""

from functools import reduce
from itertools import pairwise
from math import isnan, log10, nan, sqrt
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.metrics import UNIT, AngleSums, BandSums, PairSums, ergas

X = np.array([[0.1, 0.2], [0.3, nan], [0.7, nan]])
Y = np.array([[0.1, 0.1], [0.2, 0.5], [nan, nan]])
PAIR = PairSums.of(X, Y)
"""Three pixels valid in both: x = 1, 2, 3 and y = 1, 1, 2 tenths."""


def noisy(bands=4, shape=(30, 40), seed=0):
    rng = np.random.default_rng(seed)
    reference = rng.uniform(0.02, 0.6, (bands, *shape))
    estimate = reference + rng.normal(0.003, 0.02, reference.shape)
    reference[rng.random(reference.shape) < 0.05] = nan
    estimate[rng.random(reference.shape) < 0.05] = nan
    return estimate, reference


def test_pair_sums_by_hand():
    # in units of 1e-5: sums of x 1 + 2 + 3, y 1 + 1 + 2 (1e4); xx 1 + 4 + 9, yy 1 + 1 + 4, xy 1 + 2 + 6 (1e8)
    assert PairSums(3, 60000, 40000, 14 * 10**8, 6 * 10**8, 9 * 10**8, 20000) == PAIR
    assert PAIR.mse == pytest.approx(0.02 / 3)  # (0 + 0.01 + 0.01) / 3
    assert PAIR.rmse == pytest.approx(sqrt(0.02 / 3))
    assert PAIR.bias == pytest.approx(0.2 / 3)
    assert PAIR.correlation == pytest.approx(sqrt(3) / 2)  # covariance 1, variances 2 and 2/3, in the same units


def test_psnr_with_a_given_peak_and_with_the_references_own():
    assert PAIR.psnr() == PAIR.psnr(1.0) == pytest.approx(10 * log10(150))  # 1 / (0.02 / 3)
    assert PAIR.psnr(peak=None) == pytest.approx(10 * log10(6))  # 0.2² / (0.02 / 3); 0.5 has no estimate beside it
    assert isnan(PairSums.of(Y, Y).psnr())  # no error, no ratio


def test_band_sums_by_hand():
    sums = BandSums.of(Y)
    assert sums == BandSums(4, 90000, (1 + 1 + 4 + 25) * 10**8)
    assert sums.mean == pytest.approx(0.225)
    assert sums.std == pytest.approx(sqrt(0.31 / 4 - 0.225**2))


def test_angle_sums_by_hand():
    # pixels: (1, 0) to (1, 1) is 45°, to (0, 3) is 90°, to (2, 0) is 0°; then no angle: zero, and NaN in one band
    estimate = np.array([[[1, 1, 1, 0, 1]], [[0, 0, 0, 0, nan]]])
    reference = np.array([[[1, 0, 2, 1, 1]], [[1, 3, 0, 1, 1.0]]])
    sums = AngleSums.of(estimate, reference)
    assert sums == AngleSums(3, 135_000_000)
    assert sums.degrees == pytest.approx(45)


def test_ergas_by_hand():
    # MSE / mean²: 0.1² / 0.5² = 0.04 and 0.02² / 0.2² = 0.01, mean 0.025; a band without pixels has no say
    bands = [PairSums.of(np.full((2, 2), e), np.full((2, 2), r)) for e, r in ((0.6, 0.5), (0.18, 0.2))]
    assert ergas([*bands, PairSums()], 2) == pytest.approx(50 * sqrt(0.025))
    assert ergas(bands, 6) == pytest.approx(100 / 6 * sqrt(0.025))


def test_nothing_has_no_quality():
    empty, nothing = PairSums.of(np.full((2, 2), nan), np.ones((2, 2))), PairSums()
    for pair in (empty, nothing):
        assert all(isnan(v) for v in (pair.mse, pair.rmse, pair.bias, pair.correlation, pair.psnr(), pair.psnr(None)))
    assert isnan(BandSums().mean)
    assert isnan(BandSums().std)
    assert isnan(AngleSums().degrees)
    assert isnan(ergas([empty, nothing], 2))
    flat = np.full((2, 2), 0.3)
    assert isnan(PairSums.of(flat, flat).correlation)
    assert BandSums.of(flat).std == 0


def test_formulas_agree_with_numpy():
    estimate, reference = noisy()
    pairs = [PairSums.of(e, r) for e, r in zip(estimate, reference, strict=True)]
    terms = []
    for pair, e, r in zip(pairs, estimate, reference, strict=True):
        both = np.isfinite(e) & np.isfinite(r)
        e, r = e[both], r[both]
        mse = np.mean((e - r) ** 2)
        terms.append(mse / r.mean() ** 2)
        assert pair.n == both.sum()
        assert pair.rmse == pytest.approx(sqrt(mse), rel=1e-4)
        assert pair.bias == pytest.approx(np.mean(e - r), abs=UNIT / 10)
        assert pair.correlation == pytest.approx(np.corrcoef(e, r)[0, 1], abs=1e-6)
        assert pair.psnr() == pytest.approx(10 * log10(1 / mse), abs=1e-3)
        assert pair.psnr(None) == pytest.approx(10 * log10(r.max() ** 2 / mse), abs=1e-3)
    assert ergas(pairs, 2) == pytest.approx(100 / 2 * sqrt(np.mean(terms)), rel=1e-4)
    e, r = estimate.reshape(4, -1), reference.reshape(4, -1)
    both = np.isfinite(e + r).all(axis=0)
    cosine = (e * r).sum(axis=0) / (np.linalg.norm(e, axis=0) * np.linalg.norm(r, axis=0))
    angles = AngleSums.of(estimate, reference)
    assert angles.n == both.sum()
    assert angles.degrees == pytest.approx(np.degrees(np.arccos(cosine[both])).mean(), abs=1e-6)
    band = BandSums.of(reference[0])
    assert (band.mean, band.std) == pytest.approx((np.nanmean(reference[0]), np.nanstd(reference[0])), abs=UNIT / 10)


cuts = st.lists(st.integers(1, 29), max_size=4, unique=True).map(lambda c: list(pairwise([0, *sorted(c), 30])))


@given(cuts, cuts, st.randoms(use_true_random=False), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_any_cut_merges_to_the_whole_exactly(rows, cols, order, seed):
    estimate, reference = noisy(3, (30, 30), seed)
    estimate[0], reference[0] = estimate[0] - 0.5, reference[0] - 0.7  # below zero too
    parts = [np.s_[:, slice(*row), slice(*col)] for row in rows for col in cols]
    order.shuffle(parts)
    for band in range(3):
        pairs = [PairSums.of(estimate[p][band], reference[p][band]) for p in parts]
        assert reduce(add, pairs) == PairSums.of(estimate[band], reference[band])
        assert reduce(add, (BandSums.of(estimate[p][band]) for p in parts), BandSums()) == BandSums.of(estimate[band])
    assert reduce(add, (AngleSums.of(estimate[p], reference[p]) for p in parts)) == AngleSums.of(estimate, reference)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_counted_levels_give_the_sums_of_the_pixels(counts, seed):
    levels = np.random.default_rng(seed).uniform(-0.1, 6, len(counts))
    levels[0] = nan  # the fill
    pixels = np.repeat(levels, counts)[None]
    assert BandSums.of_levels(np.array(counts), levels) == BandSums.of(pixels)
