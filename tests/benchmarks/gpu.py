"""A whole Sentinel-2 tile on a GPU: all bands to 10 m by a network with its shipped weights.

Prints seconds, km² an hour in all and of the model's own time, the share of time that the GPU was busy, and its peak memory.
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import torch
from scenes import scene_id, tiled

from flows.clusters import connected
from flows.prepare import prepare
from flows.road import planned
from flows.spec import validate
from pipeline import __version__
from pipeline.engine import run
from pipeline.events import Done, Trouble
from pipeline.sensors import SENTINEL2
from pipeline.store import Store, contents_of

TILE = 10980
"""Edge of a Sentinel-2 tile in pixels of 10 m."""

SHARPENED = [band.name for band in SENTINEL2.bands if band.name != "B10"]
"""All twelve bands of surface reflectance; B10 sees no ground."""


def specification(given: argparse.Namespace, catalog: Path, out: Path) -> dict:
    """The specification of a run over the whole scene."""
    cluster: dict = {"kind": "local", "device": given.device}
    if given.device == "gpu" and find_spec("dask_cuda"):
        cluster["kind"] = "cuda"
    if given.readers:
        cluster["readers"] = given.readers
    if given.batch:
        cluster["batch"] = given.batch
    raw = {"flow": "sharpen", "catalog": str(catalog), "area": {"scene": scene_id(catalog)}, "time": "2000/2030"}
    raw |= {"model": given.model, "bands": SHARPENED, "adapt": 0}
    return raw | {"chunk": given.chunk, "out": str(out), "cluster": cluster | {"compile": given.compile}}


@contextmanager
def watched() -> Iterator[list[int]]:
    """Percent of the time that kernels ran on the busiest GPU, twice a second, as the driver counts it; filled at the end."""
    shares: list[int] = []
    if not which("nvidia-smi"):
        yield shares
        return
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=500", "--id=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield shares
        finally:
            process.terminate()
            shares += [int(line) for line in process.communicate()[0].splitlines() if line.strip().isdigit()]


def main() -> None:
    """Print what it came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=TILE, help="edge of the scene in pixels, a multiple of 6")
    parser.add_argument("--catalog", type=Path, help="a catalog of one scene, instead of a simulated one")
    parser.add_argument("--model", default="mpifnet")
    parser.add_argument("--chunk", type=int, default=1200)
    parser.add_argument("--readers", type=int, help="chunks read at once")
    parser.add_argument("--batch", type=int, help="tiles a batch; by default as many as fit")
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu", help="cpu: to try this script itself")
    given = parser.parse_args()
    if given.device == "gpu" and not torch.cuda.is_available():
        print("not run: there is no GPU here that torch can use")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        catalog = given.catalog or tiled(folder, given.size)
        prepared = prepare(validate(specification(given, catalog, folder / "tile.zarr")))
        job, work = planned(prepared)
        where = str(prepared.spec.out)
        with connected(prepared.spec.cluster, job, where) as (client, equipment):
            days = sorted({task.day for task in work.todo})
            scenes = [scene.id for scene in prepared.scenes]
            store = Store.create(where, contents_of(job, days, {}, scenes, "benchmark", __version__))
            told: list[Done | Trouble] = []
            with watched() as shares:
                start = time.perf_counter()
                outcome = run(client, where, job, work.todo, equipment, watch=told.append)
                seconds = time.perf_counter() - start
        assert not outcome.troubles, outcome.troubles
        rows, cols = job.layout.geobox.shape
        peak = max(record.gpu_memory for record in store.ledger.records())
        report(given, rows * cols * 1e-4, seconds, [one for one in told if isinstance(one, Done)], shares, peak)


def report(
    given: argparse.Namespace, area: float, seconds: float, done: list[Done], shares: list[int], peak: int
) -> None:
    """Print the figures; ``area`` in km², ``shares`` in percent, ``peak`` in bytes of the GPU."""
    stages: dict[str, float] = {}
    for one in done:
        for stage, spent in one.seconds.items():
            stages[stage] = stages.get(stage, 0.0) + spent
    device = torch.cuda.get_device_name(0) if given.device == "gpu" else "CPU"
    print(f"{given.model}, {len(SHARPENED)} bands, {area:.0f} km², {len(done)} chunks of {given.chunk} px, {device}")
    print(f"seconds, loading the model included: {seconds:.1f}")
    print(f"km²/h: {area / seconds * 3600:.0f} in all, {area / stages['model'] * 3600:.0f} of the model's time")
    busy = f"{sum(shares) / len(shares):.0f} % of {len(shares)} samples" if shares else "not known (no nvidia-smi)"
    print(f"GPU busy: {busy}; peak memory of the GPU: {peak / 1e9:.2f} GB")
    print(f"seconds of each stage: {', '.join(f'{name} {spent:.1f}' for name, spent in stages.items())}")


if __name__ == "__main__":
    main()
