"""The simulated archive: the same files on every run, STAC items in the dialects of real catalogs."""

import hashlib
import json
from datetime import date
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from pyproj import CRS

from pipeline.dialects import to_scene
from pipeline.errors import Refused
from pipeline.sensors.modis import PIXEL
from pipeline.simulated.archive import simulate, simulate_campaign, write_cog
from pipeline.simulated.grids import covering
from pipeline.simulated.streams import SIMULATED, Campaign

CAMPAIGN = Campaign(
    date(2024, 6, 1),
    date(2024, 6, 12),
    size=60,
    sensors=SIMULATED,
    levels=("RTC", "L1C", "L2A", "L2", "MOD09A1", "MOD09GA", "SR"),
    clear=(date(2024, 6, 1),),
)
COLLECTIONS = {
    "sentinel-1-rtc": ("sentinel-1", "RTC", ("VV", "VH")),
    "sentinel-2-l1c": ("sentinel-2", "L1C", ("B01", "B02", "B12")),
    "sentinel-2-l2a": ("sentinel-2", "L2A", ("B01", "B02", "B12", "SCL")),
    "landsat-c2-l2": ("landsat", "L2", ("coastal", "swir22", "QA_PIXEL", "QA_RADSAT")),
    "modis-09A1-061": ("modis", "MOD09A1", ("B01", "B07", "STATE_500M")),
    "modis-09GA-061": ("modis", "MOD09GA", ("B01", "B07", "STATE_1KM")),
    "PSScene": ("planetscope", "SR", ("coastal_blue", "nir", "UDM2_CLOUD")),
    "planet-fusion": ("planet-fusion", "SR", ("blue", "nir")),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("five")
    assert simulate_campaign(out, CAMPAIGN) == out / "catalog.json"
    return out


@pytest.fixture(scope="module")
def items(folder) -> dict[str, list[pystac.Item]]:
    catalog = pystac.Catalog.from_file(str(folder / "catalog.json"))
    return {child.id: list(child.get_items()) for child in catalog.get_children()}


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_campaign_gives_the_same_bytes(folder, tmp_path):
    told = []
    simulate_campaign(tmp_path, CAMPAIGN, told.append)
    first, second = digests(folder), digests(tmp_path)
    assert first == second
    # 3 Sentinel-2 (1, 6, 11 June) at two levels; radar on 3 and 6; Landsat on 4 and 12; an image of eight days that begins
    # on 1 June (day 153 = 19 * 8 + 1) and one on 9; 12 daily of MODIS and 12 fused; 4 of PlanetScope, on 1, 4, 7, 10
    assert len(told) == len(set(told)) == 3 * 2 + 2 + 2 + 2 + 12 + 12 + 4
    assert not [name for name in first if ".part" in name]


def test_items_stand_where_their_catalogs_have_them(folder, items):
    assert set(items) == set(COLLECTIONS)
    for collection, found in items.items():
        for item in found:
            assert item.collection_id == collection
            assert item.bbox is not None
            assert pystac.Item.from_dict(item.to_dict()).id == item.id
            for name, asset in item.assets.items():
                path = Path(asset.get_absolute_href())
                assert folder in path.parents, name
                assert path.is_file(), name
            raw = json.loads(Path(item.get_self_href()).read_text())
            assert all(asset["href"].startswith("./") for asset in raw["assets"].values())
            schemas = {uri.split("/")[3] for uri in raw["stac_extensions"]}
            fields = {*raw["properties"], *(key for asset in raw["assets"].values() for key in asset)}
            used = {key.split(":")[0] for key in fields if ":" in key}
            own = {"s1", "s2", "earthsearch", "modis", "pl"}  # these say what no schema does
            assert {SCHEMAS.get(prefix, prefix) for prefix in used - own} <= schemas, collection


SCHEMAS = {"proj": "projection"}
"""Prefix of fields to the name of the extension that has another."""


def test_items_say_what_their_files_are(items):
    for collection, found in items.items():
        if collection == "planet-fusion":
            continue  # its catalogs say nothing of the grid but its CRS
        for item in (found[0], found[-1]):
            for name, asset in item.assets.items():
                if name == "truth":
                    continue
                place = item.properties | asset.extra_fields
                (band, *others) = asset.extra_fields["raster:bands"]
                with rasterio.open(asset.get_absolute_href()) as file:
                    assert list(file.shape) == place["proj:shape"], (collection, name)
                    assert list(file.transform[:6]) == pytest.approx(place["proj:transform"][:6], abs=1e-9)
                    assert file.dtypes[0] == band["data_type"]
                    assert file.count == 1 + len(others)
                    assert file.block_shapes[0] == (256, 256)
                    if "nodata" in band:
                        assert file.nodata == band["nodata"]
                    code = place.get("proj:code") or place.get("proj:epsg") or place["proj:wkt2"]
                    assert CRS(file.crs.to_wkt()).equals(CRS(code), ignore_axis_order=True)
                    assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_every_dialect_reads_its_items(folder, items):
    for collection, (sensor, level, layers) in COLLECTIONS.items():
        for item in items[collection]:
            scene = to_scene(item, str(folder / "catalog.json"))
            assert (scene.sensor, scene.level) == (sensor, level)
            assert set(layers) <= set(scene.assets), item.id
            assert scene.crs is not None
    (radar, *_) = (to_scene(item, str(folder / "catalog.json")) for item in items["sentinel-1-rtc"])
    assert radar.track


def test_sentinel1_says_which_track_it_was_on(items):
    for item in items["sentinel-1-rtc"]:
        said = item.properties
        assert (said["sat:relative_orbit"], said["sat:orbit_state"]) in {(95, "descending"), (146, "ascending")}
        assert (said["sat:absolute_orbit"] - 73) % 175 + 1 == said["sat:relative_orbit"]  # Sentinel-1A
        assert abs(said["sat:absolute_orbit"] - 54130) < 300
        assert said["s1:datatake_id"]
        assert set(item.assets) == {"vv", "vh"}
    takes = [item.properties["s1:datatake_id"] for item in items["sentinel-1-rtc"]]
    assert len(set(takes)) == len(takes)


def test_landsat_lies_half_a_pixel_off_and_modis_on_its_tile(items):
    for item in items["landsat-c2-l2"]:
        _, _, left, _, _, top = item.properties["proj:transform"]
        assert (left % 30, top % 30) == (15, 15)
    for item in items["modis-09A1-061"]:
        width, _, left, _, height, top = item.properties["proj:transform"]
        assert (width, height) == (PIXEL, -PIXEL)
        assert (item.properties["modis:horizontal-tile"], item.properties["modis:vertical-tile"]) == (18, 3)
        # tile h18v03 begins at 0 m and at six times 1111950.51967 m
        assert left / PIXEL == pytest.approx(round(left / PIXEL), abs=1e-6)
        assert (6 * 1111950.5196666666 - top) / PIXEL == pytest.approx(
            round((6 * 2400 * PIXEL - top) / PIXEL), abs=1e-6
        )
        assert item.datetime is None
        assert item.common_metadata.start_datetime < item.common_metadata.end_datetime


def test_fused_days_are_named_by_their_tile(items):
    found = items["planet-fusion"]
    # 399960 / 24000 = 16.7 and 5799960 / 24000 = 241.7
    assert sorted(item.id for item in found) == [f"33N-16E-241N-PF-SR-2024-06-{day:02d}" for day in range(1, 13)]
    for item in found:
        with rasterio.open(item.assets["bands"].get_absolute_href()) as file:
            assert file.crs.to_string() == item.properties["crs"] == "EPSG:32633"
            assert (file.count, file.res, file.nodata) == (4, (3, 3), 0)
            assert file.descriptions == ("blue", "green", "red", "nir")


def test_cloud_cover_is_what_the_files_show(items):
    clear = [item for item in items["sentinel-2-l2a"] if "20240601" in item.id]
    assert [item.properties["eo:cloud_cover"] for item in clear] == [0]
    for item in items["landsat-c2-l2"]:
        with rasterio.open(item.assets["qa_pixel"].get_absolute_href()) as file:
            clouds = (file.read(1) >> 3 & 1).mean() * 100
        assert item.properties["eo:cloud_cover"] == pytest.approx(clouds, abs=0.01)


def test_changes_lie_beside_the_catalog(folder):
    told = json.loads((folder / "changes.geojson").read_text())
    assert told["features"]
    for feature in told["features"]:
        assert "2024-06-01" <= feature["properties"]["built"] <= "2024-06-12"


REAL = {
    "sentinel-1-rtc": "planetary-computer/S1A_IW_GRDH_1SDV_20191215T003835_20191215T003904_030352_0378DC_rtc.json",
    "sentinel-2-l2a": "earth-search/S2A_12RWT_20240106_0_L2A.json",
    "landsat-c2-l2": "landsat-c2-l2-stactools/LC09_L2SP_010065_20220129_02_T1.json",
    "modis-09A1-061": "modis-stactools/MOD09A1.A2022033.h19v10.061.json",
    "PSScene": "planet/20221224_152110_18_2498.json",
}
OURS = {"description", "proj:bbox", "start_datetime", "end_datetime", "datetime", "proj:code"}
"""Fields of the core and of the projection extension that any item may have."""


@pytest.mark.parametrize("collection", sorted(REAL))
def test_fields_are_those_of_real_items(collection, items, real_data):
    real = json.loads((real_data / "stac-items" / REAL[collection]).read_text())
    for item in items[collection]:
        more = {name for name in item.properties if name not in real["properties"]} - OURS
        assert all(name.startswith("pl:") for name in more), more
        if collection in ("landsat-c2-l2", "modis-09A1-061", "sentinel-2-l2a"):
            assert set(item.assets) - {"truth"} <= set(real["assets"])
        for name, asset in item.assets.items():
            if name in real["assets"]:
                theirs = real["assets"][name]["raster:bands"][0]
                (band,) = asset.extra_fields["raster:bands"]
                for field in ("scale", "offset", "nodata", "data_type", "spatial_resolution"):
                    assert (band.get(field) == theirs.get(field)) or field not in theirs, (name, field)


# --- Sentinel-2 alone, as before ---


def test_sentinel2_alone_has_the_ids_that_demonstrations_know(tmp_path):
    told = []
    catalog = simulate(tmp_path, size=30, dates=2, clouds=0.3, seed=3, told=told.append)
    days = ("20240601", "20240606")
    assert sorted(told) == sorted(f"S2A_33UVT_{day}_SIM_{level}" for day in days for level in ("L1C", "L2A"))
    for item in pystac.Catalog.from_file(str(catalog)).get_items(recursive=True):
        with rasterio.open(item.assets["truth"].get_absolute_href()) as file:
            assert (file.count, *file.shape, file.dtypes[0]) == (12, 30, 30, "float32")
            assert file.descriptions[:2] == ("B01", "B02")
        assert (item.properties["eo:cloud_cover"] > 0) == ("20240606" in item.id)
        assert ("scl" in item.assets) == item.id.endswith("L2A")


@pytest.mark.parametrize("size", [0, -6, 100])
def test_a_scene_that_is_not_whole_60_m_pixels_is_an_error(tmp_path, size):
    with pytest.raises(ValueError, match="not a multiple of 6"):
        simulate(tmp_path, size=size)


def test_campaigns_that_cannot_be_are_refused():
    first, last = date(2024, 6, 1), date(2024, 6, 30)
    with pytest.raises(Refused, match="cannot end on 2024-06-01, before it starts"):
        Campaign(last, first)
    with pytest.raises(Refused, match="no 'sentinel2' among its sensors: did you mean 'sentinel-2'"):
        Campaign(first, last, sensors=("sentinel2",))
    with pytest.raises(Refused, match="no 'L2B' among its levels"):
        Campaign(first, last, levels=("L2B",))


def test_large_scenes_are_written_piece_by_piece(tmp_path, monkeypatch):
    campaign = Campaign(date(2024, 6, 4), date(2024, 6, 6), size=60, sensors=("landsat", "sentinel-2"))
    simulate_campaign(tmp_path / "whole", campaign)
    monkeypatch.setattr("pipeline.simulated.archive.PIECE", 18)
    simulate_campaign(tmp_path / "pieces", campaign)
    compared = 0
    for path in (tmp_path / "whole").rglob("*.tif"):
        with (
            rasterio.open(path) as one,
            rasterio.open(tmp_path / "pieces" / path.relative_to(tmp_path / "whole")) as other,
        ):
            np.testing.assert_array_equal(one.read(), other.read())
        compared += 1
    assert compared == 7 + 2 + 12 + 2
    covers = [
        {item.id: item.properties["eo:cloud_cover"] for item in catalog.get_items(recursive=True)}
        for catalog in (pystac.Catalog.from_file(str(tmp_path / name / "catalog.json")) for name in ("whole", "pieces"))
    ]
    assert covers[0] == covers[1]
    assert max(covers[0].values()) > 1


def test_a_cog_has_its_names_and_nodata(tmp_path):
    grid = covering((0, 0, 300, 600), "EPSG:32633", 10)
    planes = np.arange(3600, dtype=np.uint16).reshape(2, 60, 30)
    write_cog(tmp_path / "a.tif", planes, grid, nodata=7, descriptions=["one", "two"])
    with rasterio.open(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.read(), planes)
        assert (file.nodata, file.descriptions, tuple(file.bounds)) == (7, ("one", "two"), (0, 0, 300, 600))
