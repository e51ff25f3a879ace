"""Attention gates: their formulas, and how they are fixed so that a network depends on no cut of the work."""

from math import exp

import pytest
import torch
from torch import nn

from pipeline.models.gates import ChannelGate, SpatialGate, channel_gates, fix_gates, set_pooled


def sigmoid(x):
    return 1 / (1 + exp(-x))


def tiny_gate():
    """Two channels through one: the squeeze adds them, the excitation gives a half of it and its negative."""
    gate = ChannelGate(2, 1)
    with torch.no_grad():
        gate.squeeze.weight.copy_(torch.tensor([1.0, 1.0]).reshape(1, 2, 1, 1))
        gate.excite.weight.copy_(torch.tensor([0.5, -1.0]).reshape(2, 1, 1, 1))
    return gate


def image(*channels):
    """(1, C, 1, W)."""
    return torch.tensor(channels, dtype=torch.float32)[None, :, None, :]


BRIGHT, DARK = image([1, 3], [0, -2]), image([-1, -3], [0, 1])


def test_channel_gate_by_hand():
    # bright: means 2 and -1 add up to 1, maxima 3 and 0 to 3; halves 0.5 + 1.5, negatives -1 - 3
    # dark: means -2 and 0.5 add up to -1.5, which is cut to 0; maxima -1 and 1 to 0
    with torch.no_grad():
        factors = tiny_gate()(torch.cat([BRIGHT, DARK]))
    assert factors.shape == (2, 2, 1, 1)
    assert factors.flatten().tolist() == pytest.approx([sigmoid(2), sigmoid(-4), 0.5, 0.5])


def test_mean_and_maximum_are_cut_at_zero_each_on_its_own():
    # means -1 + 0.5 = -0.5 are cut to 0, maxima 0 + 1 = 1 stay: 0.5 (0 + 1), not 0.5 (-0.5 + 1)
    with torch.no_grad():
        factors = tiny_gate()(image([0, -2], [0, 1]))
    assert factors.flatten().tolist() == pytest.approx([sigmoid(0.5), sigmoid(-1)])


def test_a_fixed_gate_does_not_look():
    gate = tiny_gate()
    set_pooled(gate, False)
    assert gate(BRIGHT).flatten().tolist() == [0.5, 0.5]  # until it is told otherwise
    gate.fixed.copy_(torch.tensor([0.25, 0.75]).reshape(1, 2, 1, 1))
    for x in (BRIGHT, DARK, torch.cat([BRIGHT, DARK]).double()):
        factors = gate(x)
        assert factors.flatten().tolist() == [0.25, 0.75]
        assert factors.dtype == x.dtype
    assert "fixed" in gate.state_dict()
    set_pooled(gate, True)
    assert gate(BRIGHT)[0, 0].item() == pytest.approx(sigmoid(2))


def test_gates_are_fixed_to_the_mean_over_all_that_was_shown():
    gate = tiny_gate()
    network = nn.Sequential(gate)
    set_pooled(network, False)

    def show():
        network(torch.cat([BRIGHT, BRIGHT]))
        network(DARK)

    fix_gates(network, show)
    assert not gate.pooled
    # three samples, two of them bright, whatever the batches: means over samples, not over batches
    expected = [(2 * sigmoid(2) + 0.5) / 3, (2 * sigmoid(-4) + 0.5) / 3]
    assert gate(DARK).flatten().tolist() == pytest.approx(expected)
    assert not gate._forward_hooks  # nothing listens any more
    assert gate.fixed.flatten().tolist() == pytest.approx(expected)
    assert gate.fixed.requires_grad is False


def test_every_gate_is_fixed_to_what_came_from_those_before_it_as_they_pool():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = tiny_gate(), tiny_gate()

        def forward(self, x):
            x = x * self.first(x)
            return x * self.second(x)

    network = Two()
    assert channel_gates(network) == [network.first, network.second]
    fix_gates(network, lambda: network(BRIGHT))
    assert [gate.pooled for gate in channel_gates(network)] == [False, False]
    with torch.no_grad():
        first = tiny_gate()(BRIGHT)
        second = tiny_gate()(BRIGHT * first)
    torch.testing.assert_close(network.first.fixed, first)
    torch.testing.assert_close(network.second.fixed, second)


def test_spatial_gate_sees_the_largest_and_the_mean_channel():
    gate = SpatialGate()
    x = torch.rand(2, 5, 9, 8)
    for plane, seen in ((0, x.amax(1, keepdim=True)), (1, x.mean(1, keepdim=True))):
        with torch.no_grad():
            gate.conv.weight.zero_()
            gate.conv.weight[0, plane, 3, 3] = 2.0  # the middle of 7 by 7
            torch.testing.assert_close(gate(x), torch.sigmoid(2 * seen))


def test_spatial_gate_gives_one_factor_a_pixel_between_zero_and_one():
    torch.manual_seed(0)
    gate = SpatialGate()
    x = 3 * torch.randn(2, 4, 12, 15)
    factors = gate(x).detach()
    assert factors.shape == (2, 1, 12, 15)
    assert ((factors > 0) & (factors < 1)).all()
    assert factors.std() > 0
    x[:, :, 6, 7] += 5
    rows, cols = torch.nonzero((gate(x) != factors)[0, 0], as_tuple=True)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (3, 9, 4, 10)  # three pixels on every side
