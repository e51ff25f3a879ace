"""What each sensor is: bands, ground sampling distance, wavelength, MTF, coding. Tables with their source."""

from dataclasses import dataclass

from pipeline.errors import Refused, nearest


@dataclass(frozen=True)
class Band:
    """One spectral band of a sensor."""

    name: str
    """Name in the product, such as ``B8A``."""
    asset: str
    """Asset key of the band in Earth Search v1."""
    resolution: int
    """Ground sampling distance in metres."""
    center: float
    """Central wavelength in nm."""
    width: float
    """Bandwidth (full width at half maximum) in nm."""
    mtf: float
    """Modulation transfer function at the Nyquist frequency of the band's own sampling, 0 to 1."""
    fill: float
    """Reflectance that stands in for a missing pixel before a network: a typical value over land."""


@dataclass(frozen=True)
class Sensor:
    """An instrument and the coding of its products."""

    name: str
    """Short name used in specifications and model declarations."""
    bands: tuple[Band, ...]
    """Bands in the order of the product."""
    quantity: str
    """Physical quantity of the decoded bands."""
    scale: float
    """Quantity per digital number."""
    nodata: int
    """Digital number of a pixel that was not measured."""
    saturated: int
    """Digital number of a saturated pixel."""
    collections: tuple[tuple[str, str], ...]
    """Pairs of (STAC collection id, processing level), the preferred level first."""
    classification: Band | None
    """The scene classification that comes with the higher level, where there is one."""

    def band(self, name: str) -> Band:
        """The band called ``name``; raises ``Refused`` with the nearest valid name."""
        for band in self.bands:
            if band.name == name:
                return band
        raise Refused(f"{self.name} has no band '{name}': {nearest(name, (b.name for b in self.bands))}.")

    def level(self, collection: str) -> str | None:
        """Processing level (``L1C``, ``L2A``) of a STAC collection, ``None`` where it is not this sensor's."""
        return dict(self.collections).get(collection)


# Central wavelength and bandwidth: ESA, Sentinel-2A spectral response functions, COPE-GSEG-EOPG-TN-15-0007, rounded
# as in the Sentinel-2 User Handbook, table 1. MTF at Nyquist, per band: the values used throughout the Sentinel-2
# sharpening literature (B1 .32, B2 .26, B3 .28, B4 .24, B5 .38, B6 .34, B7 .34, B8 .26, B8A .33, B9 .26, B11 .22,
# B12 .23). Asset keys: Earth Search v1. Coding: Sentinel-2 Products Specification Document, S2-PDGS-TAS-DI-PSD
# (quantification 10000, NODATA 0, SATURATED 65535).
SENTINEL2 = Sensor(
    name="sentinel-2",
    bands=(
        Band("B01", "coastal", 60, 443, 21, 0.32, 0.05),
        Band("B02", "blue", 10, 490, 66, 0.26, 0.06),
        Band("B03", "green", 10, 560, 36, 0.28, 0.08),
        Band("B04", "red", 10, 665, 31, 0.24, 0.08),
        Band("B05", "rededge1", 20, 705, 15, 0.38, 0.12),
        Band("B06", "rededge2", 20, 740, 15, 0.34, 0.20),
        Band("B07", "rededge3", 20, 783, 20, 0.34, 0.24),
        Band("B08", "nir", 10, 842, 106, 0.26, 0.25),
        Band("B8A", "nir08", 20, 865, 21, 0.33, 0.26),
        Band("B09", "nir09", 60, 945, 20, 0.26, 0.26),
        Band("B11", "swir16", 20, 1610, 91, 0.22, 0.20),
        Band("B12", "swir22", 20, 2190, 175, 0.23, 0.14),
    ),
    quantity="reflectance",
    scale=1e-4,
    nodata=0,
    saturated=65535,
    collections=(
        ("sentinel-2-l2a", "L2A"),
        ("sentinel-2-c1-l2a", "L2A"),
        ("sentinel-2-l1c", "L1C"),
    ),
    classification=Band("SCL", "scl", 20, 0, 0, 0, 0),
)

SENSORS = {SENTINEL2.name: SENTINEL2}


def sensor(name: str) -> Sensor:
    """The sensor called ``name``; raises ``Refused`` with the nearest valid name."""
    if name not in SENSORS:
        raise Refused(f"there is no sensor '{name}': {nearest(name, SENSORS)}.")
    return SENSORS[name]
