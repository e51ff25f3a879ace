"""The training loop: learning, stopping and going on, the best weights, gates."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from teaching import ALL_BANDS, built, native, same, tiny, weights

from pipeline.models.gates import channel_gates
from pipeline.models.layers import GridResize
from pipeline.training.loop import Progress, Settings, error, train
from pipeline.training.patches import Patches, split
from pipeline.training.wald import pair

pytestmark = pytest.mark.usefixtures("one_thread")


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
