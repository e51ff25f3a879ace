"""Nadir BRDF-adjusted reflectance (NBAR): a scene as seen from straight above, by the c-factor method.

Roy et al. 2016, A general method to normalize Landsat reflectance data to nadir BRDF adjusted reflectance,
doi:10.1016/j.rse.2016.01.023: land of all kinds has so nearly one shape of reflectance over angles, within the narrow
swaths of Landsat and Sentinel-2, that one set of model parameters per band serves everywhere. The model is RossThick with
reciprocal LiSparse, whose kernels are those of Lucht, Schaaf and Strahler 2000, doi:10.1109/36.841980, with MODIS's shape of
crowns (h/b = 2, b/r = 1).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import asin, degrees, radians, sin
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refused, nearest
from pipeline.scene import Scene

Degrees = float | NDArray[np.floating]
"""An angle in degrees: one for all pixels, or one a pixel."""


class Parameters(NamedTuple):
    """Parameters of the model for one band."""

    isotropic: float
    """f_iso: reflectance with sun and view at the zenith."""
    volumetric: float
    """f_vol: weight of the RossThick kernel."""
    geometric: float
    """f_geo: weight of the LiSparse kernel."""


PARAMETERS: Mapping[str, Parameters] = {
    "blue": Parameters(0.0774, 0.0372, 0.0079),
    "green": Parameters(0.1306, 0.0580, 0.0178),
    "red": Parameters(0.1690, 0.0574, 0.0227),
    "rededge1": Parameters(0.2085, 0.0845, 0.0256),
    "rededge2": Parameters(0.2316, 0.1003, 0.0273),
    "rededge3": Parameters(0.2599, 0.1197, 0.0294),
    "nir": Parameters(0.3093, 0.1535, 0.0330),
    "nir08": Parameters(0.3093, 0.1535, 0.0330),
    "swir16": Parameters(0.3430, 0.1154, 0.0453),
    "swir22": Parameters(0.2658, 0.0639, 0.0387),
}
"""Common name of a band to its parameters: the mean of a year of MODIS's over the globe, Roy et al. 2016, table 5. The red
edge: Roy et al. 2017, doi:10.1016/j.rse.2017.06.019, who interpolate between red and near infrared. No other band has any."""

HEIGHTS = {"sentinel-2": 786.0, "landsat": 705.0, "planetscope": 475.0}
"""Height of the orbit in km, by sensor: Sentinel-2 User Handbook; Landsat 8 Data Users Handbook, LSDS-1574; PlanetScope
Product Specifications (450 to 525)."""

EARTH = 6371.0
"""Mean radius of the Earth in km."""


@dataclass(frozen=True)
class Angles:
    """Where the sun and the sensor stand, seen from the ground, in degrees; zeniths from 0 to below 90."""

    sun_zenith: Degrees
    """Angle of the sun from the vertical."""
    sun_azimuth: Degrees
    """Direction of the sun, clockwise from north."""
    view_zenith: Degrees
    """Angle of the sensor from the vertical."""
    view_azimuth: Degrees
    """Direction of the sensor, clockwise from north."""


def volumetric(sun: Degrees, view: Degrees, azimuth: Degrees) -> NDArray[np.float64]:
    """RossThick kernel of zenith angles of sun and view and of the azimuth between them, in degrees.

    ``((π/2 - ξ) cos ξ + sin ξ) / (cos θ_s + cos θ_v) - π/4`` with ξ the angle between the two directions; 0 with both at
    the zenith. NaN where a zenith angle is not in 0 to below 90.
    """
    sun, view, azimuth = _radians(sun, view, azimuth)
    phase = _phase(sun, view, azimuth)
    return ((np.pi / 2 - phase) * np.cos(phase) + np.sin(phase)) / (np.cos(sun) + np.cos(view)) - np.pi / 4


def geometric(sun: Degrees, view: Degrees, azimuth: Degrees) -> NDArray[np.float64]:
    """Reciprocal LiSparse kernel of the same angles as ``volumetric``, with spherical crowns at a relative height of 2.

    ``O - sec θ_s - sec θ_v + (1 + cos ξ) sec θ_s sec θ_v / 2``, where ``O = (t - sin t cos t)(sec θ_s + sec θ_v) / π`` is how
    far the shadows seen overlap those cast, ``cos t = 2 sqrt(D² + (tan θ_s tan θ_v sin φ)²) / (sec θ_s + sec θ_v)``, at most
    1, and ``D² = tan² θ_s + tan² θ_v - 2 tan θ_s tan θ_v cos φ``.
    """
    sun, view, azimuth = _radians(sun, view, azimuth)
    secants = 1 / np.cos(sun) + 1 / np.cos(view)
    product = np.tan(sun) * np.tan(view)
    apart = np.tan(sun) ** 2 + np.tan(view) ** 2 - 2 * product * np.cos(azimuth)
    cosine = 2 * np.sqrt(np.maximum(apart, 0) + (product * np.sin(azimuth)) ** 2) / secants
    t = np.arccos(np.clip(cosine, -1, 1))
    overlap = (t - np.sin(t) * np.cos(t)) * secants / np.pi
    both = (1 + np.cos(_phase(sun, view, azimuth))) / (2 * np.cos(sun) * np.cos(view))
    return overlap - secants + both


def _radians(sun: Degrees, view: Degrees, azimuth: Degrees) -> tuple[NDArray[np.float64], ...]:
    """The angles in radians; zenith angles out of range become NaN."""
    zeniths = (np.asarray(zenith, np.float64) for zenith in (sun, view))
    kept = (np.where((zenith >= 0) & (zenith < 90), zenith, np.nan) for zenith in zeniths)
    first, second = (np.radians(zenith) for zenith in kept)
    return first, second, np.radians(np.asarray(azimuth, np.float64))


def _phase(sun: NDArray, view: NDArray, azimuth: NDArray) -> NDArray[np.float64]:
    """Angle between two directions by their zenith angles and the azimuth between them, in radians."""
    cosine = np.cos(sun) * np.cos(view) + np.sin(sun) * np.sin(view) * np.cos(azimuth)
    return np.arccos(np.clip(cosine, -1, 1))


def modelled(common: str, angles: Angles) -> NDArray[np.float64]:
    """Reflectance that the model gives a band, by common name, under some angles; raises ``Refused`` for a band without."""
    if common not in PARAMETERS:
        raise Refused(
            f"no BRDF parameters are published for a band called '{common}': leave the band out of NBAR, or "
            f"{nearest(common, PARAMETERS)}."
        )
    found = PARAMETERS[common]
    geometry = (angles.sun_zenith, angles.view_zenith, np.subtract(angles.view_azimuth, angles.sun_azimuth))
    return found.isotropic + found.volumetric * volumetric(*geometry) + found.geometric * geometric(*geometry)


def factor(common: str, angles: Angles, sun_zenith: Degrees | None = None) -> NDArray[np.float64]:
    """The c-factor of a band: modelled reflectance at nadir over that under the angles of the acquisition.

    At nadir the sun stands at ``sun_zenith``, or where it stood (``None``), as Roy et al. do and HLS 2.0 nearly so.
    """
    sun = angles.sun_zenith if sun_zenith is None else sun_zenith
    return modelled(common, replace(angles, sun_zenith=sun, view_zenith=0.0)) / modelled(common, angles)


def nbar(
    values: NDArray[np.float32], common: str, angles: Angles, sun_zenith: Degrees | None = None
) -> NDArray[np.float32]:
    """Surface reflectance (rows, cols) of a band as seen from nadir; NaN stays, and comes where an angle is NaN.

    ``common`` is the band's common name, ``angles`` one set for the scene or one a pixel, ``sun_zenith`` that of the result
    in degrees (``None``: as it was). Raises ``Refused`` for a band without parameters. Products that are nadir-adjusted
    already (HLS, MCD43A4) must not go through this again.
    """
    return np.asarray(values * factor(common, angles, sun_zenith).astype(np.float32), np.float32)


def angles_of(scene: Scene) -> Angles:
    """Mean angles of a scene from its metadata; raises ``Refused`` where it states too few, with the remedy.

    The sun: ``s2:mean_solar_zenith`` and ``s2:mean_solar_azimuth``, else ``view:sun_elevation`` and ``view:sun_azimuth``. The
    view: ``view:incidence_angle``, else ``view:off_nadir`` seen from the ground (the Earth is round), and ``view:azimuth``,
    which is not needed at nadir. Over a Landsat scene stated as nadir, the view goes in truth to 7.5 degrees at its sides.
    """
    stated = scene.properties
    sun_zenith = _number(stated, "s2:mean_solar_zenith")
    elevation = _number(stated, "view:sun_elevation")
    if sun_zenith is None and elevation is not None:
        sun_zenith = 90 - elevation
    sun_azimuth = _first(stated, "s2:mean_solar_azimuth", "view:sun_azimuth")
    view_zenith = _number(stated, "view:incidence_angle")
    if view_zenith is None:
        view_zenith = _incidence(scene.sensor, _number(stated, "view:off_nadir"))
    view_azimuth = 0.0 if view_zenith == 0 else _number(stated, "view:azimuth")
    if sun_zenith is None or sun_azimuth is None or view_zenith is None or view_azimuth is None:
        needed = {
            "sun zenith": sun_zenith,
            "sun azimuth": sun_azimuth,
            "view zenith": view_zenith,
            "view azimuth": view_azimuth,
        }
        missing = ", ".join(name for name, value in needed.items() if value is None)
        raise Refused(
            f"scene {scene.id} does not state its {missing}, so NBAR cannot be made: give angles per pixel (of the "
            "product's own angle layers), take a catalog whose items state view:incidence_angle and view:azimuth, or "
            "leave NBAR out."
        )
    if not 0 <= sun_zenith < 90 or not 0 <= view_zenith < 90:
        raise Refused(
            f"scene {scene.id} has the sun {sun_zenith:g} and its view {view_zenith:g} degrees from the vertical, where NBAR "
            "does not hold: leave the scene out."
        )
    return Angles(sun_zenith, sun_azimuth, view_zenith, view_azimuth)


def _incidence(sensor: str, off_nadir: float | None) -> float | None:
    """Zenith angle of a view from the ground, from the angle at the satellite; ``None`` where that or the orbit is unknown."""
    if off_nadir is None or off_nadir == 0:
        return off_nadir
    if sensor not in HEIGHTS:
        return None
    across = (EARTH + HEIGHTS[sensor]) / EARTH * sin(radians(abs(off_nadir)))
    return degrees(asin(across)) if across < 1 else None


def _first(stated: Mapping[str, Any], *names: str) -> float | None:
    """The first of some fields that holds a number."""
    return next((found for name in names if (found := _number(stated, name)) is not None), None)


def _number(stated: Mapping[str, Any], name: str) -> float | None:
    """A field as a finite number, ``None`` where it is missing or no such thing."""
    value = stated.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        return None
    return float(value)
