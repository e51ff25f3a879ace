"""From a query to scenes, and to what could not be made one: nothing that answers a query is left out without a word."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pystac
from shapely import from_wkt

from pipeline.access import redacted
from pipeline.dialects import (
    boxes,
    collections_of,
    period_of,
    rank,
    recognise,
    sensor_named,
    tile_of,
    to_scene,
    words_of,
)
from pipeline.errors import Refused
from pipeline.radiometry import coding
from pipeline.scene import Bounds, Scene
from pipeline.sensors import SENSORS, Sensor, sensor
from pipeline.stac import Broken, Service, Static, Wanted, opened

__all__ = ["Found", "Query", "find", "find_all", "look", "look_all", "tile_of"]


@dataclass(frozen=True)
class Query:
    """What to look for."""

    catalog: str
    """Address of a STAC API, of a static catalog, or of a file with an item collection; or a path; or a folder of items."""
    sensor: Sensor
    """The sensor whose collections are searched."""
    start: datetime
    """First moment, UTC."""
    end: datetime
    """Last moment, UTC."""
    bbox: Bounds | None = None
    """West, south, east, north in degrees, west greater than east across the antimeridian; everywhere where ``None``."""
    level: str | None = None
    """Processing level; where ``None``, the sensor's preferred level that has scenes."""
    max_cloud: float = 100.0
    """Highest cloud cover of a scene in percent; asked of optical sensors only."""
    scenes: tuple[str, ...] = ()
    """Only these item ids, where any are named."""
    tile: str | None = None
    """Only this tile of the product's own tiling, such as ``33UUB``, ``193023``, ``h18v03``."""
    limit: int | None = None
    """No more than this many items of an API."""


@dataclass(frozen=True)
class Found:
    """What a query found."""

    scenes: tuple[Scene, ...]
    """Scenes that answer it, oldest first."""
    refused: tuple[str, ...]
    """Of items that may answer it too and cannot be used: which, and why."""

    def usable(self, query: Query) -> list[Scene]:
        """The scenes; raises ``Refused`` where an item that cannot be used is why none is left, or one asked for missing."""
        here = {_scene_of(scene.id) for scene in self.scenes}
        if self.refused and (not self.scenes or any(_scene_of(name) not in here for name in query.scenes)):
            more = f" (and {len(self.refused) - 1} items more that cannot be used)" if len(self.refused) > 1 else ""
            raise Refused(self.refused[0] + more)
        return list(self.scenes)


def find(query: Query) -> list[Scene]:
    """The scenes that answer a query, oldest first; an empty list where there are none.

    Collections and levels that may hold the same acquisitions twice are gone through in their order of preference, and the
    first that has scenes is taken. A composite answers where its period meets the query's.

    Transient failures of a service (429 and 5xx) are tried again with growing pauses; pages are followed. Items that cannot
    be used are left out: ``look`` names them. Raises ``Refused`` where there is no catalog at the address, where an item that
    cannot be used is the reason that nothing is left, or where it was asked for by its id.
    """
    return look(query).usable(query)


def find_all(query: Query, sensors: Iterable[Sensor]) -> list[Scene]:
    """The scenes of several sensors that answer a query, as ``find``; its own sensor is not looked at.

    A document or a static catalog is read once for all of them.
    """
    return look_all(query, sensors).usable(query)


def look(query: Query) -> Found:
    """The scenes that answer a query, and the items that would but cannot be used, by name and reason.

    Raises ``Refused`` where there is no catalog at the address.
    """
    return look_all(query, (query.sensor,))


def look_all(query: Query, sensors: Iterable[Sensor]) -> Found:
    """What ``look`` finds for several sensors, all in the order of time; the query's own sensor is not looked at."""
    tables = tuple(sensors)
    names = {table.name for table in tables}
    source = opened(query.catalog, lambda collection: _foreign(collection, names))
    if isinstance(source, Static):
        return _preferred(_judged(source.items, query, tables, source.root))
    found = [_searched(query, table, source) for table in tables]
    scenes = sorted((scene for part in found for scene in part.scenes), key=_oldest)
    return Found(tuple(scenes), tuple(dict.fromkeys(reason for part in found for reason in part.refused)))


def _oldest(scene: Scene) -> tuple[datetime, str]:
    return scene.acquired, scene.id


def _foreign(collection: str, names: set[str]) -> bool:
    """Whether a collection is known to hold none of the sensors."""
    holds = {table.name for table in SENSORS.values() if collection in (name for name, _ in collections_of(table))}
    holds = holds or {sensor_named(collection)} - {""}
    return bool(holds) and not holds & names


def _searched(query: Query, table: Sensor, source: Service) -> Found:
    """What a service holds of one sensor: of the lowest rank that has scenes, and everything refused on the way there."""
    refused: tuple[str, ...] = ()
    for collections in _rounds(query, table, source):
        items = source.search(collections, _wanted(query, table, source))
        found = _preferred(_judged(items, query, (table,), source.root))
        refused += found.refused
        if found.scenes:
            return Found(found.scenes, refused)
    return Found((), refused)


def _rounds(query: Query, table: Sensor, source: Service) -> list[list[str]]:
    """Collections of a service to be asked for, together where they rank alike; those it lists, where it does."""
    rounds: dict[tuple[int, int], list[str]] = {}
    for name, level in collections_of(table):
        if query.level in (None, level) and (source.collections is None or name in source.collections):
            rounds.setdefault(rank(table, level, name), []).append(name)
    for name in sorted(source.collections or ()):
        known = any(name in (other for other, _ in collections_of(one)) for one in SENSORS.values())
        if not known and sensor_named(name) == table.name:
            rounds.setdefault((0, 0), []).append(name)
    return [list(dict.fromkeys(rounds[key])) for key in sorted(rounds)]


