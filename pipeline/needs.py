"""What chunks ask for, from metadata alone: pixels, bytes to read and to write, requests. Added up without keeping a chunk."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from math import ceil

import numpy as np

from pipeline.harmonise.places import compared
from pipeline.job import KEPT, Job, Task
from pipeline.lattice import Box
from pipeline.scene import Scene, quality_of

BLOCK = 1024
"""Edge of the internal blocks of the COGs of Earth Search, pixels; a file's own is known only once it is opened."""

OPENING = 2
"""Requests that opening a remote file takes: its header, and its table of blocks."""

NUMBER = 2
"""Bytes of a digital number as sensors' files have them."""

FLAGS = 2
"""Bytes of a pixel's flags."""


@dataclass(frozen=True)
class Needs:
    """What work asks for; adds up."""

    chunks: int = 0
    """Chunks."""
    pixels: int = 0
    """Pixels of their cores."""
    tiled: int = 0
    """Pixels of the model's tiles: a chunk smaller than a tile costs a whole one, and context tiles those beside it too."""
    needed: int = 0
    """Bytes of the pixels in all windows, decoded: what is decoded where every block is decoded once."""
    decoded: int = 0
    """Bytes to decode where every window decodes its blocks anew, each as unluckily placed as can be."""
    blocks: float = 0.0
    """Blocks of 1024 px in the cores: what is asked for where every block is asked for once."""
    asked: int = 0
    """Requests where every window opens its files and asks for its blocks anew."""
    written: int = 0
    """Bytes of the result before compression."""

    def __add__(self, other: "Needs") -> "Needs":
        return Needs(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def times(self, count: int) -> "Needs":
        """The same work so many times."""
        return Needs(*(getattr(self, f.name) * count for f in fields(self)))

    @property
    def amplification(self) -> float:
        """Bytes decoded, at most, per byte needed."""
        return self.decoded / self.needed if self.needed else 1.0


class Meter:
    """Adds up the needs of tasks; chunks of one size that take the same are worked out once."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._sum = Needs()
        self._alike: dict[tuple[int, int, int], tuple[Task, list[int]]] = {}
        self._files: set[tuple[str, str]] = set()
        self.scenes: set[str] = set()
        """Ids of the scenes that a chunk takes."""

    def add(self, task: Task, counted: bool = True) -> None:
        """Count a task; one that is not to be ``counted`` only tells which scenes there are."""
        core = task.chunk.core
        at = (id(task.given), core.width, core.height)
        found = self._alike.get(at)
        if found is None:
            if len(self._alike) == KEPT:
                self._settle()
            found = self._alike[at] = (task, [0])  # the task is kept, so that the id stays its own
            self.scenes.update(scene.id for scene in task.scenes)
        found[1][0] += counted

    @property
    def needs(self) -> Needs:
        """The needs of all that was counted."""
        self._settle()
        return self._sum

    @property
    def files(self) -> int:
        """Files that at least one chunk opens."""
        self._settle()
        return len(self._files)

    def _settle(self) -> None:
        for task, (count,) in self._alike.values():
            if count:
                self._sum += needs_of(self._job, task).times(count)
                self._files.update((r.scene.id, band) for r in readings(self._job, task) for band in r.bands)
        self._alike.clear()


@dataclass(frozen=True)
class Reading:
    """Files of one scene that a task reads alike."""

    scene: Scene
    """The scene."""
    bands: tuple[str, ...]
    """Bands or quality layers, each a file."""
    steps: tuple[int, int]
    """Height and width of the window in steps."""
    resolution: int
    """Ground sampling distance in metres."""
    size: int
    """Bytes of a number."""


def needs_of(job: Job, task: Task) -> Needs:
    """What one task asks for."""
    n, core = job.layout.lattice.pixels(), task.chunk.core
    height, width = core.height * n, core.width * n
    tile, beside = job.model.tile, 2 if job.model.global_context else 0
    number = np.dtype(job.encoding.dtype).itemsize
    stored = (
        len(job.model.output.bands) * number + FLAGS if task.scenes_of(job.model.target) else 0
    )  # Zarr keeps no empty shard
    total = Needs(
        chunks=1,
        pixels=height * width,
        tiled=(ceil(height / tile) + beside) * (ceil(width / tile) + beside) * tile**2,
        written=height * width * stored,
    )
    for reading in readings(job, task):
        total += _read(float(job.layout.lattice.step), core, reading)
    return total


def readings(job: Job, task: Task) -> Iterator[Reading]:
    """What a task reads: the bands of every input over the window, those that harmonisation adds among them, and the target's
    quality layers over the core and the metres by which clouds are dilated."""
    core = task.chunk.core
    window = core.pad(job.halo)
    for index, wanted in enumerate(job.model.inputs):
        for scene in task.scenes_of(index):
            bands = job.harmony.needs(scene, wanted.bands)
            yield Reading(scene, bands, (window.height, window.width), wanted.resolution, NUMBER)
    near = core.pad(ceil(job.dilate / job.layout.lattice.step))
    for scene in task.scenes_of(job.model.target):
        for layer in quality_of(scene):
            size = np.dtype(layer.dtype).itemsize
            yield Reading(scene, (layer.name,), (near.height, near.width), layer.resolution, size)


def _read(step: float, core: Box, reading: Reading) -> Needs:
    """What reading a window of files asks for."""
    scene, resolution = reading.scene, reading.resolution
    per = step / resolution
    lengths = [length_of(scene, axis, resolution) for axis in (1, 0)]
    window = [min(ceil(steps * per), length) for steps, length in zip(reading.steps, lengths, strict=True)]
    rows, cols = (_blocks(*pair) for pair in zip(window, lengths, strict=True))
    files = len(reading.bands)
    return Needs(
        needed=reading.size * files * window[0] * window[1],
        decoded=reading.size * files * min(rows * BLOCK, lengths[0]) * min(cols * BLOCK, lengths[1]),
        blocks=files * max(core.height * per / BLOCK, 1 / BLOCK) * max(core.width * per / BLOCK, 1 / BLOCK),
        asked=files * (OPENING + rows * cols),
    )


def length_of(scene: Scene, axis: int, resolution: int) -> int:
    """Length of a scene's file in pixels along x (0) or y (1), as its metadata has it."""
    if scene.extent is None:
        return 10980 * 10 // resolution
    return max(1, round((scene.extent[axis + 2] - scene.extent[axis]) / resolution))


def _blocks(window: int, length: int) -> int:
    """Blocks of a file of some length that a window meets along one axis at most: where it begins with a block's last pixel."""
    return min(ceil((window - 1) / BLOCK) + 1, ceil(length / BLOCK))


def registering(pairs: Iterable[tuple[Scene, Scene]]) -> Needs:
    """What holding scenes against their references asks for: one band and the quality layers of both, cell by cell."""
    from pipeline.harmonise.coregister import anchored  # loads SciPy, which a plan without it need not wait for

    total = Needs()
    for pair in pairs:
        band = compared(pair[0])
        if band is None:
            continue
        shape = (length_of(pair[0], 1, band.resolution), length_of(pair[0], 0, band.resolution))
        cells = anchored(shape)
        pixels = sum((rows.stop - rows.start) * (cols.stop - cols.start) for rows, cols in cells)
        files = [NUMBER, *(np.dtype(layer.dtype).itemsize for layer in quality_of(pair[0]))]
        size = 2 * pixels * sum(files)
        total += Needs(needed=size, decoded=size, asked=2 * len(files) * (OPENING + len(cells)), blocks=2 * len(files))
    return total
