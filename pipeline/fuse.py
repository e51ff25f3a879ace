"""One chunk, from files to numbers: read, mask, model, crop, measure. Everything a worker does but the writing."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely import from_wkt

from pipeline import __version__
from pipeline.cube import address, read
from pipeline.degrade import degrade
from pipeline.inference import infer
from pipeline.job import Job, Task, key
from pipeline.lattice import Box
from pipeline.memory import peak_memory
from pipeline.metrics import AngleSums, BandSums, PairSums
from pipeline.models.declaration import Input
from pipeline.radiometry import Flag, classified, coding, reflectance
from pipeline.reader import Journal
from pipeline.record import Failure, Record
from pipeline.scene import touching
from pipeline.sensors import sensor

if TYPE_CHECKING:
    from torch import nn


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


def fuse_chunk(job: Job, task: Task, network: "nn.Module") -> Fused:
    """Fuse one chunk; the result depends on the job, the task's place and day, and its scenes, and on nothing else.

    A file that cannot be read is nodata and is named in the record.
    """
    watch, journal = Stopwatch(), Journal()
    window, core = task.chunk.window(job.halo), task.chunk.core
    margin = job.halo * job.layout.lattice.pixels()
    with watch.stage("read"):
        days = [read_day(job, task, wanted, window, journal) for wanted in job.model.inputs]
        inputs = [values for values, _ in days]
        flags = read_flags(job, task, journal)
    with watch.stage("model"):
        fused = _apply(job, inputs, network)
    with watch.stage("measure"):
        for wanted, (_, saturated) in zip(job.model.inputs, days, strict=True):
            if saturated.any():
                flags[_on_output(saturated, wanted, job, margin, flags.shape)] |= np.uint16(Flag.SATURATED)
        numbers, beyond = job.encoding.encode(fused)
        flags[beyond.any(axis=0)] |= np.uint16(Flag.SATURATED)
        valid, flags = _validity(job, inputs, flags, margin, core)
        if not valid.all():
            numbers[~valid] = job.encoding.fill
        record = _record(job, task, journal, numbers, flags, inputs, watch)
    return Fused(numbers, flags, record)


def read_day(
    job: Job, task: Task, wanted: Input, window: Box, journal: Journal
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """One input over a window: reflectance (bands, rows, cols), and where any band is saturated (rows, cols).

    The day's scenes are laid down in their order; NaN where none has a value.
    """
    geobox = job.layout.lattice.geobox(window, wanted.resolution)
    out = np.full((len(wanted.bands), *geobox.shape), np.nan, np.float32)
    saturated = np.zeros(geobox.shape, bool)
    missing = np.ones(out.shape, bool)
    for scene in touching(task.scenes, geobox):
        if scene.sensor != wanted.sensor or not missing.any():
            continue
        how = coding(scene)
        numbers = read([scene], geobox, wanted.bands, journal)[0].compute(scheduler="synchronous").values
        if numbers.max() == how.saturated:
            saturated |= ((numbers == how.saturated) & missing).any(axis=0)
        np.copyto(out, reflectance(numbers, how), where=missing)
        missing = np.isnan(out)
    return out, saturated


def _on_output(
    mask: NDArray[np.bool_], wanted: Input, job: Job, margin: int, shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """A mask over a window of an input, (rows, cols), as the pixels of the output's core."""
    times = wanted.resolution // job.model.output.resolution
    fine = mask.repeat(times, axis=0).repeat(times, axis=1)
    return fine[margin : margin + shape[0], margin : margin + shape[1]]


def read_flags(job: Job, task: Task, journal: Journal) -> NDArray[np.uint16]:
    """Flags of the scene classification over the core, (rows, cols) on the output's grid; none where there is none."""
    lattice, core = job.layout.lattice, task.chunk.core
    table = sensor(job.model.inputs[0].sensor)
    shape = lattice.geobox(core).shape
    if table.classification is None or not any(table.classification.name in s.hrefs for s in task.scenes):
        return np.zeros(shape, np.uint16)
    native = table.classification.resolution
    whole = (lattice.step / native).denominator == 1 and native % lattice.resolution == 0
    geobox = lattice.geobox(core, native if whole else lattice.resolution)
    codes = np.zeros(geobox.shape, np.uint8)
    for scene in touching(task.scenes, geobox):
        if (codes == 0).any() and table.classification.name in scene.hrefs:
            found = read([scene], geobox, [table.classification.name], journal)[0, 0].compute(scheduler="synchronous")
            codes = np.where(codes == 0, found.values, codes)
    times = shape[0] // codes.shape[0]
    return classified(codes).repeat(times, axis=0).repeat(times, axis=1)


