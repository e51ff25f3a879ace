"""What the command ``plan`` says: the work of a specification and its price, before a byte of pixels is read."""

import shutil
from collections.abc import Callable
from pathlib import Path

from rich.table import Table

from flows import regions
from flows.adapting import missing
from flows.prepare import Prepared
from flows.registering import unregistered
from flows.road import planned
from flows.spec import Cluster
from flows.terminal import duration, many, out, size
from pipeline.calibration import calibrated
from pipeline.job import Job
from pipeline.needs import registering
from pipeline.plan import Plan
from pipeline.price import STORED, Limits, Price, Workers, check, price, teaching_seconds

HERE = ("local", "cuda")
"""Kinds of cluster whose workers share this machine."""


def show(prepared: Prepared, name: str) -> None:
    """Print the plan of a specification that is called ``name``, of a region zone by zone; raises ``Refused`` where it cannot
    fit."""
    zones = regions.parts(prepared)
    for part in zones or (prepared,):
        _show(part, f"{name} in {part.job.layout.lattice.crs}" if zones else name)
    if zones:
        layout = prepared.job.layout
        height, width = layout.geobox.shape
        grid = f"{width} x {height} px in {layout.lattice.crs}"
        out.print(f"then laid together on {grid}: {many(layout.rows * layout.cols, 'chunk')} a day")


def _show(prepared: Prepared, name: str) -> None:
    job, work = planned(prepared)
    workers = workers_of(prepared.spec.cluster)
    limits = limits_of(prepared, workers)
    known = calibrated(job, prepared.spec.out, workers.gpu)
    cost = price(job, work.needs, work.files, workers, known)
    out.print(_table(name, prepared, job, work, workers, cost))
    if len(work.todo):
        check(job, cost, workers, limits)
    for warning in _tight(cost, limits):
        out.print(f"[red]{warning}")


def affordable(prepared: Prepared, job: Job, work: Plan) -> None:
    """Raise ``Refused`` where what is left to do cannot fit its workers, its disk or its GPUs."""
    if not len(work.todo):
        return
    workers = workers_of(prepared.spec.cluster)
    known = calibrated(job, prepared.spec.out, workers.gpu)
    check(job, price(job, work.needs, work.files, workers, known), workers, limits_of(prepared, workers))


def _table(name: str, prepared: Prepared, job: Job, work: Plan, workers: Workers, cost: Price) -> Table:
    layout, needs = job.layout, work.needs
    height, width = layout.geobox.shape
    table = Table(show_header=False, title=f"plan of {name}: {job.flow} with {job.model.name}")
    table.add_row("area", f"{width} x {height} px at {float(layout.lattice.resolution):g} m in {layout.lattice.crs}")
    table.add_row("scenes", f"{work.scenes} on {work.days} days, level {job.level}")
    halo = job.halo * layout.lattice.pixels()
    table.add_row("chunks", f"{len(work.todo)} to do, {work.done} done; {layout.core_pixels} px, halo {halo} px")
    table.add_row(
        "to read", f"{_between(cost.read, size)} decoded (x 1 to {needs.amplification:.1f} of what is needed)"
    )
    table.add_row("requests", f"{cost.requests[0]} to {cost.requests[1]}, were the files remote in blocks of 1024 px")
    shares = f"{STORED[0]:.0%} to {STORED[1]:.0%} of {size(needs.written)}"
    table.add_row("to write", f"{_between(cost.written, size)}, compressed to {shares}")
    table.add_row("memory", f"{_between(cost.memory, size)} a worker, {many(workers.count, 'worker')}")
    if cost.gpu:
        table.add_row("GPU memory", f"{_between(cost.gpu, size)} with {many(workers.batch, 'tile')} at once")
    for row in _before(prepared, job):
        table.add_row(*row)
    table.add_row("a chunk", f"{_between(cost.each, _seconds)} ({cost.source})")
    table.add_row("time", f"{_between(cost.seconds, duration)}, and some seconds to start")
    return table


def _before(prepared: Prepared, job: Job) -> list[tuple[str, str]]:
    """Rows on what comes before the first chunk."""
    rows = []
    pairs = unregistered(job, prepared.scenes)
    if pairs:
        extra = registering(pairs)
        text = f"{many(len(pairs), 'scene')}, before the rest: {size(extra.decoded)} decoded, {extra.asked} requests"
        rows.append(("to register", text))
    days = missing(job, prepared.scenes)
    if days:
        spent = _between(teaching_seconds(job, len(days), cores()), duration)
        rows.append(("to adapt", f"{job.adapt} steps on {many(len(days), 'day')}, before the rest: {spent}"))
    return rows


def _tight(cost: Price, limits: Limits) -> list[str]:
    """What may not fit where it comes to the high end of a range."""
    found = []
    if limits.memory is not None and cost.memory[1] > limits.memory:
        found.append(f"a worker may take more than the {size(limits.memory)} there are: make chunk: smaller.")
    if limits.disk is not None and cost.written[1] > limits.disk:
        found.append(f"the result may take more than the {size(limits.disk)} that are free on its disk.")
    return found


def workers_of(cluster: Cluster) -> Workers:
    """The workers that a specification asks for; one, where only a running cluster knows how many there are."""
    gpu = cluster.kind == "cuda" or cluster.device == "gpu"
    count = cluster.workers or (cores() if cluster.kind == "local" else 1)
    return Workers(
        count=count,
        cores=max(1, cores() // count) if cluster.kind in HERE else 1,
        readers=cluster.readers or (8 if gpu else 1),
        gpu=gpu,
        batch=cluster.batch or 1,
    )


def limits_of(prepared: Prepared, workers: Workers) -> Limits:
    """What there is for a specification, as far as this machine can tell."""
    import psutil
    from dask.utils import parse_bytes

    cluster, path = prepared.spec.cluster, str(prepared.spec.out)
    free = psutil.virtual_memory().available / workers.count if cluster.kind in HERE else None
    return Limits(
        memory=parse_bytes(cluster.memory) if cluster.memory else free,
        disk=None if "://" in path else _free(Path(path)),
        gpu=_gpu_memory() if workers.gpu and cluster.kind in HERE else None,
    )


def _gpu_memory() -> int | None:
    """Bytes that are free on this machine's first GPU; ``None`` where there is none to ask."""
    import torch

    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else None


def _free(path: Path) -> int:
    """Bytes that are free where a path is, or will be."""
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free


def _between(pair: tuple[float, float], text: Callable[[float], str]) -> str:
    low, high = (text(value) for value in pair)
    return low if low == high else f"{low} to {high}"


def _seconds(value: float) -> str:
    return f"{value:.3g} s"


def cores() -> int:
    """Cores of this machine that this process may use."""
    from dask.system import CPU_COUNT

    return CPU_COUNT
