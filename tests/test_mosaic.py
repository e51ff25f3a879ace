"""Scenes of one image laid down over each other: order, tile borders, zones, projections, flags, dilation."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from conftest import specification
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from scipy.ndimage import binary_dilation

from pipeline.errors import Refused
from pipeline.flags import Flag
from pipeline.harmonise.steps import Harmony
from pipeline.lattice import Box, Lattice, Layout
from pipeline.mosaic import lay, lay_quality
from pipeline.reader import Journal
from pipeline.scene import Asset, Scene, groups
from pipeline.summary import digest
from pipeline.tree import tree_of

NOON = datetime(2024, 6, 1, 10, 20, 30, tzinfo=UTC)
GRID = {"crs": "EPSG:32633", "left": 399960.0, "top": 5800020.0, "size": 10.0}


def write(path, pixels, crs="EPSG:32633", left=399960.0, top=5800020.0, size=10.0):
    """A GeoTIFF of one or more bands, (rows, cols) or (bands, rows, cols)."""
    planes = pixels if pixels.ndim == 3 else pixels[None]
    shape = {"count": planes.shape[0], "height": planes.shape[1], "width": planes.shape[2]}
    grid = Affine(size, 0, left, 0, -size, top)
    with rasterio.open(path, "w", driver="GTiff", dtype=planes.dtype, crs=crs, transform=grid, **shape) as file:
        file.write(planes)
    return str(path)


def scene(name, assets, clouds=10.0, after=0.0, **fields):
    """A Sentinel-2 scene somewhere about the corner of ``GRID``, its offset applied, of assets or paths."""
    base = {
        "sensor": "sentinel-2",
        "level": "L2A",
        "bbox": (13.0, 52.0, 14.0, 53.0),
        "crs": "EPSG:32633",
        "extent": None,
    }
    base |= {"platform": "sentinel-2a", "properties": {"earthsearch:boa_offset_applied": True}} | fields
    made = {band: asset if isinstance(asset, Asset) else Asset(str(asset)) for band, asset in assets.items()}
    return Scene(name, acquired=NOON + timedelta(seconds=after), assets=made, cloud_cover=clouds, **base)


def window(rows, cols, crs="EPSG:32633", left=399960.0, top=5800020.0, size=10.0):
    return GeoBox((rows, cols), Affine(size, 0, left, 0, -size, top), crs)


def numbers(value, rows=12, cols=12):
    return np.full((rows, cols), value, np.uint16)


def test_a_pixel_is_the_least_cloudy_scenes_then_the_newest_where_they_overlap(tmp_path):
    # columns 0-5 clear, 3-8 newer of two cloudier, 6-11 older of them
    clear, newer, older = numbers(0), numbers(0), numbers(0)
    clear[:, :6], newer[:, 3:9], older[:, 6:] = 1000, 2000, 3000
    made = [
        scene("older", {"B04": write(tmp_path / "o.tif", older)}, clouds=20),
        scene("newer", {"B04": write(tmp_path / "n.tif", newer)}, clouds=20, after=100, tile="B"),
        scene("clear", {"B04": write(tmp_path / "c.tif", clear)}, clouds=5, tile="C"),
    ]
    (group,) = groups(made)
    image = lay(group.scenes, window(12, 12), ["B04"]).values[0]
    expected = np.repeat(np.float32([0.1] * 6 + [0.2] * 3 + [0.3] * 3)[None], 12, axis=0)
    np.testing.assert_array_equal(image, expected)


def test_a_reprocessed_scene_replaces_its_older_self_and_both_datastrips_stay(tmp_path):
    north, south = numbers(1000), numbers(2000)
    north[6:], south[:6] = 0, 0
    again = north // 1000 * 1500
    made = [
        scene("north", {"B04": write(tmp_path / "n.tif", north)}, tile="33UUT", processed="2024-06-01"),
        scene("north again", {"B04": write(tmp_path / "a.tif", again)}, 90, tile="33UUT", processed="2024-09-01"),
        scene("south", {"B04": write(tmp_path / "s.tif", south)}, after=9, tile="33UUT", processed="2024-06-01"),
    ]
    (group,) = groups(made)
    assert {one.id for one in group.scenes} == {"north again", "south"}
    image = lay(group.scenes, window(12, 12), ["B04"]).values[0]
    np.testing.assert_array_equal(image, np.repeat(np.float32([0.15] * 6 + [0.2] * 6)[:, None], 12, axis=1))


def test_a_saturated_pixel_is_one_of_the_scene_that_was_taken(tmp_path):
    top, below = numbers(1000), numbers(65535)
    top[:, 6:] = 0
    made = [
        scene("top", {"B04": write(tmp_path / "t.tif", top)}),
        scene("below", {"B04": write(tmp_path / "b.tif", below)}),
    ]
    image = lay(made, window(12, 12), ["B04"])
    np.testing.assert_array_equal(image.saturated, np.repeat(np.array([[False] * 6 + [True] * 6]), 12, axis=0))


@pytest.mark.parametrize(
    ("grid", "rows", "cols"),
    [
        (window(12, 12), slice(4, 7), slice(4, 7)),  # the file's own
        (window(12, 10, left=GRID["left"] + 4), slice(4, 7), slice(3, 7)),  # 3 lies between columns 3 and 4 of the file
        (window(6, 6, size=20.0), slice(2, 4), slice(2, 4)),  # means of 40-60 and 60-80 m
        (window(4, 4, size=25.0), slice(1, 3), slice(1, 3)),  # of 25-50 and 50-75 m
    ],
)
def test_a_saturated_number_is_part_of_no_other_and_what_it_would_be_part_of_is_saturated(tmp_path, grid, rows, cols):
    # saturated from 40 to 70 m south and east of the corner, 0.3 around
    pixels = numbers(3000)
    pixels[4:7, 4:7] = 65535
    image = lay([scene("bright", {"B04": write(tmp_path / "b.tif", pixels)})], grid, ["B04"])
    expected = np.zeros(grid.shape, bool)
    expected[rows, cols] = True
    np.testing.assert_array_equal(image.saturated, expected)
    np.testing.assert_array_equal(image.values[0], np.where(expected, np.float32(6.5535), np.float32(0.3)))


def test_interpolation_saturates_neither_what_was_not_measured_nor_the_rim_of_what_is_bright(tmp_path):
    pixels = numbers(3000, 12, 16)
    pixels[:, 4], pixels[:, 5:8], pixels[:, 8:10], pixels[:, 10:] = 65535, 0, 1, 65534
    image = lay(
        [scene("edge", {"B04": write(tmp_path / "e.tif", pixels)})], window(12, 14, left=GRID["left"] + 4), ["B04"]
    )
    # pixel k lies 0.4 of the way from column k of the file to the next: 4 has a part in 3 and 4; 5 to 7 are nodata's own.
    # At 10 the kernel overshoots 65534 by 7 % of the step
    np.testing.assert_array_equal(image.saturated, [[k in (3, 4) for k in range(14)]] * 12)
    np.testing.assert_array_equal(np.isnan(image.values[0]), [[k in (5, 6, 7) for k in range(14)]] * 12)
    np.testing.assert_array_equal(image.values[0, :, 10], np.float32(6.5534))


@pytest.mark.parametrize(("left", "size", "cols"), [(GRID["left"] + 5, 10.0, 8), (GRID["left"], 30.0, 4)])
@pytest.mark.parametrize(("border", "nodata"), [(0.0, None), (5.0, 5.0)])
def test_the_border_of_a_radar_image_has_no_part_in_the_land_beside_it(tmp_path, left, size, cols, border, nodata):
    """Zeros, and what the file itself calls nodata, of which the item says nothing: neither averaged nor interpolated."""
    power = np.full((12, 12), 0.1, np.float32)
    power[:, :4] = border
    path = write(tmp_path / "vv.tif", power)
    with rasterio.open(path, "r+") as file:
        file.nodata = nodata
    radar = scene("S1", {"VV": path}, sensor="sentinel-1", level="RTC")
    values = lay([radar], window(3, cols, left=left, size=size), ["VV"]).values[0]
    assert np.isnan(values[:, 0]).all()
    assert not np.isnan(values[:, -1]).any()
    np.testing.assert_allclose(values[~np.isnan(values)], 0.1, rtol=1e-6)
    stated = scene("S1", {"VV": Asset(path, nodata=-1.0)}, sensor="sentinel-1", level="RTC")
    assert np.isnan(lay([stated], window(2, 2), ["VV"]).values).all() == (border == 0), "what the item states holds"


def test_flags_come_of_the_scene_that_the_pixel_comes_of(tmp_path):
    # the clear scene's classes end at column 6 of 12 (20 m: 3 of 6); the other is cloud all over, shadow in the last
    clear, other = np.zeros((6, 6), np.uint8), np.full((6, 6), 9, np.uint8)
    clear[:, :3], other[:, 5] = 4, 3
    made = [
        scene("clear", {"SCL": write(tmp_path / "c.tif", clear, size=20.0)}),
        scene("other", {"SCL": write(tmp_path / "o.tif", other, size=20.0)}),
    ]
    quality = lay_quality(made, window(6, 6, size=20.0))
    expected = [0, 0, 0, Flag.CLOUD, Flag.CLOUD, Flag.SHADOW]
    np.testing.assert_array_equal(quality.flags, np.repeat(np.array([expected], np.uint16), 6, axis=0))
    assert quality.measured.all()


def test_layers_of_landsat_say_together_what_a_pixel_is(tmp_path):
    # QA_PIXEL 22280 cloud, 21824 clear, 1 fill; QA_RADSAT 4: the third band is saturated
    classes, saturated = np.full((4, 4), 21824, np.uint16), np.zeros((4, 4), np.uint16)
    classes[0], classes[3], saturated[:, 0] = 22280, 1, 4
    made = scene(
        "LC08",
        {
            "QA_PIXEL": write(tmp_path / "p.tif", classes, size=30.0),
            "QA_RADSAT": write(tmp_path / "r.tif", saturated, size=30.0),
        },
        sensor="landsat",
        level="L2",
    )
    quality = lay_quality([made], window(4, 4, size=30.0))
    expected = np.zeros((4, 4), np.uint16)
    expected[0] = Flag.CLOUD
    expected[:3, 0] += np.uint16(Flag.SATURATED)
    np.testing.assert_array_equal(quality.flags, expected)
    np.testing.assert_array_equal(quality.measured, classes != 1)


def test_where_a_planetscope_scene_was_not_imaged_the_next_ones_clouds_count(tmp_path):
    """Its class layers are 0 there, which is also what they say of clear land; the eighth layer tells them apart."""
    names = ["SNOW", "SHADOW", "LIGHT_HAZE", "HEAVY_HAZE", "CLOUD"]
    first, second = np.zeros((8, 6, 6), np.uint8), np.zeros((8, 6, 6), np.uint8)
    first[7, :, 3:] = 1  # not imaged
    second[5] = 1  # cloud all over
    made = []
    for name, layers in (("first", first), ("second", second)):
        path = write(tmp_path / f"{name}.tif", layers, size=3.0)
        assets = {f"UDM2_{kind}": f"{path}#layer={2 + index}" for index, kind in enumerate(names)}
        made.append(scene(name, assets | {"UDM2_UNUSABLE": f"{path}#layer=8"}, sensor="planetscope", level="SR"))
    quality = lay_quality(made, window(6, 6, size=3.0))
    expected = np.repeat(np.array([[0] * 3 + [int(Flag.CLOUD)] * 3], np.uint16), 6, axis=0)
    np.testing.assert_array_equal(quality.flags, expected)


def test_a_scene_that_cannot_be_read_leaves_its_place_to_the_next_and_is_named(tmp_path):
    gone, there = str(tmp_path / "gone.tif"), write(tmp_path / "t.tif", numbers(2000))
    made = [scene("gone", {"B04": gone}), scene("there", {"B04": there})]
    journal = Journal()
    image = lay(made, window(12, 12), ["B04"], journal)
    np.testing.assert_array_equal(image.values[0], np.full((12, 12), 0.2, np.float32))
    assert journal.failures == {gone: "the file is missing"}
    with pytest.raises(OSError, match="B04 of scene gone cannot be read: the file is missing"):
        lay(made, window(12, 12), ["B04"])


def test_flags_move_with_the_bands_of_a_scene_that_is_put_right(tmp_path):
    # the ground of the first 20 m column lies 20 m further east in the scene: what is read for it stands in the second
    classes = np.full((6, 6), 4, np.uint8)
    classes[:, 3] = 9
    made = scene("S2", {"SCL": write(tmp_path / "c.tif", classes, size=20.0)})
    harmony = Harmony(shifts=(("S2", 20.0, 0.0),))
    found = lay_quality([made], window(6, 5, size=20.0), harmony=harmony).flags
    np.testing.assert_array_equal(found, [[0, 0, int(Flag.CLOUD), 0, 0]] * 6)


@pytest.mark.parametrize("listed", [True, False])
def test_where_a_scenes_own_flags_are_gone_its_pixels_get_none_of_another_scene(tmp_path, listed):
    """The first scene gives the left half; the second, cloud all over, gives the rest."""
    left = numbers(1000)
    left[:, 6:] = 0
    first = {"B05": str(tmp_path / "no.tif"), "B04": write(tmp_path / "l.tif", left)}
    cloud = np.full((6, 6), 9, np.uint8)
    second = {"B04": write(tmp_path / "r.tif", numbers(2000)), "SCL": write(tmp_path / "s.tif", cloud, size=20.0)}
    gone = {"SCL": str(tmp_path / "gone.tif")} if listed else {}
    made = [scene("first", first | gone), scene("second", second)]
    journal = Journal()
    quality = lay_quality(made, window(12, 12), journal)
    np.testing.assert_array_equal(quality.flags, [[0] * 6 + [int(Flag.CLOUD)] * 6] * 12)
    np.testing.assert_array_equal(quality.measured, [[False] * 6 + [True] * 6] * 12)
    assert journal.failures == dict.fromkeys(gone.values(), "the file is missing")


def test_a_band_that_one_of_two_scenes_does_not_have_is_the_other_scenes(tmp_path):
    """Landsat 7 has no coastal band: neither is it read nor is its coding, which Level-1 refuses, asked for."""
    path = write(tmp_path / "r.tif", numbers(10000))
    level1 = {"sensor": "landsat", "level": "L1", "properties": {"view:sun_elevation": 30}}
    made = [
        scene("LE07", {"red": Asset(path, scale=2e-5, offset=-0.1)}, platform="landsat-7", **level1),
        scene("LC08", {"red": path, "coastal": path}, platform="landsat-8", **level1),
    ]
    values = lay(made, window(12, 12), ["coastal", "red"]).values
    np.testing.assert_allclose(values, 0.2, atol=1e-6)  # (2e-5 * 10000 - 0.1) / sin 30
    alone = lay(made[:1], window(12, 12), ["coastal", "red"]).values
    assert np.isnan(alone[0]).all()
    assert not np.isnan(alone[1]).any()
    journal = Journal()
    lay(made, window(12, 12), ["coastal"], journal)
    assert list(journal.failures.values()) == ["the item lists no such asset"]


def test_backscatter_of_two_slices_without_their_border_noise(tmp_path):
    """Slices of one pass overlap; what lies under -40 dB at the first one's border is the second's."""
    first, second = np.full((12, 12), 0.1, np.float32), np.full((12, 12), 0.2, np.float32)
    first[:, 8:], first[:, 7], second[:, :4] = -32768, 1e-6, -32768
    made = [
        scene(
            name,
            {"VV": write(tmp_path / f"{name}.tif", pixels)},
            sensor="sentinel-1",
            level="RTC",
            tile="",
            track="1-A",
            after=after,
        )
        for name, pixels, after in (("second", second, 0), ("first", first, 25))
    ]
    (group,) = groups(made)
    image = lay(group.scenes, window(12, 12), ["VV"]).values[0]
    np.testing.assert_array_equal(image, np.repeat(np.float32([0.1] * 7 + [0.2] * 5)[None], 12, axis=0))


def test_files_of_other_types_and_units_make_one_mosaic(tmp_path):
    # decibels beside power: 10^(-10/10) = 0.1
    power, db = np.full((12, 12), 0.2, np.float32), np.full((12, 12), -10, np.float32)
    power[:, :6] = -32768
    radar = {"sensor": "sentinel-1", "level": "RTC", "track": "1-A", "platform": "sentinel-1a"}
    made = [
        scene("power", {"VV": write(tmp_path / "p.tif", power)}, **radar),
        scene("db", {"VV": Asset(write(tmp_path / "d.tif", db), unit="dB", nodata=-99)}, after=25, **radar),
    ]
    image = lay(made, window(12, 12), ["VV"]).values[0]
    np.testing.assert_allclose(image, np.repeat(np.float32([0.1] * 6 + [0.2] * 6)[None], 12, axis=0), rtol=1e-6)


def ramp(crs, left, top, size, shape, plane):
    """A file's pixels of a plane in metres of EPSG:32633, value = plane(easting, northing) at each centre."""
    rows, cols = np.mgrid[0 : shape[0], 0 : shape[1]]
    x, y = left + (cols + 0.5) * size, top - (rows + 0.5) * size
    east, north = Transformer.from_crs(crs, "EPSG:32633", always_xy=True).transform(x, y)
    return plane(east, north).astype(np.float32)


