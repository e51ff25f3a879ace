"""What a run is to do: the job, the same for all chunks, and the task, one chunk on one day."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from math import ceil
from pathlib import Path
from typing import Any, Literal

from pipeline.consistency import VERSION as PROJECTION
from pipeline.consistency import projection_reach
from pipeline.dates import Choice, Clearness, choices, role, trimmed
from pipeline.encoding import Encoding
from pipeline.harmonise.places import Registration
from pipeline.harmonise.steps import AS_MEASURED, Harmony
from pipeline.lattice import Box, Chunk, Layout
from pipeline.models.declaration import FusionModel
from pipeline.scene import Group, Scene, groups, mosaic_order


@dataclass(frozen=True)
class Job:
    """Everything that decides pixels, and how they are cut and kept."""

    flow: str
    """Name of the flow."""
    model: FusionModel
    """The model's declaration."""
    layout: Layout
    """The lattice, the area, and its chunks."""
    level: str
    """Processing level of the scenes."""
    encoding: Encoding
    """How the result is kept."""
    mask: tuple[str, ...] = ()
    """Names of flags whose pixels are written as nodata."""
    dilate: int = 0
    """Metres by which clouds, cirrus and shadows are dilated; what is so near carries a flag of its own."""
    clip: str | None = None
    """Polygon that was asked for, WKT in the lattice's CRS; outside it is nodata."""
    projected: bool = False
    """Whether the result is projected onto consistency with what was measured."""
    adapt: int = 0
    """Steps for which the weights are first adapted to each day's scenes; 0 for the weights as they are."""
    harmony: Harmony = AS_MEASURED
    """Steps of harmonisation."""
    coregister: Literal["off", "check", "correct"] = "off"
    """Whether scenes are held against a reference, and put in its place."""
    registrations: tuple[Registration, ...] = ()
    """Where scenes were found to lie."""
    clearness: Clearness | None = None
    """How clear each image is, cell by cell, where an input takes the clearest; by cloud cover of scenes where ``None``."""
    adapted: tuple[tuple[date, str, Path], ...] = ()
    """Days whose weights are known: the day, their hash, and where they are."""

    @property
    def halo(self) -> int:
        """Steps around a core that its window takes in."""
        return self.layout.lattice.steps_for(self.model.halo) + self.spare

    @property
    def around(self) -> int:
        """Steps around a core within which a scene can matter: for the model, or for the dilation of its clouds."""
        return max(self.halo, ceil(self.dilate / self.layout.lattice.step))

    @property
    def spare(self) -> int:
        """Steps around a core for which the model is run as well, so that its result can be projected."""
        if not self.projected:
            return 0
        ratios = [wanted.resolution // self.model.output.resolution for wanted in self.model.inputs]
        return self.layout.lattice.steps_for(max(projection_reach(ratio) for ratio in ratios))

    def model_on(self, day: date) -> FusionModel:
        """The model with the weights of a day."""
        for known, weights, file in self.adapted:
            if known == day:
                return replace(self.model, weights=weights, weights_file=file)
        return self.model

    @property
    def identity(self) -> dict[str, Any]:
        """What decides a pixel's value, as plain values: not the area, not the chunks, not where the work runs."""
        lattice = self.layout.lattice
        return {
            "flow": self.flow,
            "model": self.model.identity,
            "inputs": [[i.sensor, list(i.bands), i.resolution, i.dates] for i in self.model.inputs],
            "bands": list(self.model.output.bands),
            "level": self.level,
            "grid": [lattice.crs, str(lattice.resolution), str(lattice.step), [str(a) for a in lattice.anchor]],
            "encoding": asdict(self.encoding) | {"fill": str(self.encoding.fill)},
            "mask": sorted(self.mask),
            "dilate": self.dilate,
            "harmonise": [self.harmony.nbar, self.harmony.platform, self.harmony.corrects],
            "clip": self.clip,
            "projected": PROJECTION if self.projected else 0,
            "adapt": self.adapt,
        }

    def weights_on(self, day: date) -> str:
        """What the weights of a day are known by: their hash, marked where the day should have been adapted and is not."""
        absent = self.adapt and day not in {known for known, _, _ in self.adapted}
        return self.model_on(day).weights + (" not adapted" if absent else "")


@dataclass(frozen=True)
class Task:
    """One chunk on one target day."""

    chunk: Chunk
    """Where."""
    day: date
    """When: the solar day that is fused."""
    given: tuple[tuple[Choice, ...], ...]
    """For each input of the model the images it takes, with the scenes that touch the chunk's window."""

    @property
    def name(self) -> str:
        """What people and logs call it."""
        box = self.chunk.core
        return f"{self.day} ({box.left}, {box.top})"

    def scenes_of(self, index: int) -> tuple[Scene, ...]:
        """The scenes of an input, each once, in the order in which they are laid down."""
        images = (image for choice in self.given[index] for image in choice.images if image)
        return _each_once(scene for image in images for scene in image.scenes)

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """The scenes of all inputs, each once."""
        return _each_once(s for index in range(len(self.given)) for s in self.scenes_of(index))


def _each_once(scenes: Iterable[Scene]) -> tuple[Scene, ...]:
    return tuple({(s.sensor, s.level, s.id): s for s in scenes}.values())


def by_day(scenes: Iterable[Scene]) -> dict[date, list[Scene]]:
    """Scenes grouped by solar day, days in order; within a day least cloudy, then newest first."""
    groups: dict[date, list[Scene]] = {}
    for scene in sorted(scenes, key=mosaic_order):
        groups.setdefault(scene.solar_day, []).append(scene)
    return dict(sorted(groups.items()))


def targets(job: Job, scenes: Iterable[Scene]) -> list[date]:
    """The days that are fused: those on which every sensor that the model wants of the target date was there."""
    wanted = {i.sensor for i in job.model.inputs if role(i.dates).kind == "target"}
    days = [{g.day for g in groups(scenes) if g.sensor == sensor} for sensor in sorted(wanted)]
    return sorted(set.intersection(*days)) if days else []


def tasks(job: Job, scenes: Iterable[Scene]) -> Iterator[Task]:
    """Every task of a job: day by day, neighbouring chunks together."""
    scenes = list(scenes)
    images = groups(scenes)
    by_sensor = {i.sensor: [g for g in images if g.sensor == i.sensor] for i in job.model.inputs}
    kinds = dict.fromkeys((i.sensor, i.dates) for i in job.model.inputs)
    for day in targets(job, scenes):
        for chunk in job.layout.chunks():
            found = {kind: _given(job, chunk, day, kind, by_sensor[kind[0]]) for kind in kinds}
            yield Task(chunk, day, tuple(found[i.sensor, i.dates] for i in job.model.inputs))


def _given(job: Job, chunk: Chunk, day: date, kind: tuple[str, str], images: list[Group]) -> tuple[Choice, ...]:
    """What inputs of a sensor and a role take over the window of a chunk."""
    window = chunk.window(job.around)
    chosen = choices(role(kind[1]), day, images, window, job.clearness)
    return tuple(trimmed(choice, job.layout.lattice, window) for choice in chosen)


def key(job: Job, task: Task) -> str:
    """The name of a task's work, from specification, sources, weights and place: the same work has the same name."""
    sources = [[_sources(choice) for choice in taken] for taken in task.given]
    ids = {scene.id for scene in task.scenes}
    shifts = [list(moved) for moved in job.harmony.shifts if moved[0] in ids]
    place = _corners(task.chunk.core)
    return fingerprint([job.identity, job.weights_on(task.day), sources, shifts, str(task.day), place])


def _sources(choice: Choice) -> list[Any]:
    """A choice as plain values: where, and which processing of which scenes."""
    images = [[[s.id, s.revision] for s in image.scenes] if image else None for image in choice.images]
    return [_corners(choice.box) if choice.box else None, images]


def fingerprint(value: Any) -> str:
    """Sixteen hexadecimal digits of a hash over plain values."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _corners(box: Box) -> list[int]:
    return [box.left, box.top, box.right, box.bottom]
