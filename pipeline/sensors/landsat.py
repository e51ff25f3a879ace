"""Landsat 4 to 9, and the Harmonized Landsat and Sentinel-2 products (HLS)."""

from pipeline.sensors.tables import UNKNOWN_MTF, Band, Coding, Product, Quality, Sensor

# Bands by common name, since numbers change between instruments. Wavelengths: Operational Land Imager and Thermal
# Infrared Sensor, Landsat 8 Data Users Handbook, LSDS-1574, table 2-1 and 2-2; ``lwir`` is the single thermal band of TM
# and ETM+ (Landsat 7 Data Users Handbook, LSDS-1927). Other instruments: ``pipeline.sensors.responses``.
_BANDS = (
    Band("coastal", "coastal", 30, 443, 16, UNKNOWN_MTF, 0.05),
    Band("blue", "blue", 30, 482, 60, UNKNOWN_MTF, 0.06),
    Band("green", "green", 30, 561, 57, UNKNOWN_MTF, 0.08),
    Band("red", "red", 30, 655, 37, UNKNOWN_MTF, 0.08),
    Band("nir08", "nir08", 30, 865, 28, UNKNOWN_MTF, 0.26),
    Band("swir16", "swir16", 30, 1609, 85, UNKNOWN_MTF, 0.20),
    Band("swir22", "swir22", 30, 2201, 187, UNKNOWN_MTF, 0.14),
    Band("cirrus", "cirrus", 30, 1373, 20, UNKNOWN_MTF, 0.002),
    Band("pan", "pan", 15, 590, 172, UNKNOWN_MTF, 0.08),
    Band("lwir", "lwir", 30, 11450, 2100, UNKNOWN_MTF, 290.0),
    Band("lwir11", "lwir11", 30, 10895, 590, UNKNOWN_MTF, 290.0),
    Band("lwir12", "lwir12", 30, 12005, 1010, UNKNOWN_MTF, 290.0),
)

# Collection 2 Level-2: Landsat 8-9 Collection 2 Level 2 Science Product Guide, LSDS-1619, and Landsat 4-7, LSDS-1618:
# 0.0000275 and -0.2 for reflectance, 0.00341802 and 149 K for temperature, fill 0. The valid range of reflectance there,
# 7273 to 43636, is that of 0 to 1: what lies outside, over deep shadow or bright cloud, was measured all the same.
_SURFACE = Coding(2.75e-5, -0.2, nodata=0, saturated=None)
_KELVIN = Coding(0.00341802, 149.0, nodata=0, saturated=None)
_LONG = ("lwir", "lwir11", "lwir12")
_THERMAL = tuple((name, _KELVIN) for name in _LONG)

# Level-1 of Landsat 8 and 9: reflectance = (2e-5 DN - 0.1) / sin(sun elevation), Landsat 8 Data Users Handbook, LSDS-1574,
# section 5.2; gains of other instruments are the scene's own (MTL). Thermal bands hold radiance, of which no temperature is
# made here (``pipeline.radiometry``).
_TOP = Coding(2e-5, -0.1, nodata=0, saturated=65535)

# Digital Earth Australia, Landsat Analysis Ready Data (ga_ls*_ard_3): reflectance x 10000, -999.
_ARD = Coding(1e-4, 0.0, nodata=-999, saturated=None, dtype="int16")

_QA = (Quality("QA_PIXEL", 30, "uint16", "qa_pixel", nodata=1), Quality("QA_RADSAT", 30, "uint16", "qa_radsat"))

LANDSAT = Sensor(
    name="landsat",
    bands=_BANDS,
    products=(
        Product(
            "L2",
            "surface reflectance",
            _SURFACE,
            quality=_QA,
            codings=_THERMAL,
            quantities=tuple((name, "surface temperature") for name in _LONG),
        ),
        Product("ARD", "surface reflectance", _ARD, quality=(Quality("FMASK", 30, "uint8", "fmask_dea"),)),
        Product("L1", "top of atmosphere reflectance", _TOP, quality=_QA),
        Product("L1-PRE", "top of atmosphere reflectance", _TOP, quality=(Quality("BQA", 30, "uint16", "bqa", 1),)),
    ),
)

# HLS Product User Guide, version 2.0: 30 m on Sentinel-2's tiles, reflectance x 10000, -9999; Fmask bits, 255 fill.
# Its red edge, broad near infrared and water vapour bands are in S30 only, its thermal ones in L30 only (0.01 °C).
_HLS = Coding(1e-4, 0.0, nodata=-9999, saturated=None, dtype="int16")
_CELSIUS = Coding(0.01, 273.15, nodata=-9999, saturated=None, dtype="int16")

HLS = Sensor(
    name="hls",
    bands=(
        *(band for band in _BANDS if band.name not in ("pan", "lwir")),
        Band("rededge1", "rededge1", 30, 705, 15, UNKNOWN_MTF, 0.12),
        Band("rededge2", "rededge2", 30, 740, 15, UNKNOWN_MTF, 0.20),
        Band("rededge3", "rededge3", 30, 783, 20, UNKNOWN_MTF, 0.24),
        Band("nir", "nir", 30, 842, 106, UNKNOWN_MTF, 0.25),
        Band("nir09", "nir09", 30, 945, 20, UNKNOWN_MTF, 0.26),
    ),
    products=tuple(
        Product(
            level,
            "surface reflectance, nadir",
            _HLS,
            quality=(Quality("FMASK", 30, "uint8", "fmask_hls", nodata=255),),
            codings=(("lwir11", _CELSIUS), ("lwir12", _CELSIUS)),
            quantities=(("lwir11", "brightness temperature"), ("lwir12", "brightness temperature")),
        )
        for level in ("S30", "L30")
    ),
)
