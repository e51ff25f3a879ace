"""Why a pixel is what it is: flags, and how each sensor's quality layer becomes them.

Cloud, shadow, snow, water and saturation are kept apart; what a flow accepts is the flow's to say. A quality layer's own
"nodata" carries no flag: whether a band was measured is read from the band.
"""

from collections.abc import Callable, Mapping
from enum import IntFlag
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Flag(IntFlag):
    """Why a pixel is what it is; a pixel may carry several."""

    NODATA = 1
    """No band has a value here."""
    PARTIAL = 2
    """At least one band was not measured here."""
    INFLUENCED = 4
    """Within the model's influence of a pixel that was filled in for it."""
    SATURATED = 8
    """Saturated or defective, or beyond what the store can hold."""
    CLOUD = 16
    """Cloud of medium or high probability."""
    CIRRUS = 32
    """Thin cirrus or haze."""
    SHADOW = 64
    """Cloud shadow."""
    SNOW = 128
    """Snow or ice."""
    WATER = 256
    """Water."""
    MASKED = 512
    """Written as nodata because the specification does not accept one of its flags."""
    OUTSIDE = 1024
    """Inside the bounding box, outside the polygon that was asked for."""
    NEAR = 2048
    """Near a cloud or its shadow: within the dilation of the product, or of the specification."""


MEANINGS: dict[str, Any] = {
    "flag_masks": [int(flag) for flag in Flag],
    "flag_meanings": " ".join((flag.name or "").lower() for flag in Flag),
}
"""Attributes of a variable that holds flags, as the CF conventions write them."""

CLOUDY = np.uint16(Flag.CLOUD | Flag.CIRRUS | Flag.SHADOW)
"""Flags of clouds and what they hide: what dilation grows from, and what the clearest dates have least of."""

# Scene classification codes of Sentinel-2 L2A: Level-2A Algorithm Theoretical Basis Document, S2-PDGS-MPC-ATBD-L2A.
# Dark areas (2), vegetation (4), bare soil (5) and unclassified (7) carry no flag.
SCL = {
    1: Flag.SATURATED,
    3: Flag.SHADOW,
    6: Flag.WATER,
    8: Flag.CLOUD,
    9: Flag.CLOUD,
    10: Flag.CIRRUS,
    11: Flag.SNOW,
}

# Classes of Fmask as Digital Earth Australia keeps them (0 nodata, 1 clear, 2 cloud, 3 shadow, 4 snow, 5 water): product
# description of ga_ls8c_ard_3, layer oa_fmask; python-fmask, output classes.
FMASK_DEA = {2: Flag.CLOUD, 3: Flag.SHADOW, 4: Flag.SNOW, 5: Flag.WATER}

# QA_PIXEL of Landsat Collection 2 (LSDS-1619 and LSDS-1618, Level 2 Science Product Guides, "Pixel Quality Assessment"): bit
# 0 fill, 1 dilated cloud, 2 cirrus (8 and 9 only), 3 cloud, 4 shadow, 5 snow, 6 clear, 7 water; 8 to 15 confidences, which
# these follow from.
QA_PIXEL = {1: Flag.NEAR, 2: Flag.CIRRUS, 3: Flag.CLOUD, 4: Flag.SHADOW, 5: Flag.SNOW, 7: Flag.WATER}

# Fmask of HLS (User Guide v2.0, quality assessment layer): 0 cirrus (reserved, not set in v2.0), 1 cloud, 2 beside cloud or
# shadow, 3 shadow, 4 snow, 5 water; 6 and 7 are how much aerosol was corrected for, and carry no flag.
FMASK_HLS = {0: Flag.CIRRUS, 1: Flag.CLOUD, 2: Flag.NEAR, 3: Flag.SHADOW, 4: Flag.SNOW, 5: Flag.WATER}

# QA_RADSAT of Landsat Collection 2 (same guides): bits 0 to 6 and 8 say which bands are saturated, 9 (4 to 7 only) that the
# pixel was dropped by the detector. Bit 11, hidden by terrain (8 and 9 only), carries no flag.
QA_RADSAT = dict.fromkeys((0, 1, 2, 3, 4, 5, 6, 8, 9), Flag.SATURATED)

# Unusable data mask (UDM2, layer 8), Planet, "Usable Data Mask": bit 0 not imaged, 1 cloud by an older algorithm that the
# layer of clouds supersedes; 2 to 7 missing or suspect data in a band.
UNUSABLE = dict.fromkeys((2, 3, 4, 5, 6, 7), Flag.SATURATED)

# Pixel reliability of MOD13 (Vegetation Index User's Guide, collection 6.1, "VI pixel reliability"): -1 fill, 0 good, 1
# marginal, 2 snow or ice, 3 cloudy.
RELIABILITY = {2: Flag.SNOW, 3: Flag.CLOUD}


