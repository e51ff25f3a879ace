"""A small residual network over all bands, of a known receptive field, with random weights.

It proves that tiles equal the whole and times the engine under a real network's load. Nothing offers it to a user: its
output means nothing.
"""

import torch
from torch import Tensor, nn

from pipeline.models.declaration import FusionModel
from pipeline.models.layers import BandOrder, GridResize, ResBlock, ratios


class Residual(nn.Module):
    """Fine bands and cubic-upsampled coarse ones together through residual blocks; a correction to the coarse ones."""

    def __init__(self, model: FusionModel) -> None:
        super().__init__()
        width, blocks = model.option("width"), model.option("blocks")
        counts = [len(wanted.bands) for wanted in model.inputs]
        self.kept = sum(n for n, ratio in zip(counts, ratios(model), strict=True) if ratio == 1)
        self.resize = nn.ModuleList(GridResize(ratio) for ratio in ratios(model))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(model.option("seed"))
            self.head = nn.Sequential(nn.Conv2d(sum(counts), width, 3, padding=1), nn.ReLU())
            self.body = nn.Sequential(*(ResBlock(width) for _ in range(blocks)))
            self.tail = nn.Conv2d(width, sum(counts) - self.kept, 3, padding=1)
        self.order = BandOrder(model)

    def forward(self, *inputs: Tensor) -> Tensor:
        """[(B, C_i, H / ratio_i, W / ratio_i)] to (B, C, H, W)."""
        fine = torch.cat([r(x) for r, x in zip(self.resize, inputs, strict=True)], dim=1)  # (B, ΣC, H, W)
        correction = self.tail(self.body(self.head(fine)))  # (B, ΣC - kept, H, W)
        sharpened = fine[:, self.kept :] + correction
        return self.order([fine[:, : self.kept], sharpened])
