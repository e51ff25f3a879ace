"""Pictures of a store: a quick look at a day, and a detail before and after."""

import io
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.fuse import read_input
from pipeline.job import Job, Task
from pipeline.lattice import Box, Chunk
from pipeline.overviews import nearest_below
from pipeline.reader import Journal
from pipeline.record import Record
from pipeline.store import OVERVIEWS, Store
from pipeline.summary import Totals, current_on

NATURAL = ("B04", "B03", "B02")
"""True colour."""

INFRARED = ("B12", "B8A", "B05")
"""Short-wave infrared, near infrared, red edge: all three are 20 m bands."""

EDGE = 1024
"""Longest edge of a quick look, pixels."""

GAP = 8
"""Pixels between the parts of a picture."""

DETAIL = 150
"""Edge of the detail before and after, pixels of the output."""


def colours(bands: Sequence[str], wanted: Sequence[str]) -> tuple[str, str, str]:
    """Three bands to show: those wanted where all are there, else the last, middle and first there are."""
    if set(wanted) <= set(bands):
        return (wanted[0], wanted[1], wanted[2])
    return (bands[-1], bands[len(bands) // 2], bands[0])


def limits(values: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Darkest and brightest reflectance to tell apart in each plane of (3, rows, cols): its 1st and 99th percentile."""
    known = [plane[np.isfinite(plane)] for plane in values]
    ends = np.array([np.percentile(plane, [1, 99]) if plane.size else (0, 1) for plane in known])
    return ends[:, 0], ends[:, 1]


def shade(values: NDArray[np.floating], low: NDArray[np.floating], high: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Reflectance (3, rows, cols) as 8-bit colours between the limits of each plane; black where unknown."""
    low, high = low[:, None, None], np.maximum(high, low + 1e-6)[:, None, None]
    scaled = np.clip((np.nan_to_num(values) - low) / (high - low), 0, 1)
    return np.where(np.isfinite(values), 255 * scaled ** (1 / 1.3), 0).astype(np.uint8)


def best_day(store: Store) -> date:
    """The day with the most valid, cloudless pixels."""
    return max(store.contents.days, key=lambda day: Totals.of(current_on(store, day)).clear)


def quick_look(store: Store, day: date) -> Image.Image:
    """A day of the store in true colour, at most ``EDGE`` pixels long; read strip by strip, from an overview where it can."""
    contents = store.contents
    time, chosen = contents.days.index(day), colours(contents.bands, NATURAL)
    indices = [contents.bands.index(b) for b in chosen]
    rows, cols = contents.layout.pixels_of(contents.layout.area)
    longest = max(rows.stop - rows.start, cols.stop - cols.start)
    factor = nearest_below(
        store, -(-longest // EDGE) // 2
    )  # twice as fine at least: what is left is a whole number too
    array = store.array("reflectance" if factor == 1 else f"{OVERVIEWS}/{factor}/reflectance")
    rows, cols = (slice(span.start // factor, -(-span.stop // factor)) for span in (rows, cols))
    height, width = rows.stop - rows.start, cols.stop - cols.start
    times = max(1, min(-(-max(height, width) // EDGE), height, width))
    strips = []
    strip_height = times * max(1, contents.layout.core_pixels // times)
    for top in range(rows.start, rows.stop, strip_height):
        numbers = np.stack([array[time, i, top : min(top + strip_height, rows.stop), cols] for i in indices])
        if numbers.shape[1] >= times:
            strips.append(_shrink(contents.encoding.decode(numbers), times))
    values = np.concatenate(strips, axis=1)
    low, high = limits(values)
    return _image(shade(values, low, low + (high - low).max()))  # one span for all three keeps natural colours


def _shrink(values: NDArray[np.floating], times: int) -> NDArray[np.floating]:
    """Means of squares of ``times`` pixels; what does not fill a square at the end is left out."""
    if times == 1:
        return values
    rows, cols = values.shape[1] // times, values.shape[2] // times
    blocks = values[:, : rows * times, : cols * times].reshape(3, rows, times, cols, times)
    known = np.isfinite(blocks)
    count = known.sum(axis=(2, 4))
    total = np.where(known, blocks, 0).sum(axis=(2, 4))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def detail(job: Job, tasks: Iterable[Task], store: Store) -> dict[str, tuple[Sequence[str], NDArray]] | None:
    """The liveliest part of the best day before and after, as arrays for the store's ``preview`` group.

    Before is what was measured, its pixels repeated; after is what the store holds. ``None`` where nothing is valid.
    """
    day, chosen = best_day(store), colours(store.contents.bands, INFRARED)
    valid = (record for record in current_on(store, day) if record.valid > record.pixels / 2)
    record = max(valid, key=lambda r: _liveliness(r, chosen), default=None)
    task = next((t for t in tasks if record and t.day == day and t.chunk.core == record.box), None)
    if task is None:
        return None
    box = _middle(task.chunk, DETAIL // job.layout.lattice.pixels())
    journal = Journal()
    layers: dict[str, NDArray[np.float32]] = {}
    for index, wanted in enumerate(job.model.inputs):
        if not job.model.gives_back(wanted):
            continue
        values = read_input(job, task, index, box, journal).values
        times = wanted.resolution // job.model.output.resolution
        layers |= dict(zip(wanted.bands, values.repeat(times, axis=1).repeat(times, axis=2), strict=True))
    before = np.stack([layers[b] for b in chosen])
    rows, cols = store.contents.layout.pixels_of(box)
    time = store.contents.days.index(day)
    indices = [store.contents.bands.index(b) for b in chosen]
    numbers = np.stack([store.array("reflectance")[time, i, rows, cols] for i in indices])
    after = store.contents.encoding.decode(numbers)
    dims = ("colour", "row", "col")
    low, high = limits(after)
    return {"before": (dims, shade(before, low, high)), "after": (dims, shade(after, low, high))}


def _liveliness(record: Record, bands: Sequence[str]) -> float:
    """Contrast of a chunk, clouds left out of account by their share."""
    clear = 1 - record.flags.get("CLOUD", 0) / record.pixels
    return clear * sum(record.bands[b].std for b in bands if record.bands[b].n)


def _middle(chunk: Chunk, steps: int) -> Box:
    """The middle of a core, at most ``steps`` wide and high."""
    core = chunk.core
    width, height = min(steps, core.width), min(steps, core.height)
    left, top = core.left + (core.width - width) // 2, core.top + (core.height - height) // 2
    return Box(left, top, left + width, top + height)


def _image(rgb: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(np.moveaxis(rgb, 0, -1)))


def png(rgb: NDArray[np.uint8], times: int = 1) -> bytes:
    """(3, rows, cols) colours as a PNG, each pixel repeated ``times`` times."""
    buffer = io.BytesIO()
    _image(rgb.repeat(times, axis=1).repeat(times, axis=2)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def save_picture(store: Store, path: Path) -> Path:
    """Write a PNG: the best day, and beside it the detail before (above) and after (below), where the store has one."""
    look = quick_look(store, best_day(store))
    if "preview" not in store.group:
        look.save(path)
        return path
    edge = max(1, (look.height - GAP) // 2)
    whole = Image.new("RGB", (look.width + GAP + edge, look.height), "white")
    whole.paste(look, (0, 0))
    for name, top in (("before", 0), ("after", max(0, look.height - edge))):
        part = _image(np.asarray(store.array(f"preview/{name}")[:]))
        whole.paste(part.resize((edge, edge), Image.Resampling.NEAREST), (look.width + GAP, top))
    whole.save(path, optimize=True)
    return path
