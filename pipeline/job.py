"""What a run is to do: the job, the same for all chunks, and the task, one chunk on one day."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Literal

from pipeline.consistency import VERSION as PROJECTION
from pipeline.consistency import projection_reach
from pipeline.dates import Choice, Clearness, Role, choices, resolve, role, trimmed
from pipeline.encoding import Encoding
from pipeline.harmonise.places import Registration
from pipeline.harmonise.steps import AS_MEASURED, Harmony
from pipeline.lattice import Box, Chunk, Layout
from pipeline.models.declaration import FusionModel
from pipeline.scene import Group, Scene, groups, mosaic_order, touching
from pipeline.touched import Touched

SQUARE = 8
"""Cores on a side of what is worked through before the next: with 1200 px about a Sentinel-2 tile."""

KEPT = 4096
"""Of what tasks share, how much is remembered at once while they are gone through."""

DIGITS = 16
"""Hexadecimal digits of a key: eight bytes."""


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
    mosaic: int = 0
    """Version of how zones are laid together (``pipeline.zones``); 0 where pixels are fused on this very grid."""
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
            "mosaic": self.mosaic,
        }

    def weights_on(self, day: date) -> str:
        """What the weights of a day are known by: their hash, marked where the day should have been adapted and is not."""
        absent = self.adapt and day not in {known for known, _, _ in self.adapted}
        return self.model_on(day).weights + (" not adapted" if absent else "")


Given = tuple[tuple[Choice, ...], ...]
"""For each input of a model the images that it takes in one place."""


@dataclass(frozen=True)
class Task:
    """One chunk on one target day."""

    chunk: Chunk
    """Where."""
    day: date
    """When: the solar day that is fused."""
    given: Given
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
    images = groups(scenes)
    wanted = {i.sensor for i in job.model.inputs if role(i.dates).kind == "target"}
    days = [{g.day for g in images if g.sensor == sensor} for sensor in sorted(wanted)]
    return sorted(set.intersection(*days)) if days else []


def tasks(job: Job, scenes: Iterable[Scene]) -> Iterator[Task]:
    """Every task of a job: day by day, neighbouring chunks together."""
    scenes = list(scenes)
    images = groups(scenes)
    by_sensor = {i.sensor: [g for g in images if g.sensor == i.sensor] for i in job.model.inputs}
    kinds = list(dict.fromkeys((i.sensor, i.dates) for i in job.model.inputs))
    order = [kinds.index((i.sensor, i.dates)) for i in job.model.inputs]
    for day in targets(job, scenes):
        takes = [_takes(job, day, role(dates), by_sensor[name]) for name, dates in kinds]
        known: dict[tuple[int, ...], Given] = {}
        for chunk in squares(job.layout):
            found = [take(chunk) for take in takes]
            alike = tuple(map(id, found))  # inputs take the very same object wherever they take the same
            given = known.get(alike)
            if given is None:
                if len(known) == KEPT:
                    known.clear()
                given = known[alike] = tuple(found[place] for place in order)
            yield Task(chunk, day, given)


def squares(layout: Layout) -> Iterator[Chunk]:
    """Every chunk of a layout, ``SQUARE`` by ``SQUARE`` cores together, so that files which are open are used again."""
    for top in range(0, layout.rows, SQUARE):
        for left in range(0, layout.cols, SQUARE):
            for row in range(top, min(top + SQUARE, layout.rows)):
                for col in range(left, min(left + SQUARE, layout.cols)):
                    core = layout.slot(row, col).intersection(layout.area)
                    if core:
                        yield Chunk(row, col, core)


def _takes(job: Job, day: date, wanted: Role, images: list[Group]) -> Callable[[Chunk], tuple[Choice, ...]]:
    """What inputs of a sensor and a role take over the window of a chunk; the same object for chunks alike."""
    if wanted.kind == "clearest" and job.clearness is not None:
        return partial(_by_cells, job, day, wanted, images)
    choice = Choice(None, resolve(wanted, day, images))
    scenes = [scene for image in choice.images if image for scene in image.scenes]
    touched = Touched(job.layout, job.around, scenes)
    known: dict[tuple[int, ...], tuple[Choice, ...]] = {}

    def take(chunk: Chunk) -> tuple[Choice, ...]:
        near = touched.at(chunk.row, chunk.col)
        found = known.get(near)
        if found is None:
            kept = {id(scenes[index]) for index in near}
            found = known[near] = (trimmed(choice, lambda some: [scene for scene in some if id(scene) in kept]),)
        return found

    return take


def _by_cells(job: Job, day: date, wanted: Role, images: list[Group], chunk: Chunk) -> tuple[Choice, ...]:
    """The same where the clearest are chosen by pixels, cell by cell."""
    window, lattice = chunk.window(job.around), job.layout.lattice
    chosen = choices(wanted, day, images, window, job.clearness)
    return tuple(trimmed(c, partial(touching, geobox=lattice.geobox(c.box or window))) for c in chosen)


class Names:
    """Names the work of a job's tasks; what many tasks share is worked out once."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._day: date | None = None
        self._begun: dict[int, tuple[Given, Any]] = {}

    def key(self, task: Task) -> str:
        """The name of a task's work, from specification, sources, weights and place: the same work has the same name."""
        if task.day != self._day:
            self._day, self._begun = task.day, {}
        begun = self._begun.get(id(task.given))
        if begun is None:
            if len(self._begun) == KEPT:
                self._begun.clear()
            begun = self._begun[id(task.given)] = (task.given, self._begin(task))  # kept, so that its id stays its own
        work, core = begun[1].copy(), task.chunk.core
        work.update(b"[%d,%d,%d,%d]]" % (core.left, core.top, core.right, core.bottom))
        return work.hexdigest()[:DIGITS]

    def _begin(self, task: Task) -> Any:
        """The hash over everything but the place."""
        job = self._job
        sources = [[_sources(choice) for choice in taken] for taken in task.given]
        ids = {scene.id for scene in task.scenes}
        shifts = [list(moved) for moved in job.harmony.shifts if moved[0] in ids]
        text = _text([job.identity, job.weights_on(task.day), sources, shifts, str(task.day)])
        return hashlib.sha256(text.removesuffix("]").encode() + b",")


def key(job: Job, task: Task) -> str:
    """The name of one task's work (``Names``)."""
    return Names(job).key(task)


def _sources(choice: Choice) -> list[Any]:
    """A choice as plain values: where, and which processing of which scenes."""
    images = [[[s.id, s.revision] for s in image.scenes] if image else None for image in choice.images]
    return [_corners(choice.box) if choice.box else None, images]


def fingerprint(value: Any) -> str:
    """Sixteen hexadecimal digits of a hash over plain values."""
    return hashlib.sha256(_text(value).encode()).hexdigest()[:DIGITS]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def _corners(box: Box) -> list[int]:
    return [box.left, box.top, box.right, box.bottom]
