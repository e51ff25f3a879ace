"""STAC items in the words of the catalogs that people use: Earth Search v1, the Planetary Computer, Planet.

Names of assets and fields are those of the items that these catalogs serve; what a field would say that a simulation has no
answer to is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pystac
from odc.geo.geobox import GeoBox
from pyproj import CRS as Projection

from pipeline.sensors import Band
from pipeline.simulated.grids import bounds_of, projected
from pipeline.simulated.streams import EPOCH, Pass
from pipeline.simulated.weather import sun
from pipeline.simulated.world import World

SCENE = ("193", "023")
"""Landsat path and row over it (WRS-2)."""

SCHEMAS = "https://stac-extensions.github.io/{}/schema.json"
"""Where the schemas of STAC extensions stand."""

FUSION_ZONE = "33N"
"""UTM zone of the land as Planet Fusion writes it."""

QA_PIXEL_BITS = ("fill", "dilated_cloud", "cirrus", "cloud", "cloud_shadow", "snow", "clear", "water")
"""Single bits of Landsat's QA_PIXEL, from bit 0."""


@dataclass(frozen=True)
class File:
    """A file that was written."""

    path: Path
    """Where."""
    grid: GeoBox
    """Its pixels."""
    dtype: str
    """Type of its numbers."""


@dataclass(frozen=True)
class Account:
    """What there is to say of an acquisition."""

    passed: Pass
    """Whose, of what, when."""
    world: World
    """The land."""
    grid: GeoBox
    """Pixels of its finest layer."""
    files: Mapping[str, File]
    """Name of a layer to its file."""
    cloud_cover: float
    """Percent under clouds."""
    told: str
    """How it was simulated."""


def describe(account: Account) -> pystac.Item:
    """The STAC item of an acquisition, in the dialect of its product."""
    return WRITERS[account.passed.stream.sensor.name](account)


def name_of(passed: Pass, grid: GeoBox) -> str:
    """Id of an acquisition, after the catalog's own pattern; it says that it is simulated."""
    day, moment, number = f"{passed.moment:%Y%m%d}", f"{passed.moment:%Y%m%dT%H%M%S}", passed.track.platform[-1]
    match passed.stream.sensor.name:
        case "sentinel-1":
            orbit, end = absolute_orbit(passed), passed.moment + timedelta(seconds=25)
            return f"S1{number}_IW_GRDH_1SDV_{moment}_{end:%Y%m%dT%H%M%S}_{orbit:06d}_{8 * orbit:06X}_SIM_rtc"
        case "sentinel-2":
            return f"S2{number.upper()}_{passed.stream.tile.name}_{day}_SIM_{passed.stream.level}"
        case "landsat":
            return f"LC0{number}_L2SP_{''.join(SCENE)}_{day}_02_SIM"
        case "modis":
            return "{}.A{:%Y%j}.h{:02d}v{:02d}.061.SIM".format(passed.stream.level, passed.moment, *modis_tile(grid))
        case "planet-fusion":
            return f"{FUSION_ZONE}-{fusion_tile(grid)}-PF-SR-{passed.moment:%Y-%m-%d}"
        case _:
            return f"{passed.moment:%Y%m%d_%H%M%S}_00_{passed.track.platform}"


