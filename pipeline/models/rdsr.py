"""Sen2-RDSR (Salgueiro et al. 2021, doi:10.3390/rs13245007): residual-in-residual dense blocks (Wang et al. 2018).

Its 60 m network is given the 20 m bands as its 20 m network has sharpened them (``Sharpener`` sees to that). The
hyper-parameters are not published: three blocks of width 64 and growth 32 are taken from ESRGAN.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.models.layers import GridResize

SCALE = 0.2
"""Of every residual (ESRGAN)."""


class Dense(nn.Module):
    """Five convolutions, each given all before it."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        inner = (nn.Conv2d(width + i * growth, growth, 3, padding=1) for i in range(4))
        self.convs = nn.ModuleList([*inner, nn.Conv2d(width + 4 * growth, width, 3, padding=1)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        seen = [x]
        for conv in self.convs[:-1]:
            seen.append(nn.functional.leaky_relu(conv(torch.cat(seen, dim=1)), 0.2))
        return x + SCALE * self.convs[-1](torch.cat(seen, dim=1))


class RDSR(nn.Module):
    """The residual to the cubic interpolation of the coarsest input's bands.

    Parameters
    ----------
    bands
        Bands of each input, finest first.
    ratios
        Ground sampling distance of each input over that of the output; (1, 1, 6) for the 60 m network.
    width, growth, blocks
        Channels, channels that a dense layer adds, residual-in-residual blocks of three dense ones.
    """

    def __init__(
        self, bands: Sequence[int], ratios: Sequence[int], width: int = 64, growth: int = 32, blocks: int = 3
    ) -> None:
        super().__init__()
        self.resize = nn.ModuleList(GridResize(ratio) for ratio in ratios)
        self.head = nn.Conv2d(sum(bands), width, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Sequential(*(Dense(width, growth) for _ in range(3))) for _ in range(blocks))
        self.tail = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, bands[-1], 3, padding=1)
        )

    def forward(self, *inputs: Tensor) -> Tensor:
        """[(B, C_i, H / ratio_i, W / ratio_i)] to (B, C_last, H, W)."""
        fine = [resize(x) for resize, x in zip(self.resize, inputs, strict=True)]
        first = features = self.head(torch.cat(fine, dim=1))
        for block in self.blocks:
            features = features + SCALE * block(features)
        return fine[-1] + self.tail(first + features)
