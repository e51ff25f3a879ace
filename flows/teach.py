"""train: teach a network by Wald's protocol on scenes of one's own, resumable, with a card that says what it saw."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from flows import strict
from flows.spec import period, time_as_text
from flows.strict import Strict
from pipeline import __version__
from pipeline.catalog import Query, find
from pipeline.errors import Refused
from pipeline.job import fingerprint
from pipeline.models.architectures import architecture, check_options
from pipeline.models.declaration import FusionModel
from pipeline.models.registry import sharpening, with_weights
from pipeline.models.weights import Card, save
from pipeline.scene import Scene
from pipeline.sensors import SENTINEL2

if TYPE_CHECKING:
    from pipeline.training.loop import Progress
    from pipeline.training.wald import Pair

SENSOR = SENTINEL2

EXAMPLE = """\
# Teach a network to sharpen, by Wald's protocol: everything one scale down, what was measured is the reference.
# Run it, or go on where it stopped: fusecube train {name}

network: light            # light, dsen2, spr-net, rdsr, mpifnet

# Scenes to learn from. Any number of sources; each may name items (by a part of their id) or leave some out.
sources:
  - catalog: https://earth-search.aws.element84.com/v1
    bbox: [13.3, 52.3, 13.7, 52.6]
    time: 2024-06
    level: L2A
    max_cloud: 5
    windows: 16           # windows of 600 px read of each scene

