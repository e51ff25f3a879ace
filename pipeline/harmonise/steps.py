"""Which steps of harmonisation are switched on, and their application to the bands of one scene.

Both steps are linear in each pixel, so a chunk need not know its neighbours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from pipeline.errors import Refused
from pipeline.harmonise.bandpass import adjustment, bandpass, platform_of
from pipeline.harmonise.nbar import PARAMETERS, angles_of, nbar
from pipeline.scene import Scene
from pipeline.sensors import LANDSAT, MODIS, PLANETSCOPE, SENTINEL2, Sensor, sensor
from pipeline.sensors.responses import known


@dataclass(frozen=True)
class Harmony:
    """Steps that are switched on; none of them by default."""

    nbar: bool = False
    """Whether optical reflectance is brought to a view from above (c-factor)."""
    platform: str = ""
    """Platform as which optical bands are to see, such as ``sentinel-2a`` or ``landsat-8``; empty for each its own. A band that
    this platform has no like of stays as it is."""

    corrects: bool = False
    """Whether the place of scenes is put right by ``shifts``, once they are measured."""
    shifts: tuple[tuple[str, float, float], ...] = ()
    """Scenes whose place is put right: item id, and by how many metres its ground lies too far east and too far south."""

    def place(self, scene: Scene, geobox: GeoBox) -> GeoBox:
        """Where the ground of a GeoBox lies in a scene: moved by the scene's shift, so that it is resampled only once."""
        for scene_id, east, south in self.shifts:
            if scene_id == scene.id:
                return geobox.translate_pix(east / geobox.resolution.x, -south / geobox.resolution.y)
        return geobox

    def check(self, scene: Scene, bands: Sequence[str]) -> None:
        """Raise ``Refused`` where metadata already tell that a step cannot be done for a scene."""
        table = sensor(scene.sensor)
        if (self.nbar or self.platform) and table.product(scene.level).quantity.startswith("top of atmosphere"):
            raise Refused(
                f"scene {scene.id} is {scene.level}, at the top of the atmosphere, where harmonise: nbar and platform do not "
                "hold; take surface reflectance (level:), or leave them out."
            )
        names = [band for band in self.needs(scene, bands) if _reflects(scene, band)]
        if not self.nbar or not names:
            return
        angles_of(scene)
        absent = [band for band in names if table.band(band).common not in PARAMETERS]
        if absent:
            rest = ", ".join(band for band in bands if band not in absent)
            raise Refused(
                f"NBAR has no BRDF parameters for {', '.join(absent)} of {table.name}; leave them out with bands: [{rest}], or "
                "leave out harmonise.nbar."
            )

    def needs(self, scene: Scene, bands: Sequence[str]) -> tuple[str, ...]:
        """The bands of a scene that must be read to give ``bands``."""
        wanted = dict.fromkeys(bands)
        for band in bands:
            like = self._like(scene, band)
            if like:
                wanted |= dict.fromkeys(adjustment(like, platform_of(scene), self.platform).gains)
        return tuple(wanted)

    def applied(
        self, scene: Scene, bands: Sequence[str], values: Mapping[str, NDArray[np.float32]]
    ) -> list[NDArray[np.float32]]:
        """The quantity of ``bands`` after the steps, from that of all that ``needs`` names, (rows, cols) each.

        Raises ``Refused`` where a scene does not state what a step needs.
        """
        table = sensor(scene.sensor)
        if self.nbar and any(_reflects(scene, band) for band in values):
            angles = angles_of(scene)
            values = {
                band: nbar(plane, table.band(band).common, angles) if _reflects(scene, band) else plane
                for band, plane in values.items()
            }
        out = []
        for band in bands:
            like = self._like(scene, band)
            out.append(bandpass(values, like, platform_of(scene), self.platform) if like else values[band])
        return out

    def _like(self, scene: Scene, band: str) -> str:
        """The band of the wanted platform that has the common name of a scene's band; empty where nothing is to change."""
        common = sensor(scene.sensor).band(band).common
        if not self.platform or not _reflects(scene, band) or not common:
            return ""
        if platform_of(scene) == known(self.platform):
            return ""
        return next((b.name for b in _sensor_of(self.platform).bands if b.common == common), "")


AS_MEASURED = Harmony()
"""No step at all."""


def _reflects(scene: Scene, band: str) -> bool:
    """Whether a band holds surface reflectance that its maker has not nadir-adjusted or harmonised already."""
    return sensor(scene.sensor).product(scene.level).quantity_of(band) == "surface reflectance"


def _sensor_of(platform: str) -> Sensor:
    """The sensor that a platform carries."""
    name = known(platform)
    starts = {"sentinel-2": SENTINEL2, "landsat": LANDSAT, "terra": MODIS, "aqua": MODIS, "planetscope": PLANETSCOPE}
    return next(table for start, table in starts.items() if name.startswith(start))
