"""The road of one specification: plan it, run it or go on with it, and what it came to."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flows.prepare import Prepared
from pipeline import __version__
from pipeline.errors import Refused
from pipeline.growth import grow, mend
from pipeline.job import Job
from pipeline.plan import Plan, plan
from pipeline.record import Record
from pipeline.store import Contents, Store, contents_of

if TYPE_CHECKING:
    from pathlib import Path

    from distributed import Client


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    computed: int
    """Chunks computed in this run."""
    held: int
    """Chunks that the ledger held already."""
    troubles: tuple[str, ...]
    """Chunks that could not be finished, each with its reason."""
    missed: tuple[str, ...]
    """Files that could not be read, each named once with its reason."""
    full: bool
    """Whether the run stopped because no space was left."""

    @property
    def complete(self) -> bool:
        """Whether everything asked for is there."""
        return not (self.troubles or self.missed or self.full)


def planned(prepared: Prepared) -> tuple[Job, Plan]:
    """The job, cut as its store is where there is one, and its plan; raises ``Refused`` for a store of other work."""
    path = prepared.spec.out
    mend(path)
    if not Store.exists(path):
        return prepared.job, plan(prepared.job, prepared.scenes, None)
    store = Store(path)
    _same_work(store.contents, prepared, path)
    have = store.contents.layout
    if not prepared.job.layout.area.holds(have.area):
        bounds = ", ".join(f"{side:.0f}" for side in have.lattice.bounds(have.area))
        raise Refused(
            f"{path} covers more than the area asked for ({bounds} in {have.lattice.crs}): a store may grow, not shrink; "
            "ask for an area that holds all of it, or name another place with out:."
        )
    layout = have.grown(prepared.job.layout.area)
    job = replace(prepared.job, layout=layout)
    return job, plan(job, prepared.scenes, store.ledger)


def _same_work(have: Contents, prepared: Prepared, path: "Path") -> None:
    """Raise ``Refused``, naming what differs, where a store was made by other work."""
    wanted = prepared.job.identity
    differ = [name for name in wanted if wanted[name] != have.identity.get(name)]
    if have.layout.core != prepared.job.layout.core:
        differ.append(f"chunk (there {have.layout.core_pixels})")
    if differ:
        raise Refused(
            f"{path} holds another specification: it differs in {', '.join(differ)}; "
            "name another place with out:, or go back to what it was made with."
        )


def execute(
    client: "Client",
    prepared: Prepared,
    job: Job,
    work: Plan,
    watch: Callable[[Record | str], None] | None = None,
) -> Result:
    """Run a plan on a cluster into its store, then fold its metrics.

    Raises ``StoreFull`` where not even the store can be made or grown.
    """
    # what is done already asks for neither a cluster nor torch, so neither is imported before it is needed
    from pipeline.engine import Trouble, run
    from pipeline.picture import detail
    from pipeline.summary import fold

    days = sorted({task.day for task in work.todo})
    wanted = contents_of(
        job, days, prepared.spec.published(), [s.id for s in prepared.scenes], prepared.run, __version__
    )
    path = prepared.spec.out
    store = grow(Store(path), wanted) if Store.exists(path) else Store.create(path, wanted)

    def told(event: Record | Trouble) -> None:
        if watch:
            watch(event if isinstance(event, Record) else f"{event.task}: {event.reason}")

    outcome = run(client, path, job, work.todo, told)
    if not outcome.full:
        fold(store)
        shown = detail(job, work.todo, store)
        if shown:
            store.write_group("preview", shown)
    return Result(
        computed=len(outcome.written),
        held=work.done,
        troubles=tuple(f"{t.task}: {t.reason}" for t in outcome.troubles),
        missed=missed(outcome.written),
        full=outcome.full,
    )


def missed(records: tuple[Record, ...]) -> tuple[str, ...]:
    """Files that could not be read, each once."""
    found = {f"{f.scene} {f.band}: {f.reason}" for record in records for f in record.failures}
    return tuple(sorted(found))
