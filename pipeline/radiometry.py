"""From digital numbers to reflectance, and from class codes to flags."""

from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refused
from pipeline.scene import Scene
from pipeline.sensors import sensor

# Sentinel-2 Products Specification Document, S2-PDGS-CS-DI-PSD issue 14.9: from processing baseline 04.00 (25 January
# 2022) the digital numbers carry RADIO_ADD_OFFSET (L1C) or BOA_ADD_OFFSET (L2A) of -1000, so that dark surfaces whose
# reflectance comes out negative are kept.
OFFSET_BASELINE = (4, 0)
OFFSET = -0.1


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
    """Thin cirrus."""
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


# Scene classification codes of Sentinel-2 L2A: Level-2A Algorithm Theoretical Basis Document, S2-PDGS-MPC-ATBD-L2A.
# Dark areas (2), vegetation (4), bare soil (5) and unclassified (7) carry no flag. A nodata class (0) carries none
# either: whether a band was measured is read from the band.
SCL_FLAGS = {
    1: Flag.SATURATED,
    3: Flag.SHADOW,
    6: Flag.WATER,
    8: Flag.CLOUD,
    9: Flag.CLOUD,
    10: Flag.CIRRUS,
    11: Flag.SNOW,
}


@dataclass(frozen=True)
class Coding:
    """How a scene's digital numbers mean reflectance: ``reflectance = DN * scale + offset``."""

    scale: float
    """Reflectance per digital number."""
    offset: float
    """Reflectance of digital number 0."""
    nodata: int
    """Digital number of a pixel that was not measured."""
    saturated: int
    """Digital number of a saturated pixel."""


def coding(scene: Scene) -> Coding:
    """The coding of a Sentinel-2 scene, from its own metadata.

    ``earthsearch:boa_offset_applied`` decides where it is true: those files were shifted when they were made, whatever
    ``raster:bands`` goes on to say of an offset (cirrus-earth-search issue 33). Otherwise the processing baseline
    decides. Raises ``Refused`` where the baseline cannot be read.
    """
    table = sensor(scene.sensor)
    baseline = scene.properties.get("s2:processing_baseline")
    applied = scene.properties.get("earthsearch:boa_offset_applied") is True
    offset = 0.0 if applied or not _has_offset(scene.id, baseline) else OFFSET
    return Coding(table.scale, offset, table.nodata, table.saturated)


def _has_offset(scene_id: str, baseline: object) -> bool:
    """Whether products of a processing baseline such as ``05.09`` carry the offset."""
    try:
        major, minor = str(baseline).split(".")
        return (int(major), int(minor)) >= OFFSET_BASELINE
    except ValueError:
        raise Refused(
            f"scene {scene_id} has no readable s2:processing_baseline ({baseline!r}), so its offset is not known; "
            "add the field to the item."
        ) from None


def reflectance(numbers: NDArray[np.uint16], how: Coding) -> NDArray[np.float32]:
    """Reflectance of digital numbers of any shape; not a number (NaN) where nothing was measured.

    >>> reflectance(np.array([0, 600], "uint16"), Coding(1e-4, -0.1, 0, 65535))
    array([  nan, -0.04], dtype=float32)
    """
    table = (np.arange(2**16) * how.scale + how.offset).astype(np.float32)
    table[how.nodata] = np.nan
    return table[numbers]


def classified(codes: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Flags of scene classification codes of any shape."""
    table = np.zeros(256, np.uint16)
    for code, flag in SCL_FLAGS.items():
        table[code] = flag
    return table[codes]
