"""From digital numbers to the physical quantity: reflectance, backscatter (linear power), temperature, index.

The table of the sensor says how a product is coded; what an item states of itself is held against it. Where the two
contradict each other, or the statements contradict themselves, the scene is refused rather than guessed at.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import isfinite, isnan, radians, sin

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refused
from pipeline.scene import Asset, Scene
from pipeline.sensors import Coding, sensor
from pipeline.sensors.tables import Law

# Sentinel-2 Products Specification Document, S2-PDGS-CS-DI-PSD issue 14.9: from processing baseline 04.00 (25 January
# 2022) the digital numbers carry RADIO_ADD_OFFSET (L1C) or BOA_ADD_OFFSET (L2A) of -1000, so that dark surfaces whose
# reflectance comes out negative are kept.
OFFSET_BASELINE = (4, 0)
OFFSET = -0.1

LEAST_POWER = 1e-4
"""Backscatter below which a radar pixel is border noise, not land: -40 dB, far under the noise equivalent sigma nought of
-22 dB (Sentinel-1 Product Specification, S1-RS-MDA-52-7441). Border noise as such: Ali et al. 2018,
doi:10.3390/rs10121907."""

TOLERANCE = 1e-3
"""Relative difference up to which a stated scale is the table's, and a tenth of that in an offset: some services round."""

STRETCH = 1000
"""How many times the usual scale a sound one may be, or how many times less: eight bits instead of sixteen lie within."""

LAWS: Mapping[str, Law] = {"db": "decibel", "amplitude": "amplitude"}
"""Units that an item may state for backscatter, in lower case, and what they mean."""


def coding(scene: Scene, band: str) -> Coding:
    """How the digital numbers of a band of a scene mean its quantity.

    Raises ``Refused``, naming the scene, where its metadata do not say, or contradict each other.
    """
    usual, asset = sensor(scene.sensor).product(scene.level).coding_of(band), scene.assets.get(band)
    if asset is not None:
        usual = _stored(scene, band, usual, asset)
    return RULES.get((scene.sensor, scene.level), _as_stated)(scene, band, usual)


