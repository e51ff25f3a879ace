"""What the command ``plan`` says: the work of a specification and its price, before a byte of pixels is read."""

from rich.table import Table

from flows.adapting import missing
from flows.prepare import Prepared
from flows.road import planned
from flows.terminal import duration, many, out, size
from pipeline.plan import teaching_seconds


def show(prepared: Prepared, name: str) -> None:
    """Print the plan of a specification that is called ``name``."""
    import psutil

    job, work = planned(prepared)
    layout = job.layout
    workers = prepared.spec.cluster.workers or cores()
    low, high = (seconds / workers for seconds in work.seconds)
    height, width = layout.geobox.shape
    table = Table(show_header=False, title=f"plan of {name}: {job.flow} with {job.model.name}")
    table.add_row("area", f"{width} x {height} px at {float(layout.lattice.resolution):g} m in {layout.lattice.crs}")
    table.add_row("scenes", f"{work.scenes} on {work.days} days, level {job.level}")
    table.add_row(
        "chunks",
        f"{len(work.todo)} to do, {work.done} done; {layout.core_pixels} px, halo {job.halo * layout.lattice.pixels()} px",
    )
    table.add_row(
        "to read",
        f"{size(work.read_bytes)} decoded for {size(work.needed_bytes)} needed (x {work.amplification:.1f})",
    )
    table.add_row("requests", f"about {work.requests}, were the files remote in blocks of 1024 px")
    table.add_row("to write", f"{size(work.written_bytes)} before compression")
    table.add_row("memory", f"about {size(work.worker_bytes)} a worker, {workers} workers")
    free = psutil.virtual_memory().available
    if workers * work.worker_bytes > free:
        table.add_row(
            "", f"[red]more than the {size(free)} that are free: make chunk: smaller, or cluster.workers fewer"
        )
    days = missing(job, prepared.scenes)
    if days:
        fast, slow = teaching_seconds(job, len(days), cores())
        spent = f"{duration(fast)} to {duration(slow)}"
        table.add_row("to adapt", f"{job.adapt} steps on {many(len(days), 'day')}, before the rest: {spent}")
    table.add_row("time", f"{duration(low)} to {duration(high)}, and some seconds to start")
    out.print(table)


def cores() -> int:
    """Cores of this machine that this process may use."""
    from dask.system import CPU_COUNT

    return CPU_COUNT
