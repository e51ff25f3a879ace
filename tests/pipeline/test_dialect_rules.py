"""What no real item at hand shows, with items made in the words of each catalog."""

from datetime import UTC, datetime

import pystac
import pytest
from pyproj import CRS

from pipeline.dialects import collections_of, recognise, sensor_named, tile_of, to_scene
from pipeline.dialects.normalise import DIALECTS
from pipeline.errors import Refused
from pipeline.radiometry import coding
from pipeline.sensors import HLS, SENSORS, SENTINEL2

ROOT = "https://data.example.com/catalog.json"
GRID = {"proj:shape": [100, 100], "proj:transform": [10, 0, 499980, 0, -10, 5800020]}
BBOX = [15.0, 52.34, 15.02, 52.36]  # the same thousand metres in degrees, about


def made(
    name: str, collection: str | None, assets: dict, bbox: list | None = None, **properties: object
) -> pystac.Item:
    """An item at 15 east, 52 north, with assets of given fields; ``__`` in names of properties stands for a colon."""
    fields = {key.replace("__", ":"): value for key, value in properties.items()}
    moment = None if "start_datetime" in fields else datetime(2024, 6, 1, 10, tzinfo=UTC)
    item = pystac.Item(name, None, bbox or BBOX, moment, fields, collection=collection)
    for key, more in assets.items():
        more = dict(more)
        href = more.pop("href", f"https://data.example.com/{key}.tif")
        roles = more.pop("roles", None)
        item.add_asset(key, pystac.Asset(href, roles=roles, media_type=more.pop("type", None), extra_fields=more))
    return item


def sentinel2(assets: dict | None = None, **properties: object) -> pystac.Item:
    bands = {"B04": {"raster:bands": [{"scale": 1e-4, "offset": -0.1, "nodata": 0, "data_type": "uint16"}]} | GRID}
    said = {"proj__code": "EPSG:32633", "s2__processing_baseline": "05.10"} | properties
    return made("S2A_MSIL2A_20240601", "sentinel-2-l2a", assets or bands, **said)


def test_copernicus_data_space():
    """Asset names with their size; coding in STAC 1.1's own fields; baseline as processing:version; s3 addresses."""
    said = {
        "bands": [{"name": "B02", "eo:common_name": "blue"}],
        "data_type": "uint16",
        "nodata": 0,
        "raster:scale": 1e-4,
    }
    product = "S2A_MSIL2A_20240601T101031_N0510_R022_T33UUB_20240601T160457"
    assets = {
        f"{band}_{size}m": said | {"raster:offset": -0.1, "href": f"s3://eodata/{product}.SAFE/{band}_{size}m.jp2"}
        for band, sizes in {"B02": (10, 20, 60), "B05": (20, 60), "B01": (20, 60)}.items()
        for size in sizes
    } | {"SCL_20m": {"href": "s3://eodata/SCL_20m.jp2", "data_type": "uint8"}}
    item = made(
        product, "sentinel-2-l2a", assets, proj__code="EPSG:32633", processing__version="05.10", grid__code="MGRS-33UUB",
        sat__relative_orbit=22, platform="sentinel-2a", processing__datetime="2024-06-01T16:04:57Z",
    )  # fmt: skip
    scene = to_scene(item, ROOT)
    assert recognise(item).catalog == "Copernicus Data Space"
    assert scene.assets["B02"].address.endswith("B02_10m.jp2")  # at their own size, whichever else there is
    assert scene.assets["B05"].address.endswith("B05_20m.jp2")
    assert scene.assets["B01"].address.endswith("B01_60m.jp2")
    assert coding(scene, "B02").offset == -0.1
    assert (scene.tile, scene.track, scene.processed) == ("33UUB", "022", "2024-06-01T16:04:57.000000")


@pytest.mark.parametrize(
    ("properties", "offset"),
    [
        ({"sentinel__processing_baseline": "04.00"}, -0.1),
        ({"sentinel__processing_baseline": "04.00", "sentinel__boa_offset_applied": True}, 0.0),
        ({"sentinel__product_id": "S2A_MSIL2A_20220601T101031_N0400_R022_T33UUB_20220601T160457"}, -0.1),
        ({"sentinel__product_id": "S2A_MSIL2A_20200601T101031_N0214_R022_T33UUB_20200601T160457"}, 0.0),
    ],
)
def test_earth_search_v0_says_its_baseline_in_its_own_words(properties, offset):
    item = made("S2A_33UUB_20220601_0_L2A", "sentinel-s2-l2a-cogs", {"B04": GRID}, proj__epsg=32633, **properties)
    assert coding(to_scene(item, ROOT), "B04").offset == offset