@pytest.mark.parametrize(("unit", "values"), [("dB", [-10.0, -20.0]), ("amplitude", [0.1**0.5, 0.1])])
def test_decibels_and_amplitudes_are_averaged_as_power(tmp_path, unit, values):
    # powers of 0.1 and 0.01 in alternate columns: the mean of a coarser pixel is 0.055, not 10^-1.5 = 0.032
    pixels = np.tile(np.array(values, np.float32), (12, 6))
    asset = Asset(write(tmp_path / "vv.tif", pixels), unit=unit, dtype="float32")
    radar = scene("S1", {"VV": asset}, sensor="sentinel-1", level="GEO", properties={})
    found = lay([radar], window(6, 6, size=20.0), ["VV"]).values
    np.testing.assert_allclose(found, 0.055, rtol=1e-5)


def test_a_mosaic_across_a_utm_zone_border_keeps_every_scene_in_its_place(tmp_path):
    """A scene of zone 32 is warped onto the grid of zone 33, where the other scene is untouched."""
    # 12 degrees east, 52 north, is 500000 - 3 degrees of easting in zone 33: 294 km or so
    here = {"crs": "EPSG:32633", "left": 294000.0, "top": 5770020.0, "size": 10.0}
    grid = window(150, 200, **here)

    def plane(east, north):
        return 3e-5 * (east - 294000) + 2e-5 * (5770020 - north) + 0.05

    own = ramp("EPSG:32633", 294000.0, 5770020.0, 10.0, (150, 200), plane)
    own[:, 120:] = 0  # its tile ends there
    middle = Transformer.from_crs("EPSG:32633", "EPSG:32632", always_xy=True).transform(295000.0, 5769270.0)
    corner = {"left": round(middle[0] / 10) * 10 - 2000.0, "top": round(middle[1] / 10) * 10 + 2000.0, "size": 10.0}
    other = ramp("EPSG:32632", *corner.values(), (400, 400), plane)
    coded = {"scale": 1.0, "offset": 0.0, "dtype": "float32", "nodata": 0}
    first = {"red": Asset(write(tmp_path / "own.tif", own, **here), **coded)}
    second = {"red": Asset(write(tmp_path / "other.tif", other, crs="EPSG:32632", **corner), **coded)}
    made = [
        scene("zone 33", first, sensor="landsat", level="L2", bbox=(11.9, 51.9, 12.1, 52.1), tile="33"),
        scene(
            "zone 32",
            second,
            50,
            sensor="landsat",
            level="L2",
            bbox=(11.9, 51.9, 12.1, 52.1),
            tile="32",
            crs="EPSG:32632",
        ),
    ]
    (group,) = groups(made)
    journal = Journal()
    image = lay(group.scenes, grid, ["red"], journal).values[0]
    truth = ramp("EPSG:32633", 294000.0, 5770020.0, 10.0, (150, 200), plane)
    np.testing.assert_array_equal(image[:, :120], own[:, :120])
    # a thousandth of a pixel is 3e-5 * 0.01 m = 3e-7 across; float32 of 0.1 has steps of 7e-9
    np.testing.assert_allclose(image[:, 120:], truth[:, 120:], rtol=0, atol=4e-7)
    assert list(journal.outcomes.values()) == ["native", "warped"]


