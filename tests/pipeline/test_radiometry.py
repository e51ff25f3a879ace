"""Digital numbers to the physical quantity, for every sensor; what a scene says of itself held against it."""

from datetime import UTC, datetime
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Refused
from pipeline.radiometry import OFFSET, coding, decibels, decode, power
from pipeline.scene import Asset, Scene
from pipeline.sensors import SENSORS, Coding

SHIFTED, PLAIN = Coding(1e-4, OFFSET, 0, 65535), Coding(1e-4, 0.0, 0, 65535)
PRODUCTS = [(table.name, product.level) for table in SENSORS.values() for product in table.products]


def scene(sensor="sentinel-2", level="L2A", band="B04", asset=None, platform="", **properties):
    when = datetime(2024, 6, 1, tzinfo=UTC)
    assets = {band: asset} if asset else {}
    return Scene(
        "TEST", sensor, level, when, (14, 52, 15, 53), None, None, assets, 0.0, platform=platform, properties=properties
    )


def stating(**fields):
    return Asset("/data/a.tif", **fields)


BASELINE_5 = {"s2:processing_baseline": "05.09"}


@pytest.mark.parametrize(
    ("baseline", "offset"),
    [("02.14", 0.0), ("03.01", 0.0), ("03.99", 0.0), ("04.00", OFFSET), ("05.09", OFFSET), ("10.00", OFFSET)],
)
@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_baseline_decides_the_offset(level, baseline, offset):
    assert coding(scene(level=level, **{"s2:processing_baseline": baseline}), "B04") == Coding(1e-4, offset, 0, 65535)


@pytest.mark.parametrize(("applied", "offset"), [(True, 0.0), (False, OFFSET), (None, OFFSET), ("false", OFFSET)])
def test_boa_offset_applied_wins_over_the_baseline_where_true(applied, offset):
    assert coding(scene(**BASELINE_5, **{"earthsearch:boa_offset_applied": applied}), "B04").offset == offset


def test_boa_offset_applied_wins_over_raster_bands_where_true():
    fields = BASELINE_5 | {"earthsearch:boa_offset_applied": True}
    assert coding(scene(asset=stating(scale=1e-4, offset=-0.1), **fields), "B04").offset == 0.0


@pytest.mark.parametrize("baseline", [None, "", "five", "05", "05.09.1", "N05.09"])
def test_an_unreadable_baseline_is_refused_by_the_scenes_name(baseline):
    with pytest.raises(Refused, match="TEST"):
        coding(scene(**{"s2:processing_baseline": baseline}), "B04")


def test_a_missing_baseline_is_refused_unless_something_else_states_the_offset():
    with pytest.raises(Refused, match="TEST"):
        coding(scene(), "B04")
    assert coding(scene(**{"earthsearch:boa_offset_applied": True}), "B04").offset == 0
    assert coding(scene(asset=stating(scale=1e-4, offset=0.0)), "B04").offset == 0
    assert coding(scene(asset=stating(scale=1e-4, offset=-0.1)), "B04").offset == OFFSET
    assert coding(scene(asset=stating(offset=float(np.float32(-0.1)))), "B04").offset == OFFSET  # rounded by a service


@pytest.mark.parametrize(
    ("asset", "properties", "words"),
    [
        # 05.09 means -0.1
        (stating(scale=1e-4, offset=0.0), BASELINE_5, "contradicts itself: baseline 05.09 means an offset of -0.1"),
        # 03.01 means 0
        (stating(offset=-0.1), {"s2:processing_baseline": "03.01"}, "raster:bands of B04 states -0.1"),
        (stating(offset=-1000.0), BASELINE_5, "contradicts itself"),  # of digital numbers, not of reflectance
        (stating(offset=-1000.0), {}, "states offset -1000.0 for B04"),
        (stating(scale=nan, offset=-0.1), BASELINE_5, "states scale nan for B04"),
        (stating(scale=1.0, offset=-0.1), BASELINE_5, "states scale 1.0 for B04, where the product has 0.0001"),
    ],
)
def test_a_sentinel_2_scene_that_contradicts_itself_is_refused(asset, properties, words):
    with pytest.raises(Refused, match=words):
        coding(scene(asset=asset, **properties), "B04")


