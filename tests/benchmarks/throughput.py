"""The engine beside the bare loop of the same network on the same tiles, and its memory against the size of the region."""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scenes import scene_id, tiled

from cluster.local import local
from flows.prepare import Prepared, prepare
from flows.road import planned
from flows.spec import validate
from pipeline import __version__
from pipeline.engine import run
from pipeline.job import Job
from pipeline.models.registry import untrained_residual
from pipeline.plan import Plan
from pipeline.sensors import SENTINEL2
from pipeline.store import Store, contents_of
from pipeline.summary import Totals

UNTRAINED = "untrained-residual"
"""A network of 0.3 M parameters that no specification may name."""


def job_of(catalog: Path, size: int, chunk: int, out: Path, name: str) -> tuple[Prepared, Job, Plan]:
    """The job of a network over a whole scene, without adapting it."""
    raw = {"flow": "sharpen", "catalog": str(catalog), "time": "2000/2030", "chunk": chunk, "out": str(out)}
    raw |= {"area": {"scene": scene_id(catalog)}}
    raw |= {"model": "bicubic"} if name == UNTRAINED else {"model": name, "adapt": 0}
    prepared = prepare(validate(raw))
    if name == UNTRAINED:
        model = untrained_residual(SENTINEL2, prepared.job.model.output.bands, 10, width=64, blocks=4)
        prepared = replace(prepared, job=replace(prepared.job, model=model))
    job, work = planned(prepared)
    assert job.layout.geobox.shape == (size, size)
    return prepared, job, work


def engine(catalog: Path, size: int, chunk: int, folder: Path, name: str) -> tuple[float, float, dict[str, float], int]:
    """Seconds of the engine and of the bare loop on the same cluster, of the stages, and the peak memory of a worker."""
    out = folder / f"{size}-{chunk}.zarr"
    prepared, job, work = job_of(catalog, size, chunk, out, name)
    days = sorted({t.day for t in work.todo})
    Store.create(out, contents_of(job, days, {}, [s.id for s in prepared.scenes], "benchmark", __version__))
    with local() as client:
        start = time.perf_counter()
        outcome = run(client, out, job, work.todo)
        seconds = time.perf_counter() - start
        assert not outcome.troubles, outcome.troubles
        peak = max(record.peak_memory for record in outcome.written)
        stages = Totals.of(outcome.written).seconds
        tiles = (size // job.model.tile) ** 2
        workers = list(client.scheduler_info()["workers"])
        start = time.perf_counter()
        shares = [tiles // len(workers) + (i < tiles % len(workers)) for i in range(len(workers))]
        loops = [
            client.submit(bare, job, share, workers=[w], pure=False) for w, share in zip(workers, shares, strict=True)
        ]
        for loop in loops:
            loop.result()
        return seconds, time.perf_counter() - start, stages, peak


def bare(job: Job, tiles: int) -> None:
    """The network over tiles that are in memory, one after the other: nothing read, measured or written."""
    import torch

    from pipeline.engine import networks  # on the worker: this function travels by value

    network, model = networks.get(job.model), job.model
    edge = model.tile + 2 * job.halo * job.layout.lattice.pixels()
    rng = np.random.default_rng(0)
    inputs = [
        torch.from_numpy(
            rng.random((1, len(i.bands), edge * 10 // i.resolution, edge * 10 // i.resolution), np.float32)
        )
        for i in model.inputs
    ]
    with torch.inference_mode():
        for _ in range(tiles):
            network(*inputs)


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunk", type=int, default=1200)
    parser.add_argument("--model", default=UNTRAINED, help="a network with weights, such as light or mpifnet")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--only", type=int, choices=(600, 2400), help="measure one size only")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large, small = tiled(folder, 2400), tiled(folder, 600)
        peaks: dict[int, list[int]] = {600: [], 2400: []}
        for turn in range(given.repeat):
            for catalog, size in ((small, 600), (large, 2400)):
                if given.only not in (None, size):
                    continue
                place = folder / str(turn)
                seconds, bare_seconds, stages, peak = engine(catalog, size, given.chunk, place, given.model)
                peaks[size].append(peak)
                spent = ", ".join(f"{name} {value:.2f}" for name, value in stages.items())
                print(
                    f"{given.model}, {size} px, chunk {given.chunk}: engine {seconds:.2f} s, bare loop {bare_seconds:.2f} s, "
                    f"ratio {bare_seconds / seconds:.3f}, {size**2 * 1e-4 / seconds * 3600:.0f} km²/h; "
                    f"peak memory {peak / 1e6:.0f} MB; seconds of all workers: {spent}",
                    flush=True,
                )
        if given.only is None:
            print(f"peak memory, 2400 against 600: {max(peaks[2400]) / max(peaks[600]):.3f}")


if __name__ == "__main__":
    main()
