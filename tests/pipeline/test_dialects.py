"""Items of the catalogs that people use, as scenes: every real one against a table, and what no real one shows."""

import json
from datetime import UTC, datetime

import pystac
import pytest

from pipeline.catalog import Query, look
from pipeline.dialects import to_scene
from pipeline.errors import Refused
from pipeline.radiometry import coding
from pipeline.scene import groups
from pipeline.sensors import SENSORS, SENTINEL2

HOME = "https://data.example.com/a/b/c/d/e/f/item.json"
"""Where the items of the tests are said to stand: deep enough for relative addresses that go up."""

ROOT = "https://data.example.com/catalog.json"

S2_V1 = ("sentinel-2", "L2A", 12, 1)
RTC = ("sentinel-1", "RTC", 2, 0)
PLAIN, SHIFTED = ("B04", 1e-4, 0.0, 0, "uint16"), ("B04", 1e-4, -0.1, 0, "uint16")
SR = ("red", 2.75e-5, -0.2, 0, "uint16")
MODIS_CRS = "SINUSOIDAL"
SLANT = "terrain corrected backscatter"
NO_SR = "no surface reflectance of PlanetScope"

# Read by eye and by a script of a few lines from the JSON of each item, without fusecube: projection, left, bottom, right,
# top of the red band from proj:transform and proj:shape ([rows, cols]), and what is stated of it. What no item states is
# the product guide's. Earth Search's boa_offset_applied makes its stated offset of -0.1 a 0.
#
# file: (sensor, level, bands, quality layers), CRS, extent, coding of a band, tile, platform, track
NORMAL = {
    "dea-australia/ga_ls8c_ard_3-1-0_088080_2020-05-25_final.stac-item.json": (
        ("landsat", "ARD", 8, 1), "EPSG:32656", (526785, -3312315, 760215, -3077085),
        ("red", 1e-4, 0, -999, "int16"), "088080", "landsat-8", "",
    ),
    "earth-search/S2A_12RWT_20240106_0_L2A.json": (
        S2_V1, "EPSG:32612", (499980, 3190200, 609780, 3300000), PLAIN, "12RWT", "sentinel-2a", "141",
    ),
    "earth-search/S2A_28QCH_20200714_0_L2A.json": (
        S2_V1, "EPSG:32628", (300000, 2190240, 409800, 2300040), PLAIN, "28QCH", "sentinel-2a", "123",
    ),
    "earth-search/S2A_31UDQ_20230617_0_L2A.json": (
        S2_V1, "EPSG:32631", (399960, 5390220, 509760, 5500020), PLAIN, "31UDQ", "sentinel-2a", "094",
    ),
    "earth-search/S2A_32TPS_20230602_0_L2A.json": (
        S2_V1, "EPSG:32632", (600000, 5090220, 709800, 5200020), PLAIN, "32TPS", "sentinel-2a", "022",
    ),
    "earth-search/S2A_OPER_MSI_L2A_TL_2APS_20230603T031757_A041497_T01WCQ.json": (
        S2_V1, "EPSG:32601", (300000, 7390200, 409800, 7500000), SHIFTED, "01WCQ", "sentinel-2a", "030",
    ),
    "earth-search/S2A_OPER_MSI_L2A_TL_2APS_20230806T022123_A042412_T60VXH.json": (
        S2_V1, "EPSG:32660", (600000, 6190200, 709800, 6300000), SHIFTED, "60VXH", "sentinel-2a", "087",
    ),
    "earth-search/S2B_OPER_MSI_L2A_TL_2BPS_20230513T005426_A032288_T01VCG.json": (
        S2_V1, "EPSG:32601", (300000, 6590220, 409800, 6700020), SHIFTED, "01VCG", "sentinel-2b", "087",
    ),
    "earth-search/item_collection-raster-vision.json": (  # three items of one tile
        S2_V1, "EPSG:32631", (399960, 5390220, 509760, 5500020), PLAIN, "31UDQ", None, None,
    ),
    "earth-search/raster-sentinel2-example.json": (
        S2_V1, "EPSG:32633", (399960, 4090200, 509760, 4200000), PLAIN, "33SVB", "sentinel-2b", "079",
    ),
    "landsat-c2-l2-stactools/LC08_L2SP_047027_20201204_02_T1.json": (
        ("landsat", "L2", 8, 2), "EPSG:32610", (353685, 5135085, 589515, 5374215), SR, "047027", "landsat-8", "",
    ),
    "landsat-c2-l2-stactools/LC09_L2SP_010065_20220129_02_T1.json": (
        ("landsat", "L2", 8, 2), "EPSG:32617", (491985, -915915, 720315, -683685), SR, "010065", "landsat-9", "",
    ),
    "landsat-c2-l2-stactools/LE07_L2SP_021030_20100109_02_T1.json": (
        ("landsat", "L2", 7, 2), "EPSG:32616", (559485, 4677285, 800415, 4890015), SR, "021030", "landsat-7", "",
    ),
    "landsat-c2-l2-stactools/LT05_L2SP_010067_19860424_02_T2.json": (
        ("landsat", "L2", 7, 2), "EPSG:32617", (416685, -1221615, 649515, -1014285), SR, "010067", "landsat-5", "",
    ),
    "modis-stactools/MCD43A4.A2022032.h14v10.061.json": (
        ("modis", "MCD43A4", 7, 0), MODIS_CRS, (-4447802.078667, -2223901.039333, -3335851.559, -1111950.519667),
        ("B01", 1e-4, 0, 32767, "int16"), "h14v10", "aqua,terra", "",
    ),
    "modis-stactools/MCD43A4.A2022073.h28v08.006.2022082044758.json": (
        ("modis", "MCD43A4", 1, 0), MODIS_CRS, (11674553.831067, 555511.947117, 11675480.4565, 556438.57255),
        ("B01", 1e-4, 0, 32767, "int16"), "h28v08", "aqua,terra", "",
    ),
    "modis-stactools/MOD09A1.A2022033.h19v10.061.json": (
        ("modis", "MOD09A1", 7, 1), MODIS_CRS, (1111950.519667, -2223901.039333, 2223901.039333, -1111950.519667),
        ("B01", 1e-4, 0, -28672, "int16"), "h19v10", "terra", "",
    ),
    "modis-stactools/MYD09A1.A2022025.h09v08.061.json": (
        ("modis", "MOD09A1", 7, 1), MODIS_CRS, (-10007554.677, 0, -8895604.157333, 1111950.519667),
        ("B01", 1e-4, 0, -28672, "int16"), "h09v08", "aqua", "",
    ),
    "modis-stactools/MOD13Q1.A2022017.h12v11.061.json": (
        ("modis", "MOD13Q1", 2, 1), MODIS_CRS, (-6671703.118, -3335851.559, -5559752.598333, -2223901.039333),
        ("NDVI", 1e-4, 0, -3000, "int16"), "h12v11", "terra", "",
    ),
    "nasa-cmr-lpcloud/sample-item-collection-pystac-client.json": (  # ten items without any field of the projection
        ("hls", "L30", 10, 1), None, None, ("red", 1e-4, 0, -9999, "int16"), None, "", "",
    ),
    "planetary-computer/S1A_IW_GRDH_1SDH_20191215T034818_20191215T034847_030353_0378EA_rtc.json": (
        RTC, "EPSG:32707", (457250, 8172880, 708510, 8464920), ("HH", 1, 0, -32768, "float32"), "", "sentinel-1a", "006-0378EA",
    ),
    "planetary-computer/S1A_IW_GRDH_1SDV_20191215T003835_20191215T003904_030352_0378DC_rtc.json": (
        RTC, "EPSG:32614", (602260, 1281530, 847210, 1570350), ("VV", 1, 0, -32768, "float32"), "", "sentinel-1a", "005-0378DC",
    ),
    "planetary-computer/S1A_IW_GRDH_1SDV_20191215T004249_20191215T004314_030352_0378DC_rtc.json": (
        RTC, "EPSG:32614", (281300, 2956110, 492330, 3235860), ("VV", 1, 0, -32768, "float32"), "", "sentinel-1a", "005-0378DC",
    ),
    "planetary-computer/S1A_IW_GRDH_1SDV_20191215T004314_20191215T004339_030352_0378DC_rtc.json": (
        RTC, "EPSG:32614", (252620, 3123540, 462740, 3402630), ("VV", 1, 0, -32768, "float32"), "", "sentinel-1a", "005-0378DC",
    ),
    "planetary-computer/S1A_IW_GRDH_1SDV_20191215T004339_20191215T004404_030352_0378DC_rtc.json": (
        RTC, "EPSG:32614", (224490, 3290610, 433600, 3569430), ("VV", 1, 0, -32768, "float32"), "", "sentinel-1a", "005-0378DC",
    ),
    "planetary-computer/S2A_MSIL2A_20231107T144731_R139_T20QRF_20231107T182159.json": (
        S2_V1, "EPSG:32620", (799980, 1990200, 909780, 2100000), SHIFTED, "20QRF", "sentinel-2a", "139",
    ),
    "planetary-computer/S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531.json": (
        S2_V1, "EPSG:32606", (399960, 6690240, 509760, 6800040), PLAIN, "06VVN", "sentinel-2b", "043",
    ),
    "planetary-computer/site1-20200606-tall-strip-africa.geojson": (  # nine tiles of one pass
        S2_V1, "EPSG:32735", None, PLAIN, None, "sentinel-2b", "078",
    ),
    "planetary-computer/site2-2020_jun_jul-35MNM.geojson": (  # one tile, thirteen days
        S2_V1, "EPSG:32735", (499980, 9090220, 609780, 9200020), PLAIN, "35MNM", None, "078",
    ),
    "sentinel1-stactools/S1A_20200103_17RMJ_ASC.json": (
        RTC, "EPSG:32617", (399960, 2790240, 509760, 2900040), ("VV", 1, 0, 0, "float32"), "17RMJ", "sentinel-1a", "121-0382F7",
    ),
    "sentinel1-stactools/S1B_20161121_12SYJ_ASC.json": (
        RTC, "EPSG:32612", (699960, 4290240, 809760, 4400040), ("VV", 1, 0, 0, "float32"), "12SYJ", "sentinel-1b", "049-0052FC",
    ),
    "sentinel2-stactools/S2A_T01KAB_20230821T221944_L2A.json": (
        S2_V1, "EPSG:32701", (99960, 8090200, 209760, 8200000), SHIFTED, "01KAB", "sentinel-2a", "029",
    ),
    "sentinel2-stactools/S2A_T34LBQ_20220401T090142_L2A.json": (
        S2_V1, "EPSG:32734", (199980, 8790220, 309780, 8900020), "contradicts itself", "34LBQ", "sentinel-2a", "064",
    ),
    "sentinel2-stactools/S2A_T46RER_20210908T043714_L1C.json": (
        ("sentinel-2", "L1C", 12, 0), "EPSG:32646", (499980, 2990220, 609780, 3100020), PLAIN, "46RER", "sentinel-2a", "133",
    ),
    "sentinel2-stactools/S2B_T22HBD_20210122T133224_L2A.json": (
        S2_V1, "EPSG:32722", (199980, 5790220, 309780, 5900020), PLAIN, "22HBD", "sentinel-2b", "081",
    ),
    "sentinel2-stactools/S2B_T33XWJ_20220413T150756_L2A.json": (
        S2_V1, "EPSG:32633", (499980, 8790240, 609780, 8900040), SHIFTED, "33XWJ", "sentinel-2b", "025",
    ),
    "usgs-landsatlook/LC08_L2SP_028030_20200114_20200824_02_T1_SR.json": (
        ("landsat", "L2", 7, 2), "EPSG:32615", (173085, 4663485, 411015, 4904715), SR, "028030", "landsat-8", "",
    ),
    "usgs-landsatlook/LC08_L2SR_081119_20200101_20200823_02_T2.json": (
        ("landsat", "L2", 7, 2), "EPSG:3031", (857085, -357615, 1089915, -127485), SR, "081119", "landsat-8", "",
    ),
    "usgs-landsatlook/LE07_L2SP_044033_20210329_20210424_02_T1_SR.json": (
        ("landsat", "L2", 6, 2), "EPSG:32610", (478485, 4202685, 723015, 4416615), SR, "044033", "landsat-7", "",
    ),
    "usgs-landsatlook/LT04_L2SP_002026_19830110_20200918_02_T1_ST_stac.json": (
        ("landsat", "L2", 1, 2), "EPSG:32622", (210285, 5302485, 453915, 5525415),
        ("lwir", 0.00341802, 149.0, 0, "uint16"), "002026", "landsat-4", "",
    ),
    "usgs-landsatlook/LT05_L2SP_010067_19860424_20200918_02_T2_SR_stac.json": (
        ("landsat", "L2", 6, 2), "EPSG:32617", (416685, -1221615, 649515, -1014285), SR, "010067", "landsat-5", "",
    ),
}  # fmt: skip