def test_a_mosaic_across_the_antimeridian_is_one_image(tmp_path):
    """Fiji: one pass at 22:30 UTC over zones 60 and 1, 180 degrees in the middle of the grid."""
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32760", always_xy=True).transform(180.0, -17.0)
    left, top = round(x / 10) * 10 - 1000.0, round(y / 10) * 10 + 500.0
    grid = window(100, 200, crs="EPSG:32760", left=left, top=top)
    over = Transformer.from_crs("EPSG:32760", "EPSG:32701", always_xy=True).transform(left + 1000.0, top - 500.0)
    here = {"left": left, "top": top, "size": 10.0}
    there = {"left": round(over[0] / 10) * 10 - 2000.0, "top": round(over[1] / 10) * 10 + 2000.0, "size": 10.0}
    own, other = numbers(1000, 100, 200), numbers(2000, 400, 400)
    own[:, 100:] = 0
    west = {"crs": "EPSG:32760", "bbox": (179.9, -17.1, 180.0, -16.9), "after": 12.2 * 3600}
    east = {"crs": "EPSG:32701", "bbox": (179.99, -17.1, -179.9, -16.9), "after": 12.2 * 3600, "tile": "01KAB"}
    made = [
        scene("60", {"B04": write(tmp_path / "60.tif", own, crs="EPSG:32760", **here)}, **west),
        scene("1", {"B04": write(tmp_path / "1.tif", other, crs="EPSG:32701", **there)}, 50, **east),
    ]
    (group,) = groups(made)
    image = lay(group.scenes, grid, ["B04"]).values[0]
    np.testing.assert_array_equal(image, np.repeat(np.float32([0.1] * 100 + [0.2] * 100)[None], 100, axis=0))


