"""The engine beside what could be had without it, as ratios of one run on one machine.

Raw: the same windows read with rasterio alone, repeated to 10 m, and written as the same Zarr, by as many processes.
Workers: two against one, with the serial part that Amdahl's law makes of it.
Naive: ``stackstac -> map_overlap -> to_zarr`` with the same model and weights, Dask's defaults, as many processes.
Overhead: of small chunks, in milliseconds: what is left of a chunk where nothing is read, computed and written, since its
record is there (the scheduler, the strip, a look into the ledger, the event); what measuring it takes; and the mean turn (from
one end to the next) beside what raw reading and writing of the same chunks take.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pystac
import rasterio
import zarr
from jobs import Made, made
from naive import naive
from rasterio.windows import Window
from scenes import tiled

from cluster.local import local
from pipeline.engine import run
from pipeline.events import Done, Trouble
from pipeline.job import Job
from pipeline.lattice import Box
from pipeline.sensors import SENTINEL2


def engine(work: Made, workers: int) -> tuple[float, list[Done]]:
    """Seconds over all chunks, the cluster being there with everything imported, and what was told of them."""
    told: list[Done | Trouble] = []
    with local(workers) as client:
        client.run(__import__, "pipeline.strip")
        client.run(__import__, "torch")
        start = time.perf_counter()
        outcome = run(client, work.store.where, work.job, work.plan.todo, watch=told.append)
        seconds = time.perf_counter() - start
    assert not outcome.troubles, outcome.troubles
    return seconds, [done for done in told if isinstance(done, Done)]


def raw(catalog: Path, work: Made, workers: int) -> float:
    """Seconds of reading and writing alone; processes have begun and imported everything before."""
    assets = {band.name: asset for band, asset in _assets(catalog)}
    files = [[assets[band] for band in wanted.bands] for wanted in work.job.model.inputs]
    boxes = [task.chunk.core for task in work.plan.todo]
    copy = zarr.open_group(str(work.store.path), mode="r")
    place = str(work.store.path.with_suffix(".raw.zarr"))
    group = zarr.create_group(place)
    for name in ("reflectance", "flags"):
        made_like = copy[name]
        assert isinstance(made_like, zarr.Array)
        group.create_array(
            name,
            shape=made_like.shape,
            shards=made_like.shards,
            chunks=made_like.chunks,
            dtype=made_like.dtype,
            compressors=made_like.compressors,
            fill_value=made_like.fill_value,
        )
    shares = [boxes[first::workers] for first in range(workers)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(raw_copy, [place] * workers, [work.job] * workers, [files] * workers, [[]] * workers))
        start = time.perf_counter()
        list(pool.map(raw_copy, [place] * workers, [work.job] * workers, [files] * workers, shares))
        return time.perf_counter() - start


def raw_copy(place: str, job: Job, files: Sequence[Sequence[str]], boxes: Sequence[Box]) -> None:
    """Windows read, repeated and written, one after the other, in one thread."""
    zarr.config.set({"threading.max_workers": 1})
    group, lattice = zarr.open_group(place), job.layout.lattice
    reflectance, flags = group["reflectance"], group["flags"]
    assert isinstance(reflectance, zarr.Array)
    assert isinstance(flags, zarr.Array)
    area, order = job.layout.area, {band: i for i, band in enumerate(job.model.output.bands)}
    for box in boxes:
        n = lattice.pixels()
        rows, cols = (slice((a - o) * n, (b - o) * n) for a, b, o in _sides(box, area))
        numbers = np.empty((len(order), rows.stop - rows.start, cols.stop - cols.start), reflectance.dtype)
        for wanted, group_of in zip(job.model.inputs, files, strict=True):
            times = wanted.resolution // job.model.output.resolution
            window = Window(
                cols.start // times, rows.start // times, numbers.shape[2] // times, numbers.shape[1] // times
            )
            for band, file in zip(wanted.bands, group_of, strict=True):
                with rasterio.open(file) as source:
                    pixels = source.read(1, window=window)
                if band in order:
                    numbers[order[band]] = pixels.repeat(times, axis=0).repeat(times, axis=1)
        reflectance[0, :, rows, cols] = numbers
        flags[0, rows, cols] = np.zeros(numbers.shape[1:], np.uint16)


def _sides(box: Box, area: Box) -> Iterator[tuple[int, int, int]]:
    yield box.top, box.bottom, area.top
    yield box.left, box.right, area.left


def _assets(catalog: Path) -> list[tuple]:
    item = next(iter(pystac.ItemCollection.from_file(str(catalog))))
    return [(band, item.assets[band.common].href) for band in SENTINEL2.bands if band.common in item.assets]


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=3600, help="edge of the scene in pixels, a multiple of the chunk")
    parser.add_argument("--chunk", type=int, default=1200)
    parser.add_argument("--small", type=int, default=120, help="chunk of which the overhead is taken")
    parser.add_argument("--model", default="light", help="network of the naive way, and of the engine beside it")
    parser.add_argument("--block", type=int, help="chunk of the naive way, by default as the engine's")
    given = parser.parse_args()
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large, small = tiled(folder, given.size), tiled(folder, 1200)
        seconds = {}
        for workers in (1, 2):
            work = made(large, folder / f"{workers}.zarr", chunk=given.chunk, model="identity")
            seconds[workers], _ = engine(work, workers)
            alone = raw(large, work, workers)
            print(
                f"identity, {workers} workers: engine {seconds[workers]:.2f} s, raw {alone:.2f} s, speed over raw "
                f"{alone / seconds[workers]:.3f}",
                flush=True,
            )
        gain = seconds[1] / seconds[2]
        print(f"two workers over one: {gain:.2f} times; serial part {2 / gain - 1:.2f}", flush=True)
        work = made(small, folder / "small.zarr", chunk=given.small, model="identity")
        count = len(work.plan.todo)
        _, told = engine(work, 1)
        turn = 1e3 * np.median([done.turn for done in told])
        stages = {stage: 1e3 * np.median([done.seconds.get(stage, 0.0) for done in told]) for stage in told[0].seconds}
        alone = 1e3 * raw(small, work, 1) / count
        nothing, _ = engine(work, 1)
        parts = ", ".join(f"{stage} {spent:.1f}" for stage, spent in stages.items())
        print(
            f"overhead of a chunk of {given.small} px: {1e3 * nothing / count:.1f} ms where its record is there, measuring "
            f"{stages['measure']:.1f} ms; turn {turn:.1f} ms, raw {alone:.1f} ms; stages in ms: {parts}",
            flush=True,
        )
        compared = tiled(folder, 2400)
        work = made(compared, folder / "network.zarr", chunk=given.chunk, model=given.model, adapt=0)
        ours, told = engine(work, 2)
        theirs, peak = naive(compared, work.job, folder / "naive.zarr", given.block or given.chunk, 2)
        own = max(done.peak_memory for done in told)
        print(
            f"{given.model}, 2 processes: engine {ours:.1f} s and {own / 1e6:.0f} MB, naive {theirs:.1f} s and "
            f"{peak / 1e6:.0f} MB; {theirs / ours:.2f} times as fast with {own / peak:.2f} of the memory of a worker"
        )


if __name__ == "__main__":
    main()
