"""What a coarser sensor would have seen."""

from math import exp, pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.degrade import SUPPORT, average, degrade, kernel, mtf_sigma, reach
from pipeline.sensors import SENTINEL2

MTFS = sorted({band.mtf for band in SENTINEL2.bands})
RATIOS = (2, 3, 6)
EDGE = 12
"""Coarse pixels along an edge of the test images."""


def image_of(bands, ratio, seed=0):
    return np.random.default_rng(seed).random((bands, EDGE * ratio, EDGE * ratio))


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("mtf", MTFS)
def test_response_at_nyquist_is_the_mtf(mtf, ratio):
    nyquist = 1 / (2 * ratio)  # of the coarse sampling, in cycles per fine pixel
    assert exp(-2 * pi**2 * mtf_sigma(mtf, ratio) ** 2 * nyquist**2) == pytest.approx(mtf, rel=1e-12)
    # and of the weights themselves, sampled and cut off as they are
    weights = kernel(mtf, ratio)
    distance = np.arange(weights.size) - (weights.size - 1) / 2
    assert (weights * np.cos(2 * pi * nyquist * distance)).sum() == pytest.approx(mtf, abs=5e-4)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("mtf", MTFS)
def test_kernel_is_symmetric_and_sums_to_one(mtf, ratio):
    weights = kernel(mtf, ratio)
    assert weights.shape == (ratio + 2 * reach(ratio),)
    assert weights.sum() == pytest.approx(1, abs=1e-15)
    np.testing.assert_array_equal(weights, weights[::-1])
    assert (np.diff(weights[: (weights.size + 1) // 2]) > 0).all()


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_constant_stays_constant(ratio):
    seen = degrade(np.full((1, EDGE * ratio, EDGE * ratio), 0.37), [0.26], ratio)
    assert seen.shape == (1, EDGE, EDGE)
    np.testing.assert_allclose(seen[0, SUPPORT:-SUPPORT, SUPPORT:-SUPPORT], 0.37, rtol=1e-14)


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_ramp_keeps_its_values_at_coarse_centres(ratio):
    # the centre of coarse pixel I lies at fine row I ratio + (ratio - 1) / 2: ratio 2, I = 3 covers rows 6 and 7, 6.5
    fine, coarse = np.arange(EDGE * ratio), np.arange(EDGE) * ratio + (ratio - 1) / 2
    seen = degrade((2 + 3.0 * fine[:, None] - 5.0 * fine)[None], [0.3], ratio)[0]
    expected = 2 + 3 * coarse[:, None] - 5 * coarse
    inner = (slice(SUPPORT, -SUPPORT),) * 2
    np.testing.assert_allclose(seen[inner], expected[inner], rtol=0, atol=1e-10)
    assert ratio != 2 or seen[3, 4] == pytest.approx(2 + 3 * 6.5 - 5 * 8.5)


@pytest.mark.parametrize("ratio", RATIOS)
def test_each_band_has_its_own_blur(ratio):
    image = image_of(3, ratio)
    together = degrade(image, [0.2, 0.3, 0.4], ratio)
    for index, mtf in enumerate((0.2, 0.3, 0.4)):
        np.testing.assert_array_equal(together[index], degrade(image[index][None], [mtf], ratio)[0])


@pytest.mark.parametrize("ratio", RATIOS)
def test_unknown_within_reach_of_the_edge(ratio):
    inner = np.zeros((EDGE, EDGE), bool)
    inner[SUPPORT:-SUPPORT, SUPPORT:-SUPPORT] = True  # reach(ratio) fine pixels are SUPPORT coarse ones
    np.testing.assert_array_equal(np.isfinite(degrade(image_of(1, ratio), [0.3], ratio)[0]), inner)


windows = st.tuples(st.integers(0, EDGE - 5), st.integers(5, EDGE)).filter(lambda w: w[1] - w[0] >= 5)


@given(st.sampled_from(RATIOS), windows, windows, st.sampled_from([np.float32, np.float64]))
@settings(max_examples=40, deadline=None)
def test_a_window_gives_the_bits_of_the_whole(ratio, rows, cols, dtype):
    image = image_of(2, ratio).astype(dtype)
    whole = degrade(image, [0.22, 0.38], ratio)
    cut = degrade(image[:, rows[0] * ratio : rows[1] * ratio, cols[0] * ratio : cols[1] * ratio], [0.22, 0.38], ratio)
    expected = whole[:, rows[0] : rows[1], cols[0] : cols[1]]
    inner = (slice(None), slice(SUPPORT, -SUPPORT), slice(SUPPORT, -SUPPORT))
    assert np.isfinite(cut[inner]).all()
    np.testing.assert_array_equal(cut[inner], expected[inner])


@given(st.sampled_from(RATIOS), st.floats(0, 0.999), st.floats(0, 0.999))
@settings(max_examples=40, deadline=None)
def test_a_gap_makes_exactly_its_footprint_unknown(ratio, down, right):
    image = image_of(1, ratio)
    before = degrade(image, [0.3], ratio)[0]
    row, col = int(down * EDGE * ratio), int(right * EDGE * ratio)
    image[0, row, col] = np.nan
    after = degrade(image, [0.3], ratio)[0]
    # coarse pixel I looks at the fine rows from I ratio - reach to (I + 1) ratio + reach
    first = np.arange(EDGE) * ratio - reach(ratio)
    meets = [(first <= place) & (place < first + ratio + 2 * reach(ratio)) for place in (row, col)]
    expected = np.where(meets[0][:, None] & meets[1], np.nan, before)
    np.testing.assert_array_equal(after, expected)


def test_ratio_one_gives_the_image_back():
    image = image_of(2, 1)
    np.testing.assert_array_equal(degrade(image, [0.3, 0.3], 1), image)
    assert reach(1) == 0


def test_a_part_of_a_coarse_pixel_is_an_error():
    with pytest.raises(ValueError, match="not a multiple of the ratio 6"):
        degrade(np.zeros((1, 60, 62)), [0.3], 6)


def test_average_keeps_a_constant():
    for ratio in RATIOS:
        seen = average(np.full((2, EDGE * ratio, EDGE * ratio), 0.37), ratio)
        assert seen.shape == (2, EDGE, EDGE)
        np.testing.assert_allclose(seen[:, SUPPORT:-SUPPORT, SUPPORT:-SUPPORT], 0.37, rtol=1e-14)


def test_average_by_hand():
    # ratio 2: the Gaussian has a standard deviation of half a pixel, so its weights at 0, 1, 2, 3 pixels are in proportion
    # to 1, e^-2, e^-8, e^-18; a coarse pixel is the mean of two rows, each blurred: from row 5, the coarse rows 1 (2 and 3),
    # 2 (4 and 5), 3 (6 and 7), 4 (8 and 9) are 3 and 2, 1 and 0, 1 and 2, 3 and 4 away
    total = 1 + 2 * (exp(-2) + exp(-8) + exp(-18))
    near = [(exp(-18) + exp(-8)) / 2, (exp(-2) + 1) / 2, (exp(-2) + exp(-8)) / 2, exp(-18) / 2]
    image = np.zeros((1, 2 * EDGE, 2 * EDGE))
    image[0, 5, 8] = 1
    seen = average(image, 2)[0]
    # column 8: the coarse columns 2, 3, 4, 5, 6 are 4 and 3, 2 and 1, 0 and 1, 2 and 3 away (the last too far)
    far = [exp(-18) / 2, (exp(-8) + exp(-2)) / 2, (1 + exp(-2)) / 2, (exp(-8) + exp(-18)) / 2, 0]
    # column 2 is within SUPPORT of no edge, row 1 is: unknown there
    assert np.isnan(seen[1]).all()
    np.testing.assert_allclose(seen[2:5, 2:7], np.outer(near[1:], far) / total**2, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("ratio", RATIOS)
def test_average_blurs_and_then_takes_the_mean_of_whole_pixels(ratio):
    image = image_of(1, ratio)
    weights = np.array([exp(-(d**2) * ratio**2 / 2) for d in range(-3, 4)])
    weights /= weights.sum()
    blurred = image[0]
    for axis in (0, 1):
        blurred = np.apply_along_axis(np.convolve, axis, blurred, weights, mode="same")
    expected = blurred.reshape(EDGE, ratio, EDGE, ratio).mean(axis=(1, 3))
    inner = (slice(SUPPORT, -SUPPORT),) * 2
    np.testing.assert_allclose(average(image, ratio)[0][inner], expected[inner], rtol=1e-12)


def test_average_knows_no_bands_and_the_same_gaps():
    image = image_of(3, 2)
    image[1] = image[0]
    image[2, 10, 10] = np.nan
    seen = average(image, 2)
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(np.isnan(seen), np.isnan(degrade(image, [0.3] * 3, 2)))


def test_average_at_ratio_one_gives_the_image_back():
    image = image_of(2, 1)
    np.testing.assert_array_equal(average(image, 1), image)