def _stored(scene: Scene, band: str, usual: Coding, asset: Asset) -> Coding:
    """The usual coding with the type, nodata and unit that an item states; without a word on nodata, integers that cannot
    hold the usual one have 0."""
    try:
        dtype = np.dtype(asset.dtype or usual.dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "iuf":
        raise Refused(
            f"scene {scene.id} states type {asset.dtype!r} for {band}, which holds no numbers; correct the item."
        )
    nodata = asset.nodata
    if nodata is not None and not isnan(nodata) and not _holds(dtype, nodata):
        raise Refused(
            f"scene {scene.id} states nodata {nodata:g} for {band}, where {dtype} cannot hold it; correct the item."
        )
    if nodata is None or (isnan(nodata) and dtype.kind != "f"):
        nodata = usual.nodata
        if nodata is not None and not _holds(dtype, nodata):
            nodata = 0
    law = LAWS.get((asset.unit or "").casefold(), usual.law)
    return replace(usual, dtype=dtype.name, law=law, nodata=None if nodata is None or isnan(nodata) else nodata)


def _holds(dtype: np.dtype, number: float) -> bool:
    """Whether a type has a value for a number."""
    if dtype.kind == "f" or not isfinite(number):
        return dtype.kind == "f" and isfinite(number)
    return number == int(number) and np.iinfo(dtype).min <= number <= np.iinfo(dtype).max


def _as_stated(scene: Scene, band: str, usual: Coding) -> Coding:
    """The coding that an item states, as far as it does; what it states must be sound.

    An offset that is not stated beside a scale that is not the table's is 0 (STAC raster extension), and the table's valid
    range, which is of its digital numbers, is then not theirs.
    """
    asset = scene.assets.get(band)
    if asset is None or (asset.scale is None and asset.offset is None):
        return usual
    scale, offset, low, high = usual.scale, usual.offset, usual.low, usual.high
    if asset.scale is not None and not abs(asset.scale - scale) <= TOLERANCE * scale:
        scale, offset, low, high = asset.scale, 0.0, None, None
    if asset.offset is not None:
        offset = asset.offset
    free = usual.law != "linear" or np.dtype(usual.dtype).kind == "f"
    most = max(usual.scale * STRETCH, 1.0 if free else 0.0)
    furthest = 100.0 if usual.law == "decibel" else 1.0
    if not (1e-4 / STRETCH <= scale <= most and abs(offset - usual.offset) <= furthest):
        raise Refused(
            f"scene {scene.id} states scale {scale:g} and offset {offset:g} for {band}, where {scene.sensor} {scene.level} "
            f"has {usual.scale:g} and {usual.offset:g}; correct the item."
        )
    return replace(usual, scale=scale, offset=offset, low=low, high=high)


def _sentinel2(scene: Scene, band: str, usual: Coding) -> Coding:
    """The offset of Sentinel-2, whichever of baseline, item flag and raster metadata states it.

    ``earthsearch:boa_offset_applied`` decides where it is true: those files were shifted when they were made, whatever
    ``raster:bands`` goes on to say of an offset (cirrus-earth-search issue 33). Otherwise the processing baseline and the
    stated offset must agree.
    """
    applied = scene.properties.get("earthsearch:boa_offset_applied")
    asset = scene.assets.get(band)
    stated = asset.offset if asset else None
    scale = asset.scale if asset else None
    if scale is not None and not abs(scale / usual.scale - 1) <= TOLERANCE:
        raise Refused(
            f"scene {scene.id} states scale {scale} for {band}, where the product has {usual.scale}; correct the item."
        )
    if applied is True:
        return replace(usual, offset=0.0)
    expected = _offset_of_baseline(scene.id, scene.properties.get("s2:processing_baseline"))
    if expected is None and stated is None:
        raise Refused(
            f"scene {scene.id} has no readable s2:processing_baseline "
            f"({scene.properties.get('s2:processing_baseline')!r}), so its offset is not known; add the field to the item."
        )
    if expected is not None and stated is not None and abs(stated - expected) > TOLERANCE * 0.1:
        raise Refused(
            f"scene {scene.id} contradicts itself: baseline {scene.properties.get('s2:processing_baseline')} means an offset "
            f"of {expected:g}, raster:bands of {band} states {stated:g}; correct the item, or set "
            "earthsearch:boa_offset_applied to true where the files were shifted already."
        )
    offset = next(
        (known for known in (0.0, OFFSET) if abs(known - (stated or expected or 0.0)) <= TOLERANCE * 0.1), None
    )
    if offset is None:
        raise Refused(f"scene {scene.id} states offset {stated} for {band}; Sentinel-2 knows 0 and {OFFSET}.")
    return replace(usual, offset=offset)


def _offset_of_baseline(scene_id: str, baseline: object) -> float | None:
    """The offset of a processing baseline such as ``05.09``; ``None`` where it cannot be read."""
    try:
        major, minor = str(baseline).split(".")
        return OFFSET if (int(major), int(minor)) >= OFFSET_BASELINE else 0.0
    except ValueError:
        return None


def _landsat_level1(scene: Scene, band: str, usual: Coding) -> Coding:
    """Top of atmosphere reflectance of Landsat, for the sun's height: (gain DN + bias) / sin(elevation).

    The elevation is that of the scene's middle, as the metadata have it.
    """
    if band in THERMAL:
        raise Refused(
            f"scene {scene.id}: {band} of Level-1 is a radiance, of which no temperature is made; leave the band out, or take "
            "the surface temperature of Level-2."
        )
    elevation = scene.properties.get("view:sun_elevation")
    if isinstance(elevation, bool) or not isinstance(elevation, int | float) or not 0 < elevation <= 90:
        raise Refused(
            f"scene {scene.id} states no view:sun_elevation above the horizon ({elevation!r}), which Level-1 reflectance "
            "needs; add the field to the item."
        )
    asset = scene.assets.get(band)
    if scene.platform not in ("", "landsat-8", "landsat-9") and (asset is None or asset.scale is None):
        raise Refused(
            f"scene {scene.id} of {scene.platform} states no scale for {band}, which differs from scene to scene; add the "
            "gains of its metadata file to the item."
        )
    stated = _as_stated(scene, band, usual)
    height = sin(radians(float(elevation)))
    return replace(stated, scale=stated.scale / height, offset=stated.offset / height)


THERMAL = ("lwir", "lwir11", "lwir12")
"""Bands of Landsat that do not see the sun's light."""

RULES: Mapping[tuple[str, str], Callable[[Scene, str, Coding], Coding]] = {
    ("sentinel-2", "L2A"): _sentinel2,
    ("sentinel-2", "L1C"): _sentinel2,
    ("landsat", "L1"): _landsat_level1,
    ("landsat", "L1-PRE"): _landsat_level1,
}
"""Sensor and level whose scenes say more of their coding than a scale and an offset."""


def decode(numbers: NDArray, how: Coding) -> NDArray[np.float32]:
    """The quantity of digital numbers of any shape; not a number (NaN) where nothing was measured.

    >>> decode(np.array([0, 600], "uint16"), Coding(1e-4, -0.1, 0, 65535))
    array([  nan, -0.04], dtype=float32)
    """
    if numbers.dtype in (np.uint8, np.uint16):
        levels = np.arange(np.iinfo(numbers.dtype).max + 1)
        return _decoded(levels, how)[numbers]
    return _decoded(numbers, how)


def _decoded(numbers: NDArray, how: Coding) -> NDArray[np.float32]:
    missing = np.zeros(numbers.shape, bool) if how.nodata is None else numbers == how.nodata
    if how.low is not None:
        missing |= numbers < how.low
    if how.high is not None:
        missing |= numbers > how.high
    scaled = np.where(missing, np.nan, numbers) * how.scale + how.offset
    with np.errstate(over="ignore"):
        if how.law == "decibel":
            scaled = 10 ** (scaled / 10)
        elif how.law == "amplitude":
            scaled = scaled**2
        values = scaled.astype(np.float32)
    return np.where(np.isfinite(values), values, np.float32(np.nan))


POWER = Coding(1.0, 0.0, None, None, "float32")
"""Linear backscatter, NaN where none was measured."""


def as_read(scene: Scene, band: str) -> Coding:
    """The coding of what ``pipeline.cube.read`` gives of a band of a scene.

    Decibels and amplitudes may not be averaged, nor may border noise, so backscatter is read as the power that it means
    (``power``); of the rest digital numbers stay.
    """
    how = coding(scene, band)
    radar = sensor(scene.sensor).product(scene.level).quantity_of(band).endswith("nought")
    return POWER if radar or how.law != "linear" else how


def power(numbers: NDArray, how: Coding) -> NDArray[np.float32]:
    """Linear backscatter of digital numbers of any shape, NaN where it is too weak to be land (``LEAST_POWER``)."""
    values = decode(numbers, how)
    return np.where(values > LEAST_POWER, values, np.float32(np.nan))


def decibels(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Backscatter in dB of linear power; NaN where there is none.

    >>> float(decibels(np.float32(0.1)))
    -10.0
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(power > 0, 10 * np.log10(power), np.nan).astype(np.float32)
