"""A scene: what fusecube keeps of a STAC item, in the same words whichever catalog it came from."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache, cached_property
from math import isfinite
from typing import Any

from odc.geo.geobox import GeoBox
from odc.geo.geom import box

from pipeline.sensors import Quality, sensor

Bounds = tuple[float, float, float, float]
"""Left, bottom, right, top."""


DATE_LINE = -168
"""Longitude where solar days change: the border of UTM zones 2 and 3, in the Bering Strait, where a pass meets next to no
land. At 180 degrees one pass over Fiji or Chukotka would fall on two days."""


@dataclass(frozen=True)
class Asset:
    """One band of a scene: where it is, and what the item states of its coding (``None`` where it does not)."""

    address: str
    """Where it is read from: unsigned, absolute; ``#layer=3`` at its end names the third band of a file."""
    scale: float | None = None
    """Scale that the item states."""
    offset: float | None = None
    """Offset that the item states."""
    nodata: float | None = None
    """Digital number of nodata that the item states."""
    dtype: str | None = None
    """Type of the digital numbers that the item states."""
    unit: str | None = None
    """Unit that the item states; ``dB`` marks decibels, ``amplitude`` the root of power."""


@dataclass(frozen=True)
class Scene:
    """One acquisition of one sensor over one tile, described by metadata alone."""

    id: str
    """Item id."""
    sensor: str
    """Name of the sensor (``pipeline.sensors``)."""
    level: str
    """Processing level, such as ``L1C``, ``L2A``, ``RTC``."""
    acquired: datetime
    """Time of acquisition, UTC; the middle of the period for a composite."""
    bbox: Bounds
    """West, south, east, north in degrees (WGS 84); west is greater than east across the antimeridian."""
    crs: str | None
    """The item's projection, ``EPSG:code`` or WKT; ``None`` where only its files say."""
    extent: Bounds | None
    """Left, bottom, right, top in that projection as the metadata has them, ``None`` where it does not say."""
    assets: Mapping[str, Asset]
    """Band or quality layer to where it is."""
    cloud_cover: float
    """Percent of the scene under clouds; 100 where the item does not say, so that such a scene comes last."""
    platform: str = ""
    """The satellite, such as ``sentinel-2a`` or ``landsat-8``; empty where the item does not say."""
    tile: str = ""
    """Tile or frame of the product's own tiling, such as ``33UUB``, ``193023``, ``h18v03``; empty without one."""
    track: str = ""
    """Relative orbit and datatake of a radar's pass, or relative orbit of an optical one; empty where not stated."""
    footprint: str = ""
    """Outline of what was imaged, WKT in degrees; empty where the item has no geometry."""
    processed: str = ""
    """When and how it was processed, so that a later processing sorts after an earlier one."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    """The item's own radiometric and geometric fields (baseline, offset flags, angles of sun and view)."""

    @property
    def solar_day(self) -> date:
        """Date in mean solar time: one pass of the satellite is one day everywhere, across the antimeridian too.

        Taken at the central meridian of the scene's UTM zone, else at the middle of its bbox; days change at ``DATE_LINE``.
        """
        code = int(self.crs[5:]) if self.crs and self.crs.startswith("EPSG:") else 0
        zone = code % 100 if code // 100 in (326, 327) and 1 <= code % 100 <= 60 else None
        west, _, east, _ = self.bbox
        middle = (west + (east if east >= west else east + 360)) / 2
        centre = zone * 6 - 183 if zone else (middle + 180) % 360 - 180
        if centre < DATE_LINE:
            centre += 360
        return (self.acquired + timedelta(hours=centre / 15)).date()

    @cached_property
    def revision(self) -> str:
        """What tells this state of the item from another of the same id: how it was processed, and all that its item states of
        coding, platform, angles. Not where its files are, which may move."""
        stated = [[b, a.scale, a.offset, a.nodata, a.dtype, a.unit] for b, a in sorted(self.assets.items())]
        known = [self.processed, self.platform, self.level, stated, sorted(self.properties.items())]
        return hashlib.sha256(json.dumps(known, default=str).encode()).hexdigest()[:16]


def mosaic_order(scene: Scene) -> tuple[float, float, str]:
    """Sort key of scenes that overlap on one day: least cloudy, then newest, then by id."""
    return (scene.cloud_cover, -scene.acquired.timestamp(), scene.id)


def quality_of(scene: Scene) -> tuple[Quality, ...]:
    """The quality layers that a scene has."""
    return tuple(q for q in sensor(scene.sensor).product(scene.level).quality if q.name in scene.assets)


SAME = timedelta(seconds=2)
"""Acquisitions of one satellite over one tile that lie no further apart are one, processed more than once. Two datastrips of
one Sentinel-2 pass begin further apart, and so do two slices of a radar's datatake."""


def newest(scenes: Iterable[Scene]) -> list[Scene]:
    """Scenes without those that a later processing of the same acquisition replaces, in their order."""
    kept: list[Scene] = []
    latest: dict[tuple[str, ...], list[int]] = {}
    for scene in scenes:
        place = scene.tile or ("" if sensor(scene.sensor).grouped_by == "track" else scene.id)
        key = (scene.sensor, scene.level, scene.platform, place, scene.track)
        for index in latest.setdefault(key, []):
            if _same(kept[index], scene):
                kept[index] = max(kept[index], scene, key=_newness)
                break
        else:
            latest[key].append(len(kept))
            kept.append(scene)
    return kept


