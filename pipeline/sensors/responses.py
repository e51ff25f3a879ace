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
from scipy.optimize import nnls

from pipeline.errors import Refused, nearest

Curves = Mapping[str, NDArray[np.floating]]
"""Band to its relative response, on wavelengths that come with it."""

Weights = Mapping[str, Mapping[str, float]]
"""Target band to source band to weight: above 0, summing to 1 for each target band."""

GRID = np.arange(300, 2601)
"""Wavelengths in nm on which curves of different tables meet."""

FIDELITY = 0.3
"""Least cosine between a target's response and its best fit for the target to count as one that can be made: a source
that covers the target and is eleven times as wide has it."""

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
    equivalent: float
    """Width in nm of the boxcar of the same energy, ``(∫ R dλ)² / ∫ R² dλ``."""


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
    name = platform.strip().casefold().replace("_", "-")
    if name not in _table()["bands"]:
        raise Refused(f"the spectral responses of platform '{platform}' are not known: {nearest(name, platforms())}.")
    return name


def planetscope(instrument: str, satellite: str = "") -> str:
    """The platform that stands for a PlanetScope satellite: its instrument, and for the oldest (PS2) its group.

    ``instrument`` is ``PS2``, ``PS2.SD`` or ``PSB.SD``; ``satellite`` its hexadecimal id, such as ``0f4c``, which Planet
    groups by its beginning (0c and 0d share a table, as do 0f and 10). Raises ``Refused`` for any other.
    """
    kind = instrument.strip().casefold()
    groups = {"0c": "0d", "0d": "0d", "0e": "0e", "0f": "0f", "10": "0f"}
    group = groups.get(satellite.strip().casefold()[:2])
    if kind in ("ps2.sd", "psb.sd"):
        return f"planetscope-{kind}"
    if kind == "ps2" and group:
        return f"planetscope-ps2-{group}"
    raise Refused(
        f"no spectral response is published for PlanetScope satellite '{satellite}' with instrument '{instrument}'; use "
        "scenes of PSB.SD, PS2.SD, or of PS2 satellites 0c to 10, or leave out the band-pass adjustment."
    )


def weights(source: str, target: str) -> Weights:
    """How the bands of a target platform are best made of a source platform's.

    With every response scaled to unit area, ``ρ = R / ∫ R dλ``, the weights of target band t are those that minimise ::

        ∫ (ρ_t - Σ_s w_s ρ_s)² dλ   with  w_s >= 0,

    afterwards divided by their sum, so that a flat spectrum keeps its reflectance. (The sum is not held at 1 during the
    fit: bands far from the target would then be given weight merely for being wide.) A source band whose response does not
    meet the target's has weight 0 exactly and is left out. A target band is left out where its fit lies below
    ``FIDELITY``. Raises ``Refused`` for a platform whose responses are not known.
    """
    return _weights(known(source), known(target))


@cache
def _weights(source: str, target: str) -> Weights:
    """``weights`` by the names of the table."""
    names = [name for name in _bands(source) if name != PANCHROMATIC or source == target]
    rows = _scaled(source, source)
    gram = np.array([[rows.get((a, b), 0.0) for b in names] for a in names])
    across = _scaled(source, target)
    made = {}
    for band, found in _bands(target).items():
        shares = best(gram, np.array([across.get((name, band), 0.0) for name in names]), 1 / found.equivalent)
        if shares is not None:
            made[band] = MappingProxyType({n: float(w) for n, w in zip(names, shares, strict=True) if w > 0})
    return MappingProxyType(made)


def best(gram: NDArray[np.float64], across: NDArray[np.float64], energy: float) -> NDArray[np.float64] | None:
    """Weights of n source bands for one target band, summing to 1; ``None`` where they fit it worse than ``FIDELITY``.

    Of integrals of products of unit-area responses: ``gram`` (n, n) among the sources, ``across`` (n,) of each source with
    the target, ``energy`` of the target with itself.
    """
    root = np.linalg.cholesky(
        gram
    ).T  # the fit needs no more of the curves: |root w - rhs|² is the integral, less a constant
    shares, _ = nnls(root, np.linalg.solve(root.T, across))
    length = float(np.sqrt(shares @ gram @ shares * energy))
    if length == 0 or float(shares @ across) / length < FIDELITY:
        return None
    shares[shares < LEAST * shares.sum()] = 0
    return shares / shares.sum()


def digest(curves: Mapping[str, tuple[NDArray[np.floating], Curves]]) -> dict[str, Any]:
    """The contents of ``responses.json``: from platform to wavelengths (n,) in nm and relative responses (n,) by band.

    ``bands`` has centre, width and equivalent width in nm, to a tenth. ``overlaps`` has, for every two platforms in
    order, the cosines ``∫ R_a R_b dλ / sqrt(∫ R_a² dλ ∫ R_b² dλ)`` of their bands, to a thousandth, where above 0.
    """
    met = {
        platform: {band: _gridded(wavelengths, curve) for band, curve in responses.items()}
        for platform, (wavelengths, responses) in curves.items()
    }
    bands = {
        platform: {band: list(_numbers(curve)) for band, curve in responses.items()}
        for platform, responses in met.items()
    }
    overlaps = {f"{a} {b}": _cosines(met[a], met[b]) for a, b in combinations_with_replacement(met, 2)}
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
    """Centre, full width at half maximum and equivalent width of a curve on ``GRID``, to 0.1 nm."""
    above = np.flatnonzero(curve >= curve.max() / 2)
    first, last, half = above[0], above[-1], curve.max() / 2
    left = np.interp(half, curve[first - 1 : first + 1], GRID[first - 1 : first + 1])
    right = np.interp(half, curve[last : last + 2][::-1], GRID[last : last + 2][::-1])
    center = (GRID * curve).sum() / curve.sum()
    return (
        round(float(center), 1),
        round(float(right - left), 1),
        round(float(curve.sum() ** 2 / (curve**2).sum()), 1),
    )


def _cosines(a: Curves, b: Curves) -> dict[str, dict[str, float]]:
    """Cosines between two platforms' curves on ``GRID`` to a thousandth, those above 0."""
    found: dict[str, dict[str, float]] = {}
    for one, left in a.items():
        for other, right in b.items():
            cosine = round(float(left @ right / np.sqrt((left @ left) * (right @ right))), 3)
            if cosine > 0:
                found.setdefault(one, {})[other] = cosine
    return found


@cache
def _table() -> dict[str, Any]:
    """``responses.json``."""
    return json.loads(Path(__file__).with_name("responses.json").read_text())


@cache
def _bands(platform: str) -> Mapping[str, Response]:
    """Bands of a platform of the table."""
    return MappingProxyType({band: Response(*numbers) for band, numbers in _table()["bands"][platform].items()})


def _scaled(source: str, target: str) -> dict[tuple[str, str], float]:
    """Integral of the product of unit-area responses, in 1/nm, by source band and target band, where above 0."""
    forward = _table()["overlaps"].get(f"{source} {target}", {})
    backward = _table()["overlaps"].get(f"{target} {source}", {}) if source != target else {}
    cosines = {(a, b): cosine for a, row in forward.items() for b, cosine in row.items()}
    cosines |= {(a, b): cosine for b, row in backward.items() for a, cosine in row.items()}
    one, other = _bands(source), _bands(target)
    return {(a, b): c / float(np.sqrt(one[a].equivalent * other[b].equivalent)) for (a, b), c in cosines.items()}
