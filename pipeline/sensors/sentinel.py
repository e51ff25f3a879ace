"""Sentinel-1 and Sentinel-2 of the European Copernicus programme."""

from math import pi

from pipeline.sensors.tables import Band, Coding, Product, Quality, Sensor

# Central wavelength and bandwidth: ESA, Sentinel-2A spectral response functions, COPE-GSEG-EOPG-TN-15-0007, rounded
# as in the Sentinel-2 User Handbook, table 1. MTF at Nyquist, per band: the values used throughout the Sentinel-2
# sharpening literature (B1 .32, B2 .26, B3 .28, B4 .24, B5 .38, B6 .34, B7 .34, B8 .26, B8A .33, B9 .26, B11 .22,
# B12 .23). Coding: Sentinel-2 Products Specification Document, S2-PDGS-TAS-DI-PSD (quantification 10000, NODATA 0,
# SATURATED 65535); the offset of newer baselines is a matter of the scene (``pipeline.radiometry``).
_MSI = Coding(1e-4, 0.0, nodata=0, saturated=65535)

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
    products=(
        Product("L2A", "surface reflectance", _MSI, quality=(Quality("SCL", 20, "uint8", "scl"),)),
        Product("L1C", "top of atmosphere reflectance", _MSI),
    ),
)

# Radiometrically terrain corrected (RTC), or geocoded without (GEO). Pixel spacing of the interferometric wide swath's
# high resolution ground range product: Sentinel-1 Product Definition, S1-RS-MDA-52-7440, 10 m. A pixel of it is the mean
# of looks over a box, whose transfer at Nyquist is 2/pi. Fill: typical backscatter of land at C band, -11 and -17 dB.
_BOX = 2 / pi
_POWER = Coding(1.0, 0.0, nodata=-32768, saturated=None, dtype="float32")

SENTINEL1 = Sensor(
    name="sentinel-1",
    bands=(
        Band("VV", "", 10, 0, 0, _BOX, 0.08),
        Band("VH", "", 10, 0, 0, _BOX, 0.02),
        Band("HH", "", 10, 0, 0, _BOX, 0.08),
        Band("HV", "", 10, 0, 0, _BOX, 0.02),
    ),
    products=(
        Product("RTC", "gamma nought", _POWER),
        Product("GEO", "sigma nought", _POWER),
    ),
    grouped_by="track",
)