def _wanted(query: Query, table: Sensor, source: Service) -> Wanted:
    fields = _tile_fields(table, query.tile, source.client.id) if query.tile else {}
    return Wanted(query.start, query.end, query.bbox, query.scenes, fields, query.limit)


def _tile_fields(table: Sensor, tile: str, service: str) -> Mapping[str, Any]:
    """How a service is asked for one tile; nothing where it is found by looking at its items only."""
    match table.name:
        case "sentinel-2" if service == "microsoft-pc":
            return {"s2:mgrs_tile": {"eq": tile}}
        case "sentinel-2":
            return {"grid:code": {"in": list(dict.fromkeys((f"MGRS-{tile}", f"MGRS-{tile.lstrip('0')}")))}}
        case "landsat" if tile.isdigit() and len(tile) == 6:
            return {"landsat:wrs_path": {"eq": tile[:3]}, "landsat:wrs_row": {"eq": tile[3:]}}
        case _:
            return {}


@dataclass(frozen=True)
class _Verdict:
    """What became of items."""

    scenes: Mapping[str, Mapping[tuple[int, int], Mapping[str, Scene]]]
    """By sensor, rank and id."""
    refused: tuple[str, ...]
    """Which cannot be used, and why."""


def _judged(items: Iterable[pystac.Item | Broken], query: Query, tables: tuple[Sensor, ...], root: str) -> _Verdict:
    """Items as scenes of sensors, as far as they answer the query and can be used."""
    wanted = {table.name: table for table in tables}
    scenes: dict[str, dict[tuple[int, int], dict[str, Scene]]] = {}
    refused = []
    for item in items:
        if query.scenes and item.id is not None and item.id not in query.scenes:
            continue
        if isinstance(item, Broken):
            refused.append(item.reason)
            continue
        try:
            scene = _scene(item, query, wanted, root)
        except Refused as error:
            if _may_answer(item, query):
                refused.append(redacted(str(error)))  # it is kept with the result
            continue
        if scene is not None:
            ranked = scenes.setdefault(scene.sensor, {})
            key = rank(wanted[scene.sensor], scene.level, item.collection_id)
            ranked.setdefault(key, {})[scene.id] = scene
    return _Verdict(scenes, tuple(refused))


def _scene(item: pystac.Item, query: Query, wanted: Mapping[str, Sensor], root: str) -> Scene | None:
    """An item as a scene that answers the query, ``None`` where it does not; raises ``Refused`` where it cannot be used."""
    try:
        dialect = recognise(item)
    except Refused:
        if _concerns(item, query, wanted):
            raise
        return None
    if dialect.sensor not in wanted or query.level not in (None, dialect.level):
        return None
    scene = to_scene(item, root)
    if not _answers(scene, item, query):
        return None
    for band in wanted[scene.sensor].bands:
        if band.name in scene.assets:
            coding(scene, band.name)
    return scene


def _preferred(verdict: _Verdict) -> Found:
    """The scenes of each sensor's lowest rank, oldest first; reflectance and temperature of one Landsat scene as one."""
    chosen = (by_rank[min(by_rank)].values() for by_rank in verdict.scenes.values())
    scenes = (scene for members in chosen for scene in _joined(members))
    return Found(tuple(sorted(scenes, key=_oldest)), verdict.refused)


def _joined(scenes: Iterable[Scene]) -> list[Scene]:
    """Scenes, those that LandsatLook holds in two items (``…_SR`` and ``…_ST``) as one with the bands of both."""
    made: dict[str, Scene] = {}
    for scene in sorted(scenes, key=lambda s: s.id):
        name = _scene_of(scene.id) if scene.sensor == "landsat" else scene.id
        first = made.get(name)
        made[name] = replace(first, assets={**scene.assets, **first.assets}) if first else scene
    return list(made.values())


def _scene_of(name: str) -> str:
    """Id of a scene whose reflectance and temperature may be items of their own."""
    return name.removesuffix("_SR").removesuffix("_ST")


def _concerns(item: pystac.Item, query: Query, wanted: Mapping[str, Sensor]) -> bool:
    """Whether an item that no dialect fits is of a sensor wanted, was asked for by its id, or says nothing of itself."""
    named = sensor_named(words_of(item))
    silent = not named and not item.collection_id and not item.properties.get("platform")
    return bool(query.scenes) or named in wanted or silent


def _may_answer(item: pystac.Item, query: Query) -> bool:
    """Whether an item may answer as far as can be told: what cannot be read may."""
    try:
        start, end = period_of(item)
    except Refused:
        return True
    return start <= query.end and query.start <= end


def _answers(scene: Scene, item: pystac.Item, query: Query) -> bool:
    """Whether a scene lies in the query; an API has looked already, a file has not."""
    if not _may_answer(item, query) or (query.tile and query.tile != scene.tile):
        return False
    optical = sensor(scene.sensor).grouped_by == "day"
    if optical and query.max_cloud < 100 and scene.cloud_cover > query.max_cloud:
        return False
    if query.bbox is None:
        return True
    area = from_wkt(scene.footprint) if scene.footprint else boxes(scene.bbox)
    return bool(area.intersects(boxes(query.bbox)))
