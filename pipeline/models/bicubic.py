"""Coarser bands by cubic convolution; the bands of the output's resolution untouched."""

from torch import Tensor, nn

from pipeline.models.declaration import FusionModel
from pipeline.models.layers import BandOrder, GridResize, ratios


class Bicubic(nn.Module):
    """Cubic upsampling of each input to the output's grid."""

    def __init__(self, model: FusionModel) -> None:
        super().__init__()
        self.resize = nn.ModuleList(GridResize(ratio) for ratio in ratios(model))
        self.order = BandOrder(model)

    def forward(self, *inputs: Tensor) -> Tensor:
        """[(B, C_i, H / ratio_i, W / ratio_i)] to (B, C, H, W)."""
        return self.order([resize(x) for resize, x in zip(self.resize, inputs, strict=True)])
