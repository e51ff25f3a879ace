"""SPR-Net (Wu et al. 2020, doi:10.3390/rs12182926): parallel residual branches, one a resolution, fused by concatenation.

The authors' code is not published; six blocks of width 128 a branch, scaled by 0.1, are taken as in DSen2.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.models.layers import GridResize, ResBlock


class SPRNet(nn.Module):
    """The residual to the cubic interpolation of the coarsest input's bands.

    Parameters
    ----------
    bands
        Bands of each input, finest first.
    ratios
        Ground sampling distance of each input over that of the output.
    width, blocks
        Channels and residual blocks of each branch.
    """

    def __init__(self, bands: Sequence[int], ratios: Sequence[int], width: int = 128, blocks: int = 6) -> None:
        super().__init__()
        self.resize = nn.ModuleList(GridResize(ratio) for ratio in ratios)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(n, width, 3, padding=1), *(ResBlock(width) for _ in range(blocks))) for n in bands
        )
        self.fuse = nn.Sequential(
            nn.Conv2d(len(bands) * width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, bands[-1], 3, padding=1)
        )

    def forward(self, *inputs: Tensor) -> Tensor:
        """[(B, C_i, H / ratio_i, W / ratio_i)] to (B, C_last, H, W)."""
        fine = [resize(x) for resize, x in zip(self.resize, inputs, strict=True)]
        features = [branch(x) for branch, x in zip(self.branches, fine, strict=True)]
        return fine[-1] + self.fuse(torch.cat(features, dim=1))
