"""How far each scene's ground lies from where a reference has it: looked at once per scene, on anchored cells."""

from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from pipeline.flags import CLOUDY
from pipeline.harmonise.coregister import Peak, agreed, anchored, peak
from pipeline.harmonise.places import Registration, compared
from pipeline.lattice import Lattice
from pipeline.mosaic import lay, lay_quality
from pipeline.scene import Scene
from pipeline.sensors import Band


def register(scene: Scene, reference: Scene) -> Registration:
    """Where a scene's ground lies beside that of a reference of the same CRS, by the band that ``compared`` names.

    Raises ``OSError``, naming it, where a file cannot be read: that says nothing of where the ground lies.
    """
    band = compared(scene)
    peaks = [] if band is None else list(_peaks(scene, reference, band))
    found = agreed(peaks)
    if found is None or band is None:
        return Registration(scene.id, reference.id, 0.0, 0.0, 0.0, 0)
    east, south = found.cols * band.resolution, found.rows * band.resolution
    rounded = round(east, 3), round(south, 3)
    return Registration(scene.id, reference.id, *rounded, round(found.confidence, 4), found.cells)


def _peaks(scene: Scene, reference: Scene, band: Band) -> Iterable[Peak | None]:
    """The shift of each cell that both scenes reach."""
    if not scene.crs or scene.crs != reference.crs or not scene.extent or not reference.extent:
        return
    if band.name not in reference.assets:
        return
    lattice = Lattice(scene.crs, Fraction(band.resolution), Fraction(band.resolution))
    common = lattice.box(scene.extent).intersection(lattice.box(reference.extent))
    if common is None:
        return
    whole = lattice.geobox(common)
    for rows, cols in anchored(tuple(whole.shape), origin=(common.top, common.left)):
        cell = whole[rows, cols]
        yield peak(_clear(scene, cell, band), _clear(reference, cell, band))


def _clear(scene: Scene, geobox: GeoBox, band: Band) -> NDArray[np.float32]:
    """A band on the pixels of a GeoBox, (rows, cols), NaN under clouds and their shadows."""
    values = lay([scene], geobox, [band.name]).values[0]
    cloudy = (lay_quality([scene], geobox).flags & CLOUDY) > 0
    return np.where(cloudy, np.float32(np.nan), values)
