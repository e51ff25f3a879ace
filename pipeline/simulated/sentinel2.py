"""How Sentinel-2 sees the simulated land: band response, blur, pixels, atmosphere, clouds, noise, digital numbers."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from pipeline.degrade import degrade
from pipeline.lattice import Box, Lattice
from pipeline.radiometry import OFFSET
from pipeline.sensors import SENTINEL2, Band
from pipeline.simulated.spectra import ENDMEMBERS, through
from pipeline.simulated.world import World, noise

FINE = 5
"""Metres at which the land is looked at; a 10 m pixel is made of four of its pixels and their blurred neighbours."""

MARGIN = 4
"""Steps rendered around a scene, so that every kernel is whole at its edges."""

NOISE = 0.0008
"""Standard deviation of the noise in reflectance: a signal to noise ratio of about 150 at a reflectance of 0.12."""

VAPOUR = {"B09": 0.45}
"""Transmission of a band that water vapour absorbs."""

CODING = SENTINEL2.product("L2A").coding

CLOUD_SCALE = 1300.0
"""Size of clouds in metres."""

SUN = (-35, 20)
"""Columns and rows of 10 m pixels from a cloud to its shadow: the sun stands in the south-east."""


@dataclass(frozen=True)
class View:
    """One simulated acquisition."""

    level: str
    """``L1C`` (top of atmosphere) or ``L2A`` (surface)."""
    acquired: datetime
    """When; clouds and noise follow from the day."""
    numbers: dict[str, NDArray]
    """Digital numbers of each band at its own resolution; ``SCL`` among them at level L2A."""
    truth: NDArray[np.float32]
    """Reflectance of every band on the 10 m grid, before noise and coding, (bands, rows, cols)."""
    cloud_cover: float
    """Percent under clouds."""


@dataclass(frozen=True)
class Scenery:
    """The land under a scene as a 10 m sensor would see it: the same on every day, so it is rendered once."""

    surface: NDArray[np.float32]
    """Surface reflectance on the 10 m grid with the margin, (bands, rows, cols)."""
    classes: NDArray[np.uint8]
    """Dominant endmember on the 20 m grid, without the margin."""
    x: NDArray[np.float64]
    """Eastings of the 10 m pixel centres, with the margin."""
    y: NDArray[np.float64]
    """Northings of them."""


def render(world: World, lattice: Lattice, area: Box) -> Scenery:
    """The land under ``area``, each band through its own response and blur at 10 m."""
    window = area.pad(MARGIN + 1)
    left, _, _, top = lattice.bounds(window)
    n = int(lattice.step / FINE)
    abundances = world.abundances(left, top, FINE, (window.height * n, window.width * n))
    surface = []
    for band in SENTINEL2.bands:
        fine = np.tensordot(through(band.center, band.width), abundances, axes=1)[None]
        surface.append(degrade(fine, [band.mtf], 10 // FINE)[0].astype(np.float32))
    edge = lattice.pixels(10)
    cut = slice(edge, -edge)
    grid = lattice.geobox(area.pad(MARGIN), 10)
    inner = abundances[:, (MARGIN + 1) * n : -(MARGIN + 1) * n, (MARGIN + 1) * n : -(MARGIN + 1) * n]
    coarse = inner.reshape(len(ENDMEMBERS), inner.shape[1] // 4, 4, inner.shape[2] // 4, 4).mean(axis=(2, 4))
    return Scenery(
        surface=np.stack(surface)[:, cut, cut],
        classes=coarse.argmax(axis=0).astype(np.uint8),
        x=grid.coords["x"].values,
        y=grid.coords["y"].values,
    )


def observe(scenery: Scenery, level: str, acquired: datetime, clouds: float, seed: int) -> View:
    """One acquisition of a scenery.

    Parameters
    ----------
    clouds
        Share of the scene under clouds, about; 0 for none.
    seed
        Of clouds and noise, together with the day.
    """
    day = acquired.toordinal()
    thick = _clouds(scenery, clouds, seed * 1000 + day)
    shadow = np.roll(thick, (SUN[1], SUN[0]), axis=(0, 1))
    margin = MARGIN * 6
    inside = (slice(margin, -margin), slice(margin, -margin))
    rng = np.random.default_rng([seed, day, 0 if level == "L1C" else 1])
    truth: list[NDArray[np.float32]] = []
    numbers: dict[str, NDArray] = {}
    for band, ground in zip(SENTINEL2.bands, scenery.surface, strict=True):
        lit = ground * (1 - 0.6 * shadow)
        bright = lit * (1 - thick) + _cloud_reflectance(band) * thick
        seen = bright if level == "L2A" else _through_atmosphere(band, bright)
        truth.append(seen[inside].astype(np.float32))
        native = degrade(seen[None], [band.mtf], band.resolution // 10)[0]
        edge = MARGIN * 60 // band.resolution
        native = native[edge:-edge, edge:-edge]
        numbers[band.name] = _coded(native + rng.normal(0, NOISE, native.shape))
    if level == "L2A":
        numbers["SCL"] = _classified(scenery, thick[inside], shadow[inside])
    cover = float((thick[inside] > 0.3).mean() * 100)
    return View(level, acquired, numbers, np.stack(truth), round(cover, 2))


def _clouds(scenery: Scenery, share: float, seed: int) -> NDArray[np.float32]:
    """Opacity of clouds from 0 to 1 on the 10 m grid, about ``share`` of it covered."""
    if share <= 0:
        return np.zeros((scenery.y.size, scenery.x.size), np.float32)
    billows = sum(noise(scenery.x, scenery.y, CLOUD_SCALE / 2**k, seed + k) / 2**k for k in range(4))
    level = np.quantile(billows, 1 - share)
    return np.clip((billows - level) / 0.12, 0, 1).astype(np.float32)


def _cloud_reflectance(band: Band) -> float:
    """Bright in the visible, darker where water absorbs."""
    return float(np.interp(band.center, [400, 900, 1610, 2190], [0.75, 0.72, 0.45, 0.35]))


def _through_atmosphere(band: Band, surface: NDArray) -> NDArray:
    """Top-of-atmosphere reflectance: what the air scatters towards the sensor, and what it lets through."""
    path = 0.11 * (443 / band.center) ** 3.5
    transmission = VAPOUR.get(band.name, 0.97 - 0.12 * (443 / band.center) ** 2)
    return path + transmission * surface


def _coded(values: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Digital numbers of processing baseline 04.00 and later: reflectance x 10000 + 1000, 0 kept for nodata."""
    return np.clip(np.rint((values - OFFSET) / CODING.scale), 1, CODING.saturated).astype(np.uint16)


def _classified(scenery: Scenery, thick: NDArray, shadow: NDArray) -> NDArray[np.uint8]:
    """Scene classification on the 20 m grid."""
    table = {"soil": 5, "crop": 4, "straw": 5, "grass": 4, "forest": 4, "water": 6, "asphalt": 5, "tile": 5, "metal": 7}
    codes = np.array([table[name] for name in ENDMEMBERS], np.uint8)[scenery.classes]
    opacity, dark = thick[::2, ::2], shadow[::2, ::2]
    codes[dark > 0.3] = 3
    codes[opacity > 0.05] = 10
    codes[opacity > 0.3] = 8
    codes[opacity > 0.7] = 9
    return codes
