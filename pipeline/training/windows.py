"""Which windows of a scene a network is taught on: chosen by the scene alone, never by the area that is asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refused
from pipeline.flags import CLOUDY
from pipeline.harmonise.steps import AS_MEASURED, Harmony
from pipeline.lattice import Box, Lattice
from pipeline.models.declaration import FusionModel
from pipeline.mosaic import lay, lay_quality, quality_of
from pipeline.reader import Journal
from pipeline.scene import Scene

EDGE = 600
"""Edge of a window in pixels of 10 m: ten kernels of the coarsest ratio, and little enough to read many."""

SMALLEST = 120
"""Least edge of a window at a scene's border, pixels of 10 m."""

WORTH = 0.5
"""Least share of a window that must be measured and clear."""


@dataclass(frozen=True)
class Window:
    """A piece of a scene in reflectance."""

    scene: str
    """Item id."""
    level: str
    """Processing level."""
    inputs: tuple[NDArray[np.float32], ...]
    """One (bands, rows, cols) array each input of the model, NaN where not measured, or under clouds."""


def lattice_of(model: FusionModel, scene: Scene) -> Lattice:
    """The lattice of a scene's own CRS, on which its native pixels are read untouched."""
    if scene.crs is None:
        raise Refused(f"scene {scene.id} states no projection, so it cannot be taught; add proj:code to the item.")
    step = Lattice.common_step(model.step_resolutions)
    return Lattice(scene.crs, Fraction(model.output.resolution), step)


def places(scene: Scene, lattice: Lattice) -> list[Box]:
    """Windows of a scene in the order in which they are to be tried: the same for everyone, spread over the scene.

    Laid from the scene's own corner; those cut short by its border count from ``SMALLEST`` up. Empty where the metadata
    does not state the extent in the lattice's CRS.
    """
    if scene.extent is None or scene.crs != lattice.crs:
        return []
    whole = lattice.box(scene.extent)
    step, least = EDGE // lattice.pixels(), SMALLEST // lattice.pixels()
    boxes = [
        Box(left, top, min(left + step, whole.right), min(top + step, whole.bottom))
        for top in range(whole.top, whole.bottom, step)
        for left in range(whole.left, whole.right, step)
    ]
    large = [box for box in boxes if box.width >= least and box.height >= least]
    return sorted(large, key=lambda box: sha256(f"{scene.id} {box.left} {box.top}".encode()).hexdigest())


def windows(
    model: FusionModel, scene: Scene, lattice: Lattice, count: int, harmony: Harmony = AS_MEASURED
) -> Iterator[Window]:
    """Up to ``count`` windows of a scene that are worth learning from; three times as many are tried.

    Raises ``OSError``, naming it, when a file cannot be read.
    """
    found = 0
    for box in places(scene, lattice)[: 3 * count]:
        if found == count:
            return
        window = read_window(model, scene, lattice, box, harmony)
        if np.isfinite(window.inputs[-1]).mean() >= WORTH and np.isfinite(window.inputs[0]).mean() >= WORTH:
            found += 1
            yield window


def read_window(model: FusionModel, scene: Scene, lattice: Lattice, box: Box, harmony: Harmony = AS_MEASURED) -> Window:
    """A window of a scene on the native grids of a model's inputs, after the steps of harmonisation."""
    journal = Journal()
    inputs = [lay([scene], lattice.geobox(box, i.resolution), i.bands, journal, harmony).values for i in model.inputs]
    for place, reason in journal.failures.items():
        raise OSError(f"{scene.id}: {reason} ({place.rpartition('/')[2]})")
    return Window(scene.id, scene.level, tuple(_clear(model, scene, lattice, box, inputs, harmony)))


def _clear(
    model: FusionModel,
    scene: Scene,
    lattice: Lattice,
    box: Box,
    inputs: Sequence[NDArray[np.float32]],
    harmony: Harmony,
) -> Iterator[NDArray[np.float32]]:
    """Inputs with NaN under clouds and their shadows, where the scene has a quality layer."""
    layers = quality_of(scene)
    if not layers:
        yield from inputs
        return
    native = layers[0].resolution
    cloudy = (lay_quality([scene], lattice.geobox(box, native), harmony=harmony).flags & CLOUDY) > 0  # (rows, cols)
    for wanted, x in zip(model.inputs, inputs, strict=True):
        if wanted.resolution <= native:
            times = native // wanted.resolution
            mask: NDArray[np.bool_] = cloudy.repeat(times, axis=0).repeat(times, axis=1)
        else:
            times = wanted.resolution // native
            mask = np.any(cloudy.reshape(x.shape[1], times, x.shape[2], times), axis=(1, 3))
        yield np.where(mask, np.float32(np.nan), x)