def _newness(scene: Scene) -> tuple[str, ...]:
    """Sort key of processings of one acquisition, the newest last."""
    stated = scene.properties
    names = ("s2:processing_baseline", "s2:generation_time", "updated")
    return (scene.processed, *(str(stated.get(name) or "") for name in names), scene.id)


def _same(one: Scene, other: Scene) -> bool:
    """Whether scenes of one satellite over one tile are one acquisition: some catalogs state the time of the whole datatake,
    so that the beginnings of their datastrips decide where both are known."""
    strips = _strip(one), _strip(other)
    apart = abs(strips[0] - strips[1]) if strips[0] and strips[1] else timedelta(0)
    return abs(one.acquired - other.acquired) <= SAME and apart <= SAME


def _strip(scene: Scene) -> datetime | None:
    """When a Sentinel-2 scene's datastrip begins: ``…_S20231107T144729_N05.09`` in its id (S2-PDGS-TAS-DI-PSD)."""
    named = re.search(r"_S(\d{8}T\d{6})(?:_|$)", str(scene.properties.get("s2:datastrip_id", "")))
    try:
        return datetime.strptime(named[1], "%Y%m%dT%H%M%S") if named else None
    except ValueError:
        return None


@dataclass(frozen=True)
class Group:
    """Scenes that make one image: an optical sensor's of a solar day, or a radar's of one pass."""

    sensor: str
    """Name of the sensor."""
    level: str
    """Processing level."""
    day: date
    """Solar day."""
    track: str
    """Relative orbit and datatake of a radar, satellite of MODIS; empty for other sensors."""
    scenes: tuple[Scene, ...]
    """In the order in which they are laid down: a pixel is the first scene's that has one."""

    @property
    def acquired(self) -> datetime:
        """Time of its earliest scene."""
        return min(scene.acquired for scene in self.scenes)

    @property
    def cloud_cover(self) -> float:
        """Mean cloud cover of its scenes, percent."""
        return sum(scene.cloud_cover for scene in self.scenes) / len(self.scenes)


def groups(scenes: Iterable[Scene]) -> list[Group]:
    """Scenes as images, oldest first: acquisitions processed more than once reduced to the newest, the others mosaicked.

    Optical scenes by solar day (MODIS by satellite as well), radar scenes by solar day, relative orbit and datatake; within a
    group least cloudy, then newest, then by id.
    """
    found: dict[tuple[str, str, date, str], list[Scene]] = {}
    for scene in sorted(newest(scenes), key=mosaic_order):
        track = _track(scene)
        found.setdefault((scene.sensor, scene.level, scene.solar_day, track), []).append(scene)
    made = [Group(*key, scenes=tuple(members)) for key, members in found.items()]
    return sorted(made, key=lambda g: (g.day, g.acquired, g.sensor, g.level, g.track))


def _track(scene: Scene) -> str:
    """What tells images of one sensor and day apart: a radar's pass (its half of the day where the item states no orbit; passes
    lie half a day apart), the satellite of a product that covers everything every day."""
    by = sensor(scene.sensor).grouped_by
    if by != "track" or scene.track:
        return {"track": scene.track, "platform": scene.platform}.get(by, "")
    west, _, east, _ = scene.bbox
    hour = (scene.acquired + timedelta(hours=(west + east) / 30)).hour
    return "morning" if hour < 12 else "evening"


def touching(scenes: Iterable[Scene], geobox: GeoBox) -> list[Scene]:
    """The scenes that may have pixels in a GeoBox, in their order.

    By their footprint and by the grid that their metadata states, whichever reaches further: metadata can be wrong, and a
    scene left out here would be missed without a word.
    """
    window, crs = geobox.boundingbox, str(geobox.crs)
    found = []
    for scene in scenes:
        left, bottom, right, top = footprint(scene, crs)
        if left < window.right and window.left < right and bottom < window.top and window.bottom < top:
            found.append(scene)
    return found


def footprint(scene: Scene, crs: str) -> Bounds:
    """Bounds in a CRS within which a scene may have pixels; everywhere where they cannot be told."""
    return _footprint(scene.bbox, scene.extent, scene.crs, crs)


EVERYWHERE = (float("-inf"), float("-inf"), float("inf"), float("inf"))


@cache
def _footprint(bbox: Bounds, extent: Bounds | None, source: str | None, crs: str) -> Bounds:
    """Bounds of a scene in a CRS; everywhere where they cannot be told."""
    west, south, east, north = bbox
    boxes = []
    if extent is not None and source is not None:
        boxes.append(_projected(extent, source, crs))
    if west <= east:
        boxes.append(_projected(bbox, "EPSG:4326", crs))
    elif not boxes:  # across the antimeridian: its parts on either side
        boxes += [_projected((west, south, 180.0, north), "EPSG:4326", crs)]
        boxes += [_projected((-180.0, south, east, north), "EPSG:4326", crs)]
    left, bottom, right, top = zip(*boxes, strict=True)
    return min(left), min(bottom), max(right), max(top)


def _projected(bounds: Bounds, source: str, crs: str) -> Bounds:
    """Bounds of a rectangle in another CRS; its sides, which bend, are followed at 50 points each."""
    if source == crs:
        return bounds
    side = max(bounds[2] - bounds[0], bounds[3] - bounds[1])
    left, bottom, right, top = box(*bounds, source).to_crs(crs, resolution=side / 50).boundingbox.bbox
    if not all(isfinite(value) for value in (left, bottom, right, top)):
        return EVERYWHERE
    return left, bottom, right, top
