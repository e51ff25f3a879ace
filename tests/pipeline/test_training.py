"""Teaching one scale down: pairs, and the patches that are cut from them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from teaching import ALL_BANDS, native, tiny

from pipeline.degrade import SUPPORT, average, degrade, kernel
from pipeline.sensors import SENTINEL2
from pipeline.training.patches import split
from pipeline.training.wald import Pair, pair, reduced

pytestmark = pytest.mark.usefixtures("one_thread")


def test_shapes_and_ratios_of_pairs():
    model = tiny(ALL_BANDS)
    window = native(model, 216)
    to_20, to_60 = pair(model, window, 1), pair(model, window, 2)
    # by 2: 10 m to 20 m and 20 m to 40 m, labelled with 20 m; by 6: to 60, 120 and 360 m, labelled with 60 m
    assert [x.shape for x in to_20.inputs] == [(4, 108, 108), (6, 54, 54)]
    assert to_20.label.shape == (6, 108, 108)
    assert [x.shape for x in to_60.inputs] == [(4, 36, 36), (6, 18, 18), (2, 6, 6)]
    assert to_60.label.shape == (2, 36, 36)
    assert all(x.dtype == np.float32 for p in (to_20, to_60) for x in (*p.inputs, p.label))
    assert all(np.isfinite(x).all() for p in (to_20, to_60) for x in p.inputs)


def test_the_label_is_what_was_measured_untouched():
    model = tiny(ALL_BANDS)
    window = native(model, 216)
    window[1][0, 3, 4] = np.nan
    np.testing.assert_array_equal(pair(model, window, 1).label, window[1])
    np.testing.assert_array_equal(pair(model, window, 2).label, window[2])


def test_a_part_of_a_coarse_pixel_is_left_out():
    model = tiny(ALL_BANDS)
    window = native(model, 240)  # 40 pixels of 60 m: six whole ones of 360 m, and four over
    found = pair(model, window, 2)
    assert [x.shape[1:] for x in found.inputs] == [(36, 36), (18, 18), (6, 6)]
    np.testing.assert_array_equal(found.label, window[2][:, :36, :36])
    # the rest is as if it were not there
    cut = [x[:, : 216 // f, : 216 // f] for x, f in zip(window, (1, 2, 6), strict=True)]
    for a, b in zip(found.inputs, pair(model, cut, 2).inputs, strict=True):
        np.testing.assert_array_equal(a, b)


inner = (slice(None), slice(SUPPORT, -SUPPORT), slice(SUPPORT, -SUPPORT))


@pytest.mark.parametrize(("index", "ratio"), [(1, 2), (2, 6)])
def test_inputs_are_degraded_each_by_the_blur_of_its_bands(index, ratio):
    model = tiny(ALL_BANDS)
    window = native(model, 360)
    for wanted, x, found in zip(model.inputs, window, pair(model, window, index).inputs, strict=False):
        expected = degrade(x, [SENTINEL2.band(b).mtf for b in wanted.bands], ratio).astype(np.float32)
        np.testing.assert_array_equal(found[inner], expected[inner])
    assert len(pair(model, window, index).inputs) == index + 1


def test_the_protocol_of_dsen2_is_one_blur_for_all_and_keeps_the_mean():
    model = tiny(ALL_BANDS)
    window = native(model, 360)
    window[0][1] = window[0][0]
    found = pair(model, window, 1, "dsen2").inputs
    for x, coarse in zip(window, found, strict=False):
        np.testing.assert_array_equal(coarse[inner], average(x, 2).astype(np.float32)[inner])
    np.testing.assert_array_equal(found[0][1], found[0][0])  # B03 as B02, though their optics differ
    by_mtf = pair(model, window, 1).inputs
    assert np.abs(by_mtf[0][1] - by_mtf[0][0]).max() > 1e-5
    rng = np.random.default_rng(0)
    window[0] = (window[0] + 0.1 * rng.random(window[0].shape)).astype(np.float32)
    for protocol in ("dsen2", "mtf"):
        # mirrored at the edge, every pixel weighs about the same
        coarse = pair(model, window, 1, protocol).inputs[0]
        np.testing.assert_allclose(coarse.mean(axis=(1, 2)), window[0].mean(axis=(1, 2)), rtol=1e-3)


def test_a_constant_stays_one_up_to_the_edge():
    model = tiny()
    flat = [np.full_like(x, 0.25) for x in native(model, 48)]
    for protocol in ("mtf", "dsen2"):
        for x in reduced(model, flat, 2, protocol):
            np.testing.assert_allclose(x, 0.25, rtol=1e-6)


def test_beyond_the_edge_the_image_is_mirrored_about_it():
    model = tiny()
    window = [np.zeros_like(x) for x in native(model, 48)]
    window[0][0, 0] = 1  # the first row of B02, which is also the first beyond the edge
    found = reduced(model, window, 2)[0]
    # the first coarse row looks at rows -4 to 5, the second at -2 to 7
    weights = kernel(SENTINEL2.band("B02").mtf, 2)
    np.testing.assert_allclose(found[0, 0], weights[3] + weights[4], rtol=1e-6)
    np.testing.assert_allclose(found[0, 1], weights[1] + weights[2], rtol=1e-6)


@given(st.integers(0, 59), st.integers(0, 59))
@settings(max_examples=15, deadline=None)
def test_a_gap_is_unknown_where_the_kernel_meets_it_and_nowhere_else(row, col):
    model = tiny()
    window = native(model, 120)
    window[1][2, row, col] = np.nan
    found = pair(model, window, 1)
    fine, coarse = found.inputs
    assert np.isfinite(fine).all()
    assert np.isfinite(coarse[[0, 1, 3, 4, 5]]).all()
    # coarse pixel I looks at rows 2 I - 4 to 2 I + 5; beyond the first and the last row the image is mirrored
    unknown = [
        {i for i in range(30) for r in range(2 * i - 4, 2 * i + 6) if (-1 - r if r < 0 else min(r, 119 - r)) == place}
        for place in (row, col)
    ]
    rows, cols = np.nonzero(np.isnan(coarse[2]))
    assert set(rows.tolist()) == unknown[0]
    assert set(cols.tolist()) == unknown[1]
    assert len(rows) == len(unknown[0]) * len(unknown[1])


# Patches


def numbered(rows, cols, ratios=(1, 2), gaps=()):
    """A pair whose label holds every pixel's own number, and whose inputs hold the number of their first pixel."""
    grid = np.arange(rows * cols, dtype=np.float32).reshape(rows, cols)
    label = grid.copy()
    for r, c in gaps:
        label[r, c] = np.nan
    return Pair(tuple(grid[None, ::r, ::r] for r in ratios), label[None])