steps: {{20m: 1750, 60m: 900}}
batch: 8
patch: 60                 # pixels of the label
rate: 0.0005
# protocol: dsen2         # by default mtf
# start: my.safetensors   # weights to go on from; by default from scratch
# patience: 10            # epochs without a better validation after which it ends
out: runs/light.safetensors
"""


class Source(Strict):
    """Scenes of one catalog."""

    catalog: str = Field(description="A STAC API or static catalog (https://…), or a path.")
    scenes: tuple[str, ...] = Field((), description="Only items whose id holds one of these.")
    leave_out: tuple[str, ...] = Field((), description="No item whose id holds one of these.")
    level: Literal["L1C", "L2A"] | None = Field(None, description="Processing level; by default every one there is.")
    bbox: tuple[float, float, float, float] | None = Field(None, description="West, south, east, north in degrees.")
    time: str | None = Field(None, description="A date or two with a slash between; by default any.")
    max_cloud: float = Field(100, ge=0, le=100, description="Highest cloud cover of a scene in percent.")
    windows: int = Field(16, gt=0, description="Windows read of each scene.")

    @field_validator("time", mode="before")
    @classmethod
    def _time_as_text(cls, value: Any) -> Any:
        return time_as_text(value)

    @field_validator("time")
    @classmethod
    def _readable_time(cls, value: str | None) -> str | None:
        if value is not None:
            period(value)
        return value


class TrainSpec(Strict):
    """A training specification."""

    network: str = Field(description="The architecture: light, dsen2, spr-net, rdsr, mpifnet.")
    options: dict[str, bool | int] = Field({}, description="Options of the architecture, such as width.")
    sources: tuple[Source, ...] = Field(description="Scenes to learn from.", min_length=1)
    steps: dict[Literal["20m", "60m"], Annotated[int, Field(gt=0)]] = Field(
        description="Batches for each group of bands, such as {20m: 1750}.", min_length=1
    )
    protocol: Literal["mtf", "dsen2"] = Field("mtf", description="Blur by each band's MTF, or as DSen2's authors do.")
    batch: int = Field(8, gt=0, description="Patches in a batch.")
    patch: int = Field(60, gt=0, description="Edge of a patch in pixels of the label, a multiple of 6.")
    rate: float = Field(5e-4, gt=0, description="Highest learning rate.")
    seed: int = Field(0, ge=0, description="Decides the first weights, the patches and their order.")
    epoch: int = Field(100, gt=0, description="Steps between two validations.")
    patience: int = Field(0, ge=0, description="Epochs without a better validation after which it ends; 0: never.")
    precision: Literal["bfloat16", "float32"] = Field("bfloat16", description="In which convolutions run.")
    start: Path | None = Field(None, description="Weights to go on from; by default from scratch.")
    licence: str = Field("", description="Under what the weights may be used, and what is owed to their sources.")
    out: Path = Field(description="Where the weights go, ….safetensors; their card and checkpoints go beside them.")

    @field_validator("network")
    @classmethod
    def _known_network(cls, value: str) -> str:
        return architecture(value).name

    @model_validator(mode="after")
    def _known_options(self) -> "TrainSpec":
        check_options(self.network, self.options)
        return self

    @field_validator("patch")
    @classmethod
    def _whole_coarse_pixels(cls, value: int) -> int:
        if value % 6:
            raise ValueError(f"{value} is no multiple of 6; the nearest is {max(6, round(value / 6) * 6)}")
        return value

    @field_validator("out")
    @classmethod
    def _safetensors(cls, value: Path) -> Path:
        if value.suffix != ".safetensors":
            raise ValueError("name a file that ends in .safetensors")
        return value


@dataclass(frozen=True)
class Material:
    """What there is to learn from."""

    pairs: "Mapping[str, list[Pair]]"
    """Pairs by group of bands."""
    scenes: tuple[str, ...]
    """Ids of the items they were cut from."""
    levels: tuple[str, ...]
    """Their processing levels."""
    about: str
    """Fingerprint of everything in it, by which a checkpoint is known to belong to it."""


@dataclass(frozen=True)
class Taught:
    """What training came to."""

    file: Path
    """The weights."""
    card: Card
    """Their card."""
    history: Path
    """Folder with a CSV a group: a line an epoch."""


def load(path: Path, changes: tuple[str, ...] = ()) -> TrainSpec:
    """Read and validate a training specification."""
    return strict.load(TrainSpec, path, changes)


def scenes(source: Source) -> list[Scene]:
    """The scenes of a source; raises ``Refused`` where there are none."""
    start, end = period(source.time or "0001/9998")
    levels = [source.level] if source.level else list(SENSOR.levels)
    found = []
    for level in levels:
        query = Query(source.catalog, SENSOR, start, end, bbox=source.bbox, level=level, max_cloud=source.max_cloud)
        found += find(query)
    named = [s for s in found if not source.scenes or any(part in s.id for part in source.scenes)]
    kept = [s for s in named if not any(part in s.id for part in source.leave_out)]
    if not kept:
        raise Refused(f"the source {source.catalog} has no scene that answers; widen its time:, bbox: or scenes:.")
    return kept


def material(
    model: FusionModel, spec: TrainSpec, found: list[tuple[Source, Scene]], told: Callable[[], None]
) -> Material:
    """What there is to learn from; ``told`` hears of every scene. Of each window only what is taught is kept."""
    from pipeline.training.wald import pair
    from pipeline.training.windows import lattice_of, windows

    pairs: dict[str, list[Pair]] = {group: [] for group in sorted(spec.steps)}
    seen: dict[str, str] = {}
    for source, scene in found:
        for window in windows(model, scene, lattice_of(model, scene), source.windows):
            seen[window.scene] = window.level
            for index, wanted in enumerate(model.inputs):
                group = f"{wanted.resolution}m"
                if group in pairs:
                    pairs[group].append(pair(model, window.inputs, index, spec.protocol))
        told()
    if not seen:
        raise Refused("no scene has a window that is measured and clear; name others with sources:.")
    sources = [[scene.id, scene.revision, source.windows] for source, scene in found]
    about = fingerprint([model.identity, model.inputs, spec.protocol, sources])
    return Material(pairs, tuple(sorted(seen)), tuple(sorted(set(seen.values()))), about)


def declared(spec: TrainSpec) -> FusionModel:
    """The model that is to be taught, with a network for each group of the specification."""
    bands = tuple(band.name for band in SENSOR.bands if f"{band.resolution}m" in spec.steps)
    if architecture(spec.network).cascade and list(spec.steps) == ["60m"]:
        raise Refused(f"the 60 m network of {spec.network} is given what its 20 m network makes; give steps for both.")
    if not spec.start:
        return sharpening(spec.network, SENSOR, bands, spec.precision, network=spec.options)
    if spec.options:
        raise Refused("options: are those of the weights that start: names; take options: out.")
    return with_weights(sharpening(spec.network, SENSOR, bands, spec.precision), spec.start)


def teach(
    spec: TrainSpec, model: FusionModel, known: Material, told: "Callable[[str, Progress | int], None]"
) -> Taught:
    """Teach every group of a specification and write the weights with their card."""
    import torch

    from pipeline.device import fastest
    from pipeline.models.registry import build

    torch.manual_seed(spec.seed)
    network: Any = build(model).to(fastest())
    folder = spec.out.with_suffix(".training")
    outcomes = {group: _teach_group(spec, network, group, known, folder, told) for group in known.pairs}
    card = Card(
        network=spec.network,
        sensor=SENSOR.name,
        sha256="",
        levels=known.levels,
        scenes=known.scenes,
        training={group: training for group, (training, _) in outcomes.items()},
        scores={group: scores for group, (_, scores) in outcomes.items()},
        options=dict(model.option("network")),
        parent=model.weights,
        software=__version__,
        licence=spec.licence,
    )
    return Taught(spec.out, save(spec.out, network.state_dict(), card), folder)


def _teach_group(
    spec: TrainSpec,
    network: Any,
    group: str,
    known: Material,
    folder: Path,
    told: "Callable[[str, Progress | int], None]",
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Teach one group in place: how it was taught, and what it came to."""
    from pipeline.training.loop import Settings, train
    from pipeline.training.patches import split

    taught, checked = split(known.pairs[group], spec.patch)
    if not len(taught):
        raise Refused(f"no window holds a patch of {spec.patch} px without a gap at {group}; make patch: smaller.")
    settings = Settings(
        steps=spec.steps[group],  # type: ignore[index]
        batch=spec.batch,
        patch=spec.patch,
        rate=spec.rate,
        seed=spec.seed,
        epoch=spec.epoch,
        patience=spec.patience,
        gates=0.0 if spec.start else 0.6,
    )
    history = train(network, group, taught, checked, settings, folder, partial(told, group), known.about)
    seen = {
        "protocol": spec.protocol,
        "pixels": history[-1].step * spec.batch * spec.patch**2,
        "steps_done": history[-1].step,
        "patches": len(taught),
    }
    valid = [p.validation for p in history if p.validation == p.validation]
    scores = {"loss": history[-1].loss, "validation": min(valid, default=None), "held_out_patches": len(checked)}
    return asdict(settings) | seen, scores
