"""A small residual network for machines without a GPU.

It works on the middle grid (20 m for an output of 10 m): fine pixels are folded into channels on the way in and unfolded
on the way out (Shi et al. 2016), so a weight costs a quarter of what it would on the fine grid.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.models.layers import GridResize, ResBlock


class Light(nn.Module):
    """The residual to the cubic interpolation of the coarsest input's bands.

    Parameters
    ----------
    bands
        Bands of each input, finest first.
    ratios
        Ground sampling distance of each input over that of the output: (1, 2) or (1, 2, 6).
    width, blocks
        Channels, and residual blocks.
    """

    def __init__(self, bands: Sequence[int], ratios: Sequence[int], width: int = 64, blocks: int = 6) -> None:
        super().__init__()
        middle = ratios[1]
        self.fold = nn.PixelUnshuffle(middle)
        self.raise_to_middle = nn.ModuleList(GridResize(ratio // middle) for ratio in ratios[1:])
        self.head = nn.Sequential(nn.Conv2d(bands[0] * middle**2 + sum(bands[1:]), width, 3, padding=1), nn.ReLU())
        self.body = nn.Sequential(*(ResBlock(width) for _ in range(blocks)))
        self.tail = nn.Conv2d(width, bands[-1] * middle**2, 3, padding=1)
        self.unfold = nn.PixelShuffle(middle)
        self.resize = GridResize(ratios[-1])

    def forward(self, *inputs: Tensor) -> Tensor:
        """[(B, C_i, H / ratio_i, W / ratio_i)] to (B, C_last, H, W)."""
        middle = [self.fold(inputs[0])]  # (B, C_0 middle², H / middle, W / middle)
        middle += [resize(x) for resize, x in zip(self.raise_to_middle, inputs[1:], strict=True)]
        correction = self.tail(self.body(self.head(torch.cat(middle, dim=1))))
        return self.resize(inputs[-1]) + self.unfold(correction)
