"""One chunk, from files to numbers: read, mask, model, crop, measure. Everything a worker does but the writing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from pipeline.consistency import project, projection_reach
from pipeline.dates import Choice
from pipeline.device import Runner
from pipeline.flags import CLOUDY, Flag, dilate
from pipeline.job import Job, Task
from pipeline.lattice import Box
from pipeline.measure import Measured, measure
from pipeline.models.declaration import Input
from pipeline.mosaic import Image, lay, lay_quality, quality_of
from pipeline.reader import Journal
from pipeline.record import Record
from pipeline.region import outside
from pipeline.sensors import sensor


@dataclass(frozen=True)
class Fused:
    """What a chunk came to."""

    numbers: NDArray
    """Stored numbers of the core, (bands, rows, cols)."""
    flags: NDArray[np.uint16]
    """Flags of the core, (rows, cols)."""
    record: Record
    """What it has to say."""


@dataclass
class Stopwatch:
    """Wall time by stage; stages do not nest."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Stage to seconds."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 4)


@dataclass(frozen=True)
class Read:
    """What a chunk was given."""

    images: list[Image]
    """One (dates * bands, rows, cols) image each input of the model, over the window."""
    flags: NDArray[np.uint16]
    """Flags of the day's quality layers over the core, (rows, cols)."""
    journal: Journal
    """How it was read, and what could not be."""
    watch: Stopwatch
    """Seconds of the stages so far."""


def fuse_chunk(job: Job, task: Task, runner: Runner) -> Fused:
    """Fuse one chunk; the result depends on the job, the task's place and day, and its scenes, and on nothing else.

    A file that cannot be read is nodata and is named in the record. The three stages may run in threads of their own.
    """
    read = read_chunk(job, task)
    return finish(job, task, read, apply_model(job, read, runner))


def read_chunk(job: Job, task: Task) -> Read:
    """First stage: everything that a chunk needs from files, over its window."""
    watch, journal = Stopwatch(), Journal()
    window = task.chunk.window(job.halo)
    with watch.stage("read"):
        images = [read_input(job, task, index, window, journal) for index in range(len(job.model.inputs))]
        flags = read_flags(job, task, journal)
    return Read(images, flags, journal, watch)


def apply_model(job: Job, read: Read, runner: Runner) -> NDArray[np.float32]:
    """Second stage: the model over the core and its spare steps, (bands, rows, cols)."""
    with read.watch.stage("model"):
        return _apply(job, read.images, runner)


def finish(job: Job, task: Task, read: Read, fused: NDArray[np.float32]) -> Fused:
    """Last stage: what will be stored of the core, and what it has to say."""
    inputs, flags, watch = [image.values for image in read.images], read.flags, read.watch
    margin = job.halo * job.layout.lattice.pixels()
    before = None
    if job.projected:
        with watch.stage("project"):
            fused, before = _projected(job, fused, inputs)
    with watch.stage("measure"):
        for wanted, image in zip(job.model.inputs, read.images, strict=True):
            if image.saturated.any():
                flags[_on_output(image.saturated, wanted, job, margin, flags.shape)] |= np.uint16(Flag.SATURATED)
        numbers, beyond = job.encoding.encode(fused)
        flags[beyond.any(axis=0)] |= np.uint16(Flag.SATURATED)
        valid, flags = _validity(job, read.images, flags, margin, task.chunk.core)
        if before is not None:
            before = np.where(valid, before, np.float32(np.nan))
        if not valid.all():
            numbers[~valid] = job.encoding.fill
        record = measure(job, task, read.journal, Measured(numbers, flags, inputs, before), watch.seconds)
    return Fused(numbers, flags, record)


def read_input(job: Job, task: Task, index: int, window: Box, journal: Journal) -> Image:
    """One input over a window, (dates * bands, rows, cols): the images it takes one after the other, oldest first.

    An image's scenes are laid down in their order; NaN where none has a value, or where there is no such image.
    """
    wanted, lattice = job.model.inputs[index], job.layout.lattice
    choices = task.given[index]
    if len(choices) == 1 and choices[0].box is None:
        return _stacked(job, choices[0], wanted, lattice.geobox(window, wanted.resolution), journal)
    n = lattice.pixels(wanted.resolution)
    shape = lattice.geobox(window, wanted.resolution).shape
    out = np.full((max(len(c.images) for c in choices) * len(wanted.bands), *shape), np.nan, np.float32)
    saturated = np.zeros(shape, bool)
    for choice in choices:
        part = choice.box.intersection(window) if choice.box else window
        if part:
            image = _stacked(job, choice, wanted, lattice.geobox(part, wanted.resolution), journal)
            top, left = (part.top - window.top) * n, (part.left - window.left) * n
            place = (slice(top, top + part.height * n), slice(left, left + part.width * n))
            out[:, *place], saturated[place] = image.values, image.saturated
    return Image(out, saturated, not np.isnan(out).any())


def _stacked(job: Job, choice: Choice, wanted: Input, geobox: GeoBox, journal: Journal) -> Image:
    """The images of a choice on the pixels of a GeoBox, one after the other."""
    images = [lay(i.scenes if i else (), geobox, wanted.bands, journal, job.harmony) for i in choice.images]
    if len(images) == 1:
        return images[0]
    empty = np.empty((0, *geobox.shape), np.float32)
    saturated = np.zeros(geobox.shape, bool)
    for image in images:
        saturated |= image.saturated
    values = np.concatenate([empty, *(image.values for image in images)])
    return Image(values, saturated, all(image.whole for image in images))


