"""What the command ``run`` does, from a specification that is ready to the report of what came out."""

from typing import TYPE_CHECKING

import typer

from flows import stores
from flows.terminal import bar, complain, say, wait
from pipeline.errors import StoreFull

if TYPE_CHECKING:
    from flows.prepare import Prepared
    from pipeline.job import Job
    from pipeline.plan import Plan


def carry_out(prepared: "Prepared") -> None:
    """Run, write the report and the picture; raises ``typer.Exit`` where something is missing."""
    finish(run(prepared))


def run(prepared: "Prepared") -> tuple["Prepared", bool, bool]:
    """Run with a progress bar; whether the store has changed, and whether all is there."""
    from flows.road import execute, planned
    from pipeline.growth import mend

    for warning in prepared.warnings:
        complain(f"warning: {warning}")

    path = prepared.spec.out
    mend(path)
    job, work, apart = _register(prepared, *planned(prepared))
    job, work, failed = _adapt(prepared, job, work)
    failed = (*apart, *failed)
    for line in failed:
        complain(line)
    if not work.todo:
        say(f"{path}: all {work.done} chunks are done; nothing to compute.")
        return prepared, _concluded(prepared, job), not failed
    from cluster.local import local

    say(f"{len(work.todo)} chunks to do, {work.done} done; {work.scenes} scenes on {work.days} days; into {path}")
    with (
        local(prepared.spec.cluster.workers) as client,
        bar("fusing", len(work.todo)) as advance,
    ):
        result = execute(client, prepared, job, work, watch=lambda event: advance())
    for line in result.missed:
        complain(f"not read: {line}")
    for line in result.troubles:
        complain(f"failed: {line}")
    if result.full:
        raise StoreFull(28, f"{path}: no space is left; {result.computed + result.held} chunks are kept")
    return prepared, result.computed > 0, result.complete and not failed


def _register(prepared: "Prepared", job: "Job", work: "Plan") -> tuple["Job", "Plan", tuple[str, ...]]:
    """Hold every scene against its reference where that is asked for, and say what was found; and which could not be."""
    from flows.registering import unregistered
    from flows.road import registered

    pairs = unregistered(job, prepared.scenes)
    if not pairs:
        return job, work, ()
    with bar("registering", len(pairs)) as advance:
        job, work = registered(prepared, job, work, lambda found: advance())
    for found in job.registrations:
        place = f"{found.east:+.2f} m east, {found.south:+.2f} m south ({found.cells} cells agree)"
        say(f"{found.scene}: {place if found.cells else 'no shift can be claimed'} beside {found.reference}")
    left = unregistered(job, prepared.scenes)
    lines = (f"{one.id}: not compared with {other.id}, for a file of theirs could not be read" for one, other in left)
    return job, work, tuple(lines)


def _adapt(prepared: "Prepared", job: "Job", work: "Plan") -> tuple["Job", "Plan", tuple[str, ...]]:
    """Teach the network the scenes of every day that its store has no weights for; and why days could not be."""
    from flows.adapting import missing
    from flows.road import adapted

    days = missing(job, prepared.scenes)
    if not days:
        return job, work, ()
    groups = sum(1 for wanted in job.model.inputs[1:] if set(wanted.bands) & set(job.model.output.bands))
    with bar("adapting", len(days) * groups * job.adapt) as advance:
        return adapted(prepared, job, work, lambda event: advance() if isinstance(event, int) else None, say)


def _concluded(prepared: "Prepared", job: "Job") -> bool:
    """Do what a run that was killed after its last chunk left undone; whether there was anything."""
    from flows.road import conclude
    from pipeline.summary import folded

    store = stores.open_store(prepared.spec.out)
    if folded(store):
        return False
    conclude(store, prepared, job)
    return True


def finish(ran: tuple["Prepared", bool, bool]) -> None:
    """Report and picture, where the store has changed, then the exit code."""
    prepared, changed, complete = ran
    path = prepared.spec.out
    if changed:
        with wait("writing the report"):
            from pipeline.picture import save_picture
            from pipeline.report import write_report

            store = stores.open_store(path)
            picture = save_picture(store, path.with_suffix(".png"))
            page = write_report(store, path.with_suffix(".html"))
        for name, place in (("store", path), ("report", page), ("picture", picture)):
            say(f"{name}: {place}")
    if not complete:
        raise typer.Exit(1)
