"""The scenes of one group laid down as one image: quantities, and the flags that go with them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from pipeline.cube import read
from pipeline.flags import flagged
from pipeline.harmonise.steps import AS_MEASURED, Harmony
from pipeline.radiometry import as_read, coding, decode
from pipeline.reader import Journal
from pipeline.scene import Scene, touching
from pipeline.sensors import Coding, sensor
from pipeline.sensors import Quality as Layer


@dataclass(frozen=True)
class Image:
    """What one group of scenes holds on the pixels of a GeoBox."""

    values: NDArray[np.float32]
    """The quantity, (bands, rows, cols); NaN where no scene has a value."""
    saturated: NDArray[np.bool_]
    """Where any band is saturated, (rows, cols)."""


def lay(
    scenes: Sequence[Scene],
    geobox: GeoBox,
    bands: Sequence[str],
    journal: Journal | None = None,
    harmony: Harmony = AS_MEASURED,
) -> Image:
    """Bands of scenes on the pixels of ``geobox``, in their order: a pixel is the first scene's that has a value.

    Without a journal a file that cannot be read raises ``OSError``; with one it is nodata and named there. The steps of
    ``harmony`` are applied to each scene before it is laid down.
    """
    out = np.full((len(bands), *geobox.shape), np.nan, np.float32)
    saturated = np.zeros(geobox.shape, bool)
    missing = np.ones(out.shape, bool)
    for scene in touching(scenes, geobox):
        if not missing.any():
            break
        planes = _numbers(scene, harmony.place(scene, geobox), harmony.needs(scene, bands), journal)
        values = {}
        for band, plane in planes.items():
            how = as_read(scene, band)
            if how.saturated is not None and band in bands and plane.max() == how.saturated:
                saturated |= (plane == how.saturated) & missing[bands.index(band)]
            values[band] = decode(plane, how)
        for index, plane in enumerate(harmony.applied(scene, bands, values)):
            np.copyto(out[index], plane, where=missing[index])
        missing = np.isnan(out)
    return Image(out, saturated)


def _numbers(scene: Scene, geobox: GeoBox, bands: Sequence[str], journal: Journal | None) -> dict[str, NDArray]:
    """Digital numbers of a scene's bands, (rows, cols) each; bands of one coding are read together."""
    kinds: dict[Coding, list[str]] = {}
    for band in bands:
        kinds.setdefault(coding(scene, band), []).append(band)
    found: dict[str, NDArray] = {}
    for alike in kinds.values():
        planes = read([scene], geobox, alike, journal)[0].compute(scheduler="synchronous").values
        found |= dict(zip(alike, planes, strict=True))
    return found


@dataclass(frozen=True)
class Quality:
    """What the quality layers of one group of scenes say on the pixels of a GeoBox."""

    flags: NDArray[np.uint16]
    """Flags, (rows, cols)."""
    measured: NDArray[np.bool_]
    """Where a quality layer has a value, (rows, cols)."""


def lay_quality(scenes: Sequence[Scene], geobox: GeoBox, journal: Journal | None = None) -> Quality:
    """Flags of the scenes' quality layers on the pixels of ``geobox``, laid down in the same order as their bands.

    No flags where no scene has a quality layer.
    """
    flags = np.zeros(geobox.shape, np.uint16)
    missing = np.ones(geobox.shape, bool)
    for scene in touching(scenes, geobox):
        layers = quality_of(scene)
        if not layers or not missing.any():
            continue
        codes = [read([scene], geobox, [q.name], journal)[0, 0].compute(scheduler="synchronous").values for q in layers]
        here = missing & (codes[0] != layers[0].nodata)
        for layer, plane in zip(layers, codes, strict=True):
            flags[here] |= flagged(plane[here], layer.meaning)
        missing &= ~here
    return Quality(flags, ~missing)


def quality_of(scene: Scene) -> tuple[Layer, ...]:
    """The quality layers that a scene has."""
    return tuple(q for q in sensor(scene.sensor).product(scene.level).quality if q.name in scene.assets)
