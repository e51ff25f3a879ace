"""Digital numbers to reflectance, and class codes to flags."""

from datetime import UTC, datetime

import numpy as np
import pytest

from pipeline.errors import Refused
from pipeline.radiometry import OFFSET, coding, decode
from pipeline.scene import Scene
from pipeline.sensors import Coding

SHIFTED, PLAIN = Coding(1e-4, OFFSET, 0, 65535), Coding(1e-4, 0.0, 0, 65535)


def scene(**properties):
    when = datetime(2024, 6, 1, tzinfo=UTC)
    return Scene(
        "S2A_TEST", "sentinel-2", "L2A", when, (14, 52, 15, 53), "EPSG:32633", None, {}, 0.0, properties=properties
    )


@pytest.mark.parametrize(
    ("baseline", "offset"),
    [("02.14", 0.0), ("03.01", 0.0), ("03.99", 0.0), ("04.00", OFFSET), ("05.09", OFFSET), ("10.00", OFFSET)],
)
def test_baseline_decides_the_offset(baseline, offset):
    assert coding(scene(**{"s2:processing_baseline": baseline}), "B04") == Coding(1e-4, offset, 0, 65535)


@pytest.mark.parametrize(("applied", "offset"), [(True, 0.0), (False, OFFSET), (None, OFFSET)])
def test_boa_offset_applied_wins_over_the_baseline_where_true(applied, offset):
    fields = {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": applied}
    assert coding(scene(**fields), "B04").offset == offset


@pytest.mark.parametrize("baseline", [None, "", "five", "05", "05.09.1", "N05.09"])
def test_an_unreadable_baseline_is_refused_by_the_scenes_name(baseline):
    with pytest.raises(Refused, match="S2A_TEST"):
        coding(scene(**{"s2:processing_baseline": baseline}), "B04")


def test_a_missing_baseline_is_refused_unless_the_offset_was_applied():
    with pytest.raises(Refused, match="S2A_TEST"):
        coding(scene(), "B04")
    assert coding(scene(**{"earthsearch:boa_offset_applied": True}), "B04").offset == 0


def test_reflectance_of_digital_numbers():
    # DN / 10000 - 0.1: 600 is darker than black by 0.04, 1000 is black, 11000 is white
    numbers = np.array([[600, 1000], [11000, 65535]], np.uint16)
    values = decode(numbers, SHIFTED)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, np.array([[-0.04, 0], [1, 6.4535]], np.float32))
    np.testing.assert_array_equal(decode(numbers, PLAIN), np.array([[0.06, 0.1], [1.1, 6.5535]], np.float32))


@pytest.mark.parametrize("how", [SHIFTED, PLAIN])
def test_nodata_is_not_a_number_and_nothing_else_is(how):
    numbers = np.arange(2**16, dtype=np.uint16)
    np.testing.assert_array_equal(np.isnan(decode(numbers, how)), numbers == 0)
