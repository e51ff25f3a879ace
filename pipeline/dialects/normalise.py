"""A STAC item of any known catalog as a scene."""

import re
from collections.abc import Mapping
from typing import Any

import pystac

from pipeline.access import resolve
from pipeline.dialects.copernicus import SENTINEL1_DIALECTS, SENTINEL2_DIALECTS
from pipeline.dialects.facts import platform_of, processed_of, properties_of, tile_of, track_of
from pipeline.dialects.fields import acquired, cloud_cover, naming, overpass, stated, text, words_of
from pipeline.dialects.land import HLS_DIALECTS, LANDSAT_DIALECTS, MODIS_DIALECTS
from pipeline.dialects.place import bbox_of, crs_of, extent_of, footprint_of
from pipeline.dialects.planet import FUSION_DIALECTS, PLANETSCOPE_DIALECTS
from pipeline.dialects.refusals import HDF4, only_hdf4, unfit
from pipeline.dialects.tables import Dialect
from pipeline.errors import Refused
from pipeline.scene import Asset, Bounds, Scene
from pipeline.sensors import SENSORS, Sensor

DIALECTS: tuple[Dialect, ...] = (
    *SENTINEL2_DIALECTS,
    *SENTINEL1_DIALECTS,
    *LANDSAT_DIALECTS,
    *HLS_DIALECTS,
    *MODIS_DIALECTS,
    *PLANETSCOPE_DIALECTS,
    *FUSION_DIALECTS,
)

SENSES: Mapping[str, str] = {
    "planet-fusion": r"\bpf-sr|planet[-_ ]?fusion",
    "hls": r"\bhls",
    "modis": r"\bmodis\b|\bm[oyc]d\d\d",
    "planetscope": r"planetscope|\bpsscene|\bpsb\.sd\b",
    "landsat": r"\blandsat|\bl[coet]0[4-9]_|\bga_ls\d",
    "sentinel-2": r"\bsentinel[-_ ]?s?2|\bs2[abcd]_",
    "sentinel-1": r"\bsentinel[-_ ]?s?1|\bs1[abcd]_",
}
"""Sensor to what finds it in an item's own words; the first that does counts (HLS is also of Landsat)."""

HARMONISED: Mapping[str, set[str]] = {
    "hls": {"landsat", "sentinel-2"},
    "planet-fusion": {"planetscope", "landsat", "sentinel-2", "modis"},
}
"""Sensors whose scenes are made of those of others, and may name them."""

PICTURES = frozenset(("visual", "overview", "thumbnail", "preview", "browse", "rendered_preview"))
"""Keys and roles of assets that are for looking at: their bands are no measurements."""

CHOICES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "sentinel-2": (("sentinel-2-l2a", "sentinel-s2-l2a-cogs"), ("sentinel-2-c1-l2a",), ("sentinel-s2-l2a",)),
}
"""Collections that hold the same acquisitions of one level, the preferred first; others of a level are taken together."""


def collections_of(table: Sensor) -> tuple[tuple[str, str], ...]:
    """Pairs of (collection id, processing level) that hold a sensor, the preferred first."""
    pairs = ((name, d.level) for d in DIALECTS if d.sensor == table.name for name in d.collections)
    return tuple(sorted(dict.fromkeys(pairs), key=lambda pair: rank(table, pair[1], pair[0])))


def rank(table: Sensor, level: str, collection: str | None = None) -> tuple[int, int]:
    """Sort key of scenes that may hold the same acquisitions twice: those of the lowest are taken, the others left out.

    By level in the sensor's own order, then by collection. The two instruments of HLS rank alike: they complete each other.
    """
    chosen = [n for n, names in enumerate(CHOICES.get(table.name, ())) if collection in names]
    return (0 if table.name == "hls" else table.levels.index(level)), (chosen[0] if chosen else 0)


def sensor_named(words: str) -> str:
    """The sensor that words name, such as an item's own (``words_of``) or a collection's id; empty where none of ours.

    >>> sensor_named("my-sentinel-2-cubes")
    'sentinel-2'
    """
    return next(iter(_sensors_named(words)), "")


def _sensors_named(words: str) -> list[str]:
    """Every sensor that words name, but for those whose scenes another is made of."""
    named = [name for name, pattern in SENSES.items() if re.search(pattern, words.lower())]
    return [name for name in named if name not in HARMONISED.get(named[0], set())]


def recognise(item: pystac.Item) -> Dialect:
    """The dialect that an item is written in, by its collection and the keys of its assets.

    An item of a collection that no dialect knows, or of none, says by its own words what it is. Of several dialects one that
    those words name is taken, then that which finds most bands, then the first. Raises ``Refused``, naming the item and what
    to use instead.
    """
    with naming(item):
        return _recognised(item)


def _recognised(item: pystac.Item) -> Dialect:
    known = [d for d in DIALECTS if item.collection_id in d.collections]
    words, own = words_of(item), words_of(item, collection=False)
    name = known[0].sensor if known else sensor_named(words)
    mine = [d for d in DIALECTS if d.sensor == name]
    if known:
        _agree(item, known, own)
    elif len(named := _sensors_named(words)) > 1:
        raise Refused(
            f"item {item.id} says of itself that it is of {' and '.join(named)}; name one in its collection or id."
        )
    levels = {d.level for d in known}
    fitting = [d for d in mine if (d.level in levels if known else re.search(d.marks, words))]
    found = [(bool(re.search(d.marks, own)), bands, d in known, d) for d in fitting if (bands := len(located(item, d)))]
    if not found:
        raise Refused(f"item {item.id} {_why_none(item, name, bool(fitting))}.")
    several = sorted({entry[3].level for entry in found if entry[0]})
    if len(several) > 1 and not known:
        raise Refused(
            f"item {item.id} says of itself that it is {' and '.join(several)}; name one in its collection or id."
        )
    return max(found, key=lambda entry: entry[:3])[3]