REFUSED = {
    "aster/AST_L1T_00305032000040446_20150409135350_78838.json": "is ASTER",
    "modis-stactools/MOD09Q1.A2022033.h10v10.061.json": "two bands at 250 m",
    "modis-stactools/MYD10A1.A2022043.h21v04.061.json": "snow cover",
    "planet/20170831_172754_101c.json": NO_SR,
    "planet/20221224_152110_18_2498.json": NO_SR,
    "planet/raster-planet-example.json": NO_SR,
    "planetary-computer/S1A_EW_GRDM_1SSH_20220505T235314_20220505T235417_043082_05250D.json": SLANT,
    "planetary-computer/sentinel-1-grd-item-raw.json": SLANT,
    "sentinel1-stactools/S1A_EW_GRDM_1SDH_20221130T014342_20221130T014446_046117_058549.json": SLANT,
    "sentinel1-stactools/S1A_IW_GRDH_1SDV_20210809T173953_20210809T174018_039156_049F13.json": SLANT,
}


def placed(raw: dict) -> pystac.Item:
    item = pystac.Item.from_dict(raw)
    item.set_self_href(HOME)
    return item


def items_of(path) -> list[pystac.Item]:
    raw = json.loads(path.read_text())
    return [placed(feature) for feature in raw.get("features", [raw])]