def test_numbers_out_of_the_valid_range_bleed_into_nothing_and_interpolation_makes_none(tmp_path):
    """MOD09 is valid from -100: what lies below is no measurement, and water beside cloud does not become it."""
    rows = np.zeros((12, 12), np.int16)
    rows[:, 4:], rows[:, 9] = 8000, -20000
    path = write(tmp_path / "m.tif", rows, left=GRID["left"] - 5, top=GRID["top"] + 5)  # half a pixel off
    made = scene("MOD09", {"B01": path}, sensor="modis", level="MOD09GA")
    image = lay([made], window(8, 10), ["B01"]).values[0]
    # a pixel lies between columns k and k + 1 of the file. At 2: (-1 * 0 + 9 * 0 + 9 * 0 - 1 * 8000) / 16 = -500, kept to -100;
    # at 3: (0 + 0 + 9 * 8000 - 8000) / 16 = 4000; at 4: (0 + 17 * 8000 - 0) / 16 = 8500; at 8 and 9 one of the two is missing
    expected = [0, 0, -0.01, 0.4, 0.85, 0.8, 0.8, 0.8]
    np.testing.assert_allclose(image[1:7, :8], np.repeat(np.float32([expected]), 6, axis=0), atol=1e-6)
    beside = image[1:7, 8:10]
    assert (np.isnan(beside) | np.isclose(beside, 0.8)).all()


