"""Attention gates, and how a gate that pools over its whole input is made to depend on no cut of the work.

A channel gate pools globally: two windows around one pixel give it different values. Either it is *pooled*, computed
from the tile it is given (tiles are then context tiles, laid on a grid of their own), or it is *fixed* to what it was on
average over a sample of the scenes that the network was taught on; the network around it is local then.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class ChannelGate(nn.Module):
    """One factor a channel from the global mean and maximum of each, through a shared bottleneck (Woo et al. 2018).

    ``sigmoid(W2 relu(W1 mean) + W2 relu(W1 max))``, as in MPIFNet's spectral attention.
    """

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, bottleneck, 1, bias=False)
        self.excite = nn.Conv2d(bottleneck, width, 1, bias=False)
        self.fixed: Tensor
        self.register_buffer("fixed", torch.full((1, width, 1, 1), 0.5))  # a sigmoid's middle
        self.pooled = True

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to factors (B, C, 1, 1), or (1, C, 1, 1) where they are fixed."""
        if not self.pooled:
            return self.fixed.to(x.dtype)
        mean, peak = x.mean(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
        return torch.sigmoid(self._shared(mean) + self._shared(peak))

    def _shared(self, pooled: Tensor) -> Tensor:
        return self.excite(torch.relu(self.squeeze(pooled)))


class SpatialGate(nn.Module):
    """One factor a pixel from the largest and the mean channel, by a 7×7 convolution (Woo et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 1, H, W)."""
        return torch.sigmoid(self.conv(torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)))


def channel_gates(network: nn.Module) -> list[ChannelGate]:
    """The gates of a network that pool globally."""
    return [module for module in network.modules() if isinstance(module, ChannelGate)]


def set_pooled(network: nn.Module, pooled: bool) -> None:
    """Let every channel gate pool over its input, or use its fixed factors."""
    for gate in channel_gates(network):
        gate.pooled = pooled


def fix_gates(network: nn.Module, show: Callable[[], None]) -> None:
    """Fix every channel gate to its mean over what ``show`` puts through the network; none may be left unshown."""
    set_pooled(network, True)
    with _collected(network) as means, torch.no_grad():
        show()
    for gate, (total, count) in zip(channel_gates(network), means, strict=True):
        if not count:
            raise ValueError("a gate was shown nothing to be fixed to")
        gate.fixed.copy_(total / count)
    set_pooled(network, False)


@contextmanager
def _collected(network: nn.Module) -> Iterator[list[tuple[Tensor, int]]]:
    """Sums of every gate's factors over the batches seen inside, and how many samples there were."""
    gates = channel_gates(network)
    means: list[tuple[Tensor, int]] = [(torch.zeros_like(gate.fixed), 0) for gate in gates]

    def listener(index: int) -> Callable[[nn.Module, tuple, Tensor], None]:
        def heard(gate: nn.Module, inputs: tuple, factors: Tensor) -> None:
            total, count = means[index]
            means[index] = (total + factors.float().sum(dim=0, keepdim=True), count + factors.shape[0])

        return heard

    handles = [gate.register_forward_hook(listener(index)) for index, gate in enumerate(gates)]
    try:
        yield means
    finally:
        for handle in handles:
            handle.remove()