def test_reflectance_of_digital_numbers():
    # DN / 10000 - 0.1: 600 is darker than black by 0.04, 1000 is black, 11000 is white
    numbers = np.array([[600, 1000], [11000, 65535]], np.uint16)
    values = decode(numbers, SHIFTED)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, np.array([[-0.04, 0], [1, 6.4535]], np.float32))
    np.testing.assert_array_equal(decode(numbers, PLAIN), np.array([[0.06, 0.1], [1.1, 6.5535]], np.float32))


@pytest.mark.parametrize(
    ("sensor", "level", "band", "numbers", "values"),
    [
        # 7273 * 0.0000275 - 0.2 = 0.2000075 - 0.2; 43636 * 0.0000275 - 0.2 = 1.19999 - 0.2; 1 is measured: 0.0000275 - 0.2
        ("landsat", "L2", "red", [0, 1, 7273, 43636], [nan, -0.1999725, 0.0000075, 0.99999]),
        # 40000 * 0.00341802 + 149 = 136.7208 + 149
        ("landsat", "L2", "lwir11", [0, 40000], [nan, 285.7208]),
        ("landsat", "ARD", "red", [-999, -998, 0, 2500], [nan, -0.0998, 0, 0.25]),
        ("hls", "L30", "nir08", [-9999, -20, 0, 3124], [nan, -0.002, 0, 0.3124]),
        ("hls", "S30", "rededge1", [-9999, 1000], [nan, 0.1]),
        # hundredths of a degree Celsius: 18.5 °C
        ("hls", "L30", "lwir11", [-9999, 1850], [nan, 291.65]),
        ("modis", "MOD09GA", "B01", [-28672, -101, -100, 0, 16000, 16001], [nan, nan, -0.01, 0, 1.6, nan]),
        ("modis", "MOD09A1", "B07", [-28672, 5000], [nan, 0.5]),
        ("modis", "MCD43A4", "B02", [32767, 32766, 0, -1, 4321], [nan, 3.2766, 0, nan, 0.4321]),
        ("modis", "MOD13Q1", "NDVI", [-3000, -2001, -2000, 8123, 10000, 10001], [nan, nan, -0.2, 0.8123, 1, nan]),
        ("planetscope", "SR", "nir", [0, 1, 3456], [nan, 0.0001, 0.3456]),
        ("planet-fusion", "SR", "red", [0, 1, 3456], [nan, 0.0001, 0.3456]),
        ("sentinel-1", "RTC", "VV", [-32768.0, nan, 0.05], [nan, nan, 0.05]),
    ],
)
def test_the_usual_coding_of_each_product(sensor, level, band, numbers, values):
    how = coding(scene(sensor, level, band), band)
    found = decode(np.array(numbers, how.dtype), how)
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found, np.array(values, np.float32), rtol=0, atol=3e-8 + 1e-7 * np.nanmax(np.abs(values))
    )


