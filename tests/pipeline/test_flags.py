"""Quality codes of each sensor to flags."""

import numpy as np
import pytest

from pipeline.flags import Flag, flagged


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
    flags = flagged(np.full((2, 3), code, np.uint8), "scl")
    assert flags.dtype == np.uint16
    np.testing.assert_array_equal(flags, np.full((2, 3), int(flag)))


def test_every_flag_is_a_bit_of_its_own_that_16_bits_hold():
    values = [int(flag) for flag in Flag]
    assert sorted(values) == [2**k for k in range(len(values))]
    assert max(values) < 2**16
