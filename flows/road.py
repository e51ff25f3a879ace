"""The road of one specification: plan it, run it or go on with it, and what it came to."""

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from flows.adapting import adapt_day, missing, read_day, with_known
from flows.prepare import Prepared
from flows.registering import register_all, unregistered, with_registrations
from pipeline import __version__
from pipeline.conditions import Condition
from pipeline.device import Equipment
from pipeline.errors import Refused
from pipeline.growth import grow
from pipeline.harmonise.places import Registration
from pipeline.job import Job, targets, tasks
from pipeline.models.weights import lessons
from pipeline.plan import Plan, plan
from pipeline.record import Record
from pipeline.store import Contents, Store, contents_of, store_errors

if TYPE_CHECKING:
    from distributed import Client

    from pipeline.engine import Outcome
    from pipeline.events import Done, Trouble
    from pipeline.training.loop import Progress


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
    lost: bool
    """Whether the run stopped because another has taken the store."""
    hopeless: bool = False
    """Whether the run stopped because everything failed."""
    unfit: tuple[str, ...] = ()
    """Workers that were left out, each with the reason."""

    @property
    def complete(self) -> bool:
        """Whether everything asked for is there."""
        return not (self.troubles or self.missed or self.full or self.lost)


def planned(prepared: Prepared, again: Collection[str] = ()) -> tuple[Job, Plan]:
    """The job, cut as its store is where there is one, and its plan; raises ``Refused`` for a store of other work.

    ``again`` are keys that are to be taken for not done.
    """
    path = prepared.spec.out
    if not Store.exists(path):
        if isinstance(path, Path):
            _writable(path)
        return prepared.job, plan(prepared.job, prepared.scenes)
    store = Store(path)
    _same_work(store.contents, prepared, path)
    _same_or_more(store.contents, prepared, path)
    job = replace(prepared.job, layout=store.contents.layout.grown(prepared.job.layout.area))
    job = with_registrations(with_known(job, prepared.scenes, store), prepared.scenes, store)
    done = store.ledger.done()
    done.difference_update(again)
    return job, plan(job, prepared.scenes, done)


def opened(prepared: Prepared, job: Job, work: Plan) -> Store:
    """The store of a plan, made or grown so that it has room for all of it.

    Raises ``StoreFull`` where there is no space for it.
    """
    days = sorted(work.todo.days)
    scenes = [scene.id for scene in prepared.scenes]
    published = prepared.spec.published()
    wanted = contents_of(job, days, published, scenes, prepared.run, __version__, prepared.warnings)
    path = prepared.spec.out
    return grow(Store(path), wanted) if Store.exists(path) else Store.create(path, wanted)


def registered(
    prepared: Prepared, job: Job, work: Plan, watch: Callable[[Registration], None] | None = None
) -> tuple[Job, Plan]:
    """The job with where its scenes lie beside a reference, and what is left to do; the store keeps what is found."""
    pairs = unregistered(job, prepared.scenes)
    if not pairs:
        return job, work
    store = opened(prepared, job, work)
    register_all(pairs, store, watch or (lambda found: None))
    return planned(prepared)


def adapted(
    prepared: Prepared,
    job: Job,
    work: Plan,
    watch: "Callable[[Progress | int], None] | None" = None,
    say: Callable[[str], None] | None = None,
) -> tuple[Job, Plan, tuple[str, ...]]:
    """The job with weights adapted to each of its days, what is left to do, and why days could not be adapted to.

    ``say`` hears a line on each day. A day whose files cannot be read is sharpened with the weights as they are; the next run
    tries again, and computes its chunks anew where it succeeds.
    """
    days = missing(job, prepared.scenes)
    if not days:
        return job, work, ()
    store = opened(prepared, job, work)
    failed = []
    for day, scenes in days.items():
        try:
            found = read_day(job, scenes)
        except OSError as error:
            failed.append(f"{day}: weights not adapted, for a file could not be read: {error}")
            continue
        with store_errors():
            card = adapt_day(job, day, scenes, found, store, watch)
        if say:
            say(f"{day}: weights {card.sha256[:12]}: {lessons(card)}")
    return (*planned(prepared), tuple(failed))


