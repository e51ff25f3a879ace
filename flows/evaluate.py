"""evaluate: methods side by side on scenes, one scale down where there is a reference, and at full resolution.

Wald's protocol: everything degraded by the ratio, sharpened, and held against what was measured. A method may be adapted to
the scene it is then tried on, or taught on it from scratch: it is taught one scale further down, and never sees the reference.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from flows import strict
from flows.strict import Strict
from flows.teach import SENSOR, Source
from pipeline.errors import Refused
from pipeline.models.architectures import check_options
from pipeline.models.declaration import FusionModel
from pipeline.models.registry import PLAIN, declare, sharpening, with_weights
from pipeline.models.weights import read_card, shipped
from pipeline.scene import Scene

if TYPE_CHECKING:
    from pipeline.models.sharpener import Sharpener
    from pipeline.quality import FullScore, Score
    from pipeline.training.windows import Window

LEAST = 300
"""Least edge of a window that is scored, pixels of 10 m: of a smaller one too little is left at 60 m for any window metric."""

GROUPS = {"20m": 1, "60m": 2}
"""Groups of bands, and their place among a model's inputs."""

EXAMPLE = """\
# Methods side by side on scenes: tables (Markdown, CSV), residual pictures, power spectra.
# Run it: fusecube evaluate {name}

sources:
  - catalog: https://earth-search.aws.element84.com/v1
    bbox: [13.3, 52.3, 13.7, 52.6]
    time: 2024-06
    level: L2A
    max_cloud: 5
    windows: 4            # windows of 600 px of each scene

# A name, or more: weights: a file, adapt: steps on the scene itself, scratch: true to forget the weights first,
# options: of the architecture (mpifnet: progressive, interactive, weighted, chain), gates: pooled.
methods:
  - bicubic
  - light
  - {{model: light, adapt: 600}}
  - {{model: light, adapt: 600, scratch: true}}

groups: [20m, 60m]
seeds: 1                  # of what is taught; more give a spread
full: true                # full resolution as well
out: runs/evaluation
"""


class Method(Strict):
    """One way to sharpen."""

    model: str = Field(description="A network (light, dsen2, spr-net, rdsr, mpifnet), bicubic or identity.")
    weights: Path | None = Field(None, description="Weights; by default those that come with fusecube.")
    adapt: int = Field(0, ge=0, description="Steps for which it is first taught the scene, one scale further down.")
    scratch: bool = Field(False, description="Teach it from scratch instead of from weights.")
    options: dict[str, bool | int] = Field({}, description="Options of the architecture; needs scratch: true.")
    gates: Literal["fixed", "pooled"] = Field(
        "fixed", description="Global gates fixed, or pooled over the whole window."
    )
    precision: Literal["bfloat16", "float32"] = Field("bfloat16", description="In which convolutions run.")
    consistent: bool = Field(False, description="Project the result so that, degraded, it gives back its input.")
    label: str = Field("", description="Name in tables.")

    @model_validator(mode="after")
    def _possible(self) -> "Method":
        if self.scratch and not self.adapt:
            raise ValueError("scratch: true needs adapt: steps to teach")
        if self.options and not self.scratch:
            raise ValueError("options: need scratch: true, for weights have their own")
        if self.model not in PLAIN:
            check_options(self.model, self.options)
        if self.model in PLAIN and (self.adapt or self.weights or self.options):
            raise ValueError(f"{self.model} has nothing to teach")
        return self

    @property
    def name(self) -> str:
        """What tables call it."""
        if self.label:
            return self.label
        parts = [self.model, *(f"{k}={v}" for k, v in self.options.items())]
        if self.gates == "pooled":
            parts.append("pooled gates")
        if self.adapt:
            parts.append(f"from scratch, {self.adapt} steps" if self.scratch else f"adapted, {self.adapt} steps")
        if self.consistent:
            parts.append("consistent")
        return ", ".join(parts)


