"""A region on the reference grid: which CRS, which bounds in it, which lattice holds every resolution that is wanted."""

from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cache
from math import isfinite

import numpy as np
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geom import Geometry
from pyproj.exceptions import CRSError
from rasterio.features import rasterize
from shapely import from_wkt
from shapely.geometry.base import BaseGeometry

from pipeline.errors import Refused
from pipeline.lattice import Box, Lattice, Layout
from pipeline.scene import Bounds, Scene

CHUNK = 12000
"""Edge in metres, about, of a chunk of a lazy tree: 1200 pixels of 10 m."""

MOSAIC = 1
"""Version of how zones are laid together (``pipeline.zones``): raised whenever the same zones would give other pixels."""


def commonest_crs(scenes: Sequence[Scene]) -> str:
    """The projected CRS that most scenes have, of several the first in the alphabet; else the UTM zone of the first scene.

    MODIS, whose projection has no EPSG code, and scenes that state none are looked at in their UTM zone.
    """
    count = Counter(s.crs for s in scenes if s.crs and s.crs.startswith("EPSG:") and CRS(s.crs).projected)
    if not count:
        west, south, east, north = scenes[0].bbox
        middle = (west + (east if east >= west else east + 360)) / 2
        zone = int((middle + 180) // 6) % 60 + 1
        return f"EPSG:{(32600 if south + north >= 0 else 32700) + zone}"
    return min(count, key=lambda code: (-count[code], code))


def metric(text: str) -> str:
    """A CRS in metres, as ``EPSG:code``; raises ``Refused`` for any other."""
    try:
        crs = CRS(text)
    except CRSError:
        raise Refused(f"grid.crs: {text!r} is not a CRS; write EPSG:code or auto.") from None
    if not crs.projected or crs.units[0] not in ("metre", "meter", "m") or crs.epsg is None:
        raise Refused(
            f"grid.crs: {text} is not a projected CRS in metres with an EPSG code; use the UTM zone, or auto."
        )
    return f"EPSG:{crs.epsg}"


def projected(outline: Geometry, crs: str) -> Geometry:
    """A shape in degrees in a CRS, its bent sides followed closely; raises ``Refused`` where the CRS does not reach."""
    side = max(outline.boundingbox.span_x, outline.boundingbox.span_y)
    found = outline.to_crs(crs, resolution=side / 200)
    if not all(isfinite(value) for value in found.boundingbox.bbox):
        raise Refused(f"the area reaches where {crs} is not defined; give a smaller one, or another grid.crs.")
    return found


def outside(lattice: Lattice, box: Box, clip: str | None) -> NDArray[np.bool_]:
    """Pixels of the output, (rows, cols), whose centres a polygon (WKT in the lattice's CRS) does not hold."""
    geobox = lattice.geobox(box)
    if clip is None:
        return np.zeros(geobox.shape, bool)
    inside = [(_polygon(clip), 0)]
    return rasterize(inside, out_shape=geobox.shape, fill=1, transform=geobox.affine, dtype="uint8").astype(bool)


@cache
def _polygon(wkt: str) -> BaseGeometry:
    return from_wkt(wkt)


def layout_over(bounds: Bounds, crs: str, resolutions: Iterable[int], chunk: int = CHUNK) -> Layout:
    """The layout of a tree: bounds rounded outward to whole steps, in which pixels of every resolution fit.

    Parameters
    ----------
    bounds
        Left, bottom, right, top in metres.
    crs
        The reference CRS.
    resolutions
        Ground sampling distances in metres.
    chunk
        Edge of a chunk in metres, about: at least one step.
    """
    finest = min(resolutions := sorted(resolutions))
    step = Lattice.common_step(resolutions)
    lattice = Lattice(crs, Fraction(finest), step)
    return Layout.over(lattice, lattice.box(bounds), max(1, round(chunk / step)))
