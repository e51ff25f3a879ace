"""Which models there are: a function each that declares the model for the bands and the resolution of a job."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import Refused, nearest
from pipeline.models.architectures import ARCHITECTURES, architecture
from pipeline.models.declaration import FusionModel, Input, Output
from pipeline.models.weights import checked, read_card
from pipeline.sensors import Sensor

if TYPE_CHECKING:
    from torch import nn

CUBIC_REACH = 2
"""Coarse pixels that a cubic interpolation reaches on either side."""

CONTEXT = 600
"""Edge in pixels of the tiles that a network is given at once: with a halo of 90 px around it, 1.7 times the pixels."""

BLEND = 30
"""Pixels on either side of a border over which context tiles are blended."""


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


def sharpening(
    name: str,
    sensor: Sensor,
    bands: Sequence[str],
    precision: str = "bfloat16",
    gates: str = "fixed",
    network: Mapping[str, Any] | None = None,
) -> FusionModel:
    """A network that brings every coarser band to the sensor's finest grid, without weights (``with_weights`` adds them).

    Parameters
    ----------
    name
        Name of the architecture.
    sensor, bands
        What is wanted. The network is given all bands of every resolution down to the coarsest one wanted.
    precision
        ``bfloat16`` (3.4 to 6 times as fast on CPUs that have it) or ``float32``.
    gates
        ``fixed``: global gates keep the values they had in training, and the network is local; ``pooled``: they look at
        context tiles.
    network
        Options of the architecture, such as its width.
    """
    kind = architecture(name)
    finest = min(band.resolution for band in sensor.bands)
    coarsest = max(sensor.band(band).resolution for band in bands)
    given = [band.name for band in sensor.bands if band.resolution <= coarsest]
    reach = max((kind.reach[r // finest] for r in (sensor.band(b).resolution for b in given) if r > finest), default=0)
    context = kind.gated and gates == "pooled"
    halo = reach + (CONTEXT if context else 0)
    ratios = [r for r in kind.reach if any(sensor.band(b).resolution == r * finest for b in bands)]
    return FusionModel(
        name=name,
        version=1,
        inputs=_by_resolution(sensor, given, finest, reach=lambda ratio: halo),
        output=Output(tuple(bands), finest),
        module="pipeline.models.sharpener:Sharpener",
        halo=halo,
        align=CONTEXT if context else 1,
        tile=CONTEXT,
        global_context=context,
        blend=BLEND if context else 0,
        options=(
            ("architecture", name),
            ("precision", precision),
            ("gates", gates),
            ("network", tuple(sorted((network or {}).items()))),
        ),
        cost=sum(kind.cost[r] * ((CONTEXT + 2 * kind.reach[r]) / CONTEXT) ** 2 for r in ratios),
        sources=(kind.source,),
    )


def with_weights(model: FusionModel, file: Path) -> FusionModel:
    """A sharpening model with trained weights; raises ``Refused`` where they are of another network."""
    card = read_card(file)
    kind = model.option("architecture")
    groups = {
        f"{wanted.resolution}m"
        for wanted in model.inputs[1:]
        if set(wanted.bands) & set(model.output.bands) or architecture(model.name).cascade
    }
    if card.network != kind:
        raise Refused(
            f"the weights {file.name} are of network '{card.network}', the model is '{kind}'; "
            f"set model: {card.network}, or name others with weights:."
        )
    if card.sensor != model.inputs[0].sensor or not groups <= set(card.groups):
        raise Refused(
            f"the weights {file.name} are for {card.sensor}, {' and '.join(card.groups)}; model '{model.name}' needs "
            f"{model.inputs[0].sensor}, {' and '.join(sorted(groups))}; train these too, or choose bands: [...]."
        )
    checked(file, card.sha256)  # now, so that a run is refused before anything is written
    built = (*(o for o in model.options if o[0] != "network"), ("network", tuple(sorted(card.options.items()))))
    return replace(model, weights=card.sha256, weights_file=file.absolute(), options=built)


PLAIN: dict[str, Callable[[Sensor, Sequence[str], int], FusionModel]] = {"identity": identity, "bicubic": bicubic}
"""Models without weights."""


def offered() -> list[str]:
    """Models that a specification may name: the plain ones, and every network."""
    return [*PLAIN, *ARCHITECTURES]


def declare(name: str, sensor: Sensor, bands: Sequence[str], resolution: int) -> FusionModel:
    """The declaration of the model called ``name``, without weights; raises ``Refused`` with the nearest valid name."""
    if name in PLAIN:
        return PLAIN[name](sensor, bands, resolution)
    if name in ARCHITECTURES:
        return sharpening(name, sensor, bands)
    raise Refused(f"there is no model '{name}': {nearest(name, offered())}.")


def build(model: FusionModel) -> "nn.Module":
    """The network that a declaration declares, in evaluation mode, on the CPU."""
    package, _, name = model.module.partition(":")
    if not package.startswith("pipeline.models."):
        raise Refused(f"model '{model.name}' names code outside pipeline.models: {model.module}.")
    module: Any = getattr(import_module(package), name)(model)
    return module.eval()
