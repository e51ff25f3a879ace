"""Quality codes of each sensor to flags, and their dilation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import binary_dilation

from pipeline.flags import FMASK_HLS, QA_PIXEL, QA_RADSAT, UNUSABLE, Flag, dilate, flagged
from pipeline.sensors import SENSORS

NONE, CLOUD, CIRRUS, SHADOW, SNOW = Flag(0), Flag.CLOUD, Flag.CIRRUS, Flag.SHADOW, Flag.SNOW
WATER, NEAR, BAD = Flag.WATER, Flag.NEAR, Flag.SATURATED
BITS = {"qa_pixel": QA_PIXEL, "fmask_hls": FMASK_HLS, "qa_radsat": QA_RADSAT, "udm2_unusable": UNUSABLE}
LAND = 1 << 3  # MODIS: bits 3-5, 1 is land


@pytest.mark.parametrize(
    ("code", "flag"),
    [
        (0, NONE),  # nodata is read from the bands
        (1, BAD),
        (2, NONE),  # dark area
        (3, SHADOW),
        (4, NONE),  # vegetation
        (5, NONE),  # bare soil
        (6, WATER),
        (7, NONE),  # unclassified
        (8, CLOUD),  # medium probability
        (9, CLOUD),  # high probability
        (10, CIRRUS),
        (11, SNOW),
        (12, NONE),  # no such class
        (255, NONE),
    ],
)
def test_flags_of_scene_classes(code, flag):
    flags = flagged(np.full((2, 3), code, np.uint8), "scl")
    assert flags.dtype == np.uint16
    np.testing.assert_array_equal(flags, np.full((2, 3), int(flag)))


@pytest.mark.parametrize(
    ("meaning", "code", "flag"),
    [
        # Landsat Collection 2: values that the product guide explains, sums of powers of two
        ("qa_pixel", 1, NONE),  # fill
        ("qa_pixel", 21824, NONE),  # 64 clear + 256 + 1024 + 4096 + 16384: all confidences low
        ("qa_pixel", 21952, WATER),  # the same and 128
        ("qa_pixel", 21826, NEAR),  # 21824 + 2, dilated cloud
        ("qa_pixel", 22280, CLOUD),  # 8 + 768 high confidence + 1024 + 4096 + 16384 - 64 + 64: cloud
        ("qa_pixel", 23888, SHADOW),  # 16 + 64 + 256 + 3072 + 4096 + 16384
        ("qa_pixel", 30048, SNOW),  # 32 + 64 + 256 + 1024 + 12288 + 16384
        ("qa_pixel", 54596, CIRRUS),  # 4 + 64 + 256 + 1024 + 4096 + 49152
        ("qa_pixel", 55052, CLOUD | CIRRUS),  # 8 + 4 + 768 + 1024 + 4096 + 49152
        ("qa_radsat", 0, NONE),
        ("qa_radsat", 1, BAD),
        ("qa_radsat", 256, BAD),  # band 9, or the high gain of band 6 of ETM+
        ("qa_radsat", 512, BAD),  # dropped
        ("qa_radsat", 2048, NONE),  # hidden by terrain
        # Landsat before collections: pairs of bits 11 yes, 10 maybe, 01 no
        ("bqa", 1, NONE),  # fill
        ("bqa", 2, BAD),  # dropped frame
        ("bqa", 20480, NONE),  # 01 cloud no, 01 cirrus no
        ("bqa", 20512, WATER),  # and 10 at bit 4: water maybe
        ("bqa", 28672, CIRRUS),  # 01 cloud no, 11 cirrus yes
        ("bqa", 36864, CLOUD),  # 10 cloud maybe, 01 cirrus no
        ("bqa", 53248, CLOUD),  # 11 cloud yes, 01 cirrus no
        ("bqa", 61440, CLOUD | CIRRUS),  # 11 and 11
        ("bqa", 23552, SNOW),  # 20480 and 11 at bit 10
        # Digital Earth Australia
        ("fmask_dea", 0, NONE),
        ("fmask_dea", 1, NONE),
        ("fmask_dea", 2, CLOUD),
        ("fmask_dea", 3, SHADOW),
        ("fmask_dea", 4, SNOW),
        ("fmask_dea", 5, WATER),
        # HLS
        ("fmask_hls", 255, NONE),  # fill
        ("fmask_hls", 64, NONE),  # little aerosol
        ("fmask_hls", 192, NONE),  # much aerosol
        ("fmask_hls", 194, CLOUD),  # 2, much aerosol
        ("fmask_hls", 68, NEAR),  # 4, little aerosol
        ("fmask_hls", 76, SHADOW | NEAR),  # 8 and 4
        ("fmask_hls", 80, SNOW),
        ("fmask_hls", 224, WATER),
        # MODIS: two bits of cloud, one of shadow, three of land and water, …
        ("state", 65535, NONE),  # fill
        ("state", LAND, NONE),
        ("state", LAND | 1, CLOUD),
        ("state", LAND | 2, CLOUD),  # mixed
        ("state", LAND | 3, NONE),  # not set, assumed clear
        ("state", LAND | 4, SHADOW),
        ("state", 2 << 3, NONE),  # shoreline
        ("state", 0, WATER),  # shallow ocean
        ("state", 3 << 3, WATER),  # shallow inland water
        ("state", 7 << 3, WATER),  # deep ocean
        ("state", LAND | 3 << 6, NONE),  # much aerosol
        ("state", LAND | 1 << 8, NONE),  # little cirrus
        ("state", LAND | 2 << 8, CIRRUS),
        ("state", LAND | 3 << 8, CIRRUS),
        ("state", LAND | 1 << 10, CLOUD),  # its own algorithm
        ("state", LAND | 1 << 11, NONE),  # fire
        ("state", LAND | 1 << 12, SNOW),
        ("state", LAND | 1 << 13, NEAR),
        ("state", LAND | 1 << 14, NONE),  # salt pan, or BRDF corrected
        ("state", LAND | 1 << 15, SNOW),
        ("reliability", 0, NONE),
        ("reliability", 1, NONE),
        ("reliability", 2, SNOW),
        ("reliability", 3, CLOUD),
        # PlanetScope
        ("udm2_snow", 1, SNOW),
        ("udm2_shadow", 1, SHADOW),
        ("udm2_light_haze", 1, CIRRUS),
        ("udm2_heavy_haze", 1, CIRRUS),
        ("udm2_cloud", 1, CLOUD),
        ("udm2_cloud", 0, NONE),
        ("udm2_unusable", 1, NONE),  # not imaged
        ("udm2_unusable", 2, NONE),  # cloud by the algorithm that UDM2 supersedes
        ("udm2_unusable", 4, BAD),  # the first band is suspect
    ],
)
def test_flags_of_codes(meaning, code, flag):
    codes = np.array([code], np.uint16 if meaning in ("qa_pixel", "qa_radsat", "bqa", "state") else np.uint8)
    assert flagged(codes, meaning)[0] == flag


@pytest.mark.parametrize(
    ("codes", "meaning", "flags"),
    [
        (np.array([-1, 2, 3], np.int8), "reliability", [0, SNOW, CLOUD]),
        (np.array([9, 256, 65535], np.uint16), "scl", [CLOUD, 0, 0]),  # classes kept in more bits than they need
        (np.array([-32768, 0, LAND], np.int16), "state", [0, WATER, 0]),
    ],
)
def test_codes_that_a_layer_does_not_have_carry_no_flag(codes, meaning, flags):
    found = flagged(codes, meaning)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, flags)


@given(st.sampled_from(sorted(BITS)), st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1))
def test_flags_of_two_codes_together_are_the_flags_of_both(meaning, one, other):
    fill = 0 if meaning in ("fmask_hls", "qa_radsat") else 1
    size = 255 if meaning in ("fmask_hls", "udm2_unusable") else 2**16 - 1
    one, other = one & size & ~fill, other & size & ~fill
    if meaning == "fmask_hls" and one | other == 255:
        return
    flags = flagged(np.array([one, other, one | other]), meaning)
    assert flags[2] == flags[0] | flags[1]


@given(st.integers(0, 2**16 - 2))
def test_fields_of_the_state_of_modis_are_told_apart(code):
    """Each field alone, over land, says what it says among the others."""
    fields = [code & mask for mask in (3, 4, 3 << 6, 3 << 8, *(1 << bit for bit in range(10, 16)))]
    alone = flagged(np.array([LAND | field for field in fields]), "state")
    water = 0 if (code >> 3) & 7 in (1, 2) else int(WATER)
    assert flagged(np.array([code]), "state")[0] == np.bitwise_or.reduce(alone) | water


def test_every_quality_layer_of_every_sensor_has_a_table_and_its_fill_no_flag():
    layers = [layer for table in SENSORS.values() for layer in table.quality]
    assert len(layers) == 15
    for layer in layers:
        dtype = np.dtype(layer.dtype)
        assert flagged(np.array([layer.nodata], dtype), layer.meaning)[0] == 0
        every = flagged(np.arange(np.iinfo(dtype).min, np.iinfo(dtype).max + 1).astype(dtype), layer.meaning)
        assert every.any()
        assert not (every & np.uint16(Flag.NODATA | Flag.PARTIAL | Flag.INFLUENCED | Flag.MASKED | Flag.OUTSIDE)).any()


def test_every_flag_is_a_bit_of_its_own_that_16_bits_hold():
    values = [int(flag) for flag in Flag]
    assert sorted(values) == [2**k for k in range(len(values))]
    assert max(values) < 2**16


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.integers(0, 4))
def test_dilation_takes_in_whatever_lies_within_the_radius(mask, radius):
    square = np.ones((2 * radius + 1, 2 * radius + 1), bool)
    np.testing.assert_array_equal(dilate(mask, radius), binary_dilation(mask, square))
