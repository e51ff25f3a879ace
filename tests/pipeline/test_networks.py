"""The networks: size, shape, what their switches switch, how far they reach; tiles of them are the whole."""

from dataclasses import replace
from functools import cache
from itertools import product
from math import exp, tanh

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.device import Equipment, Runner
from pipeline.errors import Refused
from pipeline.inference import infer
from pipeline.models.architectures import ARCHITECTURES, architecture
from pipeline.models.declaration import FusionModel, Input, Output
from pipeline.models.dsen2 import DSen2
from pipeline.models.gates import channel_gates, set_pooled
from pipeline.models.layers import GridResize, ResBlock
from pipeline.models.light import Light
from pipeline.models.mpifnet import Injection, MPIFNet, MultiScale, Recurrent
from pipeline.models.rdsr import RDSR, Dense
from pipeline.models.registry import build, sharpening
from pipeline.models.sprnet import SPRNet
from pipeline.sensors import SENTINEL2

UP_TO_20 = tuple(band.name for band in SENTINEL2.bands if band.resolution <= 20)
ALL_BANDS = tuple(band.name for band in SENTINEL2.bands)
FINE, MIDDLE, COARSE = 4, 6, 2
"""Bands of 10, 20 and 60 m."""
TO_20, TO_60 = ((FINE, MIDDLE), (1, 2)), ((FINE, MIDDLE, COARSE), (1, 2, 6))
NARROW = {
    "light": {"width": 4},
    "dsen2": {"width": 4},
    "spr-net": {"width": 4},
    "rdsr": {"width": 2, "growth": 1},
    "mpifnet": {"width": 2},
}
"""Width costs time and reaches nowhere."""
CLASSES = {"light": Light, "dsen2": DSen2, "spr-net": SPRNet, "rdsr": RDSR, "mpifnet": MPIFNet}

every = pytest.mark.parametrize("name", ARCHITECTURES)
either = pytest.mark.parametrize(("bands", "ratios"), [TO_20, TO_60], ids=["20m", "60m"])


pytestmark = pytest.mark.usefixtures("one_thread")


def size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def on_paper(network, bands, ratios, **options):
    """A network without numbers, to be counted."""
    with torch.device("meta"):
        return network(bands, ratios, **options)


def seeded(network, *args, **options):
    torch.manual_seed(0)
    return network(*args, **options)


