"""A projected result gives back what was measured, is the nearest such image, and does not depend on the window."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.consistency import LOWEST, TAPS, inverse, project, projection_reach
from pipeline.degrade import SUPPORT, degrade, kernel
from pipeline.sensors import SENTINEL2

MTFS = sorted({band.mtf for band in SENTINEL2.bands if band.resolution > 10})
RATIOS = (2, 6)
EDGE = 40
"""Coarse pixels along an edge."""
DEEP = SUPPORT + TAPS + SUPPORT
"""Coarse pixels from an edge, where nothing is compared, after which corrections are whole."""
inner = (slice(DEEP, -DEEP),) * 2

every = pytest.mark.parametrize("mtf", MTFS)
both = pytest.mark.parametrize("ratio", RATIOS)


@cache
def scene(mtf, ratio, seed=0):
    """Land with detail, what a sensor saw of it, and an estimate that errs by a hundredth of reflectance."""
    rng = np.random.default_rng(seed)
    truth = 0.2 + 0.03 * rng.standard_normal((EDGE * ratio, EDGE * ratio))
    seen = degrade(truth[None], [mtf], ratio)[0]
    guess = truth + 0.01 * rng.standard_normal(truth.shape) + 0.01
    for array in (truth, seen, guess):
        array.flags.writeable = False
    return truth, seen, guess


@both
@every
def test_a_projected_image_gives_back_the_measurement(mtf, ratio):
    _, seen, guess = scene(mtf, ratio)
    before = np.abs(degrade(guess[None], [mtf], ratio)[0] - seen)[inner]
    assert before.max() > 0.01
    result = project(guess, seen, mtf, ratio)
    after = np.abs(degrade(result[None], [mtf], ratio)[0] - seen)[inner]
    assert after.max() < 0.5e-4  # half a digital number


@both
@every
def test_projecting_twice_is_projecting_once(mtf, ratio):
    _, seen, guess = scene(mtf, ratio)
    once = project(guess, seen, mtf, ratio)
    twice = project(once, seen, mtf, ratio)
    deep = (slice(DEEP * ratio, -DEEP * ratio),) * 2
    assert np.abs(once - guess)[deep].max() > 5e-3
    assert np.abs(twice - once)[deep].max() < 1e-4


@both
@every
def test_what_is_consistent_is_left_untouched(mtf, ratio):
    truth, seen, _ = scene(mtf, ratio)
    np.testing.assert_array_equal(project(truth, seen, mtf, ratio), truth)


def test_the_result_is_the_nearest_consistent_image():
    """The correction is at right angles to all that the measurement does not see."""
    mtf, ratio = 0.33, 2
    _, seen, guess = scene(mtf, ratio)
    result = project(guess, seen, mtf, ratio)
    bump = np.zeros_like(guess)
    middle = slice(EDGE * ratio // 2 - 4, EDGE * ratio // 2 + 4)
    bump[middle, middle] = 0.01 * np.random.default_rng(1).standard_normal((8, 8))
    unseen = project(result + bump, seen, mtf, ratio) - result  # another consistent image beside it
    assert np.linalg.norm(unseen) > 0.03
    correction = result - guess
    # at random the cosine would be a hundredth; noise of what is cut off remains
    assert abs((unseen * correction).sum()) < 1e-3 * np.linalg.norm(unseen) * np.linalg.norm(correction[20:60, 20:60])


@both
@every
def test_inverse_undoes_what_degrading_does_to_what_was_spread(mtf, ratio):
    weights, down = inverse(mtf, ratio), kernel(mtf, ratio)
    assert weights.shape == (2 * TAPS + 1,)
    np.testing.assert_allclose(weights, weights[::-1], rtol=1e-9)
    # D Dᵀ along an axis: overlaps of the kernel with itself, moved by whole coarse pixels
    overlap = np.correlate(down, down, mode="full")[len(down) - 1 :: ratio]
    both_sides = np.concatenate([overlap[:0:-1], overlap])
    product = np.convolve(weights, both_sides)
    unit = np.zeros_like(product)
    unit[len(unit) // 2] = 1
    # the inverse is cut off after TAPS pixels; what that costs
    np.testing.assert_allclose(product, unit, rtol=0, atol=3e-3)


@both
def test_nothing_is_corrected_where_nothing_was_measured(ratio):
    _, seen, guess = scene(0.33, ratio)
    nothing = np.full_like(seen, np.nan)
    np.testing.assert_array_equal(project(guess, nothing, 0.33, ratio), guess)
    # measured in the western half only, of twice the land
    guess, half = np.concatenate([guess, guess], axis=1), np.concatenate([seen, nothing], axis=1)
    result = project(guess, half, 0.33, ratio)
    assert np.isfinite(result).all()
    changed = (result != guess).any(axis=0)
    assert changed[: (EDGE - 2 * SUPPORT) * ratio].all()  # as far as something is compared
    assert not changed[EDGE * ratio + projection_reach(ratio) :].any()


@both
def test_a_gap_in_the_estimate_stays_one_and_spoils_nothing_else(ratio):
    _, seen, guess = scene(0.33, ratio)
    holed = guess.copy()
    row = EDGE * ratio // 2
    holed[row, row] = np.nan
    result = project(holed, seen, 0.33, ratio)
    expected = np.zeros(guess.shape, bool)
    expected[row, row] = True
    np.testing.assert_array_equal(np.isnan(result), expected)


@both
def test_a_gap_in_the_measurement_leaves_its_own_pixels_uncorrected(ratio):
    truth, seen, _ = scene(0.33, ratio)
    middle = EDGE // 2
    off = seen.copy()
    off[middle, middle] += 0.05  # a measurement that does not fit, and then is none
    assert np.abs(project(truth, off, 0.33, ratio) - truth).max() > 0.01
    off[middle, middle] = np.nan
    np.testing.assert_array_equal(project(truth, off, 0.33, ratio), truth)


@both
def test_one_pixel_reaches_as_far_as_is_said_and_no_further(ratio):
    truth, seen, guess = scene(0.33, ratio)
    middle = EDGE // 2
    other = seen.copy()
    other[middle, middle] += 0.01
    changed = project(guess, other, 0.33, ratio) != project(guess, seen, 0.33, ratio)
    reach = projection_reach(ratio)
    for axis in (0, 1):
        places = np.flatnonzero(changed.any(axis=axis))
        assert places.min() >= middle * ratio - reach
        assert places.max() <= (middle + 1) * ratio - 1 + reach
        # not wildly more: a round reaches at least to the inverse's last tap
        assert places.min() <= middle * ratio - TAPS * ratio


def test_declared_reaches():
    # a round: the comparison's kernel, the inverse, the spread: (2 + 8 + 2 + 1) coarse pixels; three rounds fit at 2
    assert [projection_reach(r) for r in (1, 2, 6)] == [0, 3 * 26, 78]


spans = st.integers(0, EDGE - 1).flatmap(lambda a: st.tuples(st.just(a), st.integers(a + 1, EDGE)))


@both
@given(spans, spans, st.floats(0, 0.2))
@settings(max_examples=6, deadline=None)
def test_a_window_with_its_margin_gives_the_bits_of_the_whole(ratio, rows, cols, dark):
    margin = projection_reach(ratio)
    size = EDGE * ratio + 2 * margin
    rng = np.random.default_rng(0)
    # dark enough in places that values are raised to LOWEST
    guess = (0.2 - dark + 0.1 * rng.standard_normal((size, size))).astype(np.float32)
    seen = (0.2 - dark + 0.1 * rng.standard_normal((size // ratio, size // ratio))).astype(np.float32)
    seen[20:22, 25:30] = np.nan
    whole = project(guess, seen, 0.26, ratio)
    window = tuple(slice(a * ratio, b * ratio + 2 * margin) for a, b in (rows, cols))
    coarse = tuple(slice(s.start // ratio, s.stop // ratio) for s in window)
    part = project(guess[window], seen[coarse], 0.26, ratio)
    core = (slice(margin, -margin),) * 2
    expected = whole[window][core]
    np.testing.assert_array_equal(part[core], expected)


@both
@given(st.integers(0, 1000), st.floats(-0.09, 0.1), st.floats(0.01, 1.0))
@settings(max_examples=10, deadline=None)
def test_no_value_lies_below_what_the_store_holds(ratio, seed, level, noise):
    rng = np.random.default_rng(seed)
    seen = np.maximum(level + noise * rng.standard_normal((8, 8)), -0.0999)
    guess = np.repeat(np.repeat(seen, ratio, 0), ratio, 1)[::-1]
    result = project(guess, seen, 0.22, ratio)
    assert result.min() >= LOWEST == -0.0999
    assert result.dtype == np.float64


def test_what_was_raised_is_corrected_for_in_later_rounds(monkeypatch):
    """At a glint the nearest consistent image lies below the least value; it is raised, and the rest corrected for it."""
    seen = np.zeros((EDGE, EDGE))
    seen[EDGE // 2, EDGE // 2] = 0.3

    def miss():
        result = project(np.zeros((2 * EDGE, 2 * EDGE)), seen, 0.33, 2)
        assert result.min() == LOWEST
        return np.abs(degrade(result[None], [0.33], 2)[0] - seen)[inner].max()

    three = miss()
    monkeypatch.setattr("pipeline.consistency.FARTHEST", projection_reach(2) // 3)
    assert three < 0.6 * miss()


def test_the_inputs_are_left_as_they_are():
    _, seen, guess = scene(0.33, 2)
    copies = seen.copy(), guess.astype(np.float32)
    kept = copies[1].copy()
    assert project(copies[1], copies[0], 0.33, 2) is not copies[1]
    np.testing.assert_array_equal(copies[0], seen)
    np.testing.assert_array_equal(copies[1], kept)