def _agree(item: pystac.Item, known: list[Dialect], own: str) -> None:
    """Raises ``Refused`` where an item's own words say that it is of another sensor or level than its collection."""
    name, said = known[0].sensor, sensor_named(own)
    holds, says = f"is of {name}", f"are of {said}"
    if said in {"", name} | HARMONISED.get(name, set()):
        if any(re.search(d.marks, own) for d in known):
            return
        other = [d.level for d in DIALECTS if d.sensor == name and re.search(d.marks, own)]
        if not other:
            return
        holds, says = f"holds {known[0].level}", f"say {other[0]}"
    raise Refused(
        f"item {item.id} contradicts itself: collection {item.collection_id} {holds}, its own words {says}; correct the item."
    )


def _why_none(item: pystac.Item, name: str, fitting: bool) -> str:
    """Why no dialect fits an item, and what to use instead."""
    if fitting and only_hdf4(item):
        return HDF4
    if kind := unfit(item):
        return kind.reason
    if fitting:
        return f"has no asset with a band of {name} (it has {', '.join(map(str, list(item.assets)[:8])) or 'none'})"
    if name:
        levels = ", ".join(SENSORS[name].levels)
        return f"does not say which product of {name} it is ({levels}); name it in the item's collection or id"
    said = f"of collection '{text(item.collection_id)}'" if item.collection_id else "without a collection"
    return (
        f"is {said} and names no sensor of fusecube ({', '.join(SENSORS)}); add platform or constellation to the item"
    )


def located(item: pystac.Item, dialect: Dialect) -> dict[str, tuple[str, int]]:
    """Band or quality layer to the asset that holds it and the layer there, from 1; 0 for a file of one layer."""
    keys = {str(asset.extra_fields.get("pl:asset_type")): key for key, asset in item.assets.items()}
    keys = {name: key for name, key in keys.items() if name not in item.assets} | {key: key for key in item.assets}
    found = {}
    for name, offered in dialect.assets.items():
        for place in offered:
            key, _, layer = place.partition("#")
            if key in keys:
                found[name] = keys[key], int(layer or 0)
                break
    return (_layers(item, dialect) | found) if dialect.by_band else found


def _layers(item: pystac.Item, dialect: Dialect) -> dict[str, tuple[str, int]]:
    """Where bands stand by the names that ``eo:bands`` or ``bands`` give the layers of files."""
    found: dict[str, tuple[str, int]] = {}
    for key, asset in item.assets.items():
        if key in PICTURES or PICTURES & {text(role) for role in asset.roles or ()}:
            continue
        names = _names(asset.extra_fields.get("eo:bands")) or _names(asset.extra_fields.get("bands"))
        for number, said in enumerate(names, start=1):
            for band in (b for b, offered in dialect.assets.items() if said & set(offered)):
                found.setdefault(band, (key, number if len(names) > 1 else 0))
    return found


def _names(layers: Any) -> list[set[str]]:
    """Names and common names of the layers of a file, in their order."""
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        return []
    fields = ("name", "common_name", "eo:common_name")
    return [{text(layer.get(field)) for field in fields} - {""} for layer in layers]


def to_scene(item: pystac.Item, root: str) -> Scene:
    """What fusecube keeps of an item; ``root`` is the address of its catalog.

    Raises ``Refused``, naming the item and the reason, where it is no scene of a sensor here, states something that cannot be,
    or names an address that must not be opened.
    """
    with naming(item):
        return _scene(item, root)


def _scene(item: pystac.Item, root: str) -> Scene:
    dialect = _recognised(item)
    places = located(item, dialect)
    keys = tuple(dict.fromkeys(key for key, _ in places.values()))
    crs, extent = crs_of(item, keys), extent_of(item, keys)
    bbox, kept = bbox_of(item, crs, extent), properties_of(item, dialect.sensor)
    platform, daily = platform_of(item), dialect.level == "MOD09GA"
    return Scene(
        id=item.id,
        sensor=dialect.sensor,
        level=dialect.level,
        acquired=overpass(item, platform, _middle(bbox)) if daily else acquired(item),
        bbox=bbox,
        crs=crs,
        extent=extent,
        assets=_assets(item, places, root),
        cloud_cover=cloud_cover(item),
        platform=platform,
        tile=tile_of(item) or "",
        track=track_of(item, dialect.sensor, kept),
        footprint=footprint_of(item, bbox),
        processed=processed_of(item, kept),
        properties=kept,
    )


def _middle(bbox: Bounds) -> float:
    """Longitude of the middle of bounds in degrees, across the antimeridian too."""
    west, _, east, _ = bbox
    return (west + (east if east >= west else east + 360)) / 2


def _assets(item: pystac.Item, places: Mapping[str, tuple[str, int]], root: str) -> dict[str, Asset]:
    """Where each band is, and what the item states of it."""
    base, made = item.get_self_href() or root, {}
    for name, (key, layer) in places.items():
        href = item.assets[key].href
        if text(href, 4000) == "":
            raise Refused(
                f"item {item.id} has an address of asset {key} that is no printable string; correct the item."
            )
        address = resolve(href, base, root)
        said = stated(item, key, max(layer, 1))
        address = f"{address}#layer={layer}" if layer else address
        made[name] = Asset(address, said.scale, said.offset, said.nodata, said.dtype, said.unit)
    return made
