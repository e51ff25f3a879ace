"""Spectral responses, platform by platform: centre, width, and how the bands of one make the bands of another.

The published curves are digested into ``responses.json``, which ``digest`` makes of them; the curves are not shipped.
They are those of ESA (Sentinel-2 Spectral Response Functions, COPE-GSEG-EOPG-TN-15-0007, version 4.0), NASA and USGS
(Landsat 8 and 9 OLI, Landsat 7 ETM+ relative spectral responses), NASA's MODIS Characterization Support Team (MODIS on Terra
and Aqua, in-band relative spectral responses) and Planet (PlanetScope relative spectral responses, by satellite group).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refused, nearest

Curves = Mapping[str, NDArray[np.floating]]
"""Band to its relative response, on wavelengths that come with it."""

Weights = Mapping[str, Mapping[str, float]]
"""Target band to source band to weight: above 0, summing to 1 for each target band."""

GRID = np.arange(300, 2601)
"""Wavelengths in nm on which curves of different tables meet."""

MEETS = 0.05
"""Least cosine between two responses for a source band to have a part in a target band."""

FIDELITY = 0.3
"""Least part of a target's response that its sources see, as the root of the sum of their squared cosines with it, for the
target to count as one that can be made: one source that covers the target and is eleven times as wide sees so much."""

STEADY = 0.01
"""Added to squared distances, in nm: what their rounding leaves uncertain, so that near copies do not decide by it."""

LEAST = 0.02
"""A weight below this share is dropped (and the rest sums to 1 again): another band is not read for so little."""

PANCHROMATIC = "pan"
"""A band that spans those of other names; it makes none of them."""


@dataclass(frozen=True)
class Response:
    """The response of one band of one platform in three numbers."""

    center: float
    """Response-weighted mean wavelength in nm, ``∫ λ R dλ / ∫ R dλ``."""
    width: float
    """Full width at half maximum in nm, between the outermost crossings of half the greatest response."""
    spread: float
    """Mean distance in nm between two wavelengths drawn from the response; a third of the width for a boxcar."""


def response(platform: str, band: str) -> Response:
    """The response of a band of a platform such as ``sentinel-2a`` or ``landsat-8``.

    Platforms may be written as catalogs do (``Sentinel-2A``, ``LANDSAT_8``). Raises ``Refused`` with the nearest valid
    platform or band.
    """
    table = _bands(known(platform))
    if band not in table:
        raise Refused(f"no response of band '{band}' of {known(platform)} is published: {nearest(band, table)}.")
    return table[band]


def platforms() -> tuple[str, ...]:
    """Every platform whose responses are known."""
    return tuple(_table()["bands"])


def known(platform: str) -> str:
    """A platform as this table names it, however a catalog writes it; raises ``Refused`` with the nearest valid name."""
    name = named(platform)
    if name not in _table()["bands"]:
        raise Refused(f"the spectral responses of platform '{platform}' are not known: {nearest(name, platforms())}.")
    return name


def named(platform: str) -> str:
    """A platform in lower case with hyphens, known or not; of several, as composites name them, the first.

    >>> named("LANDSAT_8"), named("aqua,terra")
    ('landsat-8', 'aqua')
    """
    return platform.split(",")[0].strip().casefold().replace("_", "-")


def planetscope(instrument: str, satellite: str = "") -> str:
    """The platform that stands for a PlanetScope satellite: its instrument, and for the oldest (PS2) its group.

    ``instrument`` is ``PS2``, ``PS2.SD`` or ``PSB.SD``, or empty where it is not known; ``satellite`` its hexadecimal id, such
    as ``0f4c``, which Planet groups by its beginning (0c and 0d share a table, as do 0f and 10, all of them PS2). Raises
    ``Refused`` for any other.
    """
    kind = instrument.strip().casefold()
    groups = {"0c": "0d", "0d": "0d", "0e": "0e", "0f": "0f", "10": "0f"}
    group = groups.get(satellite.strip().casefold()[:2])
    if kind in ("ps2.sd", "psb.sd"):
        return f"planetscope-{kind}"
    if kind in ("ps2", "") and group:
        return f"planetscope-ps2-{group}"
    raise Refused(
        f"no spectral response is published for PlanetScope satellite '{satellite}' with instrument '{instrument}'; use "
        "scenes of PSB.SD, PS2.SD, or of PS2 satellites 0c to 10, or leave out the band-pass adjustment."
    )


def weights(source: str, target: str) -> Weights:
    """How the bands of a target platform are best made of a source platform's.

    Every response is scaled to unit area, ``ρ = R / ∫ R dλ``, and summed up, ``F(λ) = ∫ ρ dλ`` from the shortest wavelength
    to λ. The weights of target band t are those that minimise ::

        ∫ (F_t - Σ_s w_s F_s)² dλ   with  w_s >= 0  and  Σ_s w_s = 1,

    over the source bands whose responses meet the target's (``MEETS``). The integral is the mean square error of the band
    so made for spectra whose slope at each wavelength is independent of that at any other: it asks for the right centre
    first and the right width then, and a flat spectrum keeps its reflectance. Sums of densities in place of F would stand for
    spectra without any likeness of neighbouring wavelengths. A target band is left out where its sources see too little
    of it (``FIDELITY``). Raises ``Refused`` for a platform whose responses are not known.
    """
    return _weights(known(source), known(target))


@cache
def _weights(source: str, target: str) -> Weights:
    """``weights`` by the names of the table."""
    own, across = _pairs(source, source), _pairs(source, target)
    made = {}
    for band in _bands(target):
        met = {name: across[name, band] for name in _bands(source) if (name, band) in across}
        names = [
            name for name, (cosine, _) in met.items() if cosine >= MEETS and (name != PANCHROMATIC or source == target)
        ]
        if sum(met[name][0] ** 2 for name in names) < FIDELITY**2:
            continue
        between = np.array([[own[a, b][1] if (a, b) in own else _apart(source, a, b) for b in names] for a in names])
        shares = best(between, np.array([met[name][1] for name in names]))
        made[band] = MappingProxyType({name: float(w) for name, w in zip(names, shares, strict=True) if w > 0})
    return MappingProxyType(made)


def best(between: NDArray[np.float64], across: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights (n,) of n source bands for one target band, at least 0, summing to 1.

    Of squared distances ``∫ (F_a - F_b)² dλ`` in nm: ``between`` (n, n) the sources, ``across`` (n,) from each to the target.
    """
    from scipy.optimize import nnls  # a sixth of what a worker imports

    gram = (across[:, None] + across - between) / 2 + STEADY * np.eye(len(across))  # products of F_s - F_t
    values, axes = np.linalg.eigh(gram)
    root = (axes * np.sqrt(np.maximum(values, STEADY))).T
    # The least of w' gram w where the weights sum to 1 lies along that of v' gram v - 2 Σ v without that bound.
    shares, _ = nnls(root, np.linalg.solve(root.T, np.ones(len(across))))
    shares[shares < LEAST * shares.sum()] = 0
    return shares / shares.sum()