def test_the_tree_lays_each_day_and_each_pass_down_as_one_image(tmp_path):
    """Two tiles side by side on one day, one of them again three days later, and two passes of a radar on the first."""
    left, right = numbers(1000, 24, 12), numbers(2000, 24, 12)
    paths = {
        "left": write(tmp_path / "l.tif", left),
        "right": write(tmp_path / "r.tif", right, left=GRID["left"] + 120),
        "later": write(tmp_path / "x.tif", left * 3),
        "up": write(tmp_path / "u.tif", np.full((24, 24), 0.1, np.float32)),
        "down": write(tmp_path / "d.tif", np.full((24, 24), 0.3, np.float32)),
    }
    radar = {"sensor": "sentinel-1", "level": "RTC", "platform": "sentinel-1a", "properties": {}}
    made = [
        scene("right", {"B04": paths["right"]}, tile="33UVT"),
        scene("later", {"B04": paths["later"]}, after=3 * 86400, tile="33UUT"),
        scene("left", {"B04": paths["left"]}, clouds=30, after=5, tile="33UUT"),
        scene("down", {"VV": paths["down"]}, after=-5 * 3600, track="168-0A", **radar),
        scene("up", {"VV": paths["up"]}, after=6 * 3600, track="146-0B", **radar),
    ]
    lattice = Lattice("EPSG:32633", Fraction(10), Fraction(60), (Fraction(399960), Fraction(5800020)))
    tree = tree_of(made, Layout.over(lattice, Box(0, 0, 4, 4), 2))
    optical, passes = tree["sentinel-2/10m"], tree["sentinel-1/10m"]
    assert [str(t)[:10] for t in optical.time.values] == ["2024-06-01", "2024-06-04"]
    assert list(optical.id.values) == ["right left", "later"]
    found = optical.reflectance.sel(band="B04").compute(scheduler="synchronous").values
    first = np.repeat(np.float32([0.1] * 12 + [0.2] * 12)[None], 24, axis=0)
    second = np.repeat(np.float32([0.3] * 12 + [np.nan] * 12)[None], 24, axis=0)
    np.testing.assert_array_equal(found, np.stack([first, second]))
    assert list(passes.id.values) == ["down", "up"]
    found = passes.gamma_nought.sel(band="VV").compute(scheduler="synchronous").values
    np.testing.assert_array_equal(found[:, 0, 0], np.float32([0.3, 0.1]))


