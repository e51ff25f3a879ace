"""Blocks that the models share."""

from collections.abc import Sequence
from math import floor

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.declaration import FusionModel


def keys_weights(t: float) -> list[float]:
    """Weights of the four pixels around a point ``t`` (0 to 1) past the second: cubic convolution with a = -1/2.

    Keys 1981, eq. 15. Their sum is 1, and they reproduce any quadratic exactly.
    """
    return [
        (-(t**3) + 2 * t**2 - t) / 2,
        (3 * t**3 - 5 * t**2 + 2) / 2,
        (-3 * t**3 + 4 * t**2 + t) / 2,
        (t**3 - t**2) / 2,
    ]


class GridResize(nn.Module):
    """Cubic upsampling by a whole ratio whose weights depend on the global pixel position only.

    Windows start on whole coarse pixels, so a fine pixel's phase is its index modulo the ratio, and the window gives the
    bits of the whole (an interpolation that computes coordinates per window differs in the last digits). Pixel centres
    as everywhere in remote sensing (``align_corners=False``); beyond the edge the last pixel goes on.
    """

    def __init__(self, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, h ratio, w ratio)."""
        if self.ratio == 1:
            return x
        along_x = self._resize(x)  # (B, C, h, w ratio)
        return self._resize(along_x.transpose(2, 3)).transpose(2, 3)  # (B, C, h ratio, w ratio)

    def _resize(self, x: Tensor) -> Tensor:
        length = x.shape[-1]
        padded = F.pad(x, (2, 2, 0, 0), mode="replicate")
        phases = []
        for phase in range(self.ratio):
            position = (phase + 0.5) / self.ratio - 0.5  # of the fine pixel's centre, in coarse pixels
            first = floor(position)
            # products and sums one by one: a fused multiply-add would round differently from place to place
            total = torch.zeros_like(x)
            for tap, weight in enumerate(keys_weights(position - first)):
                start = 2 + first - 1 + tap
                total = total + padded[..., start : start + length] * weight
            phases.append(total)
        return torch.stack(phases, dim=-1).flatten(-2)  # phases interleave


class BandOrder(nn.Module):
    """Puts the bands of several tensors on one grid into the order of the output."""

    def __init__(self, model: FusionModel) -> None:
        super().__init__()
        given = [band for wanted in model.inputs for band in wanted.bands]
        self.order = [given.index(band) for band in model.output.bands]

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """[(B, C_i, H, W)] to (B, C, H, W)."""
        return torch.cat(list(tensors), dim=1)[:, self.order]


def ratios(model: FusionModel) -> list[int]:
    """Coarse over fine ground sampling distance of each input."""
    return [wanted.resolution // model.output.resolution for wanted in model.inputs]


class ResBlock(nn.Module):
    """Two 3×3 convolutions beside a short cut, their sum scaled (Lim et al. 2017)."""

    def __init__(self, width: int, scale: float = 0.1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return x + self.scale * self.body(x)
