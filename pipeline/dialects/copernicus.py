"""Sentinel-1 and Sentinel-2 in the words of the catalogs that serve them.

Sources: Earth Search v0 and v1 (Element 84), Planetary Computer, Copernicus Data Space, Sinergise's JPEG 2000 buckets and
Indigo's Sentinel-1 on AWS, stactools, Digital Earth Africa: their collections and items.
"""

from pipeline.dialects.tables import Dialect, generic
from pipeline.sensors import SENTINEL1, SENTINEL2

_COMMON = {band.name: (band.common,) for band in SENTINEL2.bands}
_NAMED = {band.name: (band.name,) for band in SENTINEL2.bands}
# Every band at the size at which it was measured; the catalog also offers it resampled to coarser ones.
_SIZED = {band.name: (f"{band.name}_{band.resolution}m",) for band in SENTINEL2.bands}
_L2A, _L1C = r"l2a|s2msi2a|\bscl", r"l1c|s2msi1c"

SENTINEL2_DIALECTS = (
    Dialect(
        "Earth Search v1, stactools",
        ("sentinel-2-l2a", "sentinel-2-c1-l2a", "sentinel-s2-l2a"),
        "sentinel-2",
        "L2A",
        _L2A,
        _COMMON | {"SCL": ("scl",)},
    ),
    Dialect(
        "Planetary Computer, Earth Search v0",
        ("sentinel-2-l2a", "sentinel-s2-l2a-cogs"),
        "sentinel-2",
        "L2A",
        _L2A,
        _NAMED | {"SCL": ("SCL",)},
    ),
    Dialect("Copernicus Data Space", ("sentinel-2-l2a",), "sentinel-2", "L2A", _L2A, _SIZED | {"SCL": ("SCL_20m",)}),
    Dialect("Earth Search v1, stactools", ("sentinel-2-l1c", "sentinel-s2-l1c"), "sentinel-2", "L1C", _L1C, _COMMON),
    Dialect(
        "Copernicus Data Space, Earth Search v0",
        ("sentinel-2-l1c", "sentinel-s2-l1c"),
        "sentinel-2",
        "L1C",
        _L1C,
        _NAMED,
    ),
    generic(SENTINEL2, "L2A", _L2A),
    generic(SENTINEL2, "L1C", _L1C),
)

_POLARIZATIONS = tuple(band.name for band in SENTINEL1.bands)
_RTC, _GEO = r"rtc|gamma[-_ ]?(0|nought|naught)", r"sigma[-_ ]?(0|nought|naught)|\bgeocoded"

SENTINEL1_DIALECTS = (
    Dialect(
        "Planetary Computer, Digital Earth Africa",
        ("sentinel-1-rtc", "s1_rtc"),
        "sentinel-1",
        "RTC",
        _RTC,
        {name: (name.lower(), f"{name.lower()}-rtc") for name in _POLARIZATIONS},
    ),
    Dialect(
        "Indigo, AWS",
        ("sentinel1-rtc-aws",),
        "sentinel-1",
        "RTC",
        _RTC,
        {name: (f"gamma0_{name.lower()}",) for name in _POLARIZATIONS},
    ),
    generic(SENTINEL1, "RTC", _RTC),
    generic(SENTINEL1, "GEO", _GEO),
)