def test_every_real_item_has_its_row(real_data):
    folder = real_data / "stac-items"
    there = {str(path.relative_to(folder)) for path in folder.glob("*/*json")}
    assert there == NORMAL.keys() | REFUSED.keys()
    assert sum(len(items_of(folder / name)) for name in there) == 82  # 47 files of one item, and 3 + 9 + 13 + 10


@pytest.mark.parametrize("name", REFUSED)
def test_a_real_item_that_is_no_scene_is_refused_with_the_reason(real_data, name):
    for item in items_of(real_data / "stac-items" / name):
        with pytest.raises(Refused, match=REFUSED[name]) as error:
            to_scene(item, ROOT)
        assert item.id in str(error.value)


@pytest.mark.parametrize("name", NORMAL)
def test_a_real_item_is_normalised(real_data, name):
    (sensor, level, bands, layers), crs, extent, coded, tile, platform, track = NORMAL[name]
    for item in items_of(real_data / "stac-items" / name):
        scene = to_scene(item, ROOT)
        assert (scene.sensor, scene.level) == (sensor, level)
        known = {band.name for band in SENSORS[sensor].bands}
        assert len(known & set(scene.assets)) == bands
        if layers is not None:
            assert len(set(scene.assets) - known) == layers
        if crs == MODIS_CRS:
            assert scene.crs is not None
            assert "Sinusoidal" in scene.crs
            assert "6371007.181" in scene.crs
        else:
            assert scene.crs == crs
        if extent is not None:
            assert scene.extent == pytest.approx(extent, abs=1e-4)
        if isinstance(coded, str):
            with pytest.raises(Refused, match=coded):
                coding(scene, "B04")
        else:
            how = coding(scene, coded[0])
            assert (how.scale, how.offset) == pytest.approx(coded[1:3], rel=1e-9)
            assert (how.nodata, how.dtype, how.law) == (*coded[3:], "linear")
        assert tile is None or scene.tile == tile
        assert platform is None or scene.platform == platform
        assert track is None or scene.track == track


