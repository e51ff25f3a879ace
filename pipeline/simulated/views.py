"""One acquisition as its product has it: every layer, in digital numbers."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from pipeline.simulated.grids import coarser
from pipeline.simulated.marks import CLOUD, Marks, marks, qa_pixel, scl, state, udm2
from pipeline.simulated.optical import coded, grain, measured, seen
from pipeline.simulated.radar import speckled
from pipeline.simulated.streams import Pass
from pipeline.simulated.weather import Sky, Weather
from pipeline.simulated.world import World

Layers = dict[str, NDArray]
"""Name of a layer to its planes, (planes, rows, cols)."""


@dataclass(frozen=True)
class View:
    """A window of one acquisition."""

    layers: Layers
    """Bands and quality layers, each on its own grid."""
    cloudy: int
    """Pixels of the finest grid that are under clouds."""


def observe(passed: Pass, world: World, weather: Weather, seed: int, geobox: GeoBox) -> View:
    """What an acquisition holds of a window of its finest grid; any window of a larger one has the larger one's numbers.

    Parameters
    ----------
    seed
        Of the noise.
    geobox
        Rows and columns begin and end on multiples of ``passed.stream.multiple`` pixels.
    """
    skies = [Sky(world, weather, moment) for moment in passed.moments]
    return OBSERVERS[passed.stream.sensor.name](passed, skies, seed, geobox)


def _sentinel1(passed: Pass, skies: list[Sky], seed: int, geobox: GeoBox) -> View:
    (sky,) = skies
    power = speckled(passed.stream, sky.world, sky.moment, geobox, seed)
    return View({b.name: plane[None] for b, plane in zip(passed.stream.bands, power, strict=True)}, 0)


def _sentinel2(passed: Pass, skies: list[Sky], seed: int, geobox: GeoBox) -> View:
    (sky,) = skies
    numbers, reflectance = measured(passed.stream, sky, geobox, seed)
    layers: Layers = {b.name: n[None] for b, n in zip(passed.stream.bands, numbers, strict=True)}
    if passed.stream.level == "L2A":
        layers["SCL"] = scl(marks(sky, coarser(geobox, 2)))[None]
    return View(layers | {"truth": reflectance}, int((sky.opacity(geobox) > CLOUD).sum()))


def _landsat(passed: Pass, skies: list[Sky], seed: int, geobox: GeoBox) -> View:
    (sky,) = skies
    numbers, _ = measured(passed.stream, sky, geobox, seed)
    layers: Layers = {b.name: n[None] for b, n in zip(passed.stream.bands, numbers, strict=True)}
    quality = marks(sky, geobox)
    layers["qa_pixel"] = qa_pixel(quality)[None]
    layers["qa_radsat"] = np.zeros((1, *geobox.shape), np.uint16)
    return View(layers, int(quality.cloud.sum()))


def _planetscope(passed: Pass, skies: list[Sky], seed: int, geobox: GeoBox) -> View:
    (sky,) = skies
    numbers, _ = measured(passed.stream, sky, geobox, seed)
    quality = marks(sky, geobox)
    return View({"ortho_analytic_8b_sr": np.stack(numbers), "ortho_udm2": udm2(quality)}, int(quality.cloud.sum()))


def _planet_fusion(passed: Pass, skies: list[Sky], seed: int, geobox: GeoBox) -> View:
    """Every day without a cloud: what fusion would give if it were right but for noise."""
    clear = replace(skies[0], weather=Weather(seed, 0.0))
    numbers, _ = measured(passed.stream, clear, geobox, seed)
    return View({"bands": np.stack(numbers)}, 0)


def _modis(passed: Pass, skies: list[Sky], seed: int, geobox: GeoBox) -> View:
    """A day's, or of several days the one on which each pixel was seen best: the least cloud, then the least shadow."""
    stream = passed.stream
    days = [marks(sky, geobox) for sky in skies]
    best = np.stack([day.opacity + 0.3 * day.shade for day in days]).argmin(axis=0)
    bands = np.empty((len(stream.bands), *geobox.shape), stream.coding.dtype)
    for index, sky in enumerate(skies):
        light = seen(stream, sky, geobox)
        for band, plane in enumerate(light):
            noisy = plane + stream.noise * grain(stream, stream.bands[band], sky, geobox, seed)
            bands[band][best == index] = coded(noisy, stream.coding)[best == index]
    parts = (
        np.take_along_axis(np.stack([getattr(day, name) for day in days]), best[None], axis=0)[0] for name in FIELDS
    )
    quality = Marks(*parts)
    layers: Layers = {b.name: plane[None] for b, plane in zip(stream.bands, bands, strict=True)}
    if stream.days == 1:
        layers["state"] = state(marks(skies[0], coarser(geobox, 2)))[None]
    else:
        layers["state"] = state(quality)[None]
        first = passed.moment.timetuple().tm_yday
        layers["day_of_year"] = (first + best).astype(np.uint16)[None]
    return View(layers, int(quality.cloud.sum()))


FIELDS = ("opacity", "shade", "cover")
"""What ``Marks`` are made of."""

OBSERVERS = {
    "sentinel-1": _sentinel1,
    "sentinel-2": _sentinel2,
    "landsat": _landsat,
    "modis": _modis,
    "planetscope": _planetscope,
    "planet-fusion": _planet_fusion,
}
