"""PlanetScope scenes and Planet Fusion."""

from pipeline.sensors.tables import UNKNOWN_MTF, Band, Coding, Product, Quality, Sensor

# Wavelengths: Planet, PlanetScope Product Specifications (SuperDove, PSB.SD), spectral bands. Surface reflectance x
# 10000, 0 nodata. Usable data mask (UDM2.0 and 2.1, docs.planet.com/data/imagery/udm): eight layers, of which the first
# six are classes, 1 where they hold (2.1 leaves heavy haze empty), the seventh a confidence, the eighth bits. The
# classes have no code for what was not imaged; bit 0 of the eighth says so, which is why it comes first here.
_BANDS = (
    Band("coastal_blue", "coastal", 3, 443, 20, UNKNOWN_MTF, 0.05),
    Band("blue", "blue", 3, 490, 50, UNKNOWN_MTF, 0.06),
    Band("green_i", "", 3, 531, 36, UNKNOWN_MTF, 0.07),
    Band("green", "green", 3, 565, 36, UNKNOWN_MTF, 0.08),
    Band("yellow", "yellow", 3, 610, 20, UNKNOWN_MTF, 0.08),
    Band("red", "red", 3, 665, 31, UNKNOWN_MTF, 0.08),
    Band("rededge", "rededge1", 3, 705, 15, UNKNOWN_MTF, 0.12),
    Band("nir", "nir08", 3, 865, 40, UNKNOWN_MTF, 0.26),
)
_CODING = Coding(1e-4, 0.0, nodata=0, saturated=None)

PLANETSCOPE = Sensor(
    name="planetscope",
    bands=_BANDS,
    products=(
        Product(
            "SR",
            "surface reflectance",
            _CODING,
            quality=(
                Quality("UDM2_UNUSABLE", 3, "uint8", "udm2_unusable", nodata=1),
                *(
                    Quality(f"UDM2_{name}", 3, "uint8", f"udm2_{name.lower()}", nodata=255)
                    for name in ("SNOW", "SHADOW", "LIGHT_HAZE", "HEAVY_HAZE", "CLOUD")
                ),
            ),
        ),
    ),
)

# Planet Fusion Monitoring Technical Specification: daily, 3 m, gap-filled; blue, green, red, near infrared x 10000.
PLANET_FUSION = Sensor(
    name="planet-fusion",
    bands=tuple(band for band in _BANDS if band.name in ("blue", "green", "red", "nir")),
    products=(Product("SR", "surface reflectance, harmonised", _CODING),),
)
