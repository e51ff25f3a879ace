"""What surfaces reflect between 400 and 2400 nm, and send back to a C-band radar: one number an endmember in any band.

The curves and the table are drawn by hand after what every textbook shows (green peak, red edge, leaf water, soil slope,
dark water, bright snow that darkens where ice absorbs; crops that scatter more in volume the more there is of them, the
mirror of calm water, the corner of wall and ground); they are plausible, not measured.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.sensors import Band

KNOTS = np.array(
    [400, 450, 500, 550, 600, 650, 680, 705, 740, 780, 860, 950, 1000, 1300, 1450, 1610, 1800, 1950, 2190, 2400.0]
)
"""Wavelengths in nm at which the curves are given; straight lines between."""

CURVES = {
    "soil": [
        0.06, 0.08, 0.10, 0.13, 0.17, 0.20, 0.21, 0.22, 0.23, 0.25,
        0.27, 0.28, 0.30, 0.35, 0.32, 0.37, 0.38, 0.30, 0.35, 0.32,
    ],
    "crop": [
        0.02, 0.03, 0.04, 0.09, 0.06, 0.04, 0.03, 0.12, 0.36, 0.47,
        0.50, 0.48, 0.50, 0.42, 0.14, 0.25, 0.24, 0.06, 0.12, 0.08,
    ],
    "straw": [
        0.08, 0.10, 0.13, 0.18, 0.23, 0.27, 0.28, 0.30, 0.33, 0.36,
        0.39, 0.40, 0.42, 0.46, 0.34, 0.41, 0.42, 0.26, 0.30, 0.24,
    ],
    "grass": [
        0.03, 0.04, 0.05, 0.10, 0.08, 0.06, 0.05, 0.14, 0.31, 0.38,
        0.40, 0.38, 0.40, 0.36, 0.15, 0.25, 0.24, 0.08, 0.14, 0.10,
    ],
    "forest": [
        0.01, 0.02, 0.02, 0.04, 0.03, 0.02, 0.02, 0.06, 0.20, 0.27,
        0.30, 0.29, 0.30, 0.25, 0.08, 0.13, 0.12, 0.03, 0.06, 0.04,
    ],
    "water": [
        0.05, 0.05, 0.05, 0.05, 0.03, 0.02, 0.02, 0.015, 0.01, 0.01,
        0.005, 0.003, 0.002, 0.001, 0, 0.001, 0, 0, 0.001, 0,
    ],
    "asphalt": [
        0.07, 0.08, 0.09, 0.10, 0.11, 0.12, 0.12, 0.12, 0.13, 0.13,
        0.14, 0.14, 0.15, 0.16, 0.16, 0.17, 0.17, 0.16, 0.16, 0.15,
    ],
    "tile": [
        0.05, 0.06, 0.08, 0.12, 0.22, 0.27, 0.28, 0.29, 0.30, 0.31,
        0.32, 0.32, 0.33, 0.37, 0.37, 0.39, 0.40, 0.36, 0.37, 0.34,
    ],
    "metal": [
        0.42, 0.45, 0.47, 0.48, 0.49, 0.49, 0.50, 0.50, 0.50, 0.51,
        0.51, 0.51, 0.52, 0.53, 0.53, 0.54, 0.54, 0.53, 0.53, 0.52,
    ],
    "snow": [
        0.90, 0.92, 0.93, 0.93, 0.92, 0.91, 0.91, 0.90, 0.88, 0.86,
        0.83, 0.75, 0.66, 0.45, 0.08, 0.11, 0.15, 0.03, 0.07, 0.04,
    ],
}  # fmt: skip
"""Endmember to reflectance at the knots."""

BACKSCATTER = {
    "soil": (-11.5, -20.5),
    "crop": (-10.0, -15.5),
    "straw": (-12.5, -19.5),
    "grass": (-12.5, -18.5),
    "forest": (-8.5, -13.5),
    "water": (-21.0, -28.0),
    "asphalt": (-17.0, -25.0),
    "tile": (-3.0, -11.5),
    "metal": (-1.0, -12.5),
    "snow": (-14.0, -21.0),
}
"""Endmember to gamma nought in dB, co-polarised (VV, HH) and cross-polarised (VH, HV)."""

ENDMEMBERS = tuple(CURVES)


def through(center: float, width: float) -> NDArray[np.float32]:
    """Reflectance of each endmember in a band, (endmembers,): the mean over a box of ``width`` nm around ``center``."""
    wavelengths = np.linspace(center - width / 2, center + width / 2, 21)
    return np.array([np.interp(wavelengths, KNOTS, CURVES[name]).mean() for name in ENDMEMBERS], np.float32)


def backscatter(polarisation: str) -> NDArray[np.float32]:
    """Gamma nought of each endmember as linear power, (endmembers,); ``polarisation`` is ``VV``, ``VH``, ``HH`` or ``HV``."""
    crossed = polarisation[0] != polarisation[1]
    return np.array([10 ** (BACKSCATTER[name][crossed] / 10) for name in ENDMEMBERS], np.float32)


def signatures(bands: Sequence[Band]) -> NDArray[np.float32]:
    """What each band measures of each endmember, (bands, endmembers): reflectance, or gamma nought in a radar's."""
    return np.stack([through(band.center, band.width) if band.center else backscatter(band.name) for band in bands])
