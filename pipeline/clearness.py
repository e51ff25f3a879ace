"""How clear each image is in each anchored cell: looked at once, before any chunk runs."""

from collections.abc import Iterable

from pipeline.dates import Clearness, cell_steps, cells, name
from pipeline.flags import CLOUDY
from pipeline.lattice import Box, Lattice
from pipeline.mosaic import lay_quality
from pipeline.reader import Journal
from pipeline.scene import Group, touching


def prepare_clearness(images: Iterable[Group], lattice: Lattice, window: Box, resolution: int) -> Clearness:
    """Look at the quality layers of images once, and say how clear each is in each cell that a window touches.

    Whole cells are looked at, also where the window ends within one. A cell that cannot be read counts as not clear.

    Parameters
    ----------
    images
        Of one sensor.
    lattice
        The reference grid.
    window
        Where, in steps.
    resolution
        Ground sampling distance in metres at which to look.
    """
    cell = cell_steps(lattice)
    shares = {}
    for image in images:
        for col, row, box in cells(window, cell):
            geobox = lattice.geobox(box, resolution)
            near = touching(image.scenes, geobox)
            seen = lay_quality(near, geobox, Journal())
            shares[name(image), col, row] = float((seen.measured & ((seen.flags & CLOUDY) == 0)).mean())
    return Clearness(cell, shares)
