"""Landsat, HLS and MODIS in the words of the catalogs that serve them.

Sources: USGS LandsatLook, Planetary Computer, Earth Search v1, Digital Earth Australia, NASA CMR (LPCLOUD), stactools: their
collections and items.
"""

from collections.abc import Mapping

from pipeline.dialects.tables import Dialect, generic, together
from pipeline.sensors import HLS, LANDSAT, MODIS

# Asset keys are common names. Numbers of bands by instrument: Landsat 8-9 OLI and TIRS, LSDS-1574; TM and ETM+, LSDS-1927.
_OPTICAL = ("coastal", "blue", "green", "red", "nir08", "swir16", "swir22")
_THERMAL = ("lwir", "lwir11", "lwir12")
_COMMON = {name: (name,) for name in (*_OPTICAL, *_THERMAL)}
_QA = {"QA_PIXEL": ("qa_pixel",), "QA_RADSAT": ("qa_radsat",)}
_OLI = dict(zip(_OPTICAL, range(1, 8), strict=True))
_TM = dict(zip(_OPTICAL[1:], (1, 2, 3, 4, 5, 7), strict=True))
_OLD_QA = {"QA_PIXEL": ("QA_PIXEL.TIF",), "QA_RADSAT": ("QA_RADSAT.TIF",)}

# Digital Earth Australia, product description of ga_ls8c_ard_3. Its nbart bands are corrected for terrain and view.
_NBART = {
    "coastal": "coastal_aerosol",
    "nir08": "nir",
    "swir16": "swir_1",
    "swir22": "swir_2",
    "pan": "panchromatic",
} | {name: name for name in ("blue", "green", "red")}

_L2, _L1, _ARD = r"l2s[pr]|c2-?l2", r"l1tp|l1gt|l1gs|c2-?l1", r"ga_ls\d"


def _files(numbers: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Assets named after the end of their file, as LandsatLook did before STAC 1.0."""
    return together({name: (f"SR_B{number}.TIF",) for name, number in numbers.items()}, _OLD_QA)


LANDSAT_DIALECTS = (
    Dialect("Planetary Computer, Earth Search v1", ("landsat-c2-l2",), "landsat", "L2", _L2, _COMMON | _QA),
    Dialect("USGS LandsatLook", ("landsat-c2l2-sr", "landsat-c2l2-st"), "landsat", "L2", _L2, _COMMON | _QA),
    Dialect(
        "USGS LandsatLook before STAC 1.0",
        ("landsat-c2l2-sr",),
        "landsat",
        "L2",
        r"\bl[co]0[89]_l2s[pr]",
        _files(_OLI),
    ),
    Dialect(
        "USGS LandsatLook before STAC 1.0", ("landsat-c2l2-sr",), "landsat", "L2", r"\bl[te]0[457]_l2s[pr]", _files(_TM)
    ),
    # The thermal bands of Level-1 are radiances, which no table here decodes.
    Dialect(
        "USGS LandsatLook",
        ("landsat-c2l1", "landsat-c2-l1"),
        "landsat",
        "L1",
        _L1,
        {name: (name,) for name in (*_OPTICAL, "cirrus", "pan")} | _QA,
    ),
    Dialect(
        "Digital Earth Australia",
        ("ga_ls9c_ard_3", "ga_ls8c_ard_3", "ga_ls7e_ard_3", "ga_ls5t_ard_3"),
        "landsat",
        "ARD",
        _ARD,
        {name: (f"nbart_{key}",) for name, key in _NBART.items()} | {"FMASK": ("oa_fmask",)},
    ),
    generic(LANDSAT, "L2", _L2),
    generic(LANDSAT, "ARD", _ARD),
    generic(LANDSAT, "L1-PRE", r"\bl[coet][4-8]\d{13}[a-z]{3}\d\d"),  # ids before there were collections
)

# HLS Product User Guide v2.0, tables 3 and 4: numbers of bands are those of the instrument.
_L30_BANDS = {
    "coastal": "B01", "blue": "B02", "green": "B03", "red": "B04", "nir08": "B05", "swir16": "B06", "swir22": "B07",
    "cirrus": "B09", "lwir11": "B10", "lwir12": "B11", "FMASK": "Fmask",
}  # fmt: skip
_S30_BANDS = {
    "coastal": "B01", "blue": "B02", "green": "B03", "red": "B04", "rededge1": "B05", "rededge2": "B06", "rededge3": "B07",
    "nir": "B08", "nir08": "B8A", "nir09": "B09", "cirrus": "B10", "swir16": "B11", "swir22": "B12", "FMASK": "Fmask",
}  # fmt: skip
_L30, _S30 = r"hls[-_.]?2?[-_.]?l30", r"hls[-_.]?2?[-_.]?s30"


def _versions(product: str) -> tuple[str, ...]:
    """Ids of an HLS collection: of CMR now and before, of version 1.5, and of the Planetary Computer."""
    return f"HLS{product}_2.0", f"HLS{product}.v2.0", f"HLS{product}.v1.5", f"hls2-{product.lower()}"


HLS_DIALECTS = (
    Dialect("NASA LPCLOUD", _versions("S30"), "hls", "S30", _S30, {n: (key,) for n, key in _S30_BANDS.items()}),
    Dialect("NASA LPCLOUD", _versions("L30"), "hls", "L30", _L30, {n: (key,) for n, key in _L30_BANDS.items()}),
    generic(HLS, "S30", _S30),
    generic(HLS, "L30", _L30),
)

_NUMBERS = range(1, 8)
_STATES = {"STATE_1KM": ("state_1km_1", "state_1km"), "STATE_500M": ("sur_refl_state_500m",)}
_SURFACE = {f"B{n:02d}": (f"sur_refl_b{n:02d}", f"sur_refl_b{n:02d}_1") for n in _NUMBERS}
_NADIR = {f"B{n:02d}": (f"Nadir_Reflectance_Band{n}",) for n in _NUMBERS}
_INDICES = {name: (f"250m_16_days_{name}",) for name in ("NDVI", "EVI")}
_RELIABILITY = {"RELIABILITY": ("250m_16_days_pixel_reliability",)}


def _modis(level: str, stem: str, assets: Mapping[str, tuple[str, ...]]) -> tuple[Dialect, Dialect]:
    """A MODIS product in the words of the Planetary Computer, and in ours."""
    collections = (
        f"modis-{stem}-061",
        f"modis-{stem}-006",
        *(f"{short}{stem}{version}" for short in _SHORT[level] for version in ("_061", ".v061", "_006", ".v006")),
    )
    marks = f"({'|'.join(_SHORT[level])}|modis-){stem}".lower()
    catalogs = "Planetary Computer, stactools, NASA LPCLOUD"
    named = Dialect(catalogs, collections, "modis", level, marks, assets)
    return named, generic(MODIS, level, marks)


_SHORT = {"MOD09GA": ("MOD", "MYD"), "MOD09A1": ("MOD", "MYD"), "MCD43A4": ("MCD",), "MOD13Q1": ("MOD", "MYD")}

MODIS_DIALECTS = (
    *_modis("MOD09GA", "09GA", together(_SURFACE, {"STATE_1KM": _STATES["STATE_1KM"]})),
    *_modis("MOD09A1", "09A1", _SURFACE | {"STATE_500M": _STATES["STATE_500M"]}),
    *_modis("MCD43A4", "43A4", _NADIR),
    *_modis("MOD13Q1", "13Q1", _INDICES | _RELIABILITY),
)
