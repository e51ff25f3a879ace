"""Reflectance of surfaces between 400 and 2400 nm, so that any band response can be applied.

The curves are drawn by hand after the shapes every textbook shows (green peak, red edge, leaf water, soil slope, dark
water); they are plausible, not measured.
"""

import numpy as np
from numpy.typing import NDArray

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
}  # fmt: skip
"""Endmember to reflectance at the knots."""

ENDMEMBERS = tuple(CURVES)


def through(center: float, width: float) -> NDArray[np.float32]:
    """Reflectance of each endmember in a band, (endmembers,): the mean over a box of ``width`` nm around ``center``."""
    wavelengths = np.linspace(center - width / 2, center + width / 2, 21)
    return np.array([np.interp(wavelengths, KNOTS, CURVES[name]).mean() for name in ENDMEMBERS], np.float32)
