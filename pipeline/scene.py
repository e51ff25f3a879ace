"""A scene: what fusecube keeps of a STAC item, in the same words whichever catalog it came from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

from odc.geo.geobox import GeoBox
from odc.geo.geom import box

Bounds = tuple[float, float, float, float]
"""Left, bottom, right, top."""


@dataclass(frozen=True)
class Scene:
    """One acquisition of one sensor over one tile, described by metadata alone."""

    id: str
    """Item id."""
    sensor: str
    """Name of the sensor (``pipeline.sensors``)."""
    level: str
    """Processing level, ``L1C`` or ``L2A``."""
    acquired: datetime
    """Time of acquisition, UTC."""
    bbox: Bounds
    """West, south, east, north in degrees (WGS 84)."""
    epsg: int
    """EPSG code of the item's projection."""
    extent: Bounds | None
    """Left, bottom, right, top in that projection as the metadata has them, ``None`` where it does not say."""
    hrefs: Mapping[str, str]
    """Band name to the address of its file: unsigned, absolute."""
    cloud_cover: float
    """Percent of the scene under clouds; 100 where the item does not say, so that such a scene comes last."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    """The item's own radiometric and processing fields (baseline, offset flags, times of processing)."""

    @property
    def solar_day(self) -> date:
        """Date in mean solar time: one pass of the satellite is one day everywhere, across the antimeridian too.

        Taken at the central meridian of the scene's UTM zone, else at the middle of its bbox.
        """
        zone = self.epsg % 100 if self.epsg // 100 in (326, 327) else None
        centre = zone * 6 - 183 if zone else (self.bbox[0] + self.bbox[2]) / 2
        return (self.acquired + timedelta(hours=centre / 15)).date()

    @property
    def revision(self) -> str:
        """What distinguishes this processing of the acquisition from another of the same id."""
        keys = (
            "s2:processing_baseline",
            "earthsearch:boa_offset_applied",
            "s2:generation_time",
            "s2:product_uri",
            "updated",
        )
        return ";".join(f"{key}={self.properties[key]}" for key in keys if key in self.properties)


def mosaic_order(scene: Scene) -> tuple[float, float, str]:
    """Sort key of scenes that overlap on one day: least cloudy, then newest, then by id."""
    return (scene.cloud_cover, -scene.acquired.timestamp(), scene.id)


def touching(scenes: Iterable[Scene], geobox: GeoBox) -> list[Scene]:
    """The scenes that may have pixels in a GeoBox, in their order.

    By their footprint and by the grid that their metadata states, whichever reaches further: metadata can be wrong, and a
    scene left out here would be missed without a word.
    """
    window, crs = geobox.boundingbox, str(geobox.crs)
    found = []
    for scene in scenes:
        left, bottom, right, top = _footprint(scene.bbox, scene.extent, scene.epsg, crs)
        if left < window.right and window.left < right and bottom < window.top and window.bottom < top:
            found.append(scene)
    return found


@cache
def _footprint(bbox: Bounds, extent: Bounds | None, epsg: int, crs: str) -> Bounds:
    """Bounds of a scene in a CRS."""
    boxes = [_projected(bbox, "EPSG:4326", crs)]
    if extent is not None:
        boxes.append(_projected(extent, f"EPSG:{epsg}", crs))
    left, bottom, right, top = zip(*boxes, strict=True)
    return min(left), min(bottom), max(right), max(top)


def _projected(bounds: Bounds, source: str, crs: str) -> Bounds:
    """Bounds of a rectangle in another CRS; its sides, which bend, are followed at 50 points each."""
    if source == crs:
        return bounds
    side = max(bounds[2] - bounds[0], bounds[3] - bounds[1])
    left, bottom, right, top = box(*bounds, source).to_crs(crs, resolution=side / 50).boundingbox.bbox
    return left, bottom, right, top
