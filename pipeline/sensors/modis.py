"""MODIS on Terra and Aqua: gridded land products in the sinusoidal projection."""

from pipeline.sensors.tables import Band, Coding, Product, Quality, Sensor

SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
"""The projection of the MODIS land tiles: MODIS Land Surface Reflectance User's Guide, collection 6, section 2."""

PIXEL = 463.31271652791664
"""Edge of a "500 m" pixel in metres: a tile of 1111950.5196666666 m has 2400 of them (same guide)."""

# Wavelengths: MODIS specifications (Barnes et al. 1998, doi:10.1109/36.700993, table I). MTF at Nyquist: 0.3, the
# instrument's specification there.
_BANDS = (
    Band("B01", "red", 500, 645, 50, 0.30, 0.08),
    Band("B02", "nir08", 500, 858.5, 35, 0.30, 0.26),
    Band("B03", "blue", 500, 469, 20, 0.30, 0.06),
    Band("B04", "green", 500, 555, 20, 0.30, 0.08),
    Band("B05", "nir12", 500, 1240, 20, 0.30, 0.28),
    Band("B06", "swir16", 500, 1640, 24, 0.30, 0.20),
    Band("B07", "swir22", 500, 2130, 50, 0.30, 0.14),
    Band("NDVI", "", 250, 0, 0, 0.30, 0.5),
    Band("EVI", "", 250, 0, 0, 0.30, 0.3),
)

# Surface reflectance, MOD09: x 10000, fill -28672, valid -100 to 16000, state 65535 is fill (MODIS Surface Reflectance
# User's Guide, collection 6). Nadir BRDF-adjusted reflectance, MCD43A4: x 10000, fill 32767, valid 0 to 32766 (MODIS
# BRDF/Albedo Product User Guide, collection 6.1); its quality layers, one a band, say whether the inversion was full (0) or
# of magnitude only (1), nothing of clouds, so that no flag comes of them. Vegetation indices, MOD13Q1: x 10000, fill -3000,
# valid -2000 to 10000, pixel reliability -1 is fill (MODIS Vegetation Index User's Guide, collection 6.1).
_SURFACE = Coding(1e-4, 0.0, nodata=-28672, saturated=None, dtype="int16", low=-100, high=16000)
_NADIR = Coding(1e-4, 0.0, nodata=32767, saturated=None, dtype="int16", low=0, high=32766)
_INDEX = Coding(1e-4, 0.0, nodata=-3000, saturated=None, dtype="int16", low=-2000, high=10000)

MODIS = Sensor(
    name="modis",
    bands=_BANDS,
    products=(
        Product(
            "MOD09GA", "surface reflectance", _SURFACE, quality=(Quality("STATE_1KM", 1000, "uint16", "state", 65535),)
        ),
        Product(
            "MOD09A1", "surface reflectance", _SURFACE, quality=(Quality("STATE_500M", 500, "uint16", "state", 65535),)
        ),
        Product("MCD43A4", "surface reflectance, nadir", _NADIR),
        Product(
            "MOD13Q1",
            "vegetation index",
            _INDEX,
            quality=(Quality("RELIABILITY", 250, "int8", "reliability", nodata=-1),),
        ),
    ),
    grouped_by="platform",
)