def _on_output(
    mask: NDArray[np.bool_], wanted: Input, job: Job, margin: int, shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """A mask over a window of an input, (rows, cols), as the pixels of the output's core."""
    times = wanted.resolution // job.model.output.resolution
    fine = mask.repeat(times, axis=0).repeat(times, axis=1)
    return fine[margin : margin + shape[0], margin : margin + shape[1]]


def read_flags(job: Job, task: Task, journal: Journal) -> NDArray[np.uint16]:
    """Flags of the day's quality layers over the core, (rows, cols) on the output's grid; none where there are none.

    Clouds and shadows are dilated by the metres that the job asks for.
    """
    lattice, core = job.layout.lattice, task.chunk.core
    shape = lattice.geobox(core).shape
    scenes = task.scenes_of(job.model.target)
    layers = [layer for scene in scenes for layer in quality_of(scene)]
    if not layers:
        return np.zeros(shape, np.uint16)
    native = min(layer.resolution for layer in layers)
    whole = (lattice.step / native).denominator == 1 and native % lattice.resolution == 0
    resolution = native if whole else int(lattice.resolution)
    radius = ceil(job.dilate / resolution)
    spare = ceil(radius / lattice.pixels(resolution))
    flags = lay_quality(scenes, lattice.geobox(core.pad(spare), resolution), journal, job.harmony).flags
    if radius:
        flags[dilate((flags & CLOUDY) > 0, radius)] |= np.uint16(Flag.NEAR)
    edge = spare * lattice.pixels(resolution)
    flags = flags[edge : flags.shape[0] - edge, edge : flags.shape[1] - edge]
    times = shape[0] // flags.shape[0]
    return flags.repeat(times, axis=0).repeat(times, axis=1)


def _apply(job: Job, images: list[Image], runner: Runner) -> NDArray[np.float32]:
    """The model over a core and its spare steps, (bands, rows, cols), gaps filled with each band's constant.

    It is not run where nothing was measured.
    """
    model, margin = job.model, (job.halo - job.spare) * job.layout.lattice.pixels()
    gaps = [None if image.whole and image.values.size else np.isnan(image.values) for image in images]
    if all(missing is not None and missing.all() for missing in gaps):
        times = model.inputs[0].resolution // model.output.resolution
        rows, cols = (length * times - 2 * margin for length in images[0].values.shape[1:])
        return np.full((len(model.output.bands), rows, cols), np.nan, np.float32)
    filled = []
    for wanted, image, missing in zip(model.inputs, images, gaps, strict=True):
        dates = image.values.shape[0] // len(wanted.bands)
        constants = np.array([sensor(wanted.sensor).band(b).fill for b in wanted.bands] * dates, np.float32)
        filled.append(image.values if missing is None else np.where(missing, constants[:, None, None], image.values))
    return runner.apply(filled, margin)


def _projected(
    job: Job, fused: NDArray[np.float32], inputs: list[NDArray[np.float32]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The model's result over the core, consistent with what was measured, and as it was, (bands, rows, cols) each."""
    n, model = job.layout.lattice.pixels(), job.model
    spare, margin = job.spare * n, (job.halo - job.spare) * n
    core = (slice(spare, fused.shape[1] - spare), slice(spare, fused.shape[2] - spare))
    out = fused[:, *core].copy()
    for wanted, x in zip(model.inputs, inputs, strict=True):
        ratio = wanted.resolution // model.output.resolution
        edge = margin // ratio
        if not model.gives_back(wanted):
            continue
        for band, plane in zip(wanted.bands, x, strict=True):
            if ratio == 1 or band not in model.output.bands:
                continue
            index = model.output.bands.index(band)
            measured = plane[edge : plane.shape[0] - edge, edge : plane.shape[1] - edge]
            out[index] = project(fused[index], measured, sensor(wanted.sensor).band(band).mtf, ratio)[core]
    return out, fused[:, *core]


def _validity(
    job: Job, images: list[Image], flags: NDArray[np.uint16], margin: int, core: Box
) -> tuple[NDArray[np.bool_], NDArray[np.uint16]]:
    """Which output pixels hold a value, (bands, rows, cols), and the flags that say why the others do not."""
    model, shape = job.model, flags.shape
    inside = (slice(margin, margin + shape[0]), slice(margin, margin + shape[1]))
    valid = np.ones((len(model.output.bands), *shape), bool)
    influenced = np.zeros(shape, bool)
    for wanted, image in zip(model.inputs, images, strict=True):
        if image.whole:
            continue
        gaps = np.isnan(image.values)
        times = wanted.resolution // model.output.resolution
        missing = gaps.repeat(times, axis=1).repeat(times, axis=2)
        kept = np.array([model.gives_back(wanted) and band in model.output.bands for band in wanted.bands])
        for band, places in zip(wanted.bands, missing, strict=False):
            if model.gives_back(wanted) and band in model.output.bands:
                valid[model.output.bands.index(band)] = ~places[inside]
        radius = wanted.influence + (projection_reach(times) if job.projected else 0)
        if radius:
            near = dilate(np.asarray(missing.any(axis=0)), radius)[inside]
            influenced |= near & ~missing[: kept.size][kept].any(axis=0)[inside]
    flags = flags.copy()
    if not valid.all():
        flags[~valid.all(axis=0)] |= np.uint16(Flag.PARTIAL)
    flags[influenced] |= np.uint16(Flag.INFLUENCED)
    refused = (flags & np.uint16(sum(Flag[name.upper()] for name in job.mask))) > 0
    flags[refused] |= np.uint16(Flag.MASKED)
    beyond = outside(job.layout.lattice, core, job.clip)
    flags[beyond] |= np.uint16(Flag.OUTSIDE)
    dropped = refused | beyond
    if dropped.any():
        valid &= ~dropped
    nothing = ~valid.any(axis=0)
    flags[nothing] = (flags[nothing] & ~np.uint16(Flag.PARTIAL)) | np.uint16(Flag.NODATA)
    return valid, flags