def test_a_scene_that_contradicts_itself_is_refused_by_name_when_it_is_read(tmp_path):
    path = write(tmp_path / "a.tif", numbers(1000))
    wrong = scene("S2A_WRONG", {"B04": Asset(path, offset=0.0)}, properties={"s2:processing_baseline": "05.09"})
    with pytest.raises(Refused, match="S2A_WRONG contradicts itself"):
        lay([wrong], window(12, 12), ["B04"])


def test_clouds_are_dilated_by_metres_across_the_borders_of_chunks(own_archive, tmp_path, go):
    """50 m are two and a half pixels of the classification: rounded up, three, in every direction."""
    name = own_archive / "sentinel-2-l2a" / "S2A_33UVT_20240601_SIM_L2A" / "SCL.tif"
    with rasterio.open(name) as file:
        codes, profile = np.full_like(file.read(1), 4), file.profile
    # chunks of 300 pixels meet at pixel 150 of the classes: a cloud before it, a shadow behind it, cirrus at the corner; snow
    codes[140:149, 60:70], codes[60:66, 151:156], codes[148:150, 148:150], codes[200:210, 149:151] = 9, 3, 10, 11
    with rasterio.open(name, "w", **profile) as file:
        file.write(codes, 1)
    cloudy = np.isin(codes, (3, 8, 9, 10))
    expected = binary_dilation(cloudy, np.ones((7, 7), bool)).repeat(2, axis=0).repeat(2, axis=1)
    alone = np.zeros_like(cloudy)  # chunks of 300 pixels, 150 of the classes, that did not look over their borders
    for quarter in np.ndindex(2, 2):
        part = tuple(slice(150 * n, 150 * n + 150) for n in quarter)
        alone[part] = binary_dilation(cloudy[part], np.ones((7, 7), bool))
    # the cloud reaches 2 rows over, 10 + 6 wide; the shadow 2 columns, 6 + 6 high; the cirrus 5 x 3 into either neighbour and
    # 3 x 3 into the one beyond: 32 + 24 + 39
    assert (expected[::2, ::2] & ~alone).sum() == 95
    digests = set()
    for chunk in (300, 600):
        raw = specification(
            own_archive, tmp_path / f"{chunk}.zarr", chunk=chunk, dilate=50, mask=["near"], model="bicubic"
        )
        store, result = go(raw)
        assert result.complete
        digests.add(digest(store))
        cube = xr.open_zarr(store.path).isel(time=0)
        flags = cube.flags.values
        np.testing.assert_array_equal((flags & Flag.NEAR) > 0, expected)
        np.testing.assert_array_equal((flags & Flag.MASKED) > 0, expected)
        assert np.isnan(cube.reflectance.sel(band="B04").values[expected]).all()
        assert not np.isnan(cube.reflectance.sel(band="B04").values[~expected]).all()
    assert len(digests) == 1


def test_temperatures_have_a_node_of_their_own_in_kelvin(tmp_path):
    # 0.0000275 x 20000 - 0.2 = 0.35; 0.00341802 x 44177 + 149 = 299.998 K
    files = {
        "red": write(tmp_path / "red.tif", numbers(20000), size=30.0),
        "lwir11": write(tmp_path / "lwir11.tif", numbers(44177), size=30.0),
    }
    landsat = scene("LC08", files, sensor="landsat", level="L2", platform="landsat-8", properties={})
    layout = Layout.over(Lattice("EPSG:32633", Fraction(30), Fraction(30)), Box(13332, -193334, 13336, -193330), 4)
    tree = tree_of([landsat], layout)
    assert list(tree["landsat"].children) == ["30m", "30m_surface_temperature"]
    red, warm = tree["landsat/30m"].reflectance, tree["landsat/30m_surface_temperature"].surface_temperature
    assert (list(red.band.values), red.units, list(warm.band.values), warm.units) == (["red"], "1", ["lwir11"], "K")
    np.testing.assert_allclose(red.compute(), 0.35, atol=1e-6)
    np.testing.assert_allclose(warm.compute(), 299.998, atol=1e-3)
