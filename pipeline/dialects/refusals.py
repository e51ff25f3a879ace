"""What is no scene of any sensor here, and what to use instead."""

import re
from dataclasses import dataclass

import pystac

from pipeline.dialects.fields import text, words_of


@dataclass(frozen=True)
class Unfit:
    """A kind of item that cannot be used."""

    marks: str
    """Regular expression that finds it in an item's own words (``words_of``)."""
    sensor: str
    """Sensor that somebody who asks for it is after; empty where it is none of ours."""
    reason: str
    """Why, and what to use instead."""


_TERRAIN = (
    "use terrain corrected backscatter (RTC), such as collection sentinel-1-rtc of the Planetary Computer, or correct it with "
    "a tool such as SNAP or pyroSAR"
)

UNFIT = (
    Unfit(
        r"_grd[fhm]?_|\bgrd\b|sentinel-?1-grd",
        "sentinel-1",
        f"is ground range detected (GRD) in slant geometry, whose pixels have no place on a map before terrain is corrected: "
        f"{_TERRAIN}",
    ),
    Unfit(
        r"_slc_|\bslc\b|_ocn_|\bocn\b|_raw_", "sentinel-1", f"is Sentinel-1 before detection and geocoding: {_TERRAIN}"
    ),
    Unfit(r"\bm[oy]d10|modis-10", "modis", "is MODIS snow cover, no reflectance: use MOD09GA or MOD09A1"),
    Unfit(
        r"\bm[oy]d09q1|modis-09q1",
        "modis",
        "is MODIS surface reflectance of two bands at 250 m (09Q1), which no table here describes: use MOD09GA or MOD09A1",
    ),
    Unfit(r"\baster\b|\bast_l1t", "", "is ASTER, no sensor of fusecube: use Landsat, Sentinel-2 or HLS"),
    Unfit(r"\bpf-qa", "", "holds the quality layers of Planet Fusion, no bands: use the items of PF-SR"),
    Unfit(
        r"\bmss\b|\blm0[1-5]_",
        "landsat",
        "is of Landsat's Multispectral Scanner, no instrument of fusecube: use Landsat 4 to 9 with TM, ETM+ or OLI",
    ),
    Unfit(
        r"planetscope|psscene|\bps2\b|\bpsb\.sd|planet-disaster",
        "planetscope",
        "has no surface reflectance of PlanetScope (visual images and radiance are not comparable between scenes): order the "
        "bundle analytic_8b_sr_udm2 or analytic_sr_udm2",
    ),
)
"""Looked through in this order for an item that no dialect fits."""

HDF4 = (
    "has its bands in HDF4, which is not read here: use GeoTIFFs, such as those of the Planetary Computer's collections "
    "modis-09A1-061, modis-43A4-061 and modis-13Q1-061, or convert it with gdal_translate"
)


def unfit(item: pystac.Item) -> Unfit | None:
    """Why an item is no scene of any sensor here; ``None`` where nothing is known of it."""
    words = words_of(item)
    return next((kind for kind in UNFIT if re.search(kind.marks, words)), None)


def only_hdf4(item: pystac.Item) -> bool:
    """Whether an item holds its data in HDF4."""
    return any(
        asset.media_type in ("application/x-hdf", "application/x-hdf4", "application/hdf")
        or text(asset.href, 2000).partition("?")[0].lower().endswith((".hdf", ".hdf4"))
        for asset in item.assets.values()
    )
