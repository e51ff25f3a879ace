"""DSen2 (Lanaras et al. 2018, doi:10.1016/j.isprsjprs.2018.09.018): all bands on the fine grid, residual blocks, long skip."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.models.layers import GridResize, ResBlock


class DSen2(nn.Module):
    """The residual to the interpolation of the coarsest input's bands.

    Parameters
    ----------
    bands
        Bands of each input, finest first.
    ratios
        Ground sampling distance of each input over that of the output.
    width, blocks
        128 and 6 are the paper's; 256 and 32 its "very deep" variant. Coarse inputs come by cubic convolution, where the
        authors' code interpolates linearly, so that windows give the bits of the whole.
    """

    def __init__(self, bands: Sequence[int], ratios: Sequence[int], width: int = 128, blocks: int = 6) -> None:
        super().__init__()
        self.resize = nn.ModuleList(GridResize(ratio) for ratio in ratios)
        self.head = nn.Sequential(nn.Conv2d(sum(bands), width, 3, padding=1), nn.ReLU())
        self.body = nn.Sequential(*(ResBlock(width) for _ in range(blocks)))
        self.tail = nn.Conv2d(width, bands[-1], 3, padding=1)

    def forward(self, *inputs: Tensor) -> Tensor:
        """[(B, C_i, H / ratio_i, W / ratio_i)] to (B, C_last, H, W)."""
        fine = [resize(x) for resize, x in zip(self.resize, inputs, strict=True)]
        return fine[-1] + self.tail(self.body(self.head(torch.cat(fine, dim=1))))
