"""The truth of every sensor: what it would measure of the land on a day without clouds, noise or coding."""

from collections.abc import Sequence
from datetime import date
from math import ceil

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from pipeline.degrade import SUPPORT, degrade
from pipeline.errors import Refused
from pipeline.sensors import Band, Sensor
from pipeline.simulated.grids import finer, pieces
from pipeline.simulated.ground import ground, planes
from pipeline.simulated.spectra import signatures
from pipeline.simulated.world import World

FINEST = 3.0
"""Metres: the land is looked at in pixels of this size or less..."""

RATIOS = (2, 32)
"""...and at least, and at most, so many of them across a pixel of the sensor."""

REFERENCE = {"sentinel-2": 10}
"""Sensors of several resolutions, and the one in metres at which every band is looked at first: what is a multiple of it is
degraded from there, so that truth at 20 and 60 m is the degraded truth at 10 m."""

FINE_EDGE = 512
"""Pixels across the pieces of land that are looked at one after the other: they stay in the processor's cache."""


def truth(world: World, sensor: Sensor, bands: Sequence[str], day: date, geobox: GeoBox) -> NDArray[np.float32]:
    """What a sensor would measure on a day without clouds and noise, (bands, rows, cols): reflectance of the surface, or
    gamma nought as linear power of a radar.

    Each band has the sensor's own response (a box of its width around its centre), and the blur that its MTF at Nyquist
    means at the grid's resolution.

    Parameters
    ----------
    bands
        Names of bands; raises ``Refused`` where the sensor has none of the name, or it measures neither reflectance nor
        backscatter (temperature, indices).
    day
        Of the season, the snow, and what is built.
    geobox
        A north-up grid of square pixels in any projected CRS, else ``Refused``; any window of a larger one gives the larger
        one's values.
    """
    table = [_measured(sensor, name) for name in bands]
    place, resolution = geobox.affine, geobox.affine.a
    if not (geobox.crs and geobox.crs.projected and place.b == place.d == 0 and resolution == -place.e > 0):
        raise Refused(
            f"the simulated Earth cannot be looked at on the grid {place} of {geobox.crs}: take square north-up pixels in a "
            "projected CRS."
        )
    base = REFERENCE.get(sensor.name, resolution)
    steps = round(resolution / base)
    if steps > 1 and steps * base == resolution:
        first = truth(world, sensor, bands, day, finer(geobox, steps, SUPPORT))
        coarse = degrade(first, [band.mtf for band in table], steps)
        return coarse[:, SUPPORT:-SUPPORT, SUPPORT:-SUPPORT].astype(np.float32)
    ratio = min(max(ceil(resolution / FINEST), RATIOS[0]), RATIOS[1])
    out = np.empty((len(table), *geobox.shape), np.float32)
    for window in pieces(geobox, FINE_EDGE // ratio):
        land = ground(world, finer(geobox[window], ratio, SUPPORT))
        for band, (response, plane) in enumerate(zip(table, planes(land, day, signatures(table)), strict=True)):
            seen = degrade(plane[None], [response.mtf], ratio)[0]
            out[band][window] = seen[SUPPORT:-SUPPORT, SUPPORT:-SUPPORT]
    return out


def shares_of(
    world: World, groups: NDArray[np.float32], day: date, geobox: GeoBox, spacing: float = 6.0
) -> NDArray[np.float32]:
    """Share of each pixel under groups of endmembers, (groups, rows, cols), from points ``spacing`` metres apart or less.

    Parameters
    ----------
    groups
        (groups, endmembers): 1 where an endmember is of a group, else 0.
    """
    ratio = min(max(ceil(geobox.affine.a / spacing), 1), RATIOS[1])
    out = np.empty((len(groups), *geobox.shape), np.float32)
    for window in pieces(geobox, FINE_EDGE // ratio):
        part = geobox[window]
        land = ground(world, finer(part, ratio))
        for index, plane in enumerate(planes(land, day, groups)):
            out[index][window] = plane.reshape(part.shape[0], ratio, part.shape[1], ratio).mean(axis=(1, 3))
    return out


def _measured(sensor: Sensor, name: str) -> Band:
    band = sensor.band(name)
    radar = name in ("VV", "VH", "HH", "HV")
    if not radar and not 400 <= band.center <= 2400:
        raise Refused(
            f"the simulated Earth has no truth for {sensor.name} {name}: it knows reflectance from 400 to 2400 nm "
            "and backscatter at C band."
        )
    return band
