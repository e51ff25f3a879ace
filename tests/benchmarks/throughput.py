"""The engine beside the bare loop of the same network on the same tiles, and its memory against the size of the region."""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from distributed import Client
from scenes import scene_id, tiled

from cluster.local import local
from flows.prepare import Prepared, prepare
from flows.road import opened, planned
from flows.spec import validate
from pipeline.engine import run
from pipeline.job import Job
from pipeline.models.registry import untrained_residual
from pipeline.plan import Plan
from pipeline.price import WorkerMemory, Workers
from pipeline.sensors import SENTINEL2
from pipeline.store import Store
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


def engine(prepared: Prepared, job: Job, work: Plan) -> tuple[float, float, dict[str, float], int]:
    """Seconds of the engine and of the bare loop on the same cluster, of the stages, and the peak memory of a worker."""
    store, edge = opened(prepared, job, work), job.layout.geobox.shape[0]
    with local() as client:
        seconds = timed_run(client, store, job, work)
        total = Totals.of(store.ledger.records())
        return seconds, bare_loop(client, job, (edge // job.model.tile) ** 2), total.seconds, total.peak_memory


def timed_run(client: Client, store: Store, job: Job, work: Plan) -> float:
    """Seconds of the engine over a plan; workers have loaded torch and the network before."""
    run(client, store.where, job, [])
    start = time.perf_counter()
    outcome = run(client, store.where, job, work.todo)
    assert not outcome.troubles, outcome.troubles
    return time.perf_counter() - start


def bare_loop(client: Client, job: Job, tiles: int) -> float:
    """Seconds of the network over so many tiles, shared by all workers; loading it is not counted."""
    workers = list(client.scheduler_info()["workers"])
    shares = [tiles // len(workers) + (i < tiles % len(workers)) for i in range(len(workers))]
    loops = [client.submit(bare, job, share, workers=[w], pure=False) for w, share in zip(workers, shares, strict=True)]
    return max(loop.result() for loop in loops)


def bare(job: Job, tiles: int) -> float:
    """Seconds of the network over tiles that are in memory, one after the other: nothing read, measured or written."""
    import torch

    from pipeline.models.registry import build

    network, model = build(job.model), job.model
    edge = model.tile + 2 * job.halo * job.layout.lattice.pixels()
    rng = np.random.default_rng(0)
    inputs = [
        torch.from_numpy(
            rng.random((1, len(i.bands), edge * 10 // i.resolution, edge * 10 // i.resolution), np.float32)
        )
        for i in model.inputs
    ]
    with torch.inference_mode():
        network(*inputs)
        start = time.perf_counter()
        for _ in range(tiles):
            network(*inputs)
        return time.perf_counter() - start


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunk", type=int, default=1200)
    parser.add_argument("--model", default=UNTRAINED, help="a network with weights, such as light or mpifnet")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--only", type=int, help="pixels along an edge of the scene: measure this size alone")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, sizes = Path(name), [given.only] if given.only else [600, 2400]
        peaks: dict[int, list[int]] = {size: [] for size in sizes}
        for turn in range(given.repeat):
            for size in sizes:
                peaks[size].append(measured(tiled(folder, size), size, given.chunk, folder / str(turn), given.model))
        if given.only is None:
            print(f"peak memory, 2400 against 600: {max(peaks[2400]) / max(peaks[600]):.3f}")


def measured(catalog: Path, size: int, chunk: int, folder: Path, name: str) -> int:
    """The peak memory of a worker in bytes; the rest is printed."""
    prepared, job, work = job_of(catalog, size, chunk, folder / f"{size}-{chunk}.zarr", name)
    seconds, bare_seconds, stages, peak = engine(prepared, job, work)
    said = WorkerMemory.of(job, Workers()).total
    spent = ", ".join(f"{stage} {value:.2f}" for stage, value in stages.items())
    print(
        f"{name}, {size} px, chunk {chunk}: engine {seconds:.2f} s, bare loop {bare_seconds:.2f} s, "
        f"ratio {bare_seconds / seconds:.3f}, {size**2 * 1e-4 / seconds * 3600:.0f} km²/h; "
        f"peak memory {peak / 1e6:.0f} MB, {peak / said:.2f} of what the plan says; seconds of all workers: {spent}",
        flush=True,
    )
    return peak


if __name__ == "__main__":
    main()
