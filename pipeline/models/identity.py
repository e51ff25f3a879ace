"""Every band as it is; coarser pixels repeated. The reference implementation of the engine, and its test double."""

from torch import Tensor, nn

from pipeline.models.declaration import FusionModel
from pipeline.models.layers import BandOrder, ratios


class Identity(nn.Module):
    """Repeats each coarse pixel over the fine pixels it covers."""

    def __init__(self, model: FusionModel) -> None:
        super().__init__()
        self.ratios = ratios(model)
        self.order = BandOrder(model)

    def forward(self, *inputs: Tensor) -> Tensor:
        """[(B, C_i, H / ratio_i, W / ratio_i)] to (B, C, H, W)."""
        fine = [x.repeat_interleave(r, 2).repeat_interleave(r, 3) for x, r in zip(inputs, self.ratios, strict=True)]
        return self.order(fine)
