"""Fine bands as they are, each group of coarser ones sharpened by a network of its own."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import Refused
from pipeline.models.architectures import Architecture, architecture
from pipeline.models.declaration import FusionModel
from pipeline.models.gates import set_pooled
from pipeline.models.layers import BandOrder, ratios
from pipeline.models.weights import load

BRIGHTNESS = 5.0
"""Reflectance is multiplied by this before a network (DN / 2000, as DSen2 does), so that land lies around 1."""


class Sharpener(nn.Module):
    """The networks of a sharpening model, behind its declaration.

    Convolutions run in the declared precision, the interpolation beneath their correction always in 32 bits. Weights named
    by the declaration are loaded from its file and checked against their hash.
    """

    def __init__(self, model: FusionModel) -> None:
        super().__init__()
        self.kind = architecture(model.option("architecture"))
        self.autocast = model.option("precision") == "bfloat16"
        self.ratios = ratios(model)
        self.spare = model.reach - model.blend
        self.groups = {f"{i.resolution}m": index for index, i in enumerate(model.inputs) if index}
        built = {name: self._network(model, index) for name, index in self.groups.items() if _needed(model, name)}
        self.networks = nn.ModuleDict({name: n.to(memory_format=torch.channels_last) for name, n in built.items()})  # type: ignore[call-overload]
        self.order = BandOrder(model)
        if model.weights:
            self._load(model)
        set_pooled(self, model.option("gates") == "pooled")

    def _network(self, model: FusionModel, index: int) -> nn.Module:
        module, _, name = self.kind.module.partition(":")
        build: Any = getattr(import_module(module), name)
        bands = [len(wanted.bands) for wanted in model.inputs[: index + 1]]
        options = dict(model.option("network"))
        return build(bands, self._given(index), **options)

    def _given(self, index: int) -> list[int]:
        """Ratios of what the network of an input is given."""
        at = self.ratios[: index + 1]
        return [1] * index + [at[index]] if self.kind.cascade else at

    def _load(self, model: FusionModel) -> None:
        tensors = load(model.weights_file, model.weights)
        wanted = self.state_dict()
        for name, tensor in wanted.items():
            if name not in tensors or tensors[name].shape != tensor.shape:
                raise Refused(
                    f"the weights {model.weights_file.name} do not fit model '{model.name}' (at {name}): they are of another "
                    "network or were trained with other options; name others with weights:."
                )
        self.load_state_dict({name: tensors[name] for name in wanted})

    def forward(self, *inputs: Tensor) -> Tensor:
        """[(B, C_i, H / ratio_i, W / ratio_i)] to (B, C, H, W)."""
        out = [inputs[0]]
        for name, index in self.groups.items():
            if name in self.networks:
                out.append(self._within_reach(name, inputs[: index + 1]))
            else:
                ratio = self.ratios[index]
                out.append(inputs[index].repeat_interleave(ratio, 2).repeat_interleave(ratio, 3))  # not asked for
        return self.order(out)

    def _within_reach(self, name: str, inputs: Sequence[Tensor]) -> Tensor:
        """A group over a window, computed no further out than its own network reaches; zeros beyond."""
        ratio = self.ratios[self.groups[name]]
        step = max(self.ratios)
        trim = max(0, self.spare - self.kind.reach[ratio]) // step * step
        if trim == 0:
            return self.estimate(name, inputs)
        cut = [
            x[..., trim // r : -trim // r, trim // r : -trim // r] for x, r in zip(inputs, self.ratios, strict=False)
        ]
        return F.pad(self.estimate(name, cut), (trim, trim, trim, trim))

    def estimate(self, name: str, inputs: Sequence[Tensor]) -> Tensor:
        """The bands of a group on the fine grid, (B, C_i, H, W), from all inputs down to it."""
        given = [(x * BRIGHTNESS).contiguous(memory_format=torch.channels_last) for x in inputs]
        if self.kind.cascade and len(given) > 2:
            middle = next(iter(self.groups))
            with torch.no_grad():
                given[1] = self.estimate(middle, inputs[:2]) * BRIGHTNESS
        with torch.autocast(given[0].device.type, torch.bfloat16, enabled=self.autocast):
            return self.networks[name](*given).float() / BRIGHTNESS


def _needed(model: FusionModel, name: str) -> bool:
    """Whether a group's network is to be built: its bands are asked for, or the next network is given them sharpened."""
    index = next(i for i, wanted in enumerate(model.inputs) if f"{wanted.resolution}m" == name)
    kind: Architecture = architecture(model.option("architecture"))
    asked = bool(set(model.inputs[index].bands) & set(model.output.bands))
    return asked or (kind.cascade and index < len(model.inputs) - 1)