@pytest.mark.parametrize(
    ("asset", "numbers", "wanted"),
    [
        # decibels: 10^(-10/10), 10^(-20/10); -99 is nodata
        (stating(unit="dB", nodata=-99), np.array([-10, -20, -99], np.float32), [0.1, 0.01, nan]),
        # hundredths of a decibel less 50: 4000 is -10
        (stating(unit="db", scale=0.01, offset=-50.0, dtype="uint16"), np.array([4000, 0], np.uint16), [0.1, nan]),
        # 20 log10(DN) - 83 dB: 14125 is 83.0 - 83 = 0 dB, ten times less -20 dB
        (
            stating(unit="amplitude", scale=10 ** (-83 / 20), dtype="uint16"),
            np.array([14125.375446, 1412.5375446, 0]).round().astype(np.uint16),
            [1.0, 0.01, nan],
        ),
        # what no float can hold was not measured either: 10^(605.35/10)
        (stating(unit="dB", scale=0.01, offset=-50.0, dtype="uint16"), np.array([65535], np.uint16), [nan]),
        (stating(dtype="float32", nodata=nan), np.array([nan, 0.5], np.float32), [nan, 0.5]),
        (stating(dtype="float32", nodata=-3.4e38), np.array([-3.4e38, 0.5], np.float32), [nan, 0.5]),
    ],
)
def test_backscatter_comes_as_linear_power_whichever_way_it_is_kept(asset, numbers, wanted):
    how = coding(scene("sentinel-1", "RTC", "VV", asset), "VV")
    assert how.dtype == numbers.dtype.name
    np.testing.assert_allclose(decode(numbers, how), wanted, rtol=1e-3)


def test_border_noise_is_no_backscatter():
    # -40 dB is 0.0001: what lies below is noise at the swath's border
    found = power(np.array([0.1, 1.01e-4, 1e-4, 0, -0.1, nan], np.float32), of("sentinel-1", "RTC"))
    np.testing.assert_array_equal(found, np.array([0.1, 1.01e-4, nan, nan, nan, nan], np.float32))
    decibels = power(np.array([-39.9, -40.1], np.float32), Coding(1.0, 0.0, None, None, "float32", "decibel"))
    np.testing.assert_allclose(decibels, [10**-3.99, nan], rtol=1e-5)


def test_decibels_of_power():
    np.testing.assert_allclose(decibels(np.array([1, 0.1, 0, nan], np.float32)), [0, -10, nan, nan], atol=1e-5)


def test_top_of_atmosphere_reflectance_of_landsat():
    # elevation 30 degrees, whose sine is 1/2: (2e-5 * 10000 - 0.1) / 0.5 = 0.2; (2e-5 * 5000 - 0.1) / 0.5 = 0
    how = coding(scene("landsat", "L1", "red", platform="landsat-8", **{"view:sun_elevation": 30}), "red")
    np.testing.assert_allclose(decode(np.array([0, 10000, 5000], np.uint16), how), [nan, 0.2, 0], atol=1e-7)
    assert how.saturated == 65535


def test_gains_of_older_landsats_are_the_scenes_own():
    # Thematic Mapper: (0.0012 * 100 - 0.004) / 0.5 = 0.232
    fields = {"platform": "landsat-5", "view:sun_elevation": 30}
    stated = stating(scale=0.0012, offset=-0.004, dtype="uint8")
    how = coding(scene("landsat", "L1", "red", stated, **fields), "red")
    np.testing.assert_allclose(decode(np.array([0, 100], np.uint8), how), [nan, 0.232], rtol=1e-6)
    with pytest.raises(Refused, match="TEST of landsat-5 states no scale for red"):
        coding(scene("landsat", "L1", "red", stating(), **fields), "red")


@pytest.mark.parametrize("elevation", [None, 0, -3.0, 91, "high", True, nan])
def test_level_1_needs_the_height_of_the_sun(elevation):
    with pytest.raises(Refused, match="view:sun_elevation"):
        coding(scene("landsat", "L1-PRE", "red", **{"view:sun_elevation": elevation}), "red")


def test_radiance_of_the_thermal_bands_is_not_sold_as_reflectance():
    with pytest.raises(Refused, match="radiance.*Level-2"):
        coding(scene("landsat", "L1", "lwir11", **{"view:sun_elevation": 30}), "lwir11")