def test_bounds_across_the_antimeridian_and_in_metres(real_data):
    # Three items were cut wrongly and say that they run round the Earth; their tiles are 110 km wide (about 2.5 degrees at
    # 67 north). A fourth states west greater than east. The Sentinel-1 items state their bbox in metres.
    for part in ("T01WCQ", "T60VXH", "T01VCG", "T01KAB"):
        (path,) = (real_data / "stac-items").glob(f"*/*{part}*.json")
        west, south, east, north = to_scene(items_of(path)[0], ROOT).bbox
        assert 178 < west < 180
        assert -180 < east < -178
        assert 0.9 < north - south < 1.1
    (path,) = (real_data / "stac-items").glob("*/*T004314_030352_0378DC_rtc.json")
    west, south, east, north = to_scene(items_of(path)[0], ROOT).bbox
    # central meridian of zone 14 is 99 west, and 500 km east of the zone's origin; northing 3000 km is about 27.1 north
    assert -101.5 < west < -101.0
    assert 26.6 < south < 26.8
    assert -99.2 < east < -99.0
    assert 29.1 < north < 29.4


def test_frames_of_one_pass_are_one_group(real_data):
    files = sorted((real_data / "stac-items/planetary-computer").glob("*_030352_0378DC_rtc.json"))
    scenes = [to_scene(item, ROOT) for path in files for item in items_of(path)]
    assert [len(group.scenes) for group in groups(scenes)] == [4]


