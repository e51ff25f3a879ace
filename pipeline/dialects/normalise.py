"""A STAC item of a known catalog as a scene."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC

import pystac

from pipeline.access import resolve
from pipeline.errors import Refused
from pipeline.scene import Asset, Scene
from pipeline.sensors import SENTINEL2, Sensor


@dataclass(frozen=True)
class Dialect:
    """How a catalog speaks of one product."""

    catalog: str
    """Whose words these are."""
    collection: str
    """STAC collection id."""
    sensor: str
    """Name of the sensor."""
    level: str
    """Processing level."""
    assets: Mapping[str, str]
    """Band or quality layer to asset key."""


_SENTINEL2 = {band.name: band.common for band in SENTINEL2.bands} | {"SCL": "scl"}

DIALECTS = (
    Dialect("Earth Search v1", "sentinel-2-l2a", "sentinel-2", "L2A", _SENTINEL2),
    Dialect("Earth Search v1", "sentinel-2-c1-l2a", "sentinel-2", "L2A", _SENTINEL2),
    Dialect("Earth Search v1", "sentinel-2-l1c", "sentinel-2", "L1C", _SENTINEL2),
)


def collections_of(table: Sensor) -> tuple[tuple[str, str], ...]:
    """Pairs of (collection id, processing level) that hold a sensor, the preferred first."""
    return tuple(dict.fromkeys((d.collection, d.level) for d in DIALECTS if d.sensor == table.name))


def tile_of(item: pystac.Item) -> str | None:
    """The item's tile of the Military Grid Reference System, from ``grid:code`` or from its id."""
    code = str(item.properties.get("grid:code", ""))
    if code.startswith("MGRS-"):
        return code.removeprefix("MGRS-")
    named = re.search(r"(?:^|_)T?(\d{2}[C-X][A-Z]{2})(?:_|$)", item.id)
    return named.group(1) if named else None


def to_scene(item: pystac.Item, root: str) -> Scene:
    """What fusecube keeps of an item; raises ``Refused`` where it cannot be placed or an address is not allowed."""
    dialect = next((d for d in DIALECTS if d.collection == item.collection_id), None)
    if dialect is None:
        raise Refused(f"item {item.id} is of collection '{item.collection_id}', which no dialect knows.")
    base = item.get_self_href() or root
    assets = {band: _asset(item.assets[key], base, root) for band, key in dialect.assets.items() if key in item.assets}
    moment = item.datetime or item.common_metadata.start_datetime
    if moment is None or item.bbox is None:
        raise Refused(f"item {item.id} has no time or no bbox; correct the item.")
    west, south, east, north = item.bbox if len(item.bbox) == 4 else (*item.bbox[:2], *item.bbox[3:5])
    keep = ("s2:", "earthsearch:boa", "updated", "view:")
    return Scene(
        id=item.id,
        sensor=dialect.sensor,
        level=dialect.level,
        acquired=moment.astimezone(UTC),
        bbox=(west, south, east, north),
        crs=f"EPSG:{_epsg(item)}",
        extent=_extent(item, list(dialect.assets.values())),
        assets=assets,
        cloud_cover=cloud_cover(item),
        platform=str(item.properties.get("platform", "")).lower(),
        tile=tile_of(item) or "",
        properties={k: v for k, v in item.properties.items() if k.startswith(keep)},
    )


def _asset(asset: pystac.Asset, base: str, root: str) -> Asset:
    raster = (asset.extra_fields.get("raster:bands") or [{}])[0]
    return Asset(resolve(asset.href, base, root), raster.get("scale"), raster.get("offset"), raster.get("nodata"))


def cloud_cover(item: pystac.Item) -> float:
    """Percent; 100 where the item does not say, so that such a scene comes last."""
    stated = item.properties.get("eo:cloud_cover")
    return 100.0 if stated is None else float(stated)


def _epsg(item: pystac.Item) -> int:
    """EPSG code from either spelling of the projection extension."""
    code = item.properties.get("proj:code") or item.properties.get("proj:epsg")
    if code is None:
        raise Refused(f"item {item.id} has neither proj:code nor proj:epsg, so its grid is not known; add the field.")
    return int(str(code).removeprefix("EPSG:"))


def _extent(item: pystac.Item, keys: list[str]) -> tuple[float, float, float, float] | None:
    """Bounds in the item's projection, from the first band that states its grid."""
    for key in keys:
        fields = item.assets[key].extra_fields if key in item.assets else {}
        grid, size = fields.get("proj:transform"), fields.get("proj:shape")
        if grid and size:
            left, top = float(grid[2]), float(grid[5])
            return (left, top + float(grid[4]) * size[0], left + float(grid[0]) * size[1], top)
    return None
