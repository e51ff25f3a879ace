"""Planning a million chunks: seconds and peak memory, each case in a process of its own, also beside a ledger of them all."""

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from odc.geo.geom import box

from pipeline.encoding import encoding
from pipeline.job import Job, Names, tasks
from pipeline.lattice import Lattice, Layout
from pipeline.memory import peak_memory
from pipeline.models.registry import bicubic
from pipeline.plan import plan
from pipeline.scene import Asset, Scene
from pipeline.sensors import SENTINEL2

LEFT, TOP, CHUNK = 300_000.0, 6_000_000.0, 300
TILE, APART = 109_800, 100_000
"""Edge of a Sentinel-2 tile, and from one tile's corner to the next, metres."""

BANDS = tuple(band.name for band in SENTINEL2.bands)
CASES = {"1000 x 1000 cores on a day": (1000, 1), "100 x 100 cores on 100 days": (100, 100)}


def region(cores: int, days: int) -> tuple[Job, list[Scene]]:
    """A square of so many cores on a side, under Sentinel-2 tiles on each of so many days."""
    lattice, edge = Lattice("EPSG:32633", Fraction(10), Fraction(60)), cores * CHUNK * 10
    layout = Layout.over(lattice, lattice.box((LEFT, TOP - edge, LEFT + edge, TOP)), CHUNK * 10 // 60)
    job = Job("sharpen", bicubic(SENTINEL2, BANDS, 10), layout, "L2A", encoding("uint16"))
    return job, list(_scenes(-(-edge // APART), days))


def _scenes(tiles: int, days: int) -> Iterator[Scene]:
    for day in range(days):
        for row in range(tiles):
            for col in range(tiles):
                left, top = LEFT + col * APART, TOP - row * APART
                when = datetime(2024, 1, 1, 10, tzinfo=UTC) + timedelta(days=day)
                name, extent = f"S{day}-{row}-{col}", (left, top - TILE, left + TILE, top)
                assets = {band: Asset(f"{name}-{band}.tif") for band in BANDS}
                degrees = box(*extent, "EPSG:32633").to_crs("EPSG:4326").boundingbox.bbox
                yield Scene(name, "sentinel-2", "L2A", when, degrees, "EPSG:32633", extent, assets, 0.0, tile=name)


def keys(job: Job, scenes: list[Scene]) -> set[str]:
    """The keys of a ledger that holds every chunk of a job."""
    names = Names(job)
    return {names.key(task) for task in tasks(job, scenes)}


def case(cores: int, days: int, held: bool) -> str:
    """Plan one case, and say what it took."""
    job, scenes = region(cores, days)
    done = keys(job, scenes) if held else set()
    start, before = time.perf_counter(), time.process_time()
    work = plan(job, scenes, done)
    planned, busy = time.perf_counter() - start, time.process_time() - before
    visited = sum(1 for _ in work.todo)
    gone = time.perf_counter() - start - planned
    return (
        f"{len(scenes)} scenes; {visited} to do, {work.done} done; planned in {planned:.1f} s ({busy:.1f} s of a core), "
        f"gone through in {gone:.1f} s; peak {peak_memory() / 1e6:.0f} MB"
    )


def main() -> None:
    """Print wall time and peak memory of every case."""
    if len(sys.argv) > 1:
        print(case(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "held"))
        return
    for name, (cores, days) in CASES.items():
        for held in ("none", "held"):
            command = [sys.executable, __file__, str(cores), str(days), held]
            text = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
            print(f"{name}, {'a ledger of all' if held == 'held' else 'no ledger'}: {text}")


if __name__ == "__main__":
    main()