class EvaluateSpec(Strict):
    """An evaluation."""

    sources: tuple[Source, ...] = Field(description="Scenes to try methods on.", min_length=1)
    methods: tuple[Method, ...] = Field(description="What to try.", min_length=1)
    groups: tuple[Literal["20m", "60m"], ...] = Field(("20m", "60m"), description="Groups of bands.", min_length=1)
    protocol: Literal["mtf", "dsen2"] = Field("mtf", description="Blur by each band's MTF, or as DSen2's authors do.")

    @model_validator(mode="after")
    def _each_once(self) -> "EvaluateSpec":
        names = [method.name for method in self.methods]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"two methods are called '{twice.pop()}'; tell them apart by label:")
        if len(set(self.groups)) < len(self.groups):
            raise ValueError("a group is named twice")
        if self.protocol != "mtf" and any(method.consistent for method in self.methods):
            raise ValueError("consistent: true projects by the bands' MTF, so it needs protocol: mtf")
        return self

    seeds: int = Field(1, gt=0, description="Seeds of what is taught; more give a spread.")
    full: bool = Field(True, description="At full resolution as well, without a reference.")
    out: Path = Field(description="Folder for tables and pictures.")

    @field_validator("methods", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return [{"model": v} if isinstance(v, str) else v for v in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class Trial:
    """One method on one scene, one group of bands, one seed, at one scale."""

    scene: str
    """Item id."""
    group: str
    """Group of bands."""
    method: str
    """Its name."""
    seed: int
    """Seed of what was taught."""
    scale: str
    """``reduced`` or ``full``."""
    score: "Score | FullScore | None"
    """How good it was; ``None`` where the scene was too small to teach a network from scratch."""
    index: "Score | None" = None
    """NDVI-RE beside the reference's, for the group that has its bands."""
    note: str = ""
    """Why it was not adapted, where it should have been."""


@dataclass(frozen=True)
class Picture:
    """What a method made of the first window of a scene."""

    scene: str
    """Item id."""
    group: str
    """Group of bands."""
    method: str
    """Its name."""
    estimate: NDArray[np.floating]
    """(bands, rows, cols) reflectance."""
    reference: NDArray[np.floating]
    """The same as measured."""


def load(path: Path, changes: tuple[str, ...] = ()) -> EvaluateSpec:
    """Read and validate an evaluation."""
    return strict.load(EvaluateSpec, path, changes)


def declared(method: Method, group: str) -> FusionModel:
    """A method's model down to a group of bands, which alone it gives; raises ``Refused`` where it cannot be."""
    coarsest = int(group.removesuffix("m"))
    given = tuple(band.name for band in SENSOR.bands if band.resolution <= coarsest)
    bands = tuple(band.name for band in SENSOR.bands if band.resolution == coarsest)
    if method.model in PLAIN:
        return declare(method.model, SENSOR, given, 10)
    model = sharpening(method.model, SENSOR, bands, method.precision, method.gates, method.options)
    if method.scratch:
        return model
    file = method.weights or shipped(method.model)
    if file is None:
        raise Refused(
            f"fusecube comes without weights for '{method.model}'; name some with weights:, or scratch: true."
        )
    return with_weights(model, file)


def evaluate(
    spec: EvaluateSpec, scene: Scene, windows: "list[Window]", told: Callable[[], None]
) -> Iterator[tuple[Trial, Picture | None]]:
    """Every method on one scene; ``told`` hears of every trial."""
    for group in spec.groups:
        for method in spec.methods:
            for seed in range(spec.seeds if method.adapt else 1):
                trial, picture = _reduced(spec, method, scene, group, windows, seed)
                yield trial, picture if seed == 0 else None
                told()
                if spec.full:
                    yield _full(method, scene, group, windows, seed), None
                    told()


def count(spec: EvaluateSpec) -> int:
    """Trials on one scene."""
    runs = sum(spec.seeds if method.adapt else 1 for method in spec.methods)
    return runs * len(spec.groups) * (2 if spec.full else 1)


def _reduced(
    spec: EvaluateSpec, method: Method, scene: Scene, group: str, windows: "list[Window]", seed: int
) -> tuple[Trial, Picture | None]:
    from pipeline.quality import score, vegetation_index
    from pipeline.training.wald import pair

    index = GROUPS[group]
    given, pairs = declared(method, group), []
    for window in windows:
        pairs.append(pair(given, window.inputs[: index + 1], index, spec.protocol))
    below = [replace(w, inputs=p.inputs) for w, p in zip(windows, pairs, strict=True)]
    sharpen, note = _taught(given, method, group, below, seed)
    if method.scratch and note:
        return Trial(scene.id, group, method.name, seed, "reduced", None, None, note), None
    if given.weights and scene.id in read_card(given.weights_file).scenes:
        note = "; ".join(part for part in (note, "the weights were trained on this very scene") if part)
    ratio = given.inputs[index].resolution // given.output.resolution
    inner = (slice(None), slice(2 * ratio, -2 * ratio), slice(2 * ratio, -2 * ratio))  # beyond, pixels were mirrored
    estimates = [_projected(method, given, sharpen(p.inputs), p.inputs[index])[inner] for p in pairs]
    references = [p.label[inner] for p in pairs]
    ndvi = None
    names = given.inputs[index].bands
    if {"B05", "B07"} <= set(names):
        low, high = names.index("B05"), names.index("B07")
        ndvi = score(
            [vegetation_index(e, low, high) for e in estimates],
            [vegetation_index(r, low, high) for r in references],
            ratio,
        )
    found = Trial(scene.id, group, method.name, seed, "reduced", score(estimates, references, ratio), ndvi, note)
    return found, Picture(scene.id, group, method.name, estimates[0], references[0])


def _full(method: Method, scene: Scene, group: str, windows: "list[Window]", seed: int) -> Trial:
    from pipeline.quality import full_score

    index = GROUPS[group]
    given = declared(method, group)
    factor = given.inputs[index].resolution // given.output.resolution
    native = [replace(w, inputs=_whole(w.inputs[: index + 1], given, factor)) for w in windows]
    sharpen, note = _taught(given, method, group, native, seed)
    if method.scratch and note:
        return Trial(scene.id, group, method.name, seed, "full", None, None, note)
    mtf = [SENSOR.band(b).mtf for b in given.inputs[index].bands]
    fine = float(np.mean([SENSOR.band(b).mtf for b in given.inputs[0].bands]))
    results = [_projected(method, given, sharpen(w.inputs), w.inputs[index]) for w in native]
    measured, sharp = [w.inputs[index] for w in native], [w.inputs[0] for w in native]
    return Trial(
        scene.id, group, method.name, seed, "full", full_score(results, measured, sharp, [*mtf, fine]), None, note
    )


def _projected(method: Method, model: FusionModel, fine: NDArray, measured: NDArray) -> NDArray:
    """What a method made of a window, consistent with its input where the method asks for it, (bands, rows, cols)."""
    if not method.consistent:
        return fine
    from pipeline.consistency import project

    wanted = model.inputs[-1]
    ratio = wanted.resolution // model.output.resolution
    bands = zip(fine, measured, (SENSOR.band(b).mtf for b in wanted.bands), strict=True)
    return np.stack([project(plane, seen, mtf, ratio) for plane, seen, mtf in bands])


def _whole(inputs: tuple[NDArray, ...], model: FusionModel, factor: int) -> tuple[NDArray, ...]:
    """Inputs cut to whole coarsest pixels, twice over."""
    rows, cols = (length // 2 * 2 * factor for length in inputs[-1].shape[1:])
    out = []
    for wanted, x in zip(model.inputs, inputs, strict=True):
        f = wanted.resolution // model.output.resolution
        out.append(x[:, : rows // f, : cols // f])
    return tuple(out)


def _taught(
    model: FusionModel, method: Method, group: str, windows: "list[Window]", seed: int
) -> tuple[Callable[[tuple[NDArray, ...]], NDArray], str]:
    """What sharpens a window's inputs to the bands of a group, and why it was not adapted where it was not."""
    import torch

    from pipeline.models.registry import build
    from pipeline.quality import filled

    if model.name in PLAIN:
        plain, bands = build(model), model.inputs[GROUPS[group]].bands
        places = [model.output.bands.index(band) for band in bands]

        def interpolate(inputs: tuple[NDArray, ...]) -> NDArray:
            with torch.inference_mode():
                return plain(*(torch.from_numpy(filled(x)[None]) for x in inputs))[0].numpy()[places]

        return interpolate, ""
    network, note = _network(model, method, group, windows, seed)

    def sharpen(inputs: tuple[NDArray, ...]) -> NDArray:
        device = next(network.parameters()).device
        with torch.inference_mode():
            tensors = [torch.from_numpy(filled(x)[None]).to(device) for x in inputs]
            return network.estimate(group, tensors)[0].cpu().numpy()

    return sharpen, note


def _network(
    model: FusionModel, method: Method, group: str, windows: "list[Window]", seed: int
) -> tuple["Sharpener", str]:
    from pipeline.device import fastest
    from pipeline.models.gates import set_pooled
    from pipeline.models.registry import build
    from pipeline.training.adaptation import adapt

    if not method.adapt:
        return build(model).to(fastest()), ""  # type: ignore[return-value]
    network, lessons = adapt(model, windows, method.adapt, seed=seed)
    set_pooled(network, method.gates == "pooled")
    return network, lessons[group].kept


def draw(folder: Path, pictures: "list[Picture]") -> None:
    """Residuals and power spectra of every group of bands of a scene."""
    from pipeline.figures import residuals, spectra

    for scene, group in dict.fromkeys((p.scene, p.group) for p in pictures):
        shown = [p for p in pictures if (p.scene, p.group) == (scene, group)]
        title = f"{scene}, bands of {group}, one scale down"
        estimates, reference = {p.method: p.estimate for p in shown}, shown[0].reference
        place = f"{scene.replace('/', '_')}-{group}.png"
        residuals(folder / f"residual-{place}", title, estimates, reference)
        spectra(folder / f"spectrum-{place}", title, estimates, reference, float(group.removesuffix("m")))