def test_a_product_name_that_contradicts_the_baseline_is_refused():
    item = sentinel2(s2__product_uri="S2A_MSIL2A_20240601T101031_N0214_R022_T33UUB_20240601T160457.SAFE")
    with pytest.raises(Refused, match="S2A_MSIL2A_20240601 contradicts itself: .*05.10.*02.14"):
        to_scene(item, ROOT)


@pytest.mark.parametrize("flag", ["true", 1, [True]])
def test_an_offset_flag_that_is_neither_true_nor_false_is_refused(flag):
    with pytest.raises(Refused, match="S2A_MSIL2A_20240601 states earthsearch:boa_offset_applied"):
        to_scene(sentinel2(earthsearch__boa_offset_applied=flag), ROOT)


def test_planet_layers_of_one_file():
    eight = {"ortho_analytic_8b_sr": GRID, "ortho_udm2": GRID}
    scene = to_scene(made("20240601_101010_00_2498", "PSScene", eight, proj__epsg=32633, platform="2498"), ROOT)
    assert scene.assets["coastal_blue"].address.endswith("8b_sr.tif#layer=1")
    assert scene.assets["nir"].address.endswith("8b_sr.tif#layer=8")
    assert scene.assets["UDM2_SNOW"].address.endswith("udm2.tif#layer=2")
    assert scene.assets["UDM2_CLOUD"].address.endswith("udm2.tif#layer=6")
    # a delivery whose assets have the names of their files, and four bands
    four = {"x_3B_AnalyticMS_SR_clip.tif": GRID | {"pl:asset_type": "ortho_analytic_4b_sr"}}
    scene = to_scene(made("20240601_101010_00_2498", "psscene: PSScene", four, instruments=["PSB.SD"]), ROOT)
    assert [scene.assets[b].address[-1] for b in ("blue", "green", "red", "nir")] == ["1", "2", "3", "4"]
    assert scene.crs is None


def test_hls_of_either_instrument():
    bands = {
        key: {"href": f"https://data.example.com/HLS.S30.T33UUB.2024153T101031.v2.0.{key}.tif"}
        for key in ("B8A", "B11")
    }
    scene = to_scene(made("G1-LPCLOUD", "HLSS30_2.0", bands), ROOT)
    assert (scene.level, scene.tile, scene.crs) == ("S30", "33UUB", None)
    assert scene.assets.keys() == {"nir08", "swir16"}
    bands = {
        key: {"href": f"https://data.example.com/HLS.L30.T33UUB.2024153T101031.v2.0.{key}.tif"}
        for key in ("B05", "B11")
    }
    scene = to_scene(made("HLS.L30.T33UUB.2024153T101031.v2.0", None, bands), ROOT)
    assert scene.level == "L30"
    assert scene.assets.keys() == {"nir08", "lwir12"}


def test_landsat_level_1_leaves_out_what_is_radiance():
    bands = dict.fromkeys(("red", "pan", "lwir11", "qa_pixel"), GRID)
    item = made("LC08_L1TP_193023_20240601_20240605_02_T1", "landsat-c2l1", bands, proj__epsg=32633)
    assert to_scene(item, ROOT).assets.keys() == {"red", "pan", "QA_PIXEL"}
    assert to_scene(item, ROOT).processed == "2024-06-05"


def test_numbers_of_bands_are_those_of_the_instrument():
    """LandsatLook before STAC 1.0 named assets after files: band 4 of TM is near infrared, of OLI it is red."""
    bands = {f"SR_B{n}.TIF": GRID for n in (1, 2, 3, 4, 5, 7)}
    for name, band in (
        ("LT05_L2SP_010067_19860424_20200918_02_T2", "nir08"),
        ("LC08_L2SP_010067_20200424_20200918_02_T2", "red"),
    ):
        scene = to_scene(made(name, "landsat-c2l2-sr", bands, proj__epsg=32633), ROOT)
        assert scene.assets[band].address.endswith("SR_B4.TIF.tif")


def test_modis_in_hdf4_is_refused_with_the_remedy():
    item = made("MOD09GA.A2024153.h18v03.061", "MOD09GA_061", {"data": {"href": "https://x.example.com/a.hdf"}})
    with pytest.raises(Refused, match="HDF4.*modis-09A1-061"):
        to_scene(item, ROOT)