def _writable(path: Path) -> None:
    """Raise ``Refused`` where no store can be made at a place."""
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise Refused(f"no store can be made at {path}: {parent} cannot be written to; name another place with out:.")


def _same_or_more(have: Contents, prepared: Prepared, path: Path | str) -> None:
    """Raise ``Refused`` where a store would have to shrink, or to grow on some of its days only."""
    layout, wanted = have.layout, prepared.job.layout.area
    if not wanted.holds(layout.area):
        bounds = ", ".join(f"{side:.0f}" for side in layout.lattice.bounds(layout.area))
        raise Refused(
            f"{path} covers more than the area asked for ({bounds} in {layout.lattice.crs}): a store may grow, not shrink; "
            "ask for an area that holds all of it, or name another place with out:."
        )
    absent = sorted(set(have.days) - {scene.solar_day for scene in prepared.scenes})
    if wanted != layout.area and absent:
        raise Refused(
            f"{path} has days that time: leaves out ({', '.join(map(str, absent))}), which would not grow with its area; "
            "ask for them too, or name another place with out:."
        )


def _same_work(have: Contents, prepared: Prepared, path: Path | str) -> None:
    """Raise ``Refused``, naming what differs, where a store was made by other work."""
    wanted = prepared.job.identity
    differ = [name for name in {**have.identity, **wanted} if wanted.get(name) != have.identity.get(name)]
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
    equipment: Equipment = Equipment(),  # noqa: B008  frozen
    lease: int = 0,
    watch: "Callable[[Done | Trouble], None] | None" = None,
) -> Result:
    """Run a plan on a cluster into its store, then conclude it.

    Raises ``StoreFull`` where not even the store can be made or grown.
    """
    # what is done already asks for neither a cluster nor torch, so neither is imported before it is needed
    from flows.clusters import patience
    from pipeline.engine import run

    store = opened(prepared, job, work)
    outcome = run(client, store.where, job, work.todo, equipment, lease, watch, patience(prepared.spec.cluster))
    if not outcome.full and not outcome.lost:
        conclude(store, prepared, job)
    return came_to(outcome, work.done)


def came_to(outcome: "Outcome", done: int) -> Result:
    """What a run came to, of whose chunks ``done`` were so before it began."""
    return Result(
        computed=outcome.computed,
        held=done + outcome.held,
        troubles=tuple(f"{t.task}: {t.reason}" for t in outcome.troubles),
        missed=tuple(sorted({f"{f.scene} {f.band}: {f.reason}" for f in outcome.missed})),
        full=outcome.full,
        lost=outcome.lost,
        hopeless=outcome.hopeless,
        unfit=outcome.unfit,
    )


def chosen(prepared: Prepared, wanted: Condition) -> Iterator[Record]:
    """The records of a store that a condition holds for, on the days that are asked for; read one by one."""
    store = Store(prepared.spec.out)
    days, layout = set(targets(prepared.job, prepared.scenes)), store.contents.layout
    own = (record for record in store.ledger.records() if layout.cuts(record.box))
    return (record for record in own if record.day in days and wanted.holds(record))


def dropped(prepared: Prepared, wanted: Condition) -> int:
    """Take away the records that a condition holds for, so that their chunks are to be computed again; how many."""
    ledger, count = Store(prepared.spec.out).ledger, 0
    for record in chosen(prepared, wanted):
        ledger.drop(record.day, record.box)
        count += 1
    return count


def conclude(store: Store, prepared: Prepared, job: Job) -> None:
    """Fold the metrics of a store and draw its preview; nothing where a run before did so for the same ledger."""
    from pipeline.summary import fold, folded

    if folded(store):
        return
    from pipeline.picture import detail

    shown = detail(job, tasks(job, prepared.scenes), store)
    if shown:
        store.write_group("preview", shown)
    fold(store)