def test_a_composite_is_of_the_middle_of_its_period(real_data):
    (item,) = items_of(real_data / "stac-items/modis-stactools/MOD09A1.A2022033.h19v10.061.json")
    # 2 February 0:00 to 9 February 23:59:59, the middle of 8 days less one second
    assert to_scene(item, ROOT).acquired == datetime(2022, 2, 5, 23, 59, 59, 500_000, tzinfo=UTC)


def test_processing_and_angles_have_one_name(real_data):
    folder = real_data / "stac-items"
    (item,) = items_of(next(folder.glob("earth-search/*T01WCQ.json")))
    scene = to_scene(item, ROOT)
    assert scene.processed == "2023-06-03T03:17:57.000000"
    assert scene.properties["s2:processing_baseline"] == "05.09"  # sentinel2:processing_baseline there
    (item,) = items_of(next(folder.glob("planetary-computer/S2B_MSIL2A_2019*.json")))
    scene = to_scene(item, ROOT)  # states s2:mean_solar_zenith 37.9128805424161
    assert scene.properties["view:sun_elevation"] == pytest.approx(52.0871194575839)
    (item,) = items_of(next(folder.glob("usgs-landsatlook/LC08_L2SR*.json")))
    scene = to_scene(item, ROOT)
    assert scene.properties["view:sun_elevation"] == 22.72192082  # eo:sun_elevation there
    assert scene.processed == "2020-08-23"


def test_catalogs_on_disk(real_data):
    """The items of the local catalogs: addresses below their folders, coding as their READMEs say."""
    start, end = datetime(2015, 6, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)

    def found(name, table, **changes):
        result = look(Query(str(real_data / name), table, start, end, **changes))
        assert not result.refused
        return result.scenes

    scenes = found("s2-l2a-120m-multidate/catalog.json", SENTINEL2)
    assert len(scenes) == 10
    assert all(coding(scene, "B04").offset == 0 for scene in scenes)
    assert scenes[0].assets["B02"].address.startswith(str(real_data / "s2-l2a-120m-multidate"))
    # the grid that the items state is that of the 10 m originals: the tile, not the file, and right as such
    assert {scene.extent[2] - scene.extent[0] for scene in scenes} == {109800}
    scenes = found("planet-fusion-daily", SENSORS["planet-fusion"])
    assert len(scenes) == 14
    assert {scene.tile for scene in scenes} == {"33N-23E-223N", "33N-24E-223N"}
    assert {scene.crs for scene in scenes} == {"EPSG:32633"}
    # stored blue, green, red, nir, whatever eo:bands of the items says
    layers = [scenes[0].assets[band].address.rpartition("#")[2] for band in ("blue", "green", "red", "nir")]
    assert layers == ["layer=1", "layer=2", "layer=3", "layer=4"]
    assert len(found("s2-native-stac/catalog.json", SENTINEL2, level="L2A")) == 12
    assert len(found("s2-native-stac/catalog.json", SENTINEL2, level="L1C")) == 4
