"""A scene: what fusecube keeps of a STAC item, in the same words whichever catalog it came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any


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
    bbox: tuple[float, float, float, float]
    """West, south, east, north in degrees (WGS 84)."""
    epsg: int
    """EPSG code of the item's projection."""
    extent: tuple[float, float, float, float] | None
    """Left, bottom, right, top in that projection as the metadata has them, ``None`` where it does not say."""
    hrefs: Mapping[str, str]
    """Band name to the address of its file: unsigned, absolute."""
    cloud_cover: float
    """Percent of the scene under clouds; 100 where the item does not say, so that such a scene comes last."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    """The item's own radiometric and processing fields (baseline, offset flags, times of processing)."""

    @property
    def solar_day(self) -> date:
        """Date in mean solar time at the scene's centre: one pass of the satellite is one day everywhere."""
        centre = (self.bbox[0] + self.bbox[2]) / 2
        return (self.acquired + timedelta(hours=centre / 15)).date()

    @property
    def revision(self) -> str:
        """What distinguishes this processing of the acquisition from another of the same id."""
        keys = ("s2:processing_baseline", "earthsearch:boa_offset_applied", "s2:generation_time", "updated")
        return ";".join(f"{key}={self.properties[key]}" for key in keys if key in self.properties)


def mosaic_order(scene: Scene) -> tuple[float, float, str]:
    """Sort key of scenes that overlap on one day: least cloudy, then newest, then by id."""
    return (scene.cloud_cover, -scene.acquired.timestamp(), scene.id)
