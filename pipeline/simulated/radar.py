"""How a radar sees the simulated land: backscatter through speckle, whatever the weather."""

from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from pipeline.simulated.chance import drawn, key
from pipeline.simulated.look import truth
from pipeline.simulated.streams import Stream
from pipeline.simulated.world import World


def speckled(stream: Stream, world: World, moment: datetime, geobox: GeoBox, seed: int) -> NDArray[np.float32]:
    """Gamma nought as linear power of a window of a product's grid, (bands, rows, cols).

    Speckle multiplies: a gamma distribution of mean 1 and shape the number of looks, independent from pixel to pixel and
    from band to band, as of fully developed speckle in intensity (Oliver and Quegan 1998, section 4.3).
    """
    names = [band.name for band in stream.bands]
    power = truth(world, stream.sensor, names, moment.date(), geobox)
    looks = stream.looks
    for index, name in enumerate(names):
        chance = key(seed, "speckle", stream.collection, name, moment.toordinal())
        power[index] *= drawn(geobox, chance, lambda rng, shape: rng.standard_gamma(looks, shape, np.float32)) / looks
    return power
