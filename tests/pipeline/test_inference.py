"""A window in tiles is the whole: halo, tiles, batches, cuts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.flags import dilate
from pipeline.inference import infer
from pipeline.models.registry import bicubic, build, identity, untrained_residual
from pipeline.sensors import SENTINEL2

BANDS = ("B05", "B02", "B09", "B08", "B12")
RESIDUAL = untrained_residual(SENTINEL2, BANDS, 10, width=8, blocks=2)
DECLARED = (RESIDUAL, identity(SENTINEL2, BANDS, 10), bicubic(SENTINEL2, BANDS, 10))
MODELS = {model.name: replace(model, tile=36) for model in DECLARED}
NETWORKS = {name: build(model) for name, model in MODELS.items()}
DOUBLES = {name: build(model).double() for name, model in MODELS.items()}
HALO = 18
"""Pixels around the cores of these tests: three steps of 60 m, and what the residual network declares."""
CORE = 84
"""Edge of the whole, two tiles and a third of one."""

every = pytest.mark.parametrize("name", MODELS)


def land(model, dtype, seed=0):
    """Inputs over the whole and its halo, and the coarsest ratio."""
    rng = np.random.default_rng(seed)
    edge = CORE + 2 * HALO
    return [rng.random((len(i.bands), *[edge * 10 // i.resolution] * 2)).astype(dtype) for i in model.inputs]


def window(model, inputs, rows, cols):
    """Inputs over a core (rows and columns of the whole, on steps of 6 px) and its halo."""
    cut = []
    for wanted, x in zip(model.inputs, inputs, strict=True):
        f = wanted.resolution // 10
        cut.append(x[:, rows[0] // f : (rows[1] + 2 * HALO) // f, cols[0] // f : (cols[1] + 2 * HALO) // f])
    return cut


def test_declared_halos():
    # residual: 2 + 2 x 2 convolutions that reach a pixel each, and two 60 m pixels of 6; bicubic: the latter alone
    halos = {name: model.halo for name, model in MODELS.items()}
    assert halos == {"untrained-residual": 6 + 12, "identity": 0, "bicubic": 12}


@every
@pytest.mark.parametrize("tile", [12, 36, 60])
def test_tiles_equal_the_whole(name, tile):
    model, network = replace(MODELS[name], tile=tile), DOUBLES[name]
    inputs = land(model, np.float64)
    with torch.inference_mode():
        whole = network(*(torch.from_numpy(x)[None] for x in inputs))[0, :, HALO:-HALO, HALO:-HALO].numpy()
    tiled = infer(network, model, inputs, HALO)
    assert tiled.dtype == np.float64
    assert tiled.shape == (len(BANDS), CORE, CORE)
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-12)


spans = st.tuples(st.integers(0, CORE // 6), st.integers(0, CORE // 6)).map(sorted).filter(lambda s: s[0] < s[1])


@every
@given(spans, spans)
@settings(max_examples=8, deadline=None)
def test_a_core_cut_anywhere_gives_the_same_bits(name, rows, cols):
    model, network = MODELS[name], NETWORKS[name]
    inputs = land(model, np.float32)
    rows, cols = [6 * r for r in rows], [6 * c for c in cols]
    whole = infer(network, model, inputs, HALO)
    core = infer(network, model, window(model, inputs, rows, cols), HALO)
    assert core.dtype == np.float32
    np.testing.assert_array_equal(core, whole[:, rows[0] : rows[1], cols[0] : cols[1]])


@every
def test_halo_is_as_wide_as_declared_and_no_wider(name):
    """One 60 m pixel changes exactly what lies within the halo of its centre."""
    model, network = MODELS[name], DOUBLES[name]
    inputs = land(model, np.float64)
    before = infer(network, model, inputs, HALO)
    inputs[-1][:, 8, 8] += 10
    changed = (infer(network, model, inputs, HALO) != before).any(axis=0)
    first = 8 * 6 - HALO  # its first row and column in the core; its centre lies between first + 2 and first + 3
    far = model.halo or 3  # repeated pixels reach half their own edge
    expected = [first + 3 - far, first + 2 + far]
    for axis in (0, 1):
        places = np.flatnonzero(changed.any(axis=axis))
        assert [places.min(), places.max()] == expected
    # the flags that follow from a gap there reach at least as far
    gap = np.zeros_like(changed)
    gap[first : first + 6, first : first + 6] = True
    assert not (changed & ~dilate(gap, model.inputs[-1].influence)).any()


@every
def test_what_lies_beyond_the_halo_of_a_core_is_not_seen(name):
    model, network = MODELS[name], DOUBLES[name]
    here, elsewhere = land(model, np.float64, seed=0), land(model, np.float64, seed=1)
    rows, cols = (30, 36), (48, 54)
    for wanted, x, other in zip(model.inputs, here, elsewhere, strict=True):
        f, out = wanted.resolution // 10, HALO - model.halo
        near = [slice((a + out) // f, (b + 2 * HALO - out) // f) for a, b in (rows, cols)]
        other[:, near[0], near[1]] = x[:, near[0], near[1]]
    a, b = (infer(network, model, x, HALO)[:, slice(*rows), slice(*cols)] for x in (here, elsewhere))
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@every
def test_batches_agree(name):
    model, network = MODELS[name], NETWORKS[name]
    inputs = land(model, np.float32)
    one = infer(network, model, inputs, HALO)
    for batch in (3, 4):  # nine tiles: three whole batches, or two and one filled up
        np.testing.assert_allclose(infer(network, model, inputs, HALO, batch=batch), one, rtol=0, atol=1e-6)


def test_a_halo_below_the_declared_one_is_an_error():
    model = MODELS["bicubic"]
    with pytest.raises(ValueError, match="a halo of 6 px is less than the 12 px"):
        infer(NETWORKS["bicubic"], model, land(model, np.float32), halo=6)


def test_the_seed_decides_the_random_weights_and_leaves_torchs_own_alone():
    state = torch.get_rng_state()
    same, other = build(RESIDUAL), build(untrained_residual(SENTINEL2, BANDS, 10, width=8, blocks=2, seed=1))
    assert torch.equal(torch.get_rng_state(), state)
    assert not same.training
    weights = NETWORKS["untrained-residual"].state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in same.state_dict().items())
    assert not torch.equal(other.tail.weight, same.tail.weight)


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.integers(0, 14))
@settings(max_examples=60, deadline=None)
def test_dilate_is_true_within_the_radius(mask, radius):
    rows, cols = (np.arange(n) for n in mask.shape)
    expected = np.zeros_like(mask)
    for r, c in np.argwhere(mask):
        expected |= (np.abs(rows - r) <= radius)[:, None] & (np.abs(cols - c) <= radius)
    np.testing.assert_array_equal(dilate(mask, radius), expected)
