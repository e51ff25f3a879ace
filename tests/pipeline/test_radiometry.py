"""Digital numbers to reflectance, and class codes to flags."""

from datetime import UTC, datetime

import numpy as np
import pytest

from pipeline.errors import Refused
from pipeline.radiometry import OFFSET, Coding, Flag, classified, coding, reflectance
from pipeline.scene import Scene

SHIFTED, PLAIN = Coding(1e-4, OFFSET, 0, 65535), Coding(1e-4, 0.0, 0, 65535)


def scene(**properties):
    when = datetime(2024, 6, 1, tzinfo=UTC)
    return Scene("S2A_TEST", "sentinel-2", "L2A", when, (14, 52, 15, 53), 32633, None, {}, 0.0, properties)


@pytest.mark.parametrize(
    ("baseline", "offset"),
    [("02.14", 0.0), ("03.01", 0.0), ("03.99", 0.0), ("04.00", OFFSET), ("05.09", OFFSET), ("10.00", OFFSET)],
)
def test_baseline_decides_the_offset(baseline, offset):
    assert coding(scene(**{"s2:processing_baseline": baseline})) == Coding(1e-4, offset, 0, 65535)


@pytest.mark.parametrize(("applied", "offset"), [(True, 0.0), (False, OFFSET), (None, OFFSET)])
def test_boa_offset_applied_wins_over_the_baseline_where_true(applied, offset):
    fields = {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": applied}
    assert coding(scene(**fields)).offset == offset


@pytest.mark.parametrize("baseline", [None, "", "five", "05", "05.09.1", "N05.09"])
def test_an_unreadable_baseline_is_refused_by_the_scenes_name(baseline):
    with pytest.raises(Refused, match="S2A_TEST"):
        coding(scene(**{"s2:processing_baseline": baseline}))


def test_a_missing_baseline_is_refused_unless_the_offset_was_applied():
    with pytest.raises(Refused, match="S2A_TEST"):
        coding(scene())
    assert coding(scene(**{"earthsearch:boa_offset_applied": True})).offset == 0


def test_reflectance_of_digital_numbers():
    # DN / 10000 - 0.1: 600 is darker than black by 0.04, 1000 is black, 11000 is white
    numbers = np.array([[600, 1000], [11000, 65535]], np.uint16)
    values = reflectance(numbers, SHIFTED)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, np.array([[-0.04, 0], [1, 6.4535]], np.float32))
    np.testing.assert_array_equal(reflectance(numbers, PLAIN), np.array([[0.06, 0.1], [1.1, 6.5535]], np.float32))


@pytest.mark.parametrize("how", [SHIFTED, PLAIN])
def test_nodata_is_not_a_number_and_nothing_else_is(how):
    numbers = np.arange(2**16, dtype=np.uint16)
    np.testing.assert_array_equal(np.isnan(reflectance(numbers, how)), numbers == 0)


@pytest.mark.parametrize(
    ("code", "flag"),
    [
        (0, 0),  # nodata is read from the bands
        (1, Flag.SATURATED),
        (2, 0),  # dark area
        (3, Flag.SHADOW),
        (4, 0),  # vegetation
        (5, 0),  # bare soil
        (6, Flag.WATER),
        (7, 0),  # unclassified
        (8, Flag.CLOUD),  # medium probability
        (9, Flag.CLOUD),  # high probability
        (10, Flag.CIRRUS),
        (11, Flag.SNOW),
        (12, 0),  # no such class
        (255, 0),
    ],
)
def test_flags_of_scene_classes(code, flag):
    flags = classified(np.full((2, 3), code, np.uint8))
    assert flags.dtype == np.uint16
    np.testing.assert_array_equal(flags, np.full((2, 3), int(flag)))


def test_every_flag_is_a_bit_of_its_own_that_16_bits_hold():
    values = [int(flag) for flag in Flag]
    assert sorted(values) == [2**k for k in range(len(values))]
    assert max(values) < 2**16
