"""What the command ``run`` does, from a specification that is ready to the report of what came out.

What could refuse the work does so before anything is written. Then the store is taken, so that no other run writes into it;
only then is it made or mended, grown and filled.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flows import regions, stores
from flows.adapting import missing
from flows.logs import Log, logging_to
from flows.planning import affordable
from flows.prepare import Prepared
from flows.registering import unregistered
from flows.road import Result, adapted, came_to, chosen, conclude, dropped, execute, opened, planned, registered
from flows.terminal import bar, complain, following, many, say, wait
from pipeline import __version__
from pipeline.conditions import Condition, condition
from pipeline.errors import Refused, StoreFull
from pipeline.events import Done, Trouble
from pipeline.growth import mend
from pipeline.lease import Lease, Superseded, holder, take
from pipeline.objects import Objects
from pipeline.store import Store
from pipeline.summary import fold, folded
from pipeline.watch import Watch

if TYPE_CHECKING:
    from distributed import Client

    from pipeline.device import Equipment
    from pipeline.job import Job
    from pipeline.plan import Plan


@dataclass(frozen=True)
class Manner:
    """How to go about a run, whatever it makes."""

    wait: bool = False
    """Whether to wait where another run is at work on the store."""
    redo: str | None = None
    """Condition on chunks that are to be computed again."""
    log: Path | None = None
    """File for the log; by default beside a store in a folder, and nowhere for one in a bucket."""


@dataclass(frozen=True)
class Going:
    """What goes with a run from its first chunk to its last."""

    lease: Lease
    """Its lease on the store."""
    log: Log
    """Its log."""
    cluster: Callable[[], "tuple[Client, Equipment]"]
    """The cluster, reached when it is first asked for."""

    def note(self, lost: bool) -> None:
        """Remember that another run has taken the store, so that nothing more is said in it."""
        if lost:
            self.lease.lost.set()


@dataclass(frozen=True)
class Ended:
    """What a run came to."""

    changed: bool
    """Whether the store has changed."""
    complete: bool
    """Whether all that was asked for is there."""


def carry_out(prepared: Prepared, manner: Manner = Manner()) -> None:  # noqa: B008  frozen
    """Run, write the report and the picture; raises ``typer.Exit`` where something is missing."""
    for warning in prepared.warnings:
        complain(f"warning: {warning}")
    redo = condition(manner.redo, prepared.job.model.output.bands) if manner.redo else None
    try:
        ended = _held(prepared, manner, redo)
    except KeyboardInterrupt:
        complain("fusecube: stopped; what was finished is kept: run again to go on.")
        raise typer.Exit(130) from None
    if not ended.complete:
        raise typer.Exit(1)


def _held(prepared: Prepared, manner: Manner, redo: Condition | None) -> Ended:
    """Run with the store taken, its log open, and a cluster when one is needed."""
    with ExitStack() as stack:
        cluster = _reached_once(stack, prepared)
        _foreseen(prepared, redo, cluster)
        objects = Objects.at(prepared.spec.out)
        lease = stack.enter_context(_taken(objects, prepared, manner.wait))
        log = stack.enter_context(logging_to(manner.log or _beside(objects), f"{prepared.run}-{lease.token}"))
        ended = _logged(prepared, redo, Going(lease, log, cluster))
        if ended.changed:
            _shown(Store(prepared.spec.out))
    return ended


def _foreseen(prepared: Prepared, redo: Condition | None, cluster: Callable[[], object]) -> None:
    """Where there is no store yet, let whatever could refuse the work do so before anything is written."""
    if Store.exists(prepared.spec.out):
        return
    if redo:
        raise _nothing_to_redo(prepared.spec.out)
    affordable(prepared, *planned(prepared))
    cluster()


def _stood(prepared: Prepared) -> None:
    """See that there is a store, sound; it has been taken."""
    where = prepared.spec.out
    if Store.exists(where):
        mend(where)
    elif prepared.zones:
        regions.opened(prepared)
    else:
        opened(prepared, *planned(prepared))


def _taken(objects: Objects, prepared: Prepared, patient: bool) -> Lease:
    """The lease of the store; raises ``Refused`` where another run has it, unless it is to be waited for."""
    other = holder(objects)
    if patient and other and other.alive:
        say(f"waiting for another run to end (process {other.process} on {other.host})")
    return take(objects, {"run": prepared.run, "software": __version__}, patient)


def _beside(objects: Objects) -> Path | None:
    return objects.folder.with_suffix(".jsonl") if objects.folder else None


def _reached_once(stack: ExitStack, prepared: Prepared) -> "Callable[[], tuple[Client, Equipment]]":
    """What reaches the cluster when it is first called; left with the stack."""
    reached: list[tuple[Client, Equipment]] = []

    def reach() -> "tuple[Client, Equipment]":
        if not reached:
            from flows.clusters import connected

            where = str(prepared.spec.out)
            reached.append(stack.enter_context(connected(prepared.spec.cluster, prepared.job, where)))
            say(f"dashboard: {reached[0][0].dashboard_link}")
        return reached[0]

    return reach


def _logged(prepared: Prepared, redo: Condition | None, going: Going) -> Ended:
    """The run between its first and its last line in the log."""
    log, job = going.log, prepared.job
    log.write(
        "run", store=Objects.at(prepared.spec.out).name, flow=job.flow, model=job.model.name, software=__version__
    )
    log.write("lease", token=going.lease.token)
    try:
        _stood(prepared)
        if redo:
            _redo(prepared, redo, going)
        ended = _region(prepared, going) if prepared.zones else _fused(prepared, going, "fusing")
    except BaseException as error:
        log.write("end", "error", complete=False, reason=type(error).__name__)
        raise
    log.write("end", "info" if ended.complete else "warning", complete=ended.complete)
    return ended


def foreseen(prepared: Prepared, text: str) -> str:
    """What a run with a condition would compute besides what is to do; nothing is dropped."""
    redo = condition(text, prepared.job.model.output.bands)
    if not Store.exists(prepared.spec.out):
        raise _nothing_to_redo(prepared.spec.out)
    count = sum(1 for part in _parts(prepared) for _ in chosen(part, redo))
    return f"--redo: {many(count, 'chunk')} where {redo.text} would be computed again, besides what is to do"


def _nothing_to_redo(where: str | Path) -> Refused:
    return Refused(f"there is no store at {where} whose chunks --redo could choose from; run without it first.")


def _parts(prepared: Prepared) -> list[Prepared]:
    """What has chunks of its own: the zones of a region, as far as they are there, or the whole."""
    return [part for part in regions.parts(prepared) or (prepared,) if Store.exists(part.spec.out)]


def _redo(prepared: Prepared, redo: Condition, going: Going) -> None:
    """Take away the records of the chunks that are to be computed again, once nothing refuses to compute them."""
    with wait("looking for chunks"):
        keys = [(part, {record.key for record in chosen(part, redo)}) for part in _parts(prepared)]
    for part, some in keys:
        if some:
            affordable(part, *planned(part, again=some))
            going.cluster()
    count = sum(dropped(part, redo) for part, some in keys if some)
    going.log.write("redo", condition=redo.text, chunks=count)
    text = f"{many(count, 'chunk')} where {redo.text}, to be computed again" if count else f"no chunk where {redo.text}"
    say(f"{prepared.spec.out}: {text}")


def _region(prepared: Prepared, going: Going) -> Ended:
    """Fuse the zones of a region, each in its own store, then lay them together."""
    store = regions.opened(prepared)
    zones = []
    for part in regions.parts(prepared):
        _foreseen(part, None, going.cluster)
        with _taken(Objects.at(part.spec.out), part, patient=False) as lease:
            _stood(part)
            zones.append(_fused(part, replace(going, lease=lease), f"fusing {part.job.layout.lattice.crs}"))
    if regions.laid(prepared) and folded(store):
        say(f"{prepared.spec.out}: all of its zones are laid together; nothing to compute.")
        return Ended(_overviewed(store, going), all(zone.complete for zone in zones))
    whole = sum(1 for _ in store.contents.layout.chunks()) * len(store.contents.days)
    client, _ = going.cluster()
    with _watched(prepared, going, "laying together", Span(whole, 0)) as hear:
        outcome = regions.mosaic(client, prepared, going.lease.token, hear)
        going.note(lost=outcome.lost)
    result = came_to(outcome, 0)
    _named(result, prepared)
    if not folded(store):
        fold(store)
    overviewed = _overviewed(store, going)
    return Ended(result.computed > 0 or overviewed, result.complete and all(zone.complete for zone in zones))


def _fused(prepared: Prepared, going: Going, text: str) -> Ended:
    """Fuse what a store lacks: register and adapt what is to be, then compute its chunks over the cluster."""
    where, log = prepared.spec.out, going.log
    job, work, apart = _register(prepared, *planned(prepared))
    going.lease.check()
    job, work, unadapted = _adapt(prepared, job, work)
    going.lease.check()
    failed = (*apart, *unadapted)
    for line in failed:
        complain(line)
    log.write("plan", todo=len(work.todo), done=work.done, scenes=work.scenes, days=work.days)
    if not len(work.todo):
        say(f"{where}: all {work.done} chunks are done; nothing to compute.")
        return Ended(_concluded(prepared, job, going), not failed)
    affordable(prepared, job, work)
    client, equipment = going.cluster()
    say(f"{len(work.todo)} chunks to do, {work.done} done; {work.scenes} scenes on {work.days} days; into {where}")
    with _watched(prepared, going, text, Span(len(work.todo), work.done)) as hear:
        result = execute(client, prepared, job, work, equipment, going.lease.token, hear)
        going.note(lost=result.lost)
    _named(result, prepared)
    _overviewed(Store(where), going)
    return Ended(result.computed > 0, result.complete and not failed)


@dataclass(frozen=True)
class Span:
    """How much is to be done."""

    todo: int
    """Chunks."""
    done: int
    """Chunks that are done already."""


@contextmanager
def _watched(prepared: Prepared, going: Going, text: str, span: Span) -> "Iterator[Callable[[Done | Trouble], None]]":
    """What hears the events of a run: they go to the terminal, to the log and into the store."""
    watch = Watch(going.log.run, text, span.todo, span.done, Objects.at(prepared.spec.out))
    watch.keep()
    going.log.stage = text
    try:
        with following(text, lambda: watch.now) as tell:

            def hear(event: "Done | Trouble") -> None:
                news = watch.hear(event)
                going.log.hear(event)
                going.log.missed(news)
                tell()

            yield hear
    finally:
        if not going.lease.lost.is_set():  # what is said in the store is for the run that has it
            watch.end()
    now = watch.now
    going.log.write(
        "done", computed=now.computed, held=now.held, troubles=now.troubles, missed=now.missed, stages=now.stages
    )


def _named(result: Result, prepared: Prepared) -> None:
    """Name what was missed; raises where the run had to stop."""
    where = prepared.spec.out
    for line in result.missed:
        complain(f"not read: {line}")
    for line in result.troubles:
        complain(f"failed: {line}")
    for line in result.unfit:
        complain(f"left out: worker {line}")
    if result.hopeless:
        complain(f"{where}: everything failed for a while, so the run has stopped; what was finished is kept.")
    if result.full:
        raise StoreFull(errno.ENOSPC, f"{where}: no space is left; {result.computed + result.held} chunks are kept")
    if result.lost:
        raise Superseded(f"{where} was taken by another run; {result.computed + result.held} chunks are kept.")


def _register(prepared: Prepared, job: "Job", work: "Plan") -> tuple["Job", "Plan", tuple[str, ...]]:
    """Hold every scene against its reference where that is asked for, and say what was found; and which could not be."""
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


def _adapt(prepared: Prepared, job: "Job", work: "Plan") -> tuple["Job", "Plan", tuple[str, ...]]:
    """Teach the network the scenes of every day that its store has no weights for; and why days could not be."""
    days = missing(job, prepared.scenes)
    if not days:
        return job, work, ()
    groups = sum(1 for wanted in job.model.inputs[1:] if set(wanted.bands) & set(job.model.output.bands))
    with bar("adapting", len(days) * groups * job.adapt) as advance:
        return adapted(prepared, job, work, lambda event: advance() if isinstance(event, int) else None, say)


def _concluded(prepared: Prepared, job: "Job", going: Going) -> bool:
    """Do what a run that was killed after its last chunk left undone; whether there was anything."""
    store = Store(prepared.spec.out)
    stale = not folded(store)
    if stale:
        conclude(store, prepared, job)
    return _overviewed(store, going) or stale


def _overviewed(store: Store, going: Going) -> bool:
    """Bring the overviews of a store up to date; whether there was anything to do."""
    from pipeline.overviews import build, stale

    if not stale(store):
        return False
    client, _ = going.cluster()
    with wait("making overviews"):
        return build(client, store, going.lease.token) > 0


def _shown(store: Store) -> None:
    """Write the report and the picture beside the store, and say where all is."""
    from pipeline.picture import save_picture
    from pipeline.report import write_report

    say(f"store: {store.where}")
    with wait("writing the report"):
        for name, suffix, write in (("report", ".html", write_report), ("picture", ".png", save_picture)):
            with stores.file_beside(store.objects, suffix) as (path, shown):
                write(store, path)
            say(f"{name}: {shown}")
