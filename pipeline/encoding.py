"""How quantities are kept as numbers in a store."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refused, nearest

ROWS = 64
"""Rows that are encoded together."""


@dataclass(frozen=True)
class Encoding:
    """The type and the scaling of stored values; ``value = number * scale + offset``."""

    dtype: str
    """NumPy name of the stored type."""
    scale: float
    """Value per stored unit."""
    offset: float
    """Value of the stored number 0."""
    fill: float
    """Stored number of a pixel without a value."""

    def encode(self, values: NDArray[np.floating]) -> tuple[NDArray, NDArray[np.bool_]]:
        """Stored numbers of values of any shape (NaN becomes the fill), and where a value was beyond what they hold."""
        if self.dtype == "float32":
            return values.astype(np.float32), np.zeros(values.shape, bool)
        low, high = 1, np.iinfo(self.dtype).max
        numbers, beyond = np.empty(values.shape, self.dtype), np.empty(values.shape, bool)
        for part, out, over in zip(_parts(values), _parts(numbers), _parts(beyond), strict=True):
            units = part * values.dtype.type(1 / self.scale)
            units -= values.dtype.type(self.offset / self.scale)
            np.rint(units, out=units)
            over[...] = (units < low) | (units > high)  # never true of NaN
            invalid = np.isnan(units)
            np.clip(units, low, high, out=units)
            units[invalid] = self.fill
            out[...] = units
        return numbers, beyond

    def decode(self, numbers: NDArray) -> NDArray[np.float64]:
        """Values of stored numbers, NaN where they are the fill."""
        if self.dtype == "float32":
            return numbers.astype(np.float64)
        values = numbers * np.float64(self.scale)
        values += self.offset
        values[numbers == self.fill] = np.nan
        return values


def _parts(values: NDArray) -> Iterator[NDArray]:
    """Some rows at a time of an array of any shape: so their temporaries stay in the processor's cache."""
    rows = values.reshape((prod(values.shape[:-1]), prod(values.shape[-1:])))
    return (rows[first : first + ROWS] for first in range(0, len(rows), ROWS))


# Offset so that the negative reflectances survive that Sentinel-2's own offset produces over dark water; the scale is
# the digital number of Sentinel-2, whose 10 m bands are therefore kept to the digit. Holds -0.0999 to 6.4535.
ENCODINGS = {
    "uint16": Encoding("uint16", 1e-4, -0.1, 0),
    "float32": Encoding("float32", 1.0, 0.0, float("nan")),
}


def encoding(name: str) -> Encoding:
    """The encoding called ``name``; raises ``Refused`` with the nearest valid name."""
    if name not in ENCODINGS:
        raise Refused(f"there is no encoding '{name}': {nearest(name, ENCODINGS)}.")
    return ENCODINGS[name]
