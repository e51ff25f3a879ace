"""Quality layers as each product has them: what a pixel is, in classes or bits.

A cloud counts from an opacity of 0.3, its thin edge from 0.05; shadow, snow and water where they are most of a pixel.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from pipeline.simulated.look import shares_of
from pipeline.simulated.spectra import ENDMEMBERS
from pipeline.simulated.weather import Sky

GROUPS = (("crop", "grass", "forest"), ("soil", "straw", "asphalt", "tile"), ("water",), ("snow",), ("metal",))
"""Endmembers that look alike to a classification."""

_MEMBERS = np.array([[name in group for name in ENDMEMBERS] for group in GROUPS], np.float32)
_WATER, _SNOW = 2, 3

CLOUD, EDGE, SHADE = 0.3, 0.05, 0.3
"""Opacity from which a pixel is cloud, or a cloud's thin edge; how much less sun makes a shadow."""


@dataclass(frozen=True)
class Marks:
    """What stands over and on the pixels of a grid, (rows, cols) each."""

    opacity: NDArray[np.float32]
    """Of clouds, 0 to 1."""
    shade: NDArray[np.float32]
    """How much of the sun clouds take away, 0 to 1."""
    cover: NDArray[np.uint8]
    """Index of the group of endmembers that most of the pixel is."""

    @property
    def cloud(self) -> NDArray[np.bool_]:
        """Under a cloud."""
        return self.opacity > CLOUD

    @property
    def edge(self) -> NDArray[np.bool_]:
        """Under the thin edge of one."""
        return (self.opacity > EDGE) & ~self.cloud

    @property
    def shadow(self) -> NDArray[np.bool_]:
        """In the shadow of one, and seen."""
        return (self.shade > SHADE) & ~self.cloud

    @property
    def snow(self) -> NDArray[np.bool_]:
        """Snow, and seen."""
        return (self.cover == _SNOW) & ~self.cloud

    @property
    def water(self) -> NDArray[np.bool_]:
        """Water, and seen."""
        return (self.cover == _WATER) & ~self.cloud


def marks(sky: Sky, geobox: GeoBox) -> Marks:
    """What stands over and on the pixels of a grid at a moment."""
    shares = shares_of(sky.world, _MEMBERS, sky.moment.date(), geobox)
    return Marks(sky.opacity(geobox), sky.shadow(geobox), shares.argmax(axis=0).astype(np.uint8))


def scl(seen: Marks) -> NDArray[np.uint8]:
    """Sentinel-2's scene classification: 3 shadow, 4 vegetation, 5 not vegetated, 6 water, 7 unclassified, 8 and 9 cloud of
    medium and high probability, 10 thin cirrus, 11 snow (S2-PDGS-MPC-ATBD-L2A)."""
    codes = np.array([4, 5, 6, 11, 7], np.uint8)[seen.cover]
    codes[seen.shadow] = 3
    codes[seen.edge] = 10
    codes[seen.cloud] = 8
    codes[seen.opacity > 0.7] = 9
    return codes


def qa_pixel(seen: Marks) -> NDArray[np.uint16]:
    """Landsat Collection 2's QA_PIXEL: bit 1 dilated cloud, 3 cloud, 4 shadow, 5 snow, 6 clear, 7 water; confidences from
    8 (cloud), 10 (shadow), 12 (snow), 14 (cirrus): 1 low, 2 medium, 3 high (LSDS-1619, table 6-3)."""
    snow = seen.snow & ~seen.shadow
    codes = np.full(seen.cover.shape, 1 << 14, np.uint16)
    for bit, where in ((1, seen.edge), (3, seen.cloud), (4, seen.shadow), (5, snow), (7, seen.water)):
        codes |= where.astype(np.uint16) << np.uint16(bit)
    codes |= (~(seen.cloud | seen.edge)).astype(np.uint16) << np.uint16(6)
    cloud = np.select([seen.cloud, seen.edge], [3, 2], 1)
    for bit, confidence in ((8, cloud), (10, np.where(seen.shadow, 3, 1)), (12, np.where(snow, 3, 1))):
        codes |= (confidence << bit).astype(np.uint16)
    return codes


def state(seen: Marks) -> NDArray[np.uint16]:
    """MODIS's state QA: bits 0-1 cloud state (1 cloudy, 2 mixed), 2 shadow, 3-5 land and water (1 land, 3 inland water), 6-7
    aerosol (1 low), 10 cloud, 12 and 15 snow, 13 beside a cloud (MODIS Surface Reflectance User's Guide, table 13)."""
    land = np.where(seen.cover == _WATER, 3, 1)
    codes = np.select([seen.opacity > 0.6, seen.cloud], [1, 2], 0) | land << 3 | 1 << 6
    near = (seen.edge, seen.cloud)
    for bit, where in ((2, seen.shadow), (10, near[1]), (12, seen.snow), (13, near[0]), (15, seen.snow)):
        codes |= where.astype(np.int64) << bit
    return codes.astype(np.uint16)


def udm2(seen: Marks) -> NDArray[np.uint8]:
    """Planet's usable data mask 2.1, (8, rows, cols): clear, snow, shadow, light haze, heavy haze, cloud (0 or 1 each, one of
    them holds), confidence in percent, and the bits of unusable data (bit 1: cloud)."""
    heavy = seen.edge & (seen.opacity > 0.15)
    light = seen.edge & ~heavy
    shadow = seen.shadow & ~seen.edge
    snow = seen.snow & ~seen.edge & ~shadow
    clear = ~(snow | shadow | light | heavy | seen.cloud)
    confidence = np.where(seen.edge, 60, 95)
    layers = (clear, snow, shadow, light, heavy, seen.cloud, confidence, seen.cloud * 2)
    return np.stack([layer.astype(np.uint8) for layer in layers])