def land(bands, ratios, edge=24, dtype=torch.float32, seed=1):
    torch.manual_seed(seed)
    return [torch.rand(1, n, edge // r, edge // r, dtype=dtype) for n, r in zip(bands, ratios, strict=True)]


# Sizes


@pytest.mark.parametrize(
    ("network", "to_20", "to_60"),
    # models.md: MPIFNet as measured on the paper's description (the paper says 6.25 M for 60 m); DSen2 by hand, at 20 m:
    # 10 9 128 + 128 = 11,648 in, twelve of 128 9 128 + 128 = 147,584, 128 9 6 + 6 = 6,918 out
    [(MPIFNet, 2_928_608, 6_259_551), (DSen2, 1_789_574, 1_787_266)],
)
def test_number_of_weights(network, to_20, to_60):
    assert size(on_paper(network, *TO_20)) == to_20
    assert size(on_paper(network, *TO_60)) == to_60


@either
def test_light_is_light(bands, ratios):
    assert 0 < size(on_paper(Light, bands, ratios)) < 500_000


@every
@either
def test_bands_of_the_coarsest_input_on_the_grid_of_the_finest(name, bands, ratios):
    network = CLASSES[name](bands, ratios, **NARROW[name])
    inputs = [torch.rand(2, n, 12 // r, 18 // r) for n, r in zip(bands, ratios, strict=True)]
    assert network(*inputs).shape == (2, bands[-1], 12, 18)


@every
@either
def test_what_is_learned_is_a_residual_to_the_cubic_interpolation(name, bands, ratios):
    network = CLASSES[name](bands, ratios, **NARROW[name])
    last = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    # of convolutions, only the last has as many outputs as bands are wanted (unfolded where it folds)
    outputs = bands[-1] * (4 if name == "light" else 1)
    closing = {"mpifnet": "reconstruct", "spr-net": "fuse"}.get(name, "tail")
    part = getattr(network, closing)
    final = part if isinstance(part, nn.Conv2d) else part[-1]
    assert final in last
    assert final.out_channels == outputs
    nn.init.zeros_(final.weight)
    nn.init.zeros_(final.bias)
    inputs = land(bands, ratios)
    assert torch.equal(network(*inputs), GridResize(ratios[-1])(inputs[-1]))
    nn.init.ones_(final.bias)
    torch.testing.assert_close(network(*inputs), GridResize(ratios[-1])(inputs[-1]) + 1)


@every
@either
def test_every_input_has_a_say(name, bands, ratios):
    network = seeded(CLASSES[name], bands, ratios, **NARROW[name] | ({"width": 8} if name != "rdsr" else {})).double()
    inputs = land(bands, ratios, dtype=torch.float64)
    with torch.no_grad():
        before = network(*inputs)
        for index in range(len(bands)):
            changed = [x + 0.5 if i == index else x for i, x in enumerate(inputs)]
            difference = network(*changed) - before
            if index == len(bands) - 1:
                difference = difference - 0.5  # more than through the interpolation alone
            assert difference.abs().max() > 1e-7


def test_a_name_that_is_not_known_is_refused():
    with pytest.raises(Refused, match=r"there is no network 'mpifnt': did you mean 'mpifnet'\?"):
        architecture("mpifnt")


# Parts of MPIFNet


def test_multiscale_block_by_hand():
    # middles of the three kernels 1, 2, 3; spectral factors 0.5, 0.25, 1; spatial factors 0.5 (weights zero); fused
    # with 1, 10, 100, and the input itself with 1000
    block = MultiScale(1, 1)
    set_pooled(block, False)
    with torch.no_grad():
        for p in block.parameters():
            p.zero_()
        for conv, middle, gate, factor in zip(block.convs, (1, 2, 3), block.spectral, (0.5, 0.25, 1.0), strict=True):
            conv.weight[0, 0, conv.kernel_size[0] // 2, conv.kernel_size[0] // 2] = middle
            gate.fixed.fill_(factor)
        block.fuse.weight[0, :, 1, 1] = torch.tensor([1.0, 10, 100, 1000])
        found = block(torch.tensor([0.2, -0.2]).reshape(1, 1, 1, 2)).flatten().tolist()
    assert [conv.kernel_size for conv in block.convs] == [(3, 3), (5, 5), (7, 7)]
    # 1 (0.5 0.5) + 10 (2 0.25 0.5) + 100 (3 1 0.5) + 1000 = 1152.75; below zero the scales are cut off
    assert found == pytest.approx([0.2 * 1152.75, -200])


def test_injection_is_a_weighted_mean():
    a, b = torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), 10.0)
    inject = Injection(2, weighted=True)
    with torch.no_grad():
        assert inject(a, b).item() == pytest.approx(12 / 2.0001)  # weights begin equal
        inject.weights.copy_(torch.tensor([1.0, 3.0]))
        assert inject(a, b).item() == pytest.approx((2 + 3 * 10) / 4.0001)
        inject.weights.copy_(torch.tensor([1.0, -3.0]))  # none is negative
        assert inject(a, b).item() == pytest.approx(2 / 1.0001)


def test_recurrent_unit_by_hand():
    unit = Recurrent(1)
    with torch.no_grad():
        for p in unit.parameters():
            p.zero_()
        unit.candidate.weight[0, :, 1, 1] = torch.tensor([2.0, 1.0])  # of the reset state, and of the input
        unit.reset.bias.fill_(1.0)
        unit.update.weight[0, :, 1, 1] = torch.tensor([0.5, -1.0])
        found = unit(torch.full((1, 1, 1, 1), 0.3), torch.full((1, 1, 1, 1), 0.8)).item()
    reset, update = 1 / (1 + exp(-1)), 1 / (1 + exp(-(0.5 * 0.8 - 0.3)))
    assert found == pytest.approx((1 - update) * 0.8 + update * tanh(2 * reset * 0.8 + 0.3))


def test_stages_climb_to_the_next_finer_branch():
    network = on_paper(MPIFNet, *TO_60)
    assert [stage.reached for stage in network.stages] == [[1, 2, 2], [1, 1, 1]]
    factors = [{name: climb[1].upscale_factor for name, climb in s.climb.items()} for s in network.stages]
    assert factors == [{"2": 3}, {"1": 2, "2": 2}]
    # the coarsest takes the middle in; then the middle takes the fine in, and the coarsest both
    assert [stage.sources for stage in network.stages] == [{2: [2, 1]}, {1: [1, 0], 2: [2, 0, 1]}]
    assert len([m for m in network.modules() if isinstance(m, MultiScale)]) == 9
    assert len(channel_gates(network)) == 27


def test_gates_squeeze_to_the_number_of_bands():
    network = on_paper(MPIFNet, *TO_60)
    for blocks in (*(stage.blocks for stage in network.stages), network.last):
        assert [block.spectral[0].squeeze.out_channels for block in blocks] == [FINE, MIDDLE, COARSE]


# Parts of the others


def test_residual_block_adds_a_tenth():
    block = ResBlock(1)
    with torch.no_grad():
        for p in block.parameters():
            p.zero_()
        block.body[0].weight[0, 0, 1, 1], block.body[2].weight[0, 0, 1, 1] = 2.0, 3.0
        found = block(torch.tensor([0.5, -0.5]).reshape(1, 1, 1, 2)).flatten().tolist()
    assert found == pytest.approx([0.5 + 0.1 * 3 * 2 * 0.5, -0.5])


def test_dense_block_by_hand():
    # middles: every layer of one channel adds up all before it; below zero a fifth goes on. From 1: 1, 2, 4, 8, and the last
    # 16, of which a fifth is added; from -1: -0.2, then a fifth of -1.2, -1.44, -1.728, and the last -2.0736
    block = Dense(1, 1)
    with torch.no_grad():
        for conv in block.convs:
            conv.weight.zero_()
            conv.bias.zero_()
            conv.weight[:, :, 1, 1] = 1
        found = block(torch.tensor([1.0, -1.0]).reshape(1, 1, 1, 2)).flatten().tolist()
    assert found == pytest.approx([1 + 0.2 * 16, -1 - 0.2 * 2.0736])


def test_rdsr_scales_every_block_and_goes_around_all_of_them():
    network = seeded(RDSR, *TO_20, width=4, growth=2)
    seen = []
    network.tail.register_forward_hook(lambda m, inputs, out: seen.append(inputs[0]))
    network.head.register_forward_hook(lambda m, inputs, out: seen.append(out))
    with torch.no_grad():
        for block in network.blocks:
            for p in block.parameters():
                p.zero_()
        network(*land(*TO_20, edge=12))
    head, tail = seen
    # a dense layer of zeros gives its input, of which a block adds a fifth: three times; and the head's beside them
    torch.testing.assert_close(tail, head * (1 + 1.2**3))


# Switches of the ablation


def test_without_stages_every_branch_climbs_at_once_and_nothing_is_injected():
    network = on_paper(MPIFNet, *TO_60, progressive=False)
    (stage,) = network.stages
    assert {name: climb[1].upscale_factor for name, climb in stage.climb.items()} == {"1": 2, "2": 6}
    assert len(stage.inject) == 0
    assert size(network) != size(on_paper(MPIFNet, *TO_60))
    (stage,) = on_paper(MPIFNet, *TO_20, progressive=False).stages
    assert len(stage.inject) == 0


@either
def test_without_interaction_its_weights_are_gone(bands, ratios):
    whole, without = (on_paper(MPIFNet, bands, ratios, interactive=i) for i in (True, False))
    assert without.interaction is None
    # a branch: four convolutions 64 to 64, 36,928 weights each, and three 128 to 64, 73,792 each
    assert size(whole) - size(without) == len(bands) * (4 * 36_928 + 3 * 73_792)
    x = land(bands, ratios, edge=12)
    a, b = (seeded(MPIFNet, bands, ratios, width=4, interactive=i)(*x) for i in (True, False))
    assert not torch.allclose(a, b)


@pytest.mark.parametrize(("bands", "ratios", "injected"), [(*TO_20, 2), (*TO_60, 2 + 2 + 3)])
def test_without_weighting_injections_are_plain_means(bands, ratios, injected):
    whole, without = (on_paper(MPIFNet, bands, ratios, weighted=w) for w in (True, False))
    assert size(whole) - size(without) == injected
    assert [n for n, _ in whole.named_parameters() if "inject" in n]
    assert not [n for n, _ in without.named_parameters() if "inject" in n]
    assert not [n for n in without.state_dict() if "inject" in n]
    a, b = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    assert Injection(2, weighted=False)(a, b).item() == pytest.approx(0.5, abs=1e-4)


def test_a_chain_has_the_same_weights_and_gives_another_image():
    inputs = land(*TO_60, edge=12)
    star, chain = (seeded(MPIFNet, *TO_60, width=8, chain=c) for c in (False, True))
    assert {n: t.shape for n, t in star.state_dict().items()} == {n: t.shape for n, t in chain.state_dict().items()}
    with torch.no_grad():
        assert (star(*inputs) - chain(*inputs)).abs().max() > 1e-6


def test_state_is_handed_from_the_finest_branch_or_from_branch_to_branch():
    """Units that add what they are given to the state: 1, 2, 4 become 1, 1 + 2, and 1 + 4 or 1 + 2 + 4."""
    for chain, expected in ((False, [1, 3, 5]), (True, [1, 3, 7])):
        interaction = seeded(MPIFNet, *TO_60, width=1, chain=chain).interaction

        class Add(nn.Module):
            def forward(self, x, state):
                return x + state

        interaction.units = nn.ModuleList(Add() for _ in range(3))
        interaction.before = interaction.after = nn.ModuleList(nn.Identity() for _ in range(3))
        branches = [torch.full((1, 1, 2, 2), v) for v in (1.0, 2.0, 4.0)]
        found = [x.mean().item() - b.mean().item() for x, b in zip(interaction(branches), branches, strict=True)]
        assert found == expected  # beside the short cut


# Reach


@cache
def narrow(name, bands=ALL_BANDS, **options):
    model = sharpening(name, SENTINEL2, bands, precision="float32", network=NARROW[name] | options)
    torch.manual_seed(0)
    return model, build(model).double()


def strip(model, index, length):
    """Inputs up to one, two of its own pixels high: what reaches along does so in a strip as well."""
    rng = np.random.default_rng(0)
    out = []
    for wanted in model.inputs[: index + 1]:
        f = wanted.resolution // 10
        out.append(torch.from_numpy(rng.random((1, len(wanted.bands), 12 // f, length // f))))
    return out


def footprint(network, inputs, group, index, down, value):
    """Columns (rows where ``down``) of the output, from the touched pixel's own edges, that change."""
    ratio = network.ratios[index]
    places = []
    for x in (inputs, [x.clone() for x in inputs]):
        if x is not inputs:
            x[index][..., x[index].shape[-1] // 2] += value
        x = [i.transpose(2, 3) for i in x] if down else x
        with torch.inference_mode():
            out = network.estimate(group, x)
        places.append(out.transpose(2, 3) if down else out)
    difference = places[1] - places[0]
    changed = np.flatnonzero(((difference.abs() > 1e-12) | difference.isnan()).any(dim=(0, 1, 2)).numpy())
    first = inputs[index].shape[-1] // 2 * ratio
    return first - changed.min(), changed.max() - (first + ratio - 1)


@pytest.mark.parametrize("down", [False, True], ids=["across", "down"])
@pytest.mark.parametrize("group", ["20m", "60m"])
@every
def test_declared_reach_is_enough_and_not_wildly_more(name, group, down):
    model, network = narrow(name)
    last = network.groups[group]
    reach = architecture(name).reach[network.ratios[last]]
    inputs = strip(model, last, 2 * (reach // 12 * 12 + 36))
    farthest = 0
    for index in range(last + 1):
        by_value = footprint(network, inputs, group, index, down, 10.0)
        # a pixel that is no number makes everything that looks at it none, however little
        structural = footprint(network, inputs, group, index, down, float("nan"))
        assert max(*by_value, *structural) <= reach
        farthest = max(farthest, *structural)
    # cubic interpolation reaches two coarse pixels from a pixel's centre: half a one less from its edge
    assert farthest >= reach - 6


@every
def test_gates_that_pool_are_told_of(name):
    model = sharpening(name, SENTINEL2, UP_TO_20, gates="pooled", network=NARROW[name])
    network = build(model)
    assert bool(channel_gates(network)) == architecture(name).gated == model.global_context
    assert all(gate.pooled for gate in channel_gates(network))
    assert not any(g.pooled for g in channel_gates(build(replace(model, options=narrow(name, UP_TO_20)[0].options))))
    if not model.global_context:
        assert (model.align, model.blend, model.halo) == (1, 0, architecture(name).reach[2])
    else:
        assert (model.align, model.reach, model.halo) == (model.tile, 34, model.tile + 34)
        assert 0 < model.blend <= model.reach


# The sharpener around them


class Recorder(nn.Module):
    """Keeps what it is given and gives a constant."""

    def __init__(self, bands, value):
        super().__init__()
        self.bands, self.value, self.given = bands, value, None

    def forward(self, *inputs):
        self.given = inputs
        x = inputs[0]
        return torch.full((x.shape[0], self.bands, *x.shape[2:]), self.value, dtype=x.dtype)


def test_bands_come_in_the_order_asked_for_and_the_fine_ones_untouched():
    bands = ("B12", "B03", "B09", "B05", "B02")
    network = build(sharpening("light", SENTINEL2, bands, network=NARROW["light"]))
    recorders = {"20m": Recorder(MIDDLE, 10.0), "60m": Recorder(COARSE, 20.0)}
    network.networks.update(recorders)
    inputs = land(*TO_60, edge=96)
    out = network(*inputs)
    assert out.shape == (1, 5, 96, 96)
    assert torch.equal(out[0, 1], inputs[0][0, 1])  # B03 is the second of B02, B03, B04, B08
    assert torch.equal(out[0, 4], inputs[0][0, 0])
    middle = (slice(42, -42),) * 2
    # networks are given five times the reflectance, and what they give is divided by it
    for index, value in ((0, 2.0), (3, 2.0), (2, 4.0)):
        assert (out[0, index][middle] == value).all()
    for got, x in zip(recorders["60m"].given, inputs, strict=True):
        torch.testing.assert_close(got, 5 * x)


def test_only_what_is_asked_for_is_built():
    def built(name, bands):
        return list(build(sharpening(name, SENTINEL2, bands, network=NARROW[name])).networks)

    assert built("light", ("B02", "B03")) == []
    assert built("light", ("B05",)) == ["20m"]
    assert built("light", ("B09", "B02")) == ["60m"]
    assert built("rdsr", ("B09",)) == ["20m", "60m"]  # it is given what the other makes
    assert built("rdsr", ("B05",)) == ["20m"]


def test_a_model_is_given_every_band_down_to_the_coarsest_asked_for():
    assert [len(i.bands) for i in sharpening("light", SENTINEL2, ("B05",)).inputs] == [FINE, MIDDLE]
    assert [len(i.bands) for i in sharpening("light", SENTINEL2, ("B01",)).inputs] == [FINE, MIDDLE, COARSE]
    assert [i.resolution for i in sharpening("light", SENTINEL2, ("B01",)).inputs] == [10, 20, 60]
    assert sharpening("light", SENTINEL2, ("B02",)).halo == 0
    for name, kind in ARCHITECTURES.items():
        for bands, ratio in (("B05",), 2), (("B01",), 6):
            # never less than any network that runs reaches
            model = sharpening(name, SENTINEL2, bands)
            assert model.halo == kind.reach[ratio]
            assert all(i.influence == model.halo for i in model.inputs)


def test_the_60_m_network_of_rdsr_is_given_the_20_m_bands_sharpened():
    _, network = narrow("rdsr")
    inputs = land(*TO_60, edge=24, dtype=torch.float64)
    recorder = Recorder(COARSE, 0.0)
    kept, network.networks["60m"] = network.networks["60m"], recorder
    try:
        with torch.inference_mode():
            network.estimate("60m", inputs)
            sharpened = network.estimate("20m", inputs[:2])
    finally:
        network.networks["60m"] = kept
    assert [tuple(x.shape[2:]) for x in recorder.given] == [(24, 24), (24, 24), (4, 4)]
    torch.testing.assert_close(recorder.given[1], 5 * sharpened, rtol=1e-6, atol=1e-6)


def test_other_60_m_networks_are_given_what_was_measured():
    _, network = narrow("light")
    inputs = land(*TO_60, edge=24, dtype=torch.float64)
    before = network.estimate("60m", inputs)
    kept = network.networks["20m"].tail.bias.detach().clone()
    with torch.no_grad():
        network.networks["20m"].tail.bias.add_(1)
        assert torch.equal(network.estimate("60m", inputs), before)
        network.networks["20m"].tail.bias.copy_(kept)


def test_precision_is_of_the_convolutions_alone():
    inputs = land(*TO_20)
    found = {}
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        network = build(sharpening("light", SENTINEL2, UP_TO_20, precision, network=NARROW["light"])).eval()
        seen = []
        network.networks["20m"].tail.register_forward_hook(lambda m, i, o, seen=seen: seen.append(o.dtype))
        with torch.inference_mode():
            found[precision] = network.estimate("20m", inputs)
            assert seen == [getattr(torch, precision)]
            network.networks["20m"].tail.weight.zero_()
            network.networks["20m"].tail.bias.zero_()
            assert network.estimate("20m", inputs).dtype == torch.float32
            # with no correction it is the cubic interpolation in 32 bits: 5 and 1/5 round by a digit or two
            torch.testing.assert_close(network.estimate("20m", inputs), GridResize(2)(inputs[1]), rtol=1e-6, atol=1e-6)
    assert 1e-6 < (found["float32"] - found["bfloat16"]).abs().max() < 0.02


# Tiles


def cut(model, inputs, halo, rows, cols):
    """Inputs over a core (rows and columns of the whole's core) and its halo."""
    out = []
    for wanted, x in zip(model.inputs, inputs, strict=True):
        f = wanted.resolution // 10
        out.append(x[:, rows[0] // f : (rows[1] + 2 * halo) // f, cols[0] // f : (cols[1] + 2 * halo) // f])
    return out


def window(model, halo, rows, cols, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return [
        rng.random((len(i.bands), (rows + 2 * halo) * 10 // i.resolution, (cols + 2 * halo) * 10 // i.resolution))
        .astype(dtype)
        for i in model.inputs
    ]  # fmt: skip


TILED = {
    "light": (ALL_BANDS, 60, {"width": 16, "blocks": 2}),
    "dsen2": (ALL_BANDS, 60, {"width": 16, "blocks": 2}),
    "spr-net": (ALL_BANDS, 60, {"width": 16, "blocks": 2}),
    "rdsr": (UP_TO_20, 36, {"width": 16, "growth": 16, "blocks": 1}),
    "mpifnet": (UP_TO_20, 36, {"width": 16}),
}
"""Small enough to be quick, and as wide as the vectors of a CPU: narrower, oneDNN takes a convolution of six bands whose last
digit depends on the place. How far the whole networks reach is held by the strips above."""


def tiled(name, precision="float32"):
    bands, tile, options = TILED[name]
    model = replace(sharpening(name, SENTINEL2, bands, precision=precision, network=options), tile=tile)
    torch.manual_seed(0)
    return model, build(model), -(-model.halo // 6) * 6


@every
def test_tiles_equal_the_whole(name):
    model, network, halo = tiled(name)
    network = network.double()
    inputs = window(model, halo, model.tile, model.tile + 12, np.float64)
    with torch.inference_mode():
        whole = network(*(torch.from_numpy(x)[None] for x in inputs))[0, :, halo:-halo, halo:-halo].numpy()
    found = infer(network, model, inputs, halo)
    assert found.shape == whole.shape == (len(model.output.bands), model.tile, model.tile + 12)
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@every
def test_chunks_of_any_size_give_the_same_bits(name, precision):
    model, network, halo = tiled(name, precision)
    tile = model.tile
    inputs = window(model, halo, tile, tile + 12, np.float32)
    whole = infer(network, model, inputs, halo)
    assert whole.dtype == np.float32
    for cols in ((0, 18), (18, tile + 12)):
        part = infer(network, model, cut(model, inputs, halo, (0, tile), cols), halo)
        np.testing.assert_array_equal(part, whole[:, :, slice(*cols)])


class Pooling(nn.Module):
    """The image and the mean over all that it is shown: what a network with global gates does, at its plainest."""

    def __init__(self, share=1.0):
        super().__init__()
        self.share = share

    def forward(self, x):
        return x + self.share * x.mean(dim=(2, 3), keepdim=True)


def pooling_model(tile=24, reach=6, blend=4):
    inputs = (Input("sentinel-2", ("B02",), 10),)
    return FusionModel(
        name="pooling", version=1, inputs=inputs, output=Output(("B02",), 10), module="", halo=tile + reach,
        align=tile, tile=tile, global_context=True, blend=blend,
    )  # fmt: skip


def scene(rows, cols, model, slope=0.01):
    """A smooth scene over a core and its halo: a ramp to the east and a gentler one to the south."""
    down, across = np.mgrid[0 : rows + 2 * model.halo, 0 : cols + 2 * model.halo]
    return (slope * across + 0.3 * slope * down).astype(np.float64)[None]


tiles = st.lists(st.integers(1, 3), min_size=1, max_size=3)


@given(tiles, tiles, st.sampled_from([(24, 6, 4), (24, 6, 0), (12, 7, 6), (12, 6, 1)]))
@settings(max_examples=15, deadline=None)
def test_context_tiles_do_not_depend_on_how_the_area_is_cut(heights, widths, shape):
    model = pooling_model(*shape)
    rows, cols = (model.tile * sum(parts) for parts in (heights, widths))
    (x,) = window(model, model.halo, rows, cols, np.float32)
    whole = infer(Pooling(), model, [x], model.halo)
    tops, lefts = (np.cumsum([0, *(model.tile * p for p in parts)]) for parts in (heights, widths))
    for (top, bottom), (left, right) in product(zip(tops, tops[1:], strict=False), zip(lefts, lefts[1:], strict=False)):
        part = infer(Pooling(), model, cut(model, [x], model.halo, (top, bottom), (left, right)), model.halo)
        np.testing.assert_array_equal(part, whole[:, top:bottom, left:right])


def test_context_is_the_tile_and_its_margin():
    model = pooling_model(24, 6, 0)
    x = scene(48, 24, model)
    found = infer(Pooling(), model, [x], model.halo)[0] - x[0, 30:-30, 30:-30]
    for top in (0, 24):
        # a tile of 24 that begins 30 pixels into the window has a margin of 6 around it
        seen = x[0, top + 24 : top + 60, 24:60]
        np.testing.assert_allclose(found[top : top + 24], seen.mean(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(24, 6, 4), (12, 6, 6), (12, 6, 1), (24, 6, 0)])
@pytest.mark.parametrize("core", [(24, 24), (72, 48)])
def test_blended_tiles_weigh_one_everywhere(shape, core):
    model = pooling_model(*shape)
    x = np.full((1, core[0] + 2 * model.halo, core[1] + 2 * model.halo), 0.25, np.float64)
    np.testing.assert_allclose(infer(Pooling(), model, [x], model.halo), 0.5, rtol=0, atol=1e-6)


def test_no_jump_at_the_border_of_context_tiles():
    plain, blended = pooling_model(24, 6, 0), pooling_model(24, 6, 4)
    x = scene(72, 72, plain)
    core = x[0, 30:-30, 30:-30]
    # from tile to tile the mean rises by 24 slopes of 0.01 to the east, 0.3 as much to the south
    for model, across, down in ((plain, 0.24, 0.072), (blended, 0.24 / 8, 0.072 / 8)):
        context = infer(Pooling(), model, [x], model.halo)[0] - core
        assert np.abs(np.diff(context, axis=1)).max() == pytest.approx(across, rel=1e-3)
        assert np.abs(np.diff(context, axis=0)).max() == pytest.approx(down, rel=1e-3)
        # half way at the border itself, and the tile's own value beyond the ramp
        own = context[12, 12]
        assert context[12, 19] == pytest.approx(own, abs=1e-9)
        if model.blend:
            assert (context[12, 23] + context[12, 24]) / 2 == pytest.approx(own + 0.12, abs=1e-6)
            assert context[12, 20] == pytest.approx(own + 0.24 / 16, abs=1e-6)


def test_pooled_mpifnet_does_not_depend_on_how_the_area_is_cut():
    model = sharpening("mpifnet", SENTINEL2, UP_TO_20, precision="float32", gates="pooled", network={"width": 16})
    model = replace(model, tile=60, align=60, halo=model.reach + 60, blend=12)
    torch.manual_seed(0)
    network = build(model)
    halo = 96  # 94 on steps of 6
    inputs = window(model, halo, 60, 120, np.float32)
    whole = infer(network, model, inputs, halo)
    east = infer(network, model, cut(model, inputs, halo, (0, 60), (60, 120)), halo)
    np.testing.assert_array_equal(east, whole[:, :, 60:])
    # and its gates look at the tile: with a brighter far corner of it, the middle is another
    inputs[0][:, 66 + 60 : 90 + 60, 66 + 60 : 90 + 60] += 1
    assert (infer(network, model, inputs, halo)[:, 30, 3] != whole[:, 30, 3]).any()


@every
@pytest.mark.parametrize("gates", ["fixed", "pooled"])
def test_warming_up_shows_the_very_shape_of_a_tile(name, gates):
    model = sharpening(name, SENTINEL2, ALL_BANDS, gates=gates, network=NARROW[name])
    shrunk = replace(model, tile=60, halo=model.reach + (60 if model.global_context else 0))
    shapes = []

    class Shapes(nn.Module):
        def forward(self, *inputs):
            shapes.append([tuple(x.shape) for x in inputs])
            x = inputs[0]
            return torch.zeros(x.shape[0], len(ALL_BANDS), *x.shape[2:])

    Runner(Shapes(), shrunk, Equipment()).warm_up()
    halo = -(-shrunk.halo // 6) * 6
    infer(Shapes(), shrunk, window(shrunk, halo, 60, 60, np.float32), halo)
    assert len(shapes) == (2 if not shrunk.global_context else 10)
    assert all(shape == shapes[0] for shape in shapes)
