"""Teaching: which windows, one scale down, patches, the loop, and adapting to a scene."""

import csv
import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.catalog import Query, find
from pipeline.degrade import SUPPORT, average, degrade, kernel
from pipeline.models.gates import channel_gates
from pipeline.models.layers import GridResize
from pipeline.models.registry import build, sharpening, with_weights
from pipeline.models.weights import Card, save
from pipeline.sensors import SENTINEL2
from pipeline.training import adaptation
from pipeline.training.adaptation import LEAST, Lesson, adapt, read_windows
from pipeline.training.loop import Progress, Settings, error, train
from pipeline.training.patches import Patches, split
from pipeline.training.wald import Pair, pair, reduced
from pipeline.training.windows import Window, lattice_of, places, read_window, windows

UP_TO_20 = tuple(band.name for band in SENTINEL2.bands if band.resolution <= 20)
ALL_BANDS = tuple(band.name for band in SENTINEL2.bands)
TINY = {"width": 16, "blocks": 1}


@pytest.fixture(autouse=True)
def _one_thread():
    """Networks this small are done before threads have met."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny(bands=UP_TO_20, name="light", network=TINY):
    return sharpening(name, SENTINEL2, bands, precision="float32", network=network)


def built(model, seed=0):
    torch.manual_seed(seed)
    return build(model)


def native(model, edge, seed=0):
    """Land over a window of ``edge`` pixels of 10 m, on the grids of a model's inputs; bands are alike, as on land."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[0:edge, 0:edge]
    waves = sum(np.sin(rows * a + cols * b + c) for a, b, c in rng.uniform(-0.7, 0.7, (12, 3)))
    fine = 0.2 + 0.05 * waves
    out = []
    for wanted in model.inputs:
        f = wanted.resolution // 10
        blocks = fine.reshape(edge // f, f, edge // f, f).mean(axis=(1, 3))
        gains = 1 + 0.1 * np.arange(len(wanted.bands))
        out.append((gains[:, None, None] * blocks).astype(np.float32))
    return out


# Wald's protocol


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


# The loop


@pytest.fixture(scope="module")
def lesson():
    """A tiny model, patches to teach it, and patches to check it by."""
    model = tiny()
    return model, *split([pair(model, native(model, 240, seed), 1) for seed in range(2)], 24)


def taught_in(lesson, settings, folder=None, told=None, seed=0):
    model, taught, checked = lesson
    network = built(model, seed)
    history = train(network, "20m", taught, checked, settings, folder, told)
    return network, history


def weights(network):
    return {n: t.clone() for n, t in network.state_dict().items()}


def same(a, b):
    a, b = (x if isinstance(x, dict) else weights(x) for x in (a, b))
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


SHORT = Settings(steps=24, batch=4, patch=24, rate=2e-3, epoch=8)


def test_a_network_learns():
    model = tiny()
    taught, checked = split([pair(model, native(model, 240, seed), 1) for seed in range(2)], 24)
    network = built(model)
    before = error(network, "20m", checked)
    history = train(network, "20m", taught, checked, replace(SHORT, steps=80, rate=5e-3, epoch=20))
    assert [p.step for p in history] == [20, 40, 60, 80]
    assert np.all(np.diff([p.loss for p in history]) < 0)
    assert history[-1].loss < 0.6 * history[0].loss
    # more than to be silent: it beats the interpolation that it corrects
    (_, coarse), label = checked.cut(range(len(checked)))
    cubic = np.abs(GridResize(2)(torch.from_numpy(coarse)).numpy() - label).mean()
    assert error(network, "20m", checked) < 0.5 * cubic < before
    assert not network.training


def test_the_same_settings_give_the_same_weights_and_another_seed_others(lesson):
    one, _ = taught_in(lesson, SHORT)
    again, _ = taught_in(lesson, SHORT)
    other, _ = taught_in(lesson, replace(SHORT, seed=1))
    assert same(one, again)
    assert not same(one, other)


def test_the_rate_rises_then_falls_along_a_cosine(lesson):
    _, history = taught_in(lesson, Settings(steps=40, batch=1, patch=24, rate=1e-3, epoch=1))
    rates = [p.rate for p in history]
    # a twentieth of 40 steps to rise in: a half, all of it; then (1 + cos(pi share)) / 2 over the other 38
    assert rates[:3] == pytest.approx([5e-4, 1e-3, 1e-3])
    assert rates[21] == pytest.approx(5e-4)
    assert rates[-1] == pytest.approx(1e-3 * 0.5 * (1 + math.cos(math.pi * 37 / 38)))
    assert np.all(np.diff(rates[2:]) < 0)


def test_steps_are_as_long_as_the_rate_says(lesson):
    model, taught, checked = lesson
    network = built(model)
    before, moved = weights(network), {}

    def told(progress):
        if progress == 1:
            moved.update({n: (t - before[n]).abs().max().item() for n, t in network.state_dict().items()})

    train(network, "20m", taught, checked, Settings(steps=40, batch=4, patch=24, rate=1e-3, epoch=40), told=told)
    # Adam's first step is of the rate's length for every weight, and the first of two that rise is half of the highest
    assert max(moved.values()) == pytest.approx(5e-4, rel=1e-3)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("stop", [8, 11, 17])
def test_going_on_after_a_stop_gives_the_very_weights_of_a_training_without_one(lesson, tmp_path, stop):
    undisturbed, history = taught_in(lesson, SHORT)

    def until(progress):
        if progress == stop + 1:
            raise Stopped

    with pytest.raises(Stopped):
        taught_in(lesson, SHORT, tmp_path, until)
    steps = []
    resumed, resumed_history = taught_in(lesson, SHORT, tmp_path, steps.append, seed=9)  # whatever it began with
    assert [s for s in steps if not isinstance(s, Progress)] == list(range(stop // 8 * 8 + 1, 25))
    assert same(resumed, undisturbed)
    assert resumed_history == history
    # nothing is left to do
    done, _ = taught_in(lesson, SHORT, tmp_path, steps.append, seed=9)
    assert len(steps) == 24 - stop // 8 * 8 + 3 - stop // 8
    assert same(done, undisturbed)


def test_other_settings_begin_anew(lesson, tmp_path):
    taught_in(lesson, SHORT, tmp_path)
    other = replace(SHORT, rate=1e-3)
    expected, _ = taught_in(lesson, other)
    found, history = taught_in(lesson, other, tmp_path)
    assert same(found, expected)
    assert len(history) == 3


def test_a_checkpoint_of_other_scenes_is_not_gone_on_with(lesson, tmp_path):
    model, taught, checked = lesson
    counts = []
    for about in ("these scenes", "those scenes", "those scenes"):
        steps = []
        train(built(model), "20m", taught, checked, SHORT, tmp_path, steps.append, about)
        counts.append(sum(isinstance(step, int) for step in steps))
    assert counts == [24, 24, 0]


def test_a_line_of_the_history_for_every_epoch(lesson, tmp_path):
    heard = []
    _, history = taught_in(lesson, replace(SHORT, steps=20), tmp_path, heard.append)
    with (tmp_path / "20m.history.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["step"]) for line in lines] == [8, 16, 20]
    assert [Progress(int(line.pop("step")), **{k: float(v) for k, v in line.items()}) for line in lines] == history
    assert [h for h in heard if isinstance(h, Progress)] == history
    assert [h for h in heard if not isinstance(h, Progress)] == list(range(1, 21))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["20m.checkpoint.safetensors", "20m.history.csv"]


def scripted(monkeypatch, validations):
    """Validation gives these, epoch by epoch; the weights of every epoch are kept."""
    seen = []

    def told(network, group, patches, batch=8):
        seen.append(weights(network))
        return validations[len(seen) - 1]

    monkeypatch.setattr("pipeline.training.loop.error", told)
    return seen


def test_the_best_weights_are_kept(lesson, monkeypatch):
    seen = scripted(monkeypatch, [0.5, 0.2, 0.4])
    network, history = taught_in(lesson, SHORT)
    assert [p.validation for p in history] == [0.5, 0.2, 0.4]
    assert same(network, seen[1])
    assert not same(network, seen[2])


def test_the_best_weights_are_kept_across_a_stop(lesson, monkeypatch, tmp_path):
    seen = scripted(monkeypatch, [0.2, 0.5, 0.3])

    def until(progress):
        if progress == 17:
            raise Stopped

    with pytest.raises(Stopped):
        taught_in(lesson, SHORT, tmp_path, until)
    network, _ = taught_in(lesson, SHORT, tmp_path, seed=9)
    assert same(network, seen[0])


def test_without_held_out_patches_the_last_weights_are_kept(lesson):
    model, taught, checked = lesson
    nothing = Patches(checked.pairs, checked.places[:0], checked.size, checked.ratio)
    network, history = taught_in((model, taught, nothing), SHORT)
    assert all(math.isnan(p.validation) for p in history)
    begun = built(model)
    assert not same(network, begun)
    again = built(model)
    last = []
    train(again, "20m", taught, nothing, SHORT, told=lambda p: last.append(weights(again)) if p == 24 else None)
    assert same(network, last[0])


def test_it_ends_early_when_patience_is_out(lesson, monkeypatch):
    many = replace(SHORT, steps=80, patience=3)
    scripted(monkeypatch, [0.5, 0.4, 0.45, 0.41, 0.4] + [0.1] * 5)
    _, history = taught_in(lesson, many)
    assert len(history) == 5  # the second was the best; three epochs later none was better
    scripted(monkeypatch, [0.5, 0.4, 0.45, 0.41, 0.3, 0.6, 0.6, 0.6, 0.6, 0.6])
    assert len(taught_in(lesson, many)[1]) == 8
    scripted(monkeypatch, [0.1] + [0.5] * 9)
    assert len(taught_in(lesson, replace(many, patience=0))[1]) == 10


def test_only_the_group_that_is_taught_changes():
    model = tiny(ALL_BANDS)
    network = built(model)
    before = weights(network)
    taught, checked = split([pair(model, native(model, 240), 1)], 24)
    train(network, "20m", taught, checked, replace(SHORT, steps=2))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]) == name.startswith("networks.60m")


def test_pixels_seen_by_hand():
    assert Settings(steps=10, batch=3, patch=20).pixels == 10 * 3 * 400


def test_the_error_is_the_mean_over_all_patches_whatever_the_batch(lesson):
    model, _, checked = lesson
    network = built(model)
    with torch.inference_mode():
        inputs, label = checked.cut(range(len(checked)))
        estimate = network.estimate("20m", [torch.from_numpy(x) for x in inputs]).numpy()
    expected = np.abs(estimate - label).mean()
    assert len(checked) % 3
    for batch in (1, 3, 8, 100):
        assert error(network, "20m", checked, batch) == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def gated():
    model = tiny(name="mpifnet", network={"width": 2})
    return model, *split([pair(model, native(model, 120), 1)], 12)


def test_gates_pool_until_their_share_of_the_steps_is_done(gated):
    model, taught, checked = gated
    network = built(model)
    gates = channel_gates(network)
    pooled = {}

    def told(progress):
        pooled[progress] = {gate.pooled for gate in gates}

    train(network, "20m", taught, checked, Settings(steps=5, batch=2, patch=12, epoch=5, gates=0.6), told=told)
    assert [pooled[step] for step in range(1, 6)] == [{True}, {True}, {True}, {False}, {False}]
    assert any((gate.fixed != 0.5).any() for gate in gates)
    assert all(torch.isfinite(gate.fixed).all() for gate in gates)
    assert {gate.pooled for gate in gates} == {False}


def test_gates_fixed_from_the_start_are_means_over_what_the_weights_gave_at_first(gated):
    model, taught, checked = gated
    network = built(model)
    fixed = []

    def told(progress):
        fixed.append([gate.fixed.clone() for gate in channel_gates(network)])

    train(network, "20m", taught, checked, Settings(steps=2, batch=2, patch=12, epoch=2, gates=0.0), told=told)
    first = channel_gates(network)[0]
    assert all(torch.equal(a, b) for a, b in zip(fixed[0], fixed[-1], strict=True))
    # the first gate of the finest branch, by hand: the mean over 16 batches of two, drawn from the seed, step and a 1
    fresh = built(model).networks["20m"]
    block = fresh.stages[0].blocks[0]
    block.spectral[0].pooled = True
    total = []
    with torch.no_grad():
        for index in range(16):
            (x, _), _ = taught.draw(2, np.random.default_rng([0, index, 1]))
            features = torch.relu(block.convs[0](fresh.heads[0](5 * torch.from_numpy(x))))
            total.append(block.spectral[0](features))
    torch.testing.assert_close(first.fixed, torch.cat(total).mean(dim=0, keepdim=True))


def test_gates_are_fixed_even_where_patience_ends_it_before(gated, monkeypatch):
    scripted(monkeypatch, [0.1, 0.2, 0.3])
    network, history = taught_in(gated, Settings(steps=20, batch=2, patch=12, epoch=1, gates=0.9, patience=1))
    assert len(history) == 2
    assert {gate.pooled for gate in channel_gates(network)} == {False}
    assert any((gate.fixed != 0.5).any() for gate in channel_gates(network))


def test_weights_from_before_the_gates_were_fixed_are_not_the_best(gated, monkeypatch):
    seen = scripted(monkeypatch, [0.1, 0.5, 0.4, 0.6])  # gates are fixed after two epochs
    network, _ = taught_in(gated, Settings(steps=4, batch=2, patch=12, epoch=1, gates=0.5, rate=2e-3))
    assert same(network, seen[2])


@pytest.mark.parametrize(("gates", "stop"), [(0.6, 3), (0.6, 5), (0.3, 5)])
def test_a_gated_network_goes_on_after_a_stop_too(gated, tmp_path, gates, stop):
    # gates are fixed before step 4 or before step 2, where epochs begin; what is saved at 2 and 4 has them so or not yet
    how = Settings(steps=6, batch=2, patch=12, epoch=2, gates=gates, rate=2e-3)
    whole, _ = taught_in(gated, how)

    def until(progress):
        if progress == stop:
            raise Stopped

    with pytest.raises(Stopped):
        taught_in(gated, how, tmp_path, until)
    resumed, _ = taught_in(gated, how, tmp_path, seed=9)
    assert same(resumed, whole)
    assert not any(gate.pooled for gate in channel_gates(resumed))


# Windows of a scene


@pytest.fixture(scope="module")
def scenes(archive):
    """The two L2A scenes of the simulated archive: a clear one and a cloudy one."""
    start, end = datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 6, 30, tzinfo=UTC)
    return find(Query(str(archive / "catalog.json"), SENTINEL2, start, end, level="L2A"))


@pytest.fixture(scope="module")
def clear(scenes):
    """The one window of the clear scene."""
    model = tiny()
    return model, list(windows(model, scenes[0], lattice_of(model, scenes[0]), 3))


def test_places_are_the_scenes_own_choice(scenes):
    model = tiny(ALL_BANDS)
    lattice = lattice_of(model, scenes[0])
    assert (lattice.crs, lattice.step, lattice.resolution) == ("EPSG:32633", 60, 10)
    left, top = 399960.0, 5799960.0
    large = replace(scenes[0], extent=(left, top - 20_000, left + 19_000, top))
    found = places(large, lattice)
    whole = lattice.box(large.extent)
    # 20 by 19 km: four columns, of which the last is a hundred pixels, too narrow; three rows and one of two kilometres
    assert len(found) == 3 * 4
    assert all(whole.holds(box) for box in found)
    assert {(box.left - whole.left) % 100 for box in found} == {(box.top - whole.top) % 100 for box in found} == {0}
    assert max(box.width for box in found) == max(box.height for box in found) == 100  # of 60 m: 600 pixels
    assert min(box.width for box in found) == 100
    assert min(box.height for box in found) == 34  # what is left of 333.3 steps, rounded outward
    pixels = [(r, c) for b in found for r in range(b.top, b.bottom) for c in range(b.left, b.right)]
    assert len(set(pixels)) == len(pixels)
    assert places(large, lattice) == found  # the same for everyone
    assert places(replace(large, cloud_cover=90.0, hrefs={}), lattice) == found
    other = places(replace(large, id="another"), lattice)
    assert other != found
    assert sorted(other, key=str) == sorted(found, key=str)
    in_rows = sorted(found, key=lambda b: (b.top, b.left))
    assert found not in (in_rows, sorted(found, key=lambda b: (b.left, b.top)))  # spread over the scene


def test_a_scene_of_unknown_or_foreign_place_has_no_windows(scenes):
    lattice = lattice_of(tiny(), scenes[0])
    assert places(replace(scenes[0], extent=None), lattice) == []
    assert places(replace(scenes[0], epsg=32632), lattice) == []


def test_a_window_is_native_reflectance(clear, scenes):
    model, found = clear
    (window,) = found
    assert (window.scene, window.level) == (scenes[0].id, "L2A")
    assert [x.shape for x in window.inputs] == [(4, 600, 600), (6, 300, 300)]
    for wanted, x in zip(model.inputs, window.inputs, strict=True):
        for band, plane in zip(wanted.bands, x, strict=True):
            with rasterio.open(scenes[0].hrefs[band]) as file:
                numbers = file.read(1)
            np.testing.assert_allclose(plane, numbers * 1e-4 - 0.1, rtol=0, atol=1e-6)


def test_clouds_and_their_shadows_are_gaps(scenes, monkeypatch):
    model = tiny(ALL_BANDS)
    scene = scenes[1]
    lattice = lattice_of(model, scene)
    (box,) = places(scene, lattice)
    window = read_window(model, scene, lattice, box)
    with rasterio.open(scene.hrefs["SCL"]) as file:
        cloudy = np.isin(file.read(1), [3, 8, 9, 10])
    assert 0.05 < cloudy.mean() < 0.5
    expected = cloudy.repeat(2, axis=0).repeat(2, axis=1), cloudy, cloudy.reshape(100, 3, 100, 3).any(axis=(1, 3))
    for x, gaps in zip(window.inputs, expected, strict=True):
        for plane in x:
            np.testing.assert_array_equal(np.isnan(plane), gaps)
    # without a classification nothing is known of clouds
    bare = replace(scene, hrefs={k: v for k, v in scene.hrefs.items() if k != "SCL"})
    assert all(np.isfinite(x).all() for x in read_window(model, bare, lattice, box).inputs)
    # it has to be worth it
    share = np.isfinite(window.inputs[-1]).mean()
    assert share < np.isfinite(window.inputs[0]).mean()
    for worth, count in ((share - 0.01, 1), (share + 0.001, 0)):
        monkeypatch.setattr("pipeline.training.windows.WORTH", worth)
        assert len(list(windows(model, scene, lattice, 3))) == count


def test_windows_that_are_not_worth_it_are_passed_over_and_only_so_many_tried(scenes, monkeypatch):
    scene = replace(scenes[0], extent=(399960.0, 5799960.0 - 24_000, 399960.0 + 24_000, 5799960.0))
    model = tiny()
    lattice = lattice_of(model, scene)
    order, tried = places(scene, lattice), []
    assert len(order) == 16
    worth = {}

    def look(model, scene, lattice, box):
        tried.append(box)
        known = np.ones((1, 10, 10), np.float32)
        known[0, :, : worth.get(len(tried), 0)] = np.nan
        return Window(scene.id, scene.level, (np.ones((1, 10, 10), np.float32), known))

    monkeypatch.setattr("pipeline.training.windows.read_window", look)
    monkeypatch.setattr("pipeline.training.windows.WORTH", 0.8)
    assert len(list(windows(model, scene, lattice, 2))) == 2
    assert tried == order[:2]
    tried.clear()
    worth.update({1: 3, 2: 2, 3: 10})  # columns of ten that are not known
    assert len(list(windows(model, scene, lattice, 2))) == 2
    assert tried == order[:4]
    tried.clear()
    worth.update(dict.fromkeys(range(1, 20), 10))
    assert list(windows(model, scene, lattice, 2)) == []
    assert tried == order[:6]


def test_a_file_that_cannot_be_read_is_named(scenes, tmp_path):
    scene = replace(scenes[0], hrefs=dict(scenes[0].hrefs) | {"B05": str(tmp_path / "gone.tif")})
    model = tiny()
    with pytest.raises(OSError, match=rf"{scene.id}: .*\(.*gone\.tif|{scene.id}: .*B05"):
        list(windows(model, scene, lattice_of(model, scene), 1))


# Adapting to a scene


def parent(tmp_path, model, seed=0):
    """The model with random weights kept in a file."""
    file = tmp_path / "parent.safetensors"
    network = built(model, seed)
    card = Card("light", "sentinel-2", "", ("L2A",), ("a",), {g: {} for g in network.networks}, options=TINY)
    save(file, network.state_dict(), card)
    return with_weights(model, file)


def test_adapting_lowers_the_error_on_held_out_patches_of_the_scene(clear, tmp_path):
    plain, found = clear
    model = parent(tmp_path, plain)
    heard = []
    network, lessons = adapt(model, found, 24, heard.append)
    ((name, lesson),) = lessons.items()
    assert (name, lesson.steps, lesson.pixels, lesson.kept) == ("20m", 24, 24 * 8 * 48**2, "")
    assert lesson.after < 0.9 * lesson.before
    assert len([p for p in heard if isinstance(p, Progress)]) == 6  # held-out patches are looked at so often
    # these are the errors before and after, on these patches
    _, checked = split([pair(model, w.inputs, 1) for w in found], 48)
    assert error(build(model), "20m", checked) == pytest.approx(lesson.before)
    assert error(network, "20m", checked) == pytest.approx(lesson.after)
    again, _ = adapt(model, found, 24)
    assert same(network, again)


def test_a_model_without_weights_is_taught_from_scratch(clear):
    model, found = clear
    network, lessons = adapt(model, found, 18)
    assert lessons["20m"].after < 0.5 * lessons["20m"].before
    assert lessons["20m"].kept == ""
    assert same(network, adapt(model, found, 18)[0])  # the first weights are drawn from the seed
    assert not same(network, adapt(model, found, 18, seed=1)[0])


def test_a_scene_that_is_too_small_leaves_the_weights_and_says_why(tmp_path):
    model = parent(tmp_path, tiny())
    edge = 190  # 95 pixels of 20 m
    assert 95**2 < LEAST == 96**2
    window = Window("a", "L2A", tuple(native(model, edge)))
    network, lessons = adapt(model, [window], 5)
    why = "too small or too cloudy: 9025 clear pixels at 20m to learn from, fewer than 9216"
    assert lessons == {"20m": Lesson(0, 0, None, None, why)}
    assert same(network, build(model))


def test_a_scene_full_of_gaps_leaves_the_weights_and_says_why(tmp_path):
    model = parent(tmp_path, tiny())
    window = native(model, 240)
    window[1][:, ::20, ::20] = np.nan
    network, lessons = adapt(model, [Window("a", "L2A", tuple(window))], 5)
    assert lessons["20m"].kept == "too small or too cloudy: no patch of 48 px at 20m is without a gap"
    assert same(network, build(model))


def test_a_scene_that_has_no_patch_to_spare_is_adapted_to_unchecked(tmp_path):
    model = parent(tmp_path, tiny())
    network, lessons = adapt(model, [Window("a", "L2A", tuple(native(model, 240)))], 3)
    # 120 pixels of 20 m: a fifth of them is less than a patch of 48
    assert lessons["20m"] == Lesson(3, 3 * 8 * 48**2, None, None)
    assert not same(network, build(model))


def test_a_group_that_got_worse_is_left_as_it_was(clear, tmp_path, monkeypatch):
    plain, found = clear
    model = parent(tmp_path, plain)
    monkeypatch.setattr(adaptation, "RATE", 10.0)
    network, lessons = adapt(model, found, 2)
    lesson = lessons["20m"]
    assert lesson.kept == "held-out patches did not get better"
    assert lesson.steps == 2
    assert lesson.after > lesson.before
    assert same(network, build(model))


def test_groups_are_adapted_each_on_its_own(tmp_path):
    model = parent(tmp_path, tiny(ALL_BANDS))
    window = native(model, 600)  # 300 pixels of 20 m, but 100 of 60 m: enough to be taught, with 6 of 360 m in 16
    network, lessons = adapt(model, [Window("a", "L2A", tuple(window))], 3)
    assert list(lessons) == ["20m", "60m"]
    assert lessons["60m"] == Lesson(3, 3 * 8 * 48**2, None, None)
    assert lessons["20m"].before is not None
    small = [x[:, : 300 * 10 // r, : 300 * 10 // r] for x, r in zip(window, (10, 20, 60), strict=True)]
    network, lessons = adapt(model, [Window("a", "L2A", tuple(small))], 3)
    assert lessons["20m"].kept == ""
    assert lessons["60m"].kept.startswith("too small or too cloudy: 2500 clear pixels at 60m")
    before = build(model)
    assert same(weights(network.networks["60m"]), weights(before.networks["60m"]))
    assert not same(weights(network.networks["20m"]), weights(before.networks["20m"]))


def test_windows_are_shared_out_among_the_scenes_of_a_day(scenes, monkeypatch):
    asked = []

    def found(model, scene, lattice, count):
        asked.append((scene.id, count))
        return [Window(scene.id, scene.level, ())]

    monkeypatch.setattr(adaptation, "windows", found)
    model = tiny()
    two = list(scenes)
    read = read_windows(model, two, lattice_of(model, two[0]))
    assert [w.scene for w in read] == [s.id for s in two]
    assert asked == [(s.id, 5) for s in two]  # nine together, rounded up


def test_what_has_no_networks_cannot_be_adapted():
    from pipeline.models.registry import bicubic

    with pytest.raises(TypeError, match="'bicubic' has nothing to adapt"):
        adapt(bicubic(SENTINEL2, UP_TO_20, 10), [], 1)