def modis_tile(grid: GeoBox) -> tuple[int, int]:
    """Horizontal and vertical number of the MODIS land tile that a 500 m grid begins in: 36 by 18 of 2400 pixels each."""
    affine = grid.affine
    return 18 + int(round(affine.c / affine.a) // 2400), 9 + int(round(affine.f / affine.e) // 2400)


def fusion_tile(grid: GeoBox) -> str:
    """Name of the tile of 24 km that a grid begins in, in Planet's tiling of UTM zones."""
    return f"{int(grid.affine.c // 24000)}E-{int(grid.affine.f // 24000)}N"


def absolute_orbit(passed: Pass) -> int:
    """An orbit number of Sentinel-1A near the moment that has the pass's relative orbit: (absolute - 73) mod 175 + 1."""
    near = 54130 + round((passed.moment.date() - EPOCH).days * 175 / 12)
    return near + (passed.track.orbit - 1 - (near - 73) + 87) % 175 - 87


def _item(account: Account, extensions: list[str], properties: dict) -> pystac.Item:
    """An item with its footprint; several days in one image have no moment but a first and a last."""
    passed = account.passed
    west, south, east, north = projected(bounds_of(account.grid), account.passed.stream.crs, "EPSG:4326")
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    several = passed.stream.days > 1
    first, last = passed.moments[0].replace(hour=0, minute=0, second=0), passed.moments[-1]
    return pystac.Item(
        id=name_of(passed, account.grid),
        geometry={"type": "Polygon", "coordinates": [ring]},
        bbox=[west, south, east, north],
        datetime=None if several else passed.moment,
        start_datetime=first if several else None,
        end_datetime=last.replace(hour=23, minute=59, second=59) if several else None,
        properties={"description": account.told} | properties,
        stac_extensions=[SCHEMAS.format(name) for name in extensions],
    )


def _add(item: pystac.Item, name: str, file: File, roles: list[str], fields: dict) -> None:
    """Add a file to an item."""
    item.add_asset(
        name, pystac.Asset(str(file.path), media_type=pystac.MediaType.COG, roles=roles, extra_fields=fields)
    )


def _grid(grid: GeoBox) -> dict:
    return {"proj:shape": list(grid.shape), "proj:transform": list(grid.affine[:6])}


def _raster(file: File, nodata: float | None, resolution: float, **more: float) -> dict:
    said = {"data_type": file.dtype, "spatial_resolution": resolution} | more
    return said if nodata is None else {"nodata": nodata} | said


def _spectral(band: Band, name: str) -> dict:
    said = {"name": name, "center_wavelength": band.center / 1000, "full_width_half_max": band.width / 1000}
    return said | ({"common_name": band.common} if band.common else {})


def _light(account: Account) -> dict:
    elevation, azimuth = sun(account.world, account.passed.moment)
    return {"view:sun_elevation": round(elevation, 4), "view:sun_azimuth": round(azimuth, 4)}


def _sentinel1(account: Account) -> pystac.Item:
    """Planetary Computer, ``sentinel-1-rtc``."""
    passed, stream = account.passed, account.passed.stream
    orbit, end = absolute_orbit(passed), passed.moment + timedelta(seconds=25)
    properties = {
        "platform": passed.track.platform,
        "constellation": "Sentinel-1",
        "start_datetime": f"{passed.moment:%Y-%m-%d %H:%M:%S}+00:00",
        "end_datetime": f"{end:%Y-%m-%d %H:%M:%S}+00:00",
        "sar:frequency_band": "C",
        "sar:center_frequency": 5.405,
        "sar:observation_direction": "right",
        "sar:instrument_mode": "IW",
        "sar:polarizations": [band.name for band in stream.bands],
        "sar:product_type": "GRD",
        "sar:pixel_spacing_range": 10,
        "sar:pixel_spacing_azimuth": 10,
        "sar:looks_equivalent_number": stream.looks,
        "sat:orbit_state": passed.track.state,
        "sat:relative_orbit": passed.track.orbit,
        "sat:absolute_orbit": orbit,
        "s1:datatake_id": str(8 * orbit),
        "s1:processing_level": "1",
        "s1:resolution": "high",
        "proj:epsg": Projection(stream.crs).to_epsg(),
        "proj:bbox": list(bounds_of(account.grid)),
    }
    item = _item(
        account, ["sar/v1.0.0", "sat/v1.0.0", "raster/v1.1.0", "projection/v1.0.0"], properties | _grid(account.grid)
    )
    for band in stream.bands:
        file = account.files[band.name]
        _add(
            item,
            band.name.lower(),
            file,
            ["data"],
            {"raster:bands": [_raster(file, stream.coding.nodata, band.resolution)]},
        )
    return item


def _sentinel2(account: Account) -> pystac.Item:
    """Earth Search v1, ``sentinel-2-l2a`` and ``sentinel-2-l1c``."""
    stream = account.passed.stream
    properties = {
        "platform": account.passed.track.platform,
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "eo:cloud_cover": account.cloud_cover,
        "proj:code": stream.crs,
        "grid:code": f"MGRS-{stream.tile.name}",
        "s2:processing_baseline": "05.10",
        "s2:product_uri": account.told,
        "earthsearch:boa_offset_applied": False,
    }
    extensions = ["projection/v2.0.0", "eo/v1.1.0", "raster/v1.1.0", "grid/v1.1.0", "view/v1.0.0"]
    item = _item(account, extensions, properties | _light(account))
    coding = stream.coding
    for band in stream.bands:
        file = account.files[band.name]
        raster = _raster(file, coding.nodata, band.resolution, scale=coding.scale, offset=coding.offset)
        fields = {"gsd": band.resolution, "eo:bands": [_spectral(band, band.name)], "raster:bands": [raster]}
        _add(item, band.common, file, ["data", "reflectance"], fields | _grid(file.grid))
    if "SCL" in account.files:
        file = account.files["SCL"]
        _add(item, "scl", file, ["data"], {"gsd": 20, "raster:bands": [_raster(file, 0, 20)]} | _grid(file.grid))
    truth = account.files["truth"]
    title = "Every band at 10 m, without noise"
    item.add_asset("truth", pystac.Asset(str(truth.path), title=title, roles=["reference"]))
    return item


def _landsat(account: Account) -> pystac.Item:
    """Planetary Computer, ``landsat-c2-l2``."""
    stream = account.passed.stream
    properties = {
        "platform": account.passed.track.platform,
        "instruments": ["oli", "tirs"],
        "gsd": 30,
        "eo:cloud_cover": account.cloud_cover,
        "view:off_nadir": 0,
        "proj:epsg": Projection(stream.crs).to_epsg(),
        "landsat:wrs_type": "2",
        "landsat:wrs_path": SCENE[0],
        "landsat:wrs_row": SCENE[1],
        "landsat:collection_category": "T1",
        "landsat:collection_number": "02",
        "landsat:correction": "L2SP",
    }
    item = _item(
        account,
        ["raster/v1.1.0", "eo/v1.0.0", "view/v1.0.0", "projection/v1.0.0", "landsat/v2.0.0", "classification/v1.0.0"],
        properties | _grid(account.grid) | _light(account),
    )
    coding = stream.coding
    for number, band in enumerate(stream.bands, start=1):
        file = account.files[band.name]
        raster = _raster(file, coding.nodata, 30, scale=coding.scale, offset=coding.offset)
        fields = {"eo:bands": [_spectral(band, f"OLI_B{number}")], "raster:bands": [raster]}
        _add(item, band.name, file, ["data", "reflectance"], fields)
    file = account.files["qa_pixel"]
    bits = [
        {
            "name": name,
            "offset": bit,
            "length": 1,
            "classes": [{"value": 0, "name": f"not_{name}"}, {"value": 1, "name": name}],
        }
        for bit, name in enumerate(QA_PIXEL_BITS)
    ]
    raster = _raster(file, 1, 30) | {"unit": "bit index"}
    roles = ["cloud", "cloud-shadow", "snow-ice", "water-mask"]
    _add(item, "qa_pixel", file, roles, {"classification:bitfields": bits, "raster:bands": [raster]})
    file = account.files["qa_radsat"]
    _add(item, "qa_radsat", file, ["saturation"], {"raster:bands": [_raster(file, None, 30) | {"unit": "bit index"}]})
    return item


def _modis(account: Account) -> pystac.Item:
    """Planetary Computer, ``modis-09A1-061``; daily, as the same with the layers of MOD09GA."""
    stream = account.passed.stream
    h, v = modis_tile(account.grid)
    properties = {
        "platform": account.passed.track.platform,
        "instruments": ["modis"],
        "modis:horizontal-tile": h,
        "modis:vertical-tile": v,
        "modis:tile-id": f"51{h:03d}{v:03d}",
        "eo:cloud_cover": account.cloud_cover,
        "proj:epsg": None,
        "proj:wkt2": Projection(stream.crs).to_wkt(),
        "proj:bbox": list(bounds_of(account.grid)),
    }
    extensions = ["projection/v1.0.0", "eo/v1.0.0", "raster/v1.1.0"]
    item = _item(account, extensions, properties | _grid(account.grid))
    daily = stream.days == 1
    for band in stream.bands:
        file, name = account.files[band.name], f"sur_refl_b{band.name[1:]}" + ("_1" if daily else "")
        fields = {
            "raster:bands": [_raster(file, None, 500, scale=stream.coding.scale)],
            "eo:bands": [_spectral(band, name)],
        }
        _add(item, name, file, ["data", "reflectance"], fields)
    for layer, name, unit in (
        ("state", "state_1km_1" if daily else "sur_refl_state_500m", "bit field"),
        ("day_of_year", "sur_refl_day_of_year", "Julian Day"),
    ):
        if layer in account.files:
            file = account.files[layer]
            own = {} if file.grid == account.grid else _grid(file.grid)
            resolution = 500 if not own else 1000
            _add(item, name, file, ["data"], {"raster:bands": [_raster(file, None, resolution) | {"unit": unit}]} | own)
    return item


def _planetscope(account: Account) -> pystac.Item:
    """Planet, item type ``PSScene``, bundle ``analytic_8b_sr_udm2``."""
    stream = account.passed.stream
    properties = {
        "constellation": "planetscope",
        "platform": account.passed.track.platform,
        "instruments": ["PSB.SD"],
        "gsd": 3.7,
        "eo:cloud_cover": round(account.cloud_cover),
        "view:off_nadir": 0.0,
        "pl:item_type": "PSScene",
        "pl:quality_category": "standard",
        "pl:ground_control": True,
        "pl:pixel_resolution": 3,
    }
    extensions = ["eo/v1.1.0", "view/v1.0.0", "raster/v1.1.0", "projection/v2.0.0"]
    item = _item(account, extensions, properties | _light(account))
    coding = stream.coding
    place = {"proj:code": stream.crs} | _grid(account.grid)
    for name, bands, roles in (
        (
            "ortho_analytic_8b_sr",
            {
                "raster:bands": [_raster(account.files["ortho_analytic_8b_sr"], coding.nodata, 3, scale=coding.scale)]
                * len(stream.bands),
                "eo:bands": [_spectral(band, band.name) for band in stream.bands],
            },
            ["data", "reflectance"],
        ),
        (
            "ortho_udm2",
            {"raster:bands": [_raster(account.files["ortho_udm2"], None, 3)] * len(UDM2)},
            ["data-mask", "cloud", "cloud-shadow", "snow-ice"],
        ),
    ):
        kind = {"pl:asset_type": name, "pl:bundle_type": "analytic_8b_sr_udm2"}
        _add(item, name, account.files[name], roles, kind | place | bands)
    return item


def _planet_fusion(account: Account) -> pystac.Item:
    """Planet Fusion, product ``PF-SR``: fields as in its own catalogs, which use no projection extension."""
    passed = account.passed
    properties = {
        "eo:productType": "PF-SR",
        "eo:cloud_cover": 0,
        "crs": passed.stream.crs,
        "product_key": "PF-SR",
        "tile": fusion_tile(account.grid),
        "zone": FUSION_ZONE,
        "timestamp": f"{passed.moment:%Y-%m-%d %H:%M:%S}",
    }
    item = _item(account, ["eo/v1.1.0"], properties)
    _add(
        item,
        "bands",
        account.files["bands"],
        ["data"],
        {"eo:bands": [_spectral(b, b.name) for b in passed.stream.bands]},
    )
    return item


UDM2 = ("clear", "snow", "shadow", "light_haze", "heavy_haze", "cloud", "confidence", "unusable")
"""Layers of Planet's usable data mask."""

WRITERS = {
    "sentinel-1": _sentinel1,
    "sentinel-2": _sentinel2,
    "landsat": _landsat,
    "modis": _modis,
    "planetscope": _planetscope,
    "planet-fusion": _planet_fusion,
}