def _classes(codes: Mapping[int, Flag], size: int) -> NDArray[np.uint16]:
    table = np.zeros(size, np.uint16)
    for code, flag in codes.items():
        table[code] = flag
    return table


def _bits(meaning: Mapping[int, Flag], size: int) -> NDArray[np.uint16]:
    codes, table = np.arange(size), np.zeros(size, np.uint16)
    for bit, flag in meaning.items():
        table[(codes >> bit) & 1 == 1] |= np.uint16(flag)
    return table


def _bqa() -> NDArray[np.uint16]:
    """Landsat 8 Level-1 before collections (Data Users Handbook, version 1, quality assessment band): bit 0 fill, 1 dropped
    frame, 2 hidden by terrain, then confidences of two bits, of which medium and high count: 4 water, 10 snow, 12 cirrus, 14
    cloud. Shadow was not assessed."""
    codes, table = np.arange(2**16), _bits({1: Flag.SATURATED}, 2**16)
    for bit, flag in {4: Flag.WATER, 10: Flag.SNOW, 12: Flag.CIRRUS, 14: Flag.CLOUD}.items():
        table[(codes >> bit) & 3 >= 2] |= np.uint16(flag)
    return table


def _state() -> NDArray[np.uint16]:
    """MODIS state QA (MODIS Surface Reflectance User's Guide, collection 6, "state QA"): bits 0-1 cloud state (1 cloudy, 2
    mixed, 3 not set and assumed clear), 2 shadow, 3-5 land and water (1 is land, 2 shoreline), 8-9 cirrus (2 average, 3
    high), 10 cloud by the product's own algorithm, 12 and 15 snow by either, 13 beside cloud; 65535 is fill."""
    codes = np.arange(2**16)
    cloud, land, cirrus = codes & 3, (codes >> 3) & 7, (codes >> 8) & 3
    table = _bits({2: Flag.SHADOW, 10: Flag.CLOUD, 12: Flag.SNOW, 13: Flag.NEAR, 15: Flag.SNOW}, 2**16)
    table[(cloud == 1) | (cloud == 2)] |= np.uint16(Flag.CLOUD)
    table[(land != 1) & (land != 2)] |= np.uint16(Flag.WATER)
    table[cirrus >= 2] |= np.uint16(Flag.CIRRUS)
    table[65535] = 0
    return table


_TABLES: Mapping[str, Callable[[], NDArray[np.uint16]]] = {
    "scl": lambda: _classes(SCL, 256),
    "fmask_dea": lambda: _classes(FMASK_DEA, 256),
    "fmask_hls": lambda: np.where(np.arange(256) == 255, 0, _bits(FMASK_HLS, 256)).astype(np.uint16),
    "qa_pixel": lambda: np.where(np.arange(2**16) & 1, 0, _bits(QA_PIXEL, 2**16)).astype(np.uint16),
    "qa_radsat": lambda: _bits(QA_RADSAT, 2**16),
    "bqa": _bqa,
    "state": _state,
    "reliability": lambda: _classes(RELIABILITY, 256),
    "udm2_unusable": lambda: np.where(np.arange(256) & 1, 0, _bits(UNUSABLE, 256)).astype(np.uint16),
    "udm2_snow": lambda: _classes({1: Flag.SNOW}, 256),
    "udm2_shadow": lambda: _classes({1: Flag.SHADOW}, 256),
    "udm2_light_haze": lambda: _classes({1: Flag.CIRRUS}, 256),
    "udm2_heavy_haze": lambda: _classes({1: Flag.CIRRUS}, 256),
    "udm2_cloud": lambda: _classes({1: Flag.CLOUD}, 256),
}
"""Meaning of a quality layer (``pipeline.sensors.Quality``) to the flags of each of its codes."""


@cache
def _table(meaning: str) -> NDArray[np.uint16]:
    return _TABLES[meaning]()


def flagged(codes: NDArray[np.integer], meaning: str) -> NDArray[np.uint16]:
    """Flags (``Flag``) of quality codes of any shape and type; codes that the layer does not have carry none."""
    table = _table(meaning)
    kind = np.iinfo(codes.dtype)
    if kind.min == 0 and kind.max < table.size:
        return table[codes]
    known = (codes >= 0) & (codes < table.size)
    return np.where(known, table[np.where(known, codes, 0)], np.uint16(0))


def dilate(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Where a pixel of the mask, (rows, cols), lies within ``radius`` rows and columns: a square of 2 radius + 1."""
    for axis in (0, 1):
        sums = np.cumsum(np.pad(mask, [(radius + 1, radius) if a == axis else (0, 0) for a in (0, 1)]), axis=axis)
        length = mask.shape[axis]
        upper = np.take(sums, range(2 * radius + 1, 2 * radius + 1 + length), axis=axis)
        mask = upper > np.take(sums, range(length), axis=axis)
    return mask
