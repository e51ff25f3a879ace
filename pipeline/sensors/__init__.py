"""What each sensor is: bands, ground sampling distance, wavelength, MTF, coding, quality layers. Tables with their source.

``tables`` (what a table holds), then the tables by operator: ``sentinel``, ``landsat``, ``modis``, ``planet``; ``responses``
(spectral responses, platform by platform).
"""

from pipeline.errors import Refused, nearest
from pipeline.sensors.landsat import HLS, LANDSAT
from pipeline.sensors.modis import MODIS
from pipeline.sensors.planet import PLANET_FUSION, PLANETSCOPE
from pipeline.sensors.sentinel import SENTINEL1, SENTINEL2
from pipeline.sensors.tables import Band, Coding, Product, Quality, Sensor

__all__ = [
    "HLS",
    "LANDSAT",
    "MODIS",
    "PLANETSCOPE",
    "PLANET_FUSION",
    "SENSORS",
    "SENTINEL1",
    "SENTINEL2",
    "Band",
    "Coding",
    "Product",
    "Quality",
    "Sensor",
    "sensor",
]

SENSORS = {table.name: table for table in (SENTINEL1, SENTINEL2, LANDSAT, HLS, MODIS, PLANETSCOPE, PLANET_FUSION)}
"""Every sensor, by name."""


def sensor(name: str) -> Sensor:
    """The sensor called ``name``; raises ``Refused`` with the nearest valid name."""
    if name not in SENSORS:
        raise Refused(f"there is no sensor '{name}': {nearest(name, SENSORS)}.")
    return SENSORS[name]