def test_what_an_item_states_of_its_coding_holds():
    # reflectance x 10000 in a float: no offset is meant where only the scale is stated
    how = coding(scene("landsat", "L2", "red", stating(scale=1e-4, dtype="float32", nodata=-3.4e38)), "red")
    assert how == Coding(1e-4, 0.0, -3.4e38, None, "float32")
    # the table's own scale beside no offset: the table's offset
    assert coding(scene("landsat", "L2", "red", stating(scale=0.0000275)), "red").offset == -0.2
    # another scale is of other digital numbers, of which the table's valid range says nothing
    how = coding(scene("modis", "MOD09GA", "B01", stating(scale=1.0, dtype="float32")), "B01")
    assert (how.scale, how.low, how.high) == (1.0, None, None)
    np.testing.assert_array_equal(decode(np.array([0.25, -28672], np.float32), how), np.float32([0.25, nan]))
    # integers without a word on nodata, where the product's own cannot be: 0
    assert coding(scene("hls", "S30", "red", stating(dtype="uint16")), "red").nodata == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scale": 10000.0}, "states scale 10000 and offset 0 for red, where landsat L2 has 2.75e-05 and -0.2"),
        ({"scale": 0.0}, "scale 0 "),
        ({"scale": -2.75e-5}, "scale -2.75e-05"),
        ({"scale": nan}, "scale nan"),
        ({"scale": inf}, "scale inf"),
        ({"scale": 1e-12}, "scale 1e-12"),
        ({"scale": 2.75e-5, "offset": -2000.0}, "offset -2000"),
        ({"offset": nan}, "offset nan"),
        ({"nodata": -9999.0}, "nodata -9999 for red, where uint16 cannot hold it"),
        ({"nodata": 0.5}, "nodata 0.5"),
        ({"nodata": inf}, "nodata inf"),
        ({"dtype": "colour"}, "type 'colour'"),
        ({"dtype": "complex64"}, "type 'complex64'"),
    ],
)
def test_what_cannot_be_is_refused(fields, words):
    with pytest.raises(Refused, match=f"TEST.*{words}"):
        coding(scene("landsat", "L2", "red", stating(**fields)), "red")


def of(sensor, level):
    properties = {"view:sun_elevation": 40.0, "s2:processing_baseline": "05.10"}
    band = SENSORS[sensor].bands[1].name
    return coding(scene(sensor, level, band, **properties), band)


@pytest.mark.parametrize(("sensor", "level"), PRODUCTS)
def test_nodata_is_not_a_number_and_no_other_valid_number_is(sensor, level):
    how = of(sensor, level)
    kind = np.dtype(how.dtype)
    numbers = np.arange(-(2**15), 2**15) if kind.kind in "if" else np.arange(2**16)
    low, high = how.low if how.low is not None else -inf, how.high if how.high is not None else inf
    valid = (numbers != how.nodata) & (numbers >= low) & (numbers <= high)
    np.testing.assert_array_equal(np.isnan(decode(numbers.astype(kind), how)), ~valid)


@pytest.mark.parametrize(("sensor", "level"), PRODUCTS)
def test_a_greater_number_never_means_less(sensor, level):
    how = of(sensor, level)
    kind = np.dtype(how.dtype)
    values = decode((np.arange(2**16) if kind == np.uint16 else np.arange(-(2**15), 2**15)).astype(kind), how)
    assert (np.diff(values[~np.isnan(values)]) > 0).all()


@given(st.sampled_from([p for p in PRODUCTS if p[0] != "sentinel-1"]), st.integers(0, 10000))
def test_a_number_comes_back_from_the_quantity_that_it_means(product, number):
    how = of(*product)
    value = decode(np.array([number], how.dtype), how)[0].astype(np.float64)
    assert np.isnan(value) or round((value - how.offset) / how.scale) == number


@given(
    st.sampled_from(["linear", "decibel", "amplitude"]),
    st.lists(st.integers(1, 60000), min_size=2, max_size=20),
)
def test_every_law_grows_and_keeps_nodata(law, numbers):
    how = Coding(1e-3, 0.0, 0, None, law=law)
    values = decode(np.array([0, *sorted(set(numbers))], np.uint16), how)
    assert np.isnan(values[0])
    assert not np.isnan(values[1:]).any()
    assert (np.diff(values[1:]) > 0).all()
