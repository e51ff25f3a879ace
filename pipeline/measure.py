"""What one chunk has to say: the record of its sources, its quality and its cost."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import __version__
from pipeline.cube import address
from pipeline.degrade import Decode, degrade
from pipeline.flags import Flag
from pipeline.job import Job, Task, key
from pipeline.memory import peak_memory
from pipeline.metrics import AngleSums, BandSums, PairSums
from pipeline.models.declaration import Input
from pipeline.reader import Journal
from pipeline.record import Failure, Record
from pipeline.sensors import sensor


@dataclass(frozen=True)
class Measured:
    """What is there to be measured of a chunk."""

    numbers: NDArray
    """Stored numbers of the core, (bands, rows, cols)."""
    flags: NDArray[np.uint16]
    """Flags of the core, (rows, cols)."""
    inputs: Sequence[NDArray[np.float32]]
    """What was read over the window, one (bands, rows, cols) array each input; NaN where not measured."""
    before: NDArray[np.floating] | None
    """The model's reflectance over the core before it was projected, ``None`` where it was not."""


def measure(job: Job, task: Task, journal: Journal, chunk: Measured, seconds: Mapping[str, float]) -> Record:
    """Measure what will be stored, and say what it was made from."""
    consistency, angles = _consistency(job, chunk.numbers, job.encoding.decode, chunk.inputs)
    before: dict[str, PairSums] = {}
    if chunk.before is not None:
        before, _ = _consistency(job, chunk.before, np.asarray, chunk.inputs)
    readings, failures, used = _sources(job, task, journal)
    flags = chunk.flags
    return Record(
        key=key(job, task),
        day=task.day,
        box=task.chunk.core,
        pixels=flags.size,
        scenes=used,
        weights=job.model_on(task.day).weights,
        readings=readings,
        failures=failures,
        shifts={r.scene: (r.east, r.south, r.confidence) for r in job.registrations if r.scene in used},
        flags=flag_counts(flags),
        bands=band_sums(job, chunk.numbers),
        consistency=consistency,
        before=before,
        angles=angles,
        seconds=seconds,
        peak_memory=peak_memory(),
        digest=pixel_digest(chunk.numbers, flags),
        software=__version__,
    )


def flag_counts(flags: NDArray[np.uint16]) -> dict[str, int]:
    """Pixels that carry each flag, of those that any carries."""
    return {f.name: int(((flags & np.uint16(f)) > 0).sum()) for f in Flag if f.name and (flags & np.uint16(f)).any()}


def _consistency(
    job: Job, fused: NDArray, decode: Decode, inputs: Sequence[NDArray[np.float32]]
) -> tuple[dict[str, PairSums], dict[str, AngleSums]]:
    """Reflectance over the core degraded to each coarser band's own pixels beside what was measured: by band, by input.

    ``decode`` makes reflectance of what was fused, (bands, rows, cols).
    """
    places = {band: place for place, band in enumerate(job.model.output.bands)}
    consistency: dict[str, PairSums] = {}
    angles: dict[str, AngleSums] = {}
    for wanted, x in zip(job.model.inputs, inputs, strict=True):
        ratio = wanted.resolution // job.model.output.resolution
        here = [(band, plane) for band, plane in zip(wanted.bands, x, strict=False) if band in places]
        if ratio == 1 or not here or not job.model.gives_back(wanted):
            continue
        pairs = [_compared(wanted, band, fused[places[band]], decode, plane, ratio) for band, plane in here]
        consistency |= {band: PairSums.of(*pair) for (band, _), pair in zip(here, pairs, strict=True)}
        angles[f"{wanted.resolution}m"] = AngleSums.of(*zip(*pairs, strict=True))
    return consistency, angles


def pixel_digest(*arrays: NDArray) -> str:
    """SHA-256 over the memory of arrays, one after the other."""
    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(np.ascontiguousarray(array).data)
    return hashed.hexdigest()


def _compared(
    wanted: Input, band: str, fused: NDArray, decode: Decode, measured: NDArray[np.float32], ratio: int
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """One band of the result as its own coarser pixels would have seen it, and what they saw, over the core."""
    seen = degrade(fused[None], [sensor(wanted.sensor).band(band).mtf], ratio, decode)[0]
    margin = (measured.shape[0] - seen.shape[0]) // 2
    truth = measured[margin : margin + seen.shape[0], margin : margin + seen.shape[1]]
    return seen, truth


def band_sums(job: Job, numbers: NDArray) -> dict[str, BandSums]:
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
    target = job.model.inputs[job.model.target].sensor
    readings: dict[str, set[str]] = {}
    failures, used = [], []
    for scene in task.scenes:
        bands = [band for wanted in job.model.inputs if wanted.sensor == scene.sensor for band in wanted.bands]
        layers = [layer.name for layer in sensor(scene.sensor).quality]
        places = {address(scene, band): band for band in [*bands, *layers]}
        failures += [
            Failure(scene.id, band, journal.failures[a]) for a, band in places.items() if a in journal.failures
        ]
        for place in places.keys() & journal.outcomes.keys():
            band = places[place] if scene.sensor == target else f"{scene.sensor} {places[place]}"
            readings.setdefault(band, set()).add(journal.outcomes[place])
        if places.keys() & (journal.outcomes.keys() | journal.failures.keys()):
            used.append(scene.id)
    return {b: tuple(sorted(ways)) for b, ways in sorted(readings.items())}, tuple(failures), tuple(used)