shapes = st.tuples(st.integers(1, 14), st.integers(1, 16)).map(lambda s: (4 * s[0], 4 * s[1]))
holes = st.lists(st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)), max_size=6)


@given(st.lists(st.tuples(shapes, holes), min_size=1, max_size=3), st.sampled_from([4, 8, 12]), st.floats(0, 0.6))
@settings(max_examples=60, deadline=None)
def test_no_patch_has_a_gap_and_training_shares_no_pixel_with_validation(pairs, size, held_out):
    made = [numbered(*s, ratios=(1, 2, 4), gaps=[(int(r * s[0]), int(c * s[1])) for r, c in g]) for s, g in pairs]
    seen = []
    for patches in split(made, size, held_out):
        pixels = []
        for which, (index, _, _) in enumerate(patches.places):
            inputs, label = patches.cut([which])
            assert label.shape == (1, 1, size, size)
            assert [x.shape for x in inputs] == [(1, 1, size // r, size // r) for r in (1, 2, 4)]
            assert np.isfinite(label).all()
            for x, r in zip(inputs, (1, 2, 4), strict=True):
                np.testing.assert_array_equal(x, label[..., ::r, ::r])  # the same place
            pixels += [(index, n) for n in label.ravel().tolist()]
        seen.append(pixels)
    taught, checked = seen
    assert not set(taught) & set(checked)
    assert len(set(checked)) == len(checked)  # nor does validation look at a pixel twice


def test_where_patches_lie():
    taught, checked = split([numbered(24, 60)], 12)
    # in pixels of the coarsest input: 12 by 30, patches of 6, the 6 columns on the right held out
    assert {tuple(p) for p in taught.places.tolist()} == {(0, r, c) for r in range(7) for c in range(19)}
    assert {tuple(p) for p in checked.places.tolist()} == {(0, 0, 24), (0, 6, 24)}
    # too narrow to hold a patch back: all is for training
    taught, checked = split([numbered(24, 48)], 12)
    assert len(checked) == 0
    assert taught.places[:, 2].max() == 18


def test_a_pair_smaller_than_a_patch_has_none():
    taught, checked = split([numbered(8, 60), numbered(60, 8)], 12)
    assert (len(taught), len(checked)) == (0, 0)
    taught, _ = split([numbered(8, 60), numbered(12, 12)], 12)
    assert taught.places.tolist() == [[1, 0, 0]]


def test_of_many_pairs_too_small_to_divide_every_fifth_is_held_out_whole():
    # 8 coarse pixels wide, a fifth is 2, a patch 8: none can be divided; of eleven pairs the fifth and the tenth are held out
    taught, checked = split([numbered(16, 16) for _ in range(11)], 16)
    assert set(checked.places[:, 0]) == {4, 9}
    assert set(taught.places[:, 0]) == set(range(11)) - {4, 9}


def test_a_gap_in_any_input_counts():
    whole = numbered(24, 24)
    for index in (0, 1):
        inputs = [x.copy() for x in whole.inputs]
        inputs[index][0, 0, 0] = np.nan
        taught, _ = split([Pair(tuple(inputs), whole.label)], 24)
        assert len(taught) == 0
    assert len(split([whole], 24)[0]) == 1


def test_all_eight_ways_occur_with_inputs_and_label_turned_alike():
    taught, _ = split([numbered(8, 8)], 8)
    (one, coarse), label = taught.cut([0])
    turns = [np.rot90(label[0, 0], k) for k in range(4)]
    ways = [*turns, *(t[:, ::-1] for t in turns)]
    (x, small), y = taught.draw(300, np.random.default_rng(0))
    assert x.shape == y.shape == (300, 1, 8, 8)
    np.testing.assert_array_equal(x, y)
    counts = [sum(np.array_equal(drawn[0], way) for drawn in y) for way in ways]
    assert sum(counts) == 300  # and nothing else
    assert min(counts) > 15
    for drawn, middle in zip(small, y, strict=True):
        # a coarse pixel's number is the least of the four that it covers, wherever these have gone
        np.testing.assert_array_equal(drawn[0], middle[0].reshape(4, 2, 4, 2).min(axis=(1, 3)))
    assert all(a.flags.c_contiguous for a in (x, small, y))


def test_a_draw_is_decided_by_its_seed_and_reaches_every_place():
    taught, _ = split([numbered(12, 12), numbered(12, 12)], 8)
    draws = [taught.draw(64, np.random.default_rng(seed)) for seed in (5, 5, 6)]
    np.testing.assert_array_equal(draws[0][1], draws[1][1])
    for a, b in zip(draws[0][0], draws[1][0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(draws[0][1], draws[2][1])
    corners = {float(y.min()) for y in draws[0][1]}
    assert corners == {24.0 * r + 2 * c for r in range(3) for c in range(3)}
