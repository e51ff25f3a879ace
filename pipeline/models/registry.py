"""Which models there are: a function each that declares the model for the bands and the resolution of a job."""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipeline.errors import Refused, nearest
from pipeline.models.declaration import FusionModel, Input, Output
from pipeline.sensors import Sensor

if TYPE_CHECKING:
    from torch import nn

CUBIC_REACH = 2
"""Coarse pixels that a cubic interpolation reaches on either side."""


def _by_resolution(sensor: Sensor, bands: Sequence[str], finest: int, reach: Callable[[int], int]) -> tuple[Input, ...]:
    """Inputs of the bands at their native resolutions (those finer than ``finest`` at ``finest``), finest first."""
    groups: dict[int, list[str]] = {}
    for name in bands:
        groups.setdefault(max(sensor.band(name).resolution, finest), []).append(name)
    return tuple(Input(sensor.name, tuple(groups[r]), r, reach(r // finest)) for r in sorted(groups))


def identity(sensor: Sensor, bands: Sequence[str], resolution: int) -> FusionModel:
    """Every band as it is, its pixels repeated where they are coarser: the reference of the engine."""
    return FusionModel(
        name="identity",
        version=1,
        inputs=_by_resolution(sensor, bands, resolution, reach=lambda ratio: 0),
        output=Output(tuple(bands), resolution),
        module="pipeline.models.identity:Identity",
    )


def bicubic(sensor: Sensor, bands: Sequence[str], resolution: int) -> FusionModel:
    """Coarser bands by cubic convolution (Keys 1981): the baseline of every comparison."""
    inputs = _by_resolution(sensor, bands, resolution, reach=lambda ratio: CUBIC_REACH * ratio if ratio > 1 else 0)
    return FusionModel(
        name="bicubic",
        version=1,
        inputs=inputs,
        output=Output(tuple(bands), resolution),
        module="pipeline.models.bicubic:Bicubic",
        halo=max(i.influence for i in inputs),
        sources=("Keys 1981, doi:10.1109/TASSP.1981.1163711",),
    )


def untrained_residual(
    sensor: Sensor, bands: Sequence[str], resolution: int, width: int = 48, blocks: int = 3, seed: int = 0
) -> FusionModel:
    """A small residual network with random weights: for proofs of exactness and for timing, never offered to a user."""
    ratios = [max(sensor.band(b).resolution // resolution, 1) for b in bands]
    # each 3×3 convolution reaches one pixel (one before, two a block, one after), its cubic input CUBIC_REACH coarse ones
    halo = 2 + 2 * blocks + CUBIC_REACH * max(ratios)
    return FusionModel(
        name="untrained-residual",
        version=1,
        inputs=_by_resolution(sensor, bands, resolution, reach=lambda ratio: halo),
        output=Output(tuple(bands), resolution),
        module="pipeline.models.residual:Residual",
        halo=halo,
        options=(("width", width), ("blocks", blocks), ("seed", seed)),
    )


OFFERED: dict[str, Callable[[Sensor, Sequence[str], int], FusionModel]] = {"identity": identity, "bicubic": bicubic}
"""Models that a specification may name. A network is among them only once it has trained weights."""


def declare(name: str, sensor: Sensor, bands: Sequence[str], resolution: int) -> FusionModel:
    """The declaration of the model called ``name``; raises ``Refused`` with the nearest valid name."""
    if name not in OFFERED:
        raise Refused(f"there is no model '{name}': {nearest(name, OFFERED)}.")
    return OFFERED[name](sensor, bands, resolution)


def build(model: FusionModel) -> "nn.Module":
    """The network that a declaration declares, in evaluation mode."""
    package, _, name = model.module.partition(":")
    if not package.startswith("pipeline.models."):
        raise Refused(f"model '{model.name}' names code outside pipeline.models: {model.module}.")
    module: Any = getattr(import_module(package), name)(model)
    return module.eval()