@pytest.mark.parametrize(
    ("longitude", "name", "passed"),
    [
        (15, "MOD09GA", "2024-06-01T09:30"),  # 10:30 in the sun's time is 9:30 at 15 degrees east
        (15, "MYD09GA", "2024-06-01T12:30"),
        (175, "MOD09GA", "2024-06-01T22:50"),  # 10.5 - 175 / 15 = -1.17: late on the UTC day, the next day there
        (-120, "MOD09GA", "2024-06-01T18:30"),
    ],
)
def test_daily_modis_passed_within_its_utc_day(longitude, name, passed):
    period = {"start_datetime": "2024-06-01T00:00:00Z", "end_datetime": "2024-06-01T23:59:59Z"}
    bbox = [longitude - 0.5, 52.0, longitude + 0.5, 52.5]
    platform = "terra" if name.startswith("MOD") else "aqua"
    bands = {"sur_refl_b01_1": {}}
    scene = to_scene(made(f"{name}.A2024153.h18v03.061", None, bands, bbox, platform=platform, **period), ROOT)
    assert scene.acquired.isoformat()[:16] == passed
    assert scene.solar_day.day == (2 if longitude == 175 else 1)


def test_names_of_our_own():
    """Any catalog may name assets after bands or common names, or say in eo:bands or bands what layers hold."""
    named = {"B04": GRID, "nir": GRID, "scl": GRID}
    scene = to_scene(made("field", "my-sentinel-2", named, proj__code="EPSG:32633", s2__product_type="S2MSI2A"), ROOT)
    assert scene.assets.keys() == {"B04", "B08", "SCL"}
    layers = {"data": {"bands": [{"name": "swir"}, {"name": "B11"}, {"eo:common_name": "red"}]} | GRID}
    picture = {"visual": {"eo:bands": [{"name": "B03"}]}, "look": {"eo:bands": [{"name": "B02"}], "roles": ["visual"]}}
    item = made("field_L2A", None, layers | picture, constellation="sentinel-2", proj__epsg=32633)
    scene = to_scene(item, ROOT)
    assert {band: asset.address[-7:] for band, asset in scene.assets.items()} == {"B11": "layer=2", "B04": "layer=3"}


@pytest.mark.parametrize(
    ("properties", "layers", "reason"),
    [
        ({}, None, "names no sensor"),
        ({"platform": "noaa-20"}, None, "names no sensor"),
        ({"constellation": "sentinel-2"}, None, "which product of sentinel-2"),
        ({"constellation": "sentinel-2", "s2__product_type": "S2MSI2A"}, {"B77": {}}, "no asset with a band"),
    ],
)
def test_what_cannot_be_recognised_is_refused(properties, layers, reason):
    with pytest.raises(Refused, match=f"item thing .*{reason}"):
        to_scene(made("thing", None, layers or {"B04": {}}, **properties), ROOT)


def test_a_sensor_that_contradicts_the_collection_is_refused():
    item = made("S2A_MSIL2A_20240601", "landsat-c2-l2", {"red": GRID}, proj__epsg=32633)
    with pytest.raises(Refused, match="collection landsat-c2-l2 is of landsat, its own words are of sentinel-2"):
        to_scene(item, ROOT)


def test_a_level_that_contradicts_the_collection_is_refused():
    item = made("S2A_MSIL1C_20240601", "sentinel-2-l2a", {"B04": GRID}, proj__epsg=32633, s2__product_type="S2MSI1C")
    with pytest.raises(Refused, match="collection sentinel-2-l2a holds L2A, its own words say L1C"):
        to_scene(item, ROOT)


@pytest.mark.parametrize(
    "place",
    [
        {"proj__epsg": 32633},
        {"proj__code": "EPSG:32633"},
        {"proj__epsg": None, "proj__code": "EPSG:32633"},
        {"proj__wkt2": CRS.from_epsg(32633).to_wkt()},
        {"proj__projjson": CRS.from_epsg(32633).to_json_dict()},
        {"proj__epsg": None, "proj__wkt2": CRS.from_epsg(32633).to_wkt()},
    ],
)
def test_every_spelling_of_a_projection(place):
    assert to_scene(sentinel2(**({"proj__code": None} | place)), ROOT).crs == "EPSG:32633"


