"""How an optical sensor sees the simulated land: clouds and their shadows, atmosphere, pixels, noise, digital numbers."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from pipeline.degrade import SUPPORT, degrade
from pipeline.sensors import Band, Coding
from pipeline.simulated.chance import drawn, key
from pipeline.simulated.grids import coarser, finer
from pipeline.simulated.look import REFERENCE, truth
from pipeline.simulated.streams import Stream
from pipeline.simulated.weather import Sky

DARK = 0.6
"""Share of a surface's light that the deepest cloud shadow takes."""

VAPOUR = (930.0, 970.0, 0.45)
"""Wavelengths in nm between which water vapour absorbs, and what it lets through."""

_truth = lru_cache(maxsize=2)(truth)  # two products of one pass look at the same land


def factor(stream: Stream, band: Band) -> int:
    """How many of the finest pixels of a product lie across one of a band's."""
    return band.resolution // REFERENCE[stream.sensor.name] if stream.sensor.name in REFERENCE else 1


def seen(stream: Stream, sky: Sky, geobox: GeoBox) -> NDArray[np.float32]:
    """Reflectance of every band of a product on a grid at a moment, before noise, (bands, rows, cols)."""
    names = tuple(band.name for band in stream.bands)
    land = _truth(sky.world, stream.sensor, names, sky.moment.date(), geobox)
    opacity, lit = sky.opacity(geobox), 1 - DARK * sky.shadow(geobox)
    top = stream.sensor.product(stream.level).quantity.startswith("top of atmosphere")
    out = np.empty_like(land)
    for index, band in enumerate(stream.bands):
        bright = land[index] * lit * (1 - opacity) + cloud_reflectance(band) * opacity
        out[index] = through_atmosphere(band, bright) if top else bright
    return out


def measured(stream: Stream, sky: Sky, geobox: GeoBox, seed: int) -> tuple[list[NDArray], NDArray[np.float32]]:
    """What a product holds of a window of its finest grid.

    Returns
    -------
    Digital numbers of each band on its own grid, and reflectance of every band on the finest, before noise and coding.
    """
    margin = SUPPORT * max(factor(stream, band) for band in stream.bands)
    margin = margin if margin > SUPPORT else 0
    wide = seen(stream, sky, finer(geobox, 1, margin))
    numbers = []
    for band, plane in zip(stream.bands, wide, strict=True):
        ratio = factor(stream, band)
        own = degrade(plane[None], [band.mtf], ratio)[0]
        cut = slice(margin // ratio, -(margin // ratio) or None)
        noisy = own[cut, cut] + stream.noise * grain(stream, band, sky, coarser(geobox, ratio), seed)
        numbers.append(coded(noisy, stream.coding))
    inside = slice(margin, -margin or None)
    return numbers, wide[:, inside, inside]


def grain(stream: Stream, band: Band, sky: Sky, geobox: GeoBox, seed: int) -> NDArray[np.float32]:
    """Normal noise of standard deviation 1 for each pixel of a band's grid at a moment."""
    chance = key(seed, "noise", stream.collection, band.name, sky.moment.toordinal())
    return drawn(geobox, chance, lambda rng, shape: rng.standard_normal(shape, np.float32))


def cloud_reflectance(band: Band) -> float:
    """Bright in the visible, darker where water absorbs."""
    return float(np.interp(band.center, [400, 900, 1240, 1610, 2190], [0.75, 0.72, 0.66, 0.45, 0.35]))


def through_atmosphere(band: Band, surface: NDArray) -> NDArray:
    """Top-of-atmosphere reflectance: what the air scatters towards the sensor, and what it lets through."""
    path = 0.11 * (443 / band.center) ** 3.5
    transmission = VAPOUR[2] if VAPOUR[0] < band.center < VAPOUR[1] else 0.97 - 0.12 * (443 / band.center) ** 2
    return path + transmission * surface


def coded(values: NDArray[np.floating], coding: Coding) -> NDArray:
    """Digital numbers of quantities, within the coding's range and never its nodata."""
    limits = np.iinfo(coding.dtype)
    low = coding.low if coding.low is not None else max(limits.min, (coding.nodata or 0) + 1)
    high = coding.high if coding.high is not None else coding.saturated or limits.max
    return np.clip(np.rint((values - coding.offset) / coding.scale), low, high).astype(coding.dtype)
