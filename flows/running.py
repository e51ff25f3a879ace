"""What the command ``run`` does, from a specification that is ready to the report of what came out.

The store is made first, where there is none; then it is taken, so that no other run writes into it; only then is it mended,
grown and filled.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flows import regions, stores
from flows.logs import Log, logging_to
from flows.planning import affordable
from flows.prepare import Prepared
from flows.road import adapted, conclude, dropped, execute, named, opened, planned, registered, Result
from flows.terminal import bar, complain, following, many, say, wait
from pipeline import __version__
from pipeline.conditions import Condition, condition
from pipeline.errors import Refused, StoreFull
from pipeline.events import Done, Trouble
from pipeline.growth import mend
from pipeline.lease import Lease, holder, take
from pipeline.objects import Objects
from pipeline.store import Store
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
    with ExitStack() as stack:
        cluster = _reached_once(stack, prepared)
        _stood(prepared, redo, cluster)
        objects = Objects.at(prepared.spec.out)
        lease = stack.enter_context(_taken(objects, prepared, manner.wait))
        log = stack.enter_context(logging_to(manner.log or _beside(objects), f"{prepared.run}-{lease.token}"))
        ended = _logged(prepared, redo, Going(lease, log, cluster))
        if ended.changed:
            _shown(Store(prepared.spec.out))
    if not ended.complete:
        raise typer.Exit(1)


def _stood(prepared: Prepared, redo: Condition | None, cluster: Callable[[], object]) -> None:
    """See that there is a store to take; where there is none yet, whatever could refuse the work does so before it is made."""
    where = prepared.spec.out
    if not Store.exists(where):
        mend(where)  # killed between the two renames of a growth, a store is beside its place
    if Store.exists(where):
        return
    if redo:
        raise Refused(f"there is no store at {where} whose chunks --redo could choose from; run without it first.")
    job, work = planned(prepared)
    affordable(prepared, job, work)
    cluster()
    if prepared.zones:
        regions.opened(prepared)
    else:
        opened(prepared, job, work)


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
    reached: "list[tuple[Client, Equipment]]" = []  # fmt: skip

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
    log.write("run", store=Objects.at(prepared.spec.out).name, flow=job.flow, model=job.model.name, software=__version__)
    log.write("lease", token=going.lease.token)
    try:
        mend(prepared.spec.out)
        if redo:
            _redo(prepared, redo, log)
        ended = _region(prepared, going) if prepared.zones else _fused(prepared, going, "fusing")
    except BaseException as error:
        log.write("end", "error", complete=False, reason=type(error).__name__)
        raise
    log.write("end", "info" if ended.complete else "warning", complete=ended.complete)
    return ended


def _redo(prepared: Prepared, redo: Condition, log: Log) -> None:
    """Take away the records of the chunks that are to be computed again."""
    with wait("looking for chunks"):
        count = dropped(prepared, redo)
    log.write("redo", condition=redo.text, chunks=count)
    text = f"{many(count, 'chunk')} where {redo.text}, to be computed again" if count else f"no chunk where {redo.text}"
    say(f"{prepared.spec.out}: {text}")


def _region(prepared: Prepared, going: Going) -> Ended:
    """Fuse the zones of a region, each in its own store, then lay them together."""
    regions.opened(prepared)
    parts = []
    for part in regions.parts(prepared):
        _stood(part, None, going.cluster)
        with _taken(Objects.at(part.spec.out), part, patient=False) as lease:
            zone = Going(lease, going.log, going.cluster)
            parts.append(_fused(part, zone, f"fusing {part.job.layout.lattice.crs}"))
    client, _ = going.cluster()
    store = Store(prepared.spec.out)
    job, work = planned(prepared)
    with _watched(prepared, going, store, "laying together", len(work.todo), work.done) as hear:
        outcome = regions.mosaic(client, prepared, going.lease.token, hear)
    ...