def test_a_projection_on_the_assets_or_nowhere():
    bands = {"B04": GRID | {"proj:code": "EPSG:32633"}, "B03": GRID | {"proj:epsg": 32633}, "look": {"proj:epsg": 4326}}
    assert to_scene(sentinel2(bands, proj__code=None), ROOT).crs == "EPSG:32633"
    assert to_scene(sentinel2({"B04": {}}, proj__code=None), ROOT).crs is None


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ({"proj__code": "EPSG:32633", "proj__epsg": 32634}, "two projections"),
        ({"proj__code": "EPSG:999999"}, "no projection on the ground"),
        ({"proj__code": "EPSG:5773"}, "no projection on the ground"),  # heights above EGM96
        ({"proj__code": "banana"}, "no projection on the ground"),
        ({"proj__code": "EPSG:32645"}, "lie apart"),  # 72 degrees further east
        ({"proj__transform": [10, 0, 499980, 0, 0, 5800020]}, "grid"),
        ({"proj__transform": [float("nan")] * 6}, "grid"),
        ({"proj__shape": [0, 100]}, "grid"),
        ({"proj__transform": [10, 0, 5800020, 0, -10, 499980]}, "lie apart"),  # axes swapped
    ],
)
def test_places_that_cannot_be_are_refused(place, reason):
    grid = {"proj__shape": [100, 100], "proj__transform": GRID["proj:transform"]}
    with pytest.raises(Refused, match=f"S2A_MSIL2A_20240601 .*{reason}"):
        to_scene(sentinel2({"B04": {}}, **(grid | place)), ROOT)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"raster:bands": [{"scale": "0.0001"}]}, "scale"),
        ({"raster:bands": [{"scale": 0}]}, "scale"),
        ({"raster:bands": [{"offset": float("inf")}]}, "offset"),
        ({"raster:bands": [{"nodata": "none"}]}, "nodata"),
        ({"raster:bands": [{"data_type": "cint16"}]}, "data_type"),
        ({"raster:bands": {"scale": 1e-4}}, "no list of layers"),
        ({"raster:bands": [{"scale": 1e-4}], "raster:scale": 2e-4}, "twice"),
    ],
)
def test_codings_that_cannot_be_are_refused(said, reason):
    with pytest.raises(Refused, match=f"S2A_MSIL2A_20240601 .*{reason}"):
        to_scene(sentinel2({"B04": GRID | said}), ROOT)


def test_clouds_that_were_not_estimated_come_last():
    assert to_scene(sentinel2(eo__cloud_cover=12.5), ROOT).cloud_cover == 12.5
    assert to_scene(sentinel2(), ROOT).cloud_cover == 100
    assert to_scene(sentinel2(eo__cloud_cover=-1), ROOT).cloud_cover == 100
    with pytest.raises(Refused, match="cloud cover"):
        to_scene(sentinel2(eo__cloud_cover="clear"), ROOT)


@pytest.mark.parametrize(
    ("name", "properties", "tile"),
    [
        ("x", {"landsat:wrs_path": 88, "landsat:wrs_row": "80"}, "088080"),
        ("LC08_L2SP_193023_20240601_02_T1", {}, "193023"),
        ("MOD09A1.A2022033.h19v10.061", {}, "h19v10"),
        ("x", {"modis:horizontal-tile": 9, "modis:vertical-tile": 8}, "h09v08"),
        ("x", {"grid:code": "MGRS-1WCQ"}, "01WCQ"),
        ("x", {"s2:mgrs_tile": "06VVN"}, "06VVN"),
        ("x", {"mgrs:utm_zone": 1, "mgrs:latitude_band": "W", "mgrs:grid_square": "CQ"}, "01WCQ"),
        ("x", {"odc:region_code": "088080"}, "088080"),
        ("33N-23E-223N-PF-SR-2020-08-08", {}, "33N-23E-223N"),
        ("S1A_IW_GRDH_1SDV_20191215T004249_20191215T004314_030352_0378DC_rtc", {}, None),
    ],
)
def test_tiles(name, properties, tile):
    assert tile_of(pystac.Item(name, None, None, datetime(2024, 6, 1, tzinfo=UTC), properties)) == tile


def test_collections_in_their_order():
    assert [name for name, _ in collections_of(SENTINEL2)[:3]] == [
        "sentinel-2-l2a",
        "sentinel-s2-l2a-cogs",
        "sentinel-2-c1-l2a",
    ]
    assert {level for _, level in collections_of(HLS)} == {"S30", "L30"}
    assert {dialect.sensor for dialect in DIALECTS} == set(SENSORS)
    for name, table in SENSORS.items():
        assert all(sensor_named(collection) in (name, "") for collection, _ in collections_of(table)), name


def test_dialects_name_only_what_the_tables_have():
    for dialect in DIALECTS:
        table = SENSORS[dialect.sensor]
        product = table.product(dialect.level)
        known = {band.name for band in table.bands} | {layer.name for layer in product.quality}
        assert dialect.assets.keys() <= known, dialect
