"""The scenes of one group laid down as one image: quantities, and the flags that go with them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from pipeline.cube import address, read
from pipeline.flags import flagged
from pipeline.harmonise.steps import AS_MEASURED, Harmony
from pipeline.radiometry import as_read, coding, decode
from pipeline.reader import NOT_LISTED, Journal
from pipeline.scene import Scene, quality_of, touching
from pipeline.sensors import Coding, sensor


@dataclass(frozen=True)
class Image:
    """What one group of scenes holds on the pixels of a GeoBox."""

    values: NDArray[np.float32]
    """The quantity, (bands, rows, cols); NaN where no scene has a value."""
    saturated: NDArray[np.bool_]
    """Where any band is saturated, (rows, cols)."""
    whole: bool
    """Whether every pixel has a value in every band."""


def lay(
    scenes: Sequence[Scene],
    geobox: GeoBox,
    bands: Sequence[str],
    journal: Journal | None = None,
    harmony: Harmony = AS_MEASURED,
) -> Image:
    """Bands of scenes on the pixels of ``geobox``, in their order: a pixel is the first scene's that has a value.

    Without a journal a file that cannot be read raises ``OSError``, which names scene and band; with one it is nodata and
    named there, and so is a band that a scene's item does not list. The steps of ``harmony`` are applied to each scene
    before it is laid down.
    """
    out = np.full((len(bands), *geobox.shape), np.nan, np.float32)
    saturated = np.zeros(geobox.shape, bool)
    missing = np.ones(out.shape, bool)
    for scene in touching(scenes, geobox):
        if not missing.any():
            break
        wanted = harmony.needs(scene, bands)
        values = dict.fromkeys(wanted, np.full(geobox.shape, np.nan, np.float32))
        for band, plane in _numbers(scene, harmony.place(scene, geobox), wanted, journal).items():
            how = as_read(scene, band)
            if how.saturated is not None and band in bands and plane.max() == how.saturated:
                saturated |= (plane == how.saturated) & missing[bands.index(band)]
            values[band] = decode(plane, how)
        for index, plane in enumerate(harmony.applied(scene, bands, values)):
            np.copyto(out[index], plane, where=missing[index])
        missing = np.isnan(out)
    return Image(out, saturated, not missing.any())


def _numbers(scene: Scene, geobox: GeoBox, bands: Sequence[str], journal: Journal | None) -> dict[str, NDArray]:
    """Digital numbers of those of a scene's bands that can be read, (rows, cols) each; bands of one coding together."""
    kinds: dict[Coding, list[str]] = {}
    for band in bands:
        if band in scene.assets:
            kinds.setdefault(coding(scene, band), []).append(band)
        elif journal is not None:
            journal.fail(address(scene, band), NOT_LISTED)
    found: dict[str, NDArray] = {}
    for alike in kinds.values():
        found |= _read(scene, geobox, alike, journal)
    return found


def _read(scene: Scene, geobox: GeoBox, names: Sequence[str], journal: Journal | None) -> dict[str, NDArray]:
    """Bands of one coding, or a quality layer, as far as they can be read, (rows, cols) each."""
    own = Journal()
    planes = read([scene], geobox, names, own)[0].compute(scheduler="synchronous").values
    failed = {name: own.failures[place] for name in names if (place := address(scene, name)) in own.failures}
    if journal is not None:
        journal.add(own)
    elif failed:
        name, reason = next(iter(failed.items()))
        raise OSError(f"{name} of scene {scene.id} cannot be read: {reason}")
    return {name: plane for name, plane in zip(names, planes, strict=True) if name not in failed}


@dataclass(frozen=True)
class Quality:
    """What the quality layers of one group of scenes say on the pixels of a GeoBox."""

    flags: NDArray[np.uint16]
    """Flags, (rows, cols)."""
    measured: NDArray[np.bool_]
    """Where a quality layer has a value, (rows, cols)."""


def lay_quality(
    scenes: Sequence[Scene], geobox: GeoBox, journal: Journal | None = None, harmony: Harmony = AS_MEASURED
) -> Quality:
    """Flags of the scenes' quality layers on the pixels of ``geobox``, laid down in the same order as their bands.

    No flags where no scene has a quality layer. A scene whose layer is not there, or cannot be read, takes those pixels
    that it measured: what later scenes say of them is said of other measurements. ``harmony`` tells where scenes are put
    right. Without a journal a layer that cannot be read raises ``OSError``, which names it; with one it is named there.
    """
    flags, known, missing = np.zeros(geobox.shape, np.uint16), np.zeros(geobox.shape, bool), np.ones(geobox.shape, bool)
    rest = touching(scenes, geobox)
    while rest and missing.any():
        scene, *rest = rest
        layers, place = quality_of(scene), harmony.place(scene, geobox)
        codes: dict[str, NDArray] = {}
        for layer in layers:
            codes |= _read(scene, place, [layer.name], journal)
        if layers and layers[0].name in codes:
            here = missing & (codes[layers[0].name] != layers[0].nodata)
            known |= here
        elif codes or any(quality_of(later) for later in rest):
            here = missing & _measured(scene, place)
        else:
            continue
        for layer in layers:
            if layer.name in codes:
                flags[here] |= flagged(codes[layer.name][here], layer.meaning)
        missing &= ~here
    return Quality(flags, known)


def _measured(scene: Scene, geobox: GeoBox) -> NDArray[np.bool_]:
    """Where the finest band of a scene has a value, (rows, cols); nowhere if it cannot be read."""
    bands = [band for band in sensor(scene.sensor).bands if band.name in scene.assets]
    if not bands:
        return np.zeros(geobox.shape, bool)
    finest = min(bands, key=lambda band: band.resolution)
    return ~np.isnan(lay([scene], geobox, [finest.name], Journal()).values[0])
