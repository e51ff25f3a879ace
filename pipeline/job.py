"""What a run is to do: the job, the same for all chunks, and the task, one chunk on one day."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from pipeline.consistency import VERSION as PROJECTION
from pipeline.consistency import projection_reach
from pipeline.encoding import Encoding
from pipeline.lattice import Box, Chunk, Layout
from pipeline.models.declaration import FusionModel
from pipeline.scene import Scene, mosaic_order, touching


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
    adapted: tuple[tuple[date, str, Path], ...] = ()
    """Days whose weights are known: the day, their hash, and where they are."""

    @property
    def halo(self) -> int:
        """Steps around a core that its window takes in."""
        return self.layout.lattice.steps_for(self.model.halo) + self.spare

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
            "inputs": [[i.sensor, list(i.bands), i.resolution] for i in self.model.inputs],
            "bands": list(self.model.output.bands),
            "level": self.level,
            "grid": [lattice.crs, str(lattice.resolution), str(lattice.step), [str(a) for a in lattice.anchor]],
            "encoding": asdict(self.encoding) | {"fill": str(self.encoding.fill)},
            "mask": sorted(self.mask),
            "dilate": self.dilate,
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
    """One chunk on one solar day."""

    chunk: Chunk
    """Where."""
    day: date
    """When."""
    scenes: tuple[Scene, ...]
    """The scenes of the day that touch the chunk's window, in the order in which they are laid down."""

    @property
    def name(self) -> str:
        """What people and logs call it."""
        box = self.chunk.core
        return f"{self.day} ({box.left}, {box.top})"


def by_day(scenes: Iterable[Scene]) -> dict[date, list[Scene]]:
    """Scenes grouped by solar day, days in order; within a day least cloudy, then newest first."""
    groups: dict[date, list[Scene]] = {}
    for scene in sorted(scenes, key=mosaic_order):
        groups.setdefault(scene.solar_day, []).append(scene)
    return dict(sorted(groups.items()))


def tasks(job: Job, scenes: Iterable[Scene]) -> Iterator[Task]:
    """Every task of a job: day by day, neighbouring chunks together."""
    lattice = job.layout.lattice
    for day, group in by_day(scenes).items():
        for chunk in job.layout.chunks():
            near = touching(group, lattice.geobox(chunk.window(job.halo)))
            yield Task(chunk, day, tuple(near))


def key(job: Job, task: Task) -> str:
    """The name of a task's work, from specification, sources, weights and place: the same work has the same name."""
    sources = [[scene.id, scene.revision] for scene in task.scenes]
    return fingerprint([job.identity, job.weights_on(task.day), sources, str(task.day), _corners(task.chunk.core)])


def fingerprint(value: Any) -> str:
    """Sixteen hexadecimal digits of a hash over plain values."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _corners(box: Box) -> list[int]:
    return [box.left, box.top, box.right, box.bottom]
