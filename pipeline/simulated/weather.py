"""The sky over the simulated land at a moment: clouds that drift, and their shadows, the same for every sensor."""

from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from math import asin, atan2, ceil, cos, degrees, pi, radians, sin, tan

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from pipeline.simulated.chance import key, noise, uniform
from pipeline.simulated.grids import finer, positions, transformer
from pipeline.simulated.world import CRS, World

SCALE = 1300.0
"""Size of clouds in metres."""

RAMP = 0.12
"""How much a cloud billows from its edge to where nothing shines through."""

HEIGHT = 900.0
"""Metres from the ground to the clouds that throw shadows on it."""

WIND = (6.0, 2.0)
"""Metres a second, eastwards and northwards, that clouds drift by on average."""

SPACING = 15.0
"""Metres between the points at which clouds are looked at, or less: a tenth of their smallest bumps."""


@dataclass(frozen=True)
class Weather:
    """How cloudy the days are."""

    seed: int
    """Of the clouds of every day."""
    clouds: float = 0.35
    """Share of the land under clouds on average, about."""
    spread: float = 1.0
    """0: every day is like the average; 1: some days are clear and others overcast."""
    clear: tuple[date, ...] = ()
    """Days without a cloud."""

    def cover(self, day: date) -> float:
        """Share of the land under clouds on a day, about."""
        if self.clouds <= 0 or day in self.clear:
            return 0.0
        rng = np.random.default_rng(key(self.seed, "cover", day.toordinal()))
        drawn = rng.beta(0.9 * self.clouds, 0.9 * (1 - self.clouds)) if self.clouds < 1 else 1.0
        share = self.clouds + self.spread * (float(drawn) - self.clouds)
        return 0.0 if share < 0.02 else min(share, 0.98)


@dataclass(frozen=True)
class Sky:
    """What is between the land and the sensors at a moment."""

    world: World
    """The land below."""
    weather: Weather
    """Of its days."""
    moment: datetime
    """Time, UTC."""

    def opacity(self, geobox: GeoBox) -> NDArray[np.float32]:
        """Opacity of clouds from 0 to 1, (rows, cols): the mean over each pixel of a grid in any projected CRS."""
        return _over(self, geobox, 0.0, 0.0)

    def shadow(self, geobox: GeoBox) -> NDArray[np.float32]:
        """How much of the sun the clouds take away, 0 to 1, (rows, cols): their opacity where they stand before it."""
        elevation, azimuth = sun(self.world, self.moment)
        away = HEIGHT / tan(radians(max(elevation, 10.0)))
        return _over(self, geobox, away * sin(radians(azimuth)), away * cos(radians(azimuth)))


@lru_cache(maxsize=16)  # quality layers look at the same sky as the bands
def _over(sky: Sky, geobox: GeoBox, east: float, north: float) -> NDArray[np.float32]:
    """Opacity so many metres to the east and north of each pixel."""
    moment, share = sky.moment, sky.weather.cover(sky.moment.date())
    if share == 0:
        return np.zeros(geobox.shape, np.float32)
    seed = key(sky.weather.seed, "clouds", moment.toordinal())
    ratio = ceil(geobox.affine.a / SPACING)
    x, y = positions(finer(geobox, ratio), CRS)
    since = (moment.hour - 12) * 3600 + moment.minute * 60 + moment.second
    u, v = (wind * (0.5 + uniform(seed, k)) for k, wind in enumerate(WIND))
    drift = (u * since, v * since)
    billows = _billows(x + east - drift[0], y + north - drift[1], seed)
    opacity = np.clip((billows - _threshold(sky.world, seed, share, drift)) / RAMP, 0, 1)
    rows, cols = geobox.shape
    return opacity.reshape(rows, ratio, cols, ratio).mean(axis=(1, 3), dtype=np.float32) if ratio > 1 else opacity


def _billows(x: NDArray[np.floating], y: NDArray[np.floating], seed: int) -> NDArray[np.float32]:
    octaves = [noise(x, y, SCALE / 2**k, key(seed, "octave", k)) / 2**k for k in range(4)]
    return sum(octaves[1:], octaves[0])


@lru_cache(maxsize=1024)
def _threshold(world: World, seed: int, share: float, drift: tuple[float, float]) -> float:
    """What clouds must billow above to cover a share of the world once they have drifted."""
    left, bottom, right, top = world.bounds
    at = (np.arange(128) + 0.5) / 128
    x, y = left + at * (right - left) - drift[0], bottom + at * (top - bottom) - drift[1]
    return float(np.quantile(_billows(x, y, seed), 1 - share))


@lru_cache(maxsize=4096)
def sun(world: World, moment: datetime) -> tuple[float, float]:
    """Elevation and azimuth of the sun in degrees over the middle of a world (declination and hour angle of a circular
    orbit, right to about a degree).

    >>> [round(v) for v in sun(World(399960, 5799960, 6000, 1), datetime(2024, 6, 21, 11, 6))]
    [61, 180]
    """
    left, bottom, right, top = world.bounds
    longitude, latitude = transformer(CRS, "EPSG:4326").transform((left + right) / 2, (bottom + top) / 2)
    declination = radians(-23.44 * cos(2 * pi * (moment.timetuple().tm_yday + 10) / 365.25))
    hour = radians(15 * (moment.hour + moment.minute / 60 + moment.second / 3600 - 12) + longitude)
    phi = radians(latitude)
    elevation = asin(sin(phi) * sin(declination) + cos(phi) * cos(declination) * cos(hour))
    west = atan2(sin(hour), cos(hour) * sin(phi) - tan(declination) * cos(phi))
    return degrees(elevation), (180 + degrees(west)) % 360
