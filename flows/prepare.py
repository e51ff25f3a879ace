"""From a specification to a job: search, refuse what cannot be, declare the rest."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import ModuleType

from flows import sharpen
from flows.area import outline, zones
from flows.spec import Spec, period
from pipeline.access import shown
from pipeline.catalog import Found, Query, find, look, look_all
from pipeline.errors import Refused, nearest
from pipeline.job import Job, fingerprint
from pipeline.models.registry import offered
from pipeline.models.weights import read_card
from pipeline.radiometry import coding
from pipeline.region import MOSAIC
from pipeline.scene import Scene, newest, touching
from pipeline.sensors import sensor

FLOWS: dict[str, ModuleType] = {"sharpen": sharpen}
"""Flows by name; each has a ``SENSOR``, an ``EXAMPLE`` and a function ``job(spec, scenes)``."""


MARGIN = 0.06
"""Degrees searched around an area, more than any halo or dilation: 6 km, at 70 degrees of latitude still 2 km from west to
east."""


@dataclass(frozen=True)
class Prepared:
    """A specification that holds together."""

    spec: Spec
    """What was asked for."""
    scenes: tuple[Scene, ...]
    """What was found for it, oldest first."""
    job: Job
    """What is to be done."""
    warnings: tuple[str, ...] = ()
    """What a reader of the result should know."""
    zones: tuple[str, ...] = ()
    """CRSs in each of which the area is fused on its own, to be laid together; none where it is fused on one grid."""

    @property
    def run(self) -> str:
        """Id of the run, from what is done and from which items: the same work has the same name."""
        return fingerprint([self.job.identity, [[s.id, s.revision] for s in self.scenes]])


def flow(name: str) -> ModuleType:
    """The flow called ``name``; raises ``Refused`` with the nearest valid name."""
    if name not in FLOWS:
        raise Refused(f"there is no flow '{name}': {nearest(name, FLOWS)}.")
    return FLOWS[name]


def search(spec: Spec) -> Found:
    """The scenes of a specification, oldest first, and the items that cannot be used.

    Raises ``Refused``, saying why, where there are none.
    """
    query = _query(spec, margin=MARGIN)
    found = look(query)
    if not found.usable(query):
        raise Refused(_why_none(_query(spec, margin=0), spec))
    return found


def beside(spec: Spec, scenes: Sequence[Scene], names: Iterable[str]) -> Found:
    """What the catalog has of other sensors where and when a specification looks; ``scenes`` are the flow's own."""
    own = flow(spec.flow).SENSOR
    others = [sensor(name) for name in names if name != own.name]
    asked = replace(_query(spec, margin=0), level=None, scenes=(), tile=None, max_cloud=100.0)
    west, south, east, north = zip(*(scene.bbox for scene in scenes), strict=True)
    return look_all(replace(asked, bbox=asked.bbox or (min(west), min(south), max(east), max(north))), others)


def _query(spec: Spec, margin: float) -> Query:
    start, end = period(spec.time)
    shape = outline(spec.area)
    return Query(
        catalog=spec.catalog,
        sensor=flow(spec.flow).SENSOR,
        start=start,
        end=end,
        bbox=shape.boundingbox.buffered(margin).bbox if shape is not None else None,
        level=spec.level,
        max_cloud=spec.max_cloud,
        scenes=(spec.area.scene,) if spec.area.scene else spec.scenes,
        tile=spec.area.tile,
    )


def _why_none(query: Query, spec: Spec) -> str:
    """Which part of a query nothing answers: widen one condition after the other and see."""
    if query.max_cloud < 100 and find(replace(query, limit=1, max_cloud=100.0)):
        return f"no scene with {query.max_cloud:g} % clouds or less; raise max_cloud:."
    ever = replace(query, start=period("0001")[0], end=period("9998")[1])
    other_times = find(replace(ever, limit=50))
    if other_times:
        days = sorted({scene.solar_day for scene in other_times})
        span = f"from {days[0]} to {days[-1]}"
        return f"no scene of {query.sensor.name} in {spec.time}; the area has scenes {span}: change time:."
    elsewhere = find(replace(ever, limit=50, bbox=None, tile=None, scenes=(), level=None, max_cloud=100.0))
    if not elsewhere:
        return f"the catalog at {shown(spec.catalog)} has no scene of {query.sensor.name}; name another with catalog:."
    if spec.area.scene or query.scenes:
        return f"no item '{', '.join(query.scenes)}': {nearest(query.scenes[0], [scene.id for scene in elsewhere])}."
    sides = list(zip(*(scene.bbox for scene in elsewhere), strict=True))
    reach = [min(sides[0]), min(sides[1]), max(sides[2]), max(sides[3])]
    level = f" at level {query.level}" if query.level else ""
    if query.tile:
        return f"no scene of {query.sensor.name}{level} in tile {query.tile}; name another tile, or the area as bbox."
    return (
        f"the area lies outside every scene of {query.sensor.name}{level}; those of the catalog lie within "
        f"{', '.join(f'{side:.2f}' for side in reach)} degrees: change area:."
    )


def prepare(spec: Spec) -> Prepared:
    """Everything a run needs, from metadata alone; raises ``Refused`` where it cannot be.

    The days are those on which a scene touches the area; on these, scenes that only reach into the halo count as well, so
    that the result does not depend on where the area ends.
    """
    chosen = flow(spec.flow)
    if spec.model not in offered():
        raise Refused(f"there is no model '{spec.model}': {nearest(spec.model, offered())}.")
    found = search(spec)
    scenes = newest(found.scenes)
    job = chosen.job(spec, scenes)
    lattice, area = job.layout.lattice, job.layout.area
    days = {scene.solar_day for scene in touching(scenes, lattice.geobox(area))}
    if not days:
        raise Refused(_why_none(_query(spec, margin=0), spec))
    near = touching(scenes, lattice.geobox(area.pad(job.around)))
    used = tuple(scene for scene in near if scene.solar_day in days)
    _readable(used, job)
    apart = zones(spec.grid, used, job.layout)
    job = replace(job, mosaic=MOSAIC if apart else 0)
    warnings = (*_warnings(job), *(f"not used: {reason}" for reason in found.refused))
    return Prepared(spec, used, job, warnings, apart)


def _warnings(job: Job) -> Iterator[str]:
    """What does not forbid a job and yet may harm its result."""
    if not job.model.weights:
        return
    card = read_card(job.model.weights_file)
    if job.level not in card.levels:
        yield (
            f"the weights of {card.network} were trained on {' and '.join(card.levels)}, the scenes are {job.level}: "
            "their colours differ by the atmosphere, and so may the result; train on this level, or adapt: 600."
        )


def _readable(scenes: tuple[Scene, ...], job: Job) -> None:
    """Raise ``Refused`` where metadata already tells that a scene cannot be decoded, or not be masked as asked."""
    for scene in scenes:
        bands = [band for wanted in job.model.inputs if wanted.sensor == scene.sensor for band in wanted.bands]
        for band in bands:
            coding(scene, band)
        job.harmony.check(scene, bands)
        layers = {layer.name for layer in sensor(scene.sensor).quality}
        if job.mask and not layers & scene.assets.keys():
            raise Refused(
                f"mask: [{', '.join(job.mask)}] needs the scene classification, which {scene.id} ({scene.level}) has not; "
                "use level: L2A, or take mask: out."
            )
