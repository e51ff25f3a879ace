"""What the land is like on a day: crops green up, ripen and are harvested, woods come into leaf, snow lies above a line."""

from datetime import date
from functools import cache, lru_cache
from math import cos, pi

import numpy as np

from pipeline.simulated.chance import key, noise, uniform
from pipeline.simulated.spectra import ENDMEMBERS

# Day of the year, share of the ground that is green, share that is dry straw; the rest is soil. Straight lines between. The
# order of events follows the crop calendars of central Europe; the figures are plausible, not measured.
CALENDARS = {
    "cereal": (
        (1, 0.25, 0.0), (60, 0.28, 0.0), (80, 0.35, 0.0), (115, 0.85, 0.0), (135, 1.0, 0.0), (163, 1.0, 0.0),
        (185, 0.35, 0.65), (200, 0.02, 0.95), (206, 0.0, 0.6), (235, 0.0, 0.5), (240, 0.0, 0.0), (285, 0.0, 0.0),
        (325, 0.25, 0.0), (366, 0.25, 0.0),
    ),
    "rape": (
        (1, 0.45, 0.0), (75, 0.5, 0.0), (105, 0.9, 0.0), (140, 1.0, 0.0), (162, 1.0, 0.0), (185, 0.4, 0.6),
        (198, 0.0, 0.95), (203, 0.0, 0.5), (228, 0.0, 0.4), (234, 0.0, 0.0), (250, 0.0, 0.0), (300, 0.45, 0.0),
        (366, 0.45, 0.0),
    ),
    "silage": (
        (1, 0.3, 0.0), (75, 0.35, 0.0), (115, 0.9, 0.0), (130, 1.0, 0.0), (137, 1.0, 0.0), (140, 0.03, 0.95),
        (164, 0.0, 0.95), (170, 0.0, 0.1), (182, 0.1, 0.05), (215, 0.95, 0.0), (245, 0.95, 0.0), (262, 0.3, 0.5),
        (268, 0.0, 0.4), (290, 0.0, 0.0), (330, 0.3, 0.0), (366, 0.3, 0.0),
    ),
    "maize": (
        (1, 0.0, 0.1), (60, 0.0, 0.1), (90, 0.0, 0.0), (158, 0.0, 0.0), (172, 0.15, 0.0), (205, 0.95, 0.0),
        (240, 1.0, 0.0), (255, 0.7, 0.2), (270, 0.3, 0.5), (276, 0.0, 0.45), (310, 0.0, 0.2), (366, 0.0, 0.1),
    ),
    "meadow": (
        (1, 0.65, 0.25), (75, 0.65, 0.25), (115, 0.95, 0.0), (130, 1.0, 0.0), (165, 1.0, 0.0), (169, 0.6, 0.3),
        (195, 1.0, 0.0), (232, 1.0, 0.0), (236, 0.65, 0.25), (262, 0.95, 0.0), (300, 0.85, 0.1), (335, 0.65, 0.25),
        (366, 0.65, 0.25),
    ),
    "wood": (
        (1, 0.45, 0.25), (100, 0.45, 0.25), (130, 1.0, 0.0), (275, 1.0, 0.0), (312, 0.45, 0.25), (366, 0.45, 0.25),
    ),
}  # fmt: skip
"""Vegetation to its year."""

_TABLES = {name: tuple(np.array(rows).T) for name, rows in CALENDARS.items()}

COVERS: dict[str, tuple[tuple[str, float, str | None], ...]] = {
    "cereal": (("crop", 1.0, "cereal"),),
    "rape": (("crop", 1.0, "rape"),),
    "silage": (("crop", 1.0, "silage"),),
    "maize": (("crop", 1.0, "maize"),),
    "meadow": (("grass", 1.0, "meadow"),),
    "wood": (("forest", 1.0, "wood"),),
    "garden": (("grass", 0.6, "meadow"), ("forest", 0.2, "wood"), ("asphalt", 0.2, None)),
    "bank": (("grass", 0.9, "meadow"), ("soil", 0.1, None)),
    "water": (("water", 1.0, None),),
    "road": (("asphalt", 0.9, None), ("soil", 0.1, None)),
    "house": (("tile", 1.0, None),),
    "hall": (("metal", 1.0, None),),
    "yard": (("asphalt", 0.8, None), ("soil", 0.2, None)),
    "bare": (("soil", 1.0, None),),
}
"""Kind of surface to what it is made of: endmember, share, and the calendar of what grows."""

YEARLY = 4.0
"""Days by which a year may be early or late."""

HELD = {"water": 0.0, "forest": 0.5, "asphalt": 0.5}
"""Share of fallen snow that stays on an endmember, where it is not all: it melts in water, falls through branches."""

DEPTH = 80.0
"""Metres of height over which snow grows from none to closed."""


@lru_cache(maxsize=65536)
def shares(kind: str, vigour: float, shift: float, year_shift: float, day: date) -> tuple[float, ...]:
    """Share of each endmember (``ENDMEMBERS``) on a day; they sum to 1.

    Parameters
    ----------
    kind
        Of ``COVERS``.
    vigour
        How much of what could grow does, 0 to 1.
    shift, year_shift
        Days by which this place, and this year, are late.
    """
    out = dict.fromkeys(ENDMEMBERS, 0.0)
    now = day.timetuple().tm_yday - shift - year_shift
    for endmember, share, calendar in COVERS[kind]:
        if calendar is None:
            out[endmember] += share
            continue
        days, green, dry = _TABLES[calendar]
        fresh, straw = (share * vigour * float(np.interp(now, days, part)) for part in (green, dry))
        out[endmember] += fresh
        out["straw"] += straw
        out["soil"] += share - fresh - straw
    return tuple(out.values())


@cache
def year_shift(seed: int, year: int) -> float:
    """Days by which a year is late."""
    return YEARLY * (2 * uniform(seed, "year", year) - 1)


def snow_line(seed: int, day: date) -> float:
    """Height in metres above which snow lies: lowest late in January, never below the summits in summer; it goes up and
    down by some 100 m with the weather."""
    yearly = 1825 - 1475 * cos(2 * pi * (day.timetuple().tm_yday - 25) / 365.25)
    weather = noise(np.array([float(day.toordinal())]), np.zeros(1), 6.0, key(seed, "snow line"))
    return yearly + 200 * (float(weather[0, 0]) - 0.5)