def _apply(job: Job, inputs: list[NDArray[np.float32]], network: "nn.Module") -> NDArray[np.float32]:
    """The model over a window whose gaps are filled with each band's constant; not run where nothing was measured."""
    model, margin = job.model, job.halo * job.layout.lattice.pixels()
    gaps = [np.isnan(x) for x in inputs]
    if all(missing.all() for missing in gaps):
        times = model.inputs[0].resolution // model.output.resolution
        rows, cols = (length * times - 2 * margin for length in inputs[0].shape[1:])
        return np.full((len(model.output.bands), rows, cols), np.nan, np.float32)
    filled = []
    for wanted, x, missing in zip(model.inputs, inputs, gaps, strict=True):
        constants = np.array([sensor(wanted.sensor).band(b).fill for b in wanted.bands], np.float32)
        filled.append(np.where(missing, constants[:, None, None], x) if missing.any() else x)
    return infer(network, model, filled, margin)


def _validity(
    job: Job, inputs: list[NDArray[np.float32]], flags: NDArray[np.uint16], margin: int, core: Box
) -> tuple[NDArray[np.bool_], NDArray[np.uint16]]:
    """Which output pixels hold a value, (bands, rows, cols), and the flags that say why the others do not."""
    model, shape = job.model, flags.shape
    inside = (slice(margin, margin + shape[0]), slice(margin, margin + shape[1]))
    valid = np.ones((len(model.output.bands), *shape), bool)
    influenced = np.zeros(shape, bool)
    for wanted, x in zip(model.inputs, inputs, strict=True):
        gaps = np.isnan(x)
        if not gaps.any():
            continue
        times = wanted.resolution // model.output.resolution
        missing = gaps.repeat(times, axis=1).repeat(times, axis=2)
        for band, places in zip(wanted.bands, missing, strict=True):
            valid[model.output.bands.index(band)] = ~places[inside]
        anywhere: NDArray[np.bool_] = np.asarray(missing.any(axis=0))
        if wanted.influence:
            influenced |= dilate(anywhere, wanted.influence)[inside] & ~anywhere[inside]
    flags = flags.copy()
    if not valid.all():
        flags[~valid.all(axis=0)] |= np.uint16(Flag.PARTIAL)
    flags[influenced] |= np.uint16(Flag.INFLUENCED)
    refused = (flags & np.uint16(sum(Flag[name.upper()] for name in job.mask))) > 0
    flags[refused] |= np.uint16(Flag.MASKED)
    outside = _outside(job, core)
    flags[outside] |= np.uint16(Flag.OUTSIDE)
    dropped = refused | outside
    if dropped.any():
        valid &= ~dropped
    nothing = ~valid.any(axis=0)
    flags[nothing] = (flags[nothing] & ~np.uint16(Flag.PARTIAL)) | np.uint16(Flag.NODATA)
    return valid, flags