def digest(curves: Mapping[str, tuple[NDArray[np.floating], Curves]]) -> dict[str, Any]:
    """The contents of ``responses.json``: from platform to wavelengths (n,) in nm and relative responses (n,) by band.

    ``bands`` has centre, width and spread in nm, to a tenth. ``overlaps`` has, for every two platforms in order and every
    two bands that meet, the cosine ``∫ R_a R_b dλ / sqrt(∫ R_a² dλ ∫ R_b² dλ)``, to a thousandth, and the squared distance
    ``∫ (F_a - F_b)² dλ`` of ``weights`` in nm, to a hundredth.
    """
    met = {
        platform: {band: _gridded(wavelengths, curve) for band, curve in responses.items()}
        for platform, (wavelengths, responses) in curves.items()
    }
    bands = {
        platform: {band: list(_numbers(curve)) for band, curve in responses.items()}
        for platform, responses in met.items()
    }
    overlaps = {f"{a} {b}": _overlaps(met[a], met[b]) for a, b in combinations_with_replacement(met, 2)}
    return {"bands": bands, "overlaps": {pair: found for pair, found in overlaps.items() if found}}


def _gridded(wavelengths: NDArray[np.floating], curve: NDArray[np.floating]) -> NDArray[np.float64]:
    """A curve on ``GRID`` by linear interpolation, 0 where its table says nothing.

    Tables leave out wavelengths where no band responds: a step longer than the usual one is such a gap.
    """
    steps = np.diff(wavelengths)
    bounds = np.searchsorted(wavelengths, GRID, "right") - 1
    gaps = np.append(steps > 1.5 * np.median(steps), False)[bounds] & ~np.isin(GRID, wavelengths)
    return np.where(gaps, 0.0, np.interp(GRID, wavelengths, curve, 0, 0))


def _numbers(curve: NDArray[np.float64]) -> tuple[float, float, float]:
    """Centre, full width at half maximum and spread of a curve on ``GRID``, to 0.1 nm."""
    above = np.flatnonzero(curve >= curve.max() / 2)
    first, last, half = above[0], above[-1], curve.max() / 2
    left = np.interp(half, curve[first - 1 : first + 1], GRID[first - 1 : first + 1])
    right = np.interp(half, curve[last : last + 2][::-1], GRID[last : last + 2][::-1])
    center = (GRID * curve).sum() / curve.sum()
    below = np.cumsum(curve) / curve.sum()
    spread = 2 * (below * (1 - below)).sum()
    return round(float(center), 1), round(float(right - left), 1), round(float(spread), 1)


def _overlaps(a: Curves, b: Curves) -> dict[str, dict[str, list[float]]]:
    """Cosines and squared distances between two platforms' curves on ``GRID``, where a cosine is above 0."""
    found: dict[str, dict[str, list[float]]] = {}
    for one, left in a.items():
        for other, right in b.items():
            cosine = round(float(left @ right / np.sqrt((left @ left) * (right @ right))), 3)
            distance = ((np.cumsum(left) / left.sum() - np.cumsum(right) / right.sum()) ** 2).sum()
            if cosine > 0:
                found.setdefault(one, {})[other] = [cosine, round(float(distance), 2)]
    return found


@cache
def _table() -> dict[str, Any]:
    """``responses.json``."""
    return json.loads(Path(__file__).with_name("responses.json").read_text())


@cache
def _bands(platform: str) -> Mapping[str, Response]:
    """Bands of a platform of the table."""
    return MappingProxyType({band: Response(*numbers) for band, numbers in _table()["bands"][platform].items()})


@cache
def _pairs(source: str, target: str) -> Mapping[tuple[str, str], tuple[float, float]]:
    """Cosine and squared distance in nm by source band and target band, of those that meet."""
    forward = _table()["overlaps"].get(f"{source} {target}", {})
    backward = _table()["overlaps"].get(f"{target} {source}", {})
    found = {(a, b): (cosine, distance) for b, row in backward.items() for a, (cosine, distance) in row.items()}
    return found | {(a, b): (cosine, distance) for a, row in forward.items() for b, (cosine, distance) in row.items()}


def _apart(platform: str, a: str, b: str) -> float:
    """Squared distance in nm of two bands of a platform that do not meet."""
    one, other = _bands(platform)[a], _bands(platform)[b]
    return abs(one.center - other.center) - (one.spread + other.spread) / 2
