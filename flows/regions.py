"""A region over several zones: each is fused on its own pixels into a store of its own, then all are laid together.

The store of a region holds the mosaic, as any store holds its pixels, and below ``zones/`` a whole store for each zone, which
is planned, run and resumed like any other.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import zarr

from flows.area import native, within_scenes
from flows.prepare import Prepared
from flows.road import planned
from pipeline import __version__
from pipeline.errors import StoreFull
from pipeline.events import Done, Trouble
from pipeline.growth import grow
from pipeline.job import fingerprint, targets
from pipeline.lattice import Layout
from pipeline.lease import Superseded
from pipeline.ledger import Ledger
from pipeline.record import Failure
from pipeline.scene import touching
from pipeline.store import ZONES, Store, contents_of

if TYPE_CHECKING:
    from distributed import Client

    from pipeline.engine import Outcome
    from pipeline.zones import Piece


def parts(prepared: Prepared) -> tuple[Prepared, ...]:
    """The zones of a region, each as a specification of its own whose store lies below the region's; none where the area is
    fused on one grid."""
    return tuple(part for crs in prepared.zones if (part := _part(prepared, crs)))


def _part(prepared: Prepared, crs: str) -> Prepared | None:
    """A zone of a region: what of the area lies in its scenes, on their own pixels; ``None`` where nothing does."""
    from pipeline.zones import SUPPORT  # here, for it reads files: what is done already loads none of that

    job = replace(prepared.job, mosaic=0, clip=None)
    lattice = replace(job.layout.lattice, crs=crs)
    own = [scene for scene in prepared.scenes if native(scene) == crs]
    bounds = within_scenes(prepared.job.layout, own, crs)
    if bounds is None:
        return None
    area = lattice.box(bounds)
    if crs != job.layout.lattice.crs:
        area = area.pad(lattice.steps_for(SUPPORT))
    area = area.outward(max(1, job.model.align // lattice.pixels()))
    days = {scene.solar_day for scene in touching(own, lattice.geobox(area))}
    near = touching(own, lattice.geobox(area.pad(job.around)))
    spec = prepared.spec
    grid = spec.grid.model_copy(update={"crs": crs, "zones": "one"})
    out = type(spec.out)(f"{spec.out}/{ZONES}/{crs.replace(':', '_')}")
    return Prepared(
        spec=spec.model_copy(update={"grid": grid, "out": out}),
        scenes=tuple(scene for scene in near if scene.solar_day in days),
        job=replace(job, layout=Layout.over(lattice, area, job.layout.core)),
    )


def opened(prepared: Prepared) -> Store:
    """The store of a region, made or grown before its zones are: they lie within. Raises ``Refused`` where it holds other
    work, ``StoreFull`` where there is no space for it."""
    job, _ = planned(prepared)
    days = targets(job, prepared.scenes)
    ids = [scene.id for scene in prepared.scenes]
    wanted = contents_of(job, days, prepared.spec.published(), ids, prepared.run, __version__, prepared.warnings)
    where = prepared.spec.out
    store = grow(Store(where), wanted) if Store.exists(where) else Store.create(where, wanted)
    zarr.open_group(store.group.store, path=ZONES, mode="a", use_consolidated=False)  # so that zones open as its groups
    return store


def laid(prepared: Prepared) -> bool:
    """Whether the mosaic of a region tells of its zones as they are, and nothing is missing in it; by listing alone."""
    return bool(Store(prepared.spec.out).group.attrs.get("laid") == _state(prepared))


def _state(prepared: Prepared) -> str:
    """A hash that changes whenever a record of a region or of its zones does."""
    places = (prepared.spec.out, *(part.spec.out for part in parts(prepared)))
    return fingerprint([Ledger(place).state() for place in places])


def zones_of(store: Store) -> list[Store]:
    """The stores of the zones of a region that are there; none of any other store."""
    try:
        group = zarr.open_group(store.group.store, path=ZONES, mode="r", use_consolidated=False)
    except FileNotFoundError:
        return []
    return [Store(store.objects.within(f"{ZONES}/{name}").where) for name in sorted(group.group_keys())]


def mosaic(
    client: "Client",
    prepared: Prepared,
    lease: int = 0,
    watch: Callable[[Done | Trouble], None] | None = None,
) -> "Outcome":
    """Lay the zones of a region together over a cluster, those chunks whose zones have changed since.

    A chunk that needs one of a zone that is not there waits for it, and is named among the troubles.
    """
    from pipeline.engine import NAMED, Outcome
    from pipeline.flight import fly
    from pipeline.zones import Zone, lay_into, pieces

    store = Store(prepared.spec.out)
    job = replace(prepared.job, layout=store.contents.layout)
    zones = tuple(Zone(part.job.layout.lattice.crs, str(part.spec.out)) for part in parts(prepared))
    troubles: list[Trouble] = []
    missed: dict[Failure, None] = {}
    computed, held = 0, 0
    stop: Exception | None = None
    done = store.ledger.done()

    def leave(piece: "Piece", reason: str) -> None:
        """Leave word of a chunk that was not laid; a full disk may refuse this, and is told all the same."""
        nonlocal stop
        trouble = Trouble(piece.name, reason)
        if len(troubles) < NAMED:
            troubles.append(trouble)
        try:
            store.ledger.trouble(piece.day, piece.chunk.core, reason)
        except OSError as error:
            stop = stop or (error if isinstance(error, StoreFull) else None)
        if watch:
            watch(trouble)

    def todo() -> "Iterator[Piece]":
        nonlocal held
        for piece in pieces(job, store.contents.days, zones):
            if piece.waits:
                leave(piece, "a zone that it is made of is not done here")
            elif piece.key in done:
                held += 1
                if watch:
                    watch(Done(piece.name, piece.key, piece.day, piece.chunk.core, 0, 0, True, (), {}, 0.0, 0, ""))
            else:
                yield piece

    for piece, result in fly(client, lay_into, todo(), str(prepared.spec.out), job, zones, lease):
        if isinstance(result, StoreFull | Superseded):
            stop = result
            break
        if isinstance(result, Exception):
            leave(piece, " ".join(str(result).split())[:300] or type(result).__name__)
            continue
        computed += 1
        missed |= dict.fromkeys(result.failures)
        if watch:
            watch(Done.of(piece.name, result))
    if not (stop or troubles or missed):
        store.group.attrs["laid"] = _state(prepared)
    return Outcome(
        computed=computed,
        held=held,
        troubles=tuple(troubles),
        missed=tuple(missed),
        full=isinstance(stop, StoreFull),
        lost=isinstance(stop, Superseded),
    )