def dilate(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Where a pixel of the mask lies within ``radius`` rows and columns."""
    for axis in (0, 1):
        sums = np.cumsum(np.pad(mask, [(radius + 1, radius) if a == axis else (0, 0) for a in (0, 1)]), axis=axis)
        length = mask.shape[axis]
        upper = np.take(sums, range(2 * radius + 1, 2 * radius + 1 + length), axis=axis)
        mask = upper > np.take(sums, range(length), axis=axis)
    return mask


def _outside(job: Job, core: Box) -> NDArray[np.bool_]:
    """Pixels of the core whose centres the polygon does not hold."""
    geobox = job.layout.lattice.geobox(core)
    if job.clip is None:
        return np.zeros(geobox.shape, bool)
    polygon = _polygon(job.clip)
    return rasterize([(polygon, 0)], out_shape=geobox.shape, fill=1, transform=geobox.affine, dtype="uint8").astype(
        bool
    )


@cache
def _polygon(wkt: str):  # type: ignore[no-untyped-def]
    return from_wkt(wkt)


def _record(
    job: Job,
    task: Task,
    journal: Journal,
    numbers: NDArray,
    flags: NDArray[np.uint16],
    inputs: list[NDArray[np.float32]],
    watch: Stopwatch,
) -> Record:
    """Measure what will be stored, and say what it was made from."""
    stored = dict(zip(job.model.output.bands, numbers, strict=True))
    consistency: dict[str, PairSums] = {}
    angles: dict[str, AngleSums] = {}
    for wanted, x in zip(job.model.inputs, inputs, strict=True):
        ratio = wanted.resolution // job.model.output.resolution
        if ratio == 1:
            continue
        pairs = [
            _compared(job, wanted, i, stored[band], plane)
            for i, (band, plane) in enumerate(zip(wanted.bands, x, strict=True))
        ]
        consistency |= {b: PairSums.of(*pair) for b, pair in zip(wanted.bands, pairs, strict=True)}
        seen, truth = (np.stack(side) for side in zip(*pairs, strict=True))
        angles[f"{wanted.resolution}m"] = AngleSums.of(seen, truth)
    readings, failures, used = _sources(job, task, journal)
    return Record(
        key=key(job, task),
        day=task.day,
        box=task.chunk.core,
        pixels=flags.size,
        scenes=used,
        readings=readings,
        failures=failures,
        flags={
            f.name: int(((flags & np.uint16(f)) > 0).sum()) for f in Flag if f.name and (flags & np.uint16(f)).any()
        },
        bands=_sums(job, numbers),
        consistency=consistency,
        angles=angles,
        seconds=watch.seconds,
        peak_memory=peak_memory(),
        digest=_hash(numbers, flags),
        software=__version__,
    )


def _hash(*arrays: NDArray) -> str:
    """SHA-256 over the memory of arrays, one after the other."""
    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(np.ascontiguousarray(array).data)
    return hashed.hexdigest()


def _compared(
    job: Job, wanted: Input, index: int, numbers: NDArray, measured: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One band of the result as its own coarser pixels would have seen it, and what they saw, over the core."""
    ratio = wanted.resolution // job.model.output.resolution
    mtf = sensor(wanted.sensor).band(wanted.bands[index]).mtf
    seen = degrade(job.encoding.decode(numbers)[None], [mtf], ratio)[0]
    margin = (measured.shape[0] - seen.shape[0]) // 2
    truth = measured[margin : margin + seen.shape[0], margin : margin + seen.shape[1]]
    return seen, truth.astype(np.float64)


def _sums(job: Job, numbers: NDArray) -> dict[str, BandSums]:
    """Sums over the stored numbers of each band; integers are counted first, which is many times faster."""
    bands = job.model.output.bands
    if numbers.dtype != np.uint16:
        return {band: BandSums.of(job.encoding.decode(plane)) for band, plane in zip(bands, numbers, strict=True)}
    values = job.encoding.decode(np.arange(2**16, dtype=np.uint16))
    counts = (np.bincount(plane.ravel(), minlength=values.size) for plane in numbers)
    return {band: BandSums.of_levels(count, values) for band, count in zip(bands, counts, strict=True)}


def _sources(
    job: Job, task: Task, journal: Journal
) -> tuple[dict[str, tuple[str, ...]], tuple[Failure, ...], tuple[str, ...]]:
    """How each band was read, what could not be, and the scenes that were opened; all without addresses."""
    bands = [band for wanted in job.model.inputs for band in wanted.bands]
    classes = sensor(job.model.inputs[0].sensor).classification
    readings: dict[str, set[str]] = {}
    failures, used = [], []
    for scene in task.scenes:
        places = {address(scene, band): band for band in [*bands, *([classes.name] if classes else [])]}
        failures += [
            Failure(scene.id, band, journal.failures[a]) for a, band in places.items() if a in journal.failures
        ]
        for place in places.keys() & journal.outcomes.keys():
            readings.setdefault(places[place], set()).add(journal.outcomes[place])
        if places.keys() & (journal.outcomes.keys() | journal.failures.keys()):
            used.append(scene.id)
    return {b: tuple(sorted(ways)) for b, ways in sorted(readings.items())}, tuple(failures), tuple(used)
