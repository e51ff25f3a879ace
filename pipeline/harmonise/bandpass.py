"""Band-pass adjustment: what a band of one sensor would have measured, from the bands of another. Per pixel, linear."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refused
from pipeline.scene import Scene
from pipeline.sensors.responses import known, named, planetscope, weights

Line = tuple[float, float]
"""Slope and offset from surface reflectance of a platform to that of the reference, ``OLI = slope * x + offset``."""

# The reference is the Operational Land Imager; Landsat 8 and 9 are used as one in the Harmonized Landsat and Sentinel-2
# product. Sentinel-2A and 2B: that product's coefficients, fitted to 500 Hyperion spectra (Claverie et al. 2018,
# doi:10.1016/j.rse.2018.09.002; hls.gsfc.nasa.gov/algorithms/bandpass-adjustment). Landsat 7: Roy et al. 2016,
# doi:10.1016/j.rse.2015.12.024, table 2, surface reflectance, reduced major axis regression. Of that table's lines it is
# the one that treats both sensors alike and so may be turned round; the ordinary regressions (OLI on ETM+ 0.8474 in blue,
# ETM+ on OLI 0.8850) each shrink the range of what they predict. (The offset in red is as printed; the table's two other
# lines would have it 0.0009 lower.) They were fitted to pairs of real scenes, so that differences of
# atmospheric correction are in them: on the spectra of EnMAP over Potsdam the blue bands lie 0.0006 apart, and the line
# moves one by 0.011.
_OLI = ("coastal", "blue", "green", "red", "nir08", "swir16", "swir22")
_MSI = ("B01", "B02", "B03", "B04", "B8A", "B11", "B12")
_SAME: tuple[Line, ...] = ((1.0, 0.0),) * len(_OLI)
_2A = (
    (0.9959, -0.0002),
    (0.9778, -0.0040),
    (1.0053, -0.0009),
    (0.9765, 0.0009),
    (0.9983, -0.0001),
    (0.9987, -0.0011),
    (1.0030, -0.0012),
)
_2B = (
    (0.9959, -0.0002),
    (0.9778, -0.0040),
    (1.0075, -0.0008),
    (0.9761, 0.0010),
    (0.9966, 0.0000),
    (1.0000, -0.0003),
    (0.9867, 0.0004),
)
_ETM = (
    (0.9785, -0.0095),
    (0.9542, -0.0016),
    (0.9825, -0.0022),
    (1.0073, -0.0021),
    (1.0171, -0.0030),
    (0.9949, 0.0029),
)


def _lines(bands: tuple[str, ...], reference: tuple[str, ...], lines: tuple[Line, ...]) -> dict[str, tuple[str, Line]]:
    """From the reference's band to a platform's band and its line."""
    return {of: (band, line) for of, band, line in zip(reference, bands, lines, strict=True)}


PUBLISHED: Mapping[str, Mapping[str, tuple[str, Line]]] = {
    "landsat-8": _lines(_OLI, _OLI, _SAME),
    "landsat-9": _lines(_OLI, _OLI, _SAME),
    "landsat-7": _lines(_OLI[1:], _OLI[1:], _ETM),
    "sentinel-2a": _lines(_MSI, _OLI, _2A),
    "sentinel-2b": _lines(_MSI, _OLI, _2B),
}
"""Platform to the reference's band to the platform's band and its line to the reference."""


@dataclass(frozen=True)
class Adjustment:
    """A band of one platform as a sum over bands of another: ``offset + Σ gain * band``."""

    gains: Mapping[str, float]
    """Band of the source to its gain; these are the bands that must be read."""
    offset: float
    """Reflectance added."""
    source: str
    """Where the numbers come from, for the record."""


def platform_of(scene: Scene) -> str:
    """The platform whose spectral responses a scene's bands have.

    Bands of HLS are adjusted to OLI when they are made, so that they count as Landsat 8's. PlanetScope scenes of eight
    bands are SuperDove's; of others the satellite's id tells. Raises ``Refused`` where responses are not known.
    """
    if scene.sensor == "hls":
        return "landsat-8"
    if scene.sensor == "planetscope":
        eight = {"coastal_blue", "green_i", "yellow"} & set(scene.assets)
        stated = scene.properties.get("instruments")
        instrument = "PSB.SD" if eight else stated if isinstance(stated, str) else ""
        return planetscope(instrument, scene.platform)
    return known(scene.platform)


def adjustment(band: str, source: str, target: str) -> Adjustment:
    """How ``band`` of the platform ``target`` is made of the bands of the platform ``source``.

    Platforms are named as in ``pipeline.sensors.responses``. Nothing changes between a platform and itself. Where the
    literature has a line from both to the reference, source goes to the reference by its line and from there to the target
    by the target's turned round; that holds for surface reflectance. Otherwise the bands are weighted by how their
    spectral responses overlap (``pipeline.sensors.responses.weights``). Raises ``Refused`` where neither is possible.
    """
    one, other = named(source), named(target)
    if one == other:
        return Adjustment({band: 1.0}, 0.0, "same platform")
    found = _published(band, one, other) or _weighted(band, one, other)
    if found is None:
        raise Refused(
            f"band {band} of {other} cannot be made of the bands of {one}, whose spectral responses do not meet it: "
            "leave the band out, or take it from a sensor that has it."
        )
    return found


def _published(band: str, source: str, target: str) -> Adjustment | None:
    """The adjustment by way of the reference, ``None`` where the literature has no line for one of the two."""
    for of, (name, (slope, offset)) in PUBLISHED.get(target, {}).items():
        if name == band and of in PUBLISHED.get(source, {}):
            own, (gain, shift) = PUBLISHED[source][of]
            text = "linear fits to OLI: Claverie et al. 2018, Roy et al. 2016"
            return Adjustment({own: gain / slope}, (shift - offset) / slope, text)
    return None


def _weighted(band: str, source: str, target: str) -> Adjustment | None:
    """The adjustment by overlap of spectral responses, ``None`` where the source's do not make the band."""
    shares = weights(source, target).get(band)
    return Adjustment(shares, 0.0, "overlap of spectral responses") if shares else None


def bandpass(values: Mapping[str, NDArray[np.float32]], band: str, source: str, target: str) -> NDArray[np.float32]:
    """``band`` of the platform ``target`` from reflectance of the bands of ``source``, arrays of one shape on one grid.

    ``values`` holds at least the bands that ``adjustment`` names; raises ``Refused`` naming those that are missing. A
    pixel is NaN where one of them is. Gives float32; each pixel depends on itself alone.
    """
    how = adjustment(band, source, target)
    missing = sorted(set(how.gains) - set(values))
    if missing:
        raise Refused(
            f"band {band} of {target} is made of {', '.join(how.gains)} of {source}, and {', '.join(missing)} is not "
            "read: add it to the bands."
        )
    if how.offset == 0 and set(how.gains.values()) == {1.0}:
        return values[next(iter(how.gains))]
    total = sum((np.float32(gain) * values[name] for name, gain in how.gains.items()), np.float32(how.offset))
    return np.asarray(total, np.float32)
