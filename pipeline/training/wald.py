"""Wald's protocol: everything one scale down, so that what was measured becomes the reference (Wald et al. 1997).

Bands of all resolutions are degraded by the ratio that a network is to learn; its label is the coarsest group as measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.degrade import SUPPORT, average, degrade, reach
from pipeline.models.declaration import FusionModel
from pipeline.sensors import sensor

Protocol = Literal["mtf", "dsen2"]
"""Blur by each band's MTF, or the one blur and mean that DSen2's authors use for all bands."""


@dataclass(frozen=True)
class Pair:
    """What a network is given and what it should make of it."""

    inputs: tuple[NDArray[np.float32], ...]
    """One (bands, rows, cols) array each input, NaN where unknown."""
    label: NDArray[np.float32]
    """(bands, rows, cols) of the coarsest input's bands on the grid of the finest, NaN where unknown."""


def reduced(
    model: FusionModel, window: Sequence[NDArray[np.float32]], ratio: int, protocol: Protocol = "mtf"
) -> tuple[NDArray[np.float32], ...]:
    """A window's inputs, all ``ratio`` times coarser.

    Beyond the window's edge the image is mirrored, so that small scenes are not lost to the kernel's margin: the outermost
    ``SUPPORT`` coarse pixels are less sure than the rest. Pixels that the kernel takes from a gap are NaN.
    """
    out = []
    for wanted, x in zip(model.inputs, window, strict=False):
        margin = reach(ratio)
        rows, cols = (length // ratio * ratio for length in x.shape[1:])
        mirrored = np.pad(x[:, :rows, :cols], [(0, 0), (margin, margin), (margin, margin)], mode="symmetric")
        if protocol == "dsen2":
            coarse = average(mirrored, ratio)
        else:
            coarse = degrade(mirrored, [sensor(wanted.sensor).band(b).mtf for b in wanted.bands], ratio)
        inner = slice(SUPPORT, -SUPPORT)
        out.append(coarse[:, inner, inner].astype(np.float32))
    return tuple(out)


def pair(model: FusionModel, window: Sequence[NDArray[np.float32]], index: int, protocol: Protocol = "mtf") -> Pair:
    """What teaches the network of input ``index``: all inputs down to it degraded by its ratio, and itself as measured.

    ``window`` holds native reflectance, one (bands, rows, cols) array an input, over whole coarse pixels.
    """
    ratio = model.inputs[index].resolution // model.output.resolution
    factors = [wanted.resolution // model.output.resolution for wanted in model.inputs[: index + 1]]
    size = [
        length // ratio * ratio for length in window[index].shape[1:]
    ]  # whole pixels of the degraded coarsest input
    native = [
        x[:, : size[0] * ratio // f, : size[1] * ratio // f] for x, f in zip(window[: index + 1], factors, strict=True)
    ]
    return Pair(reduced(model, native, ratio, protocol), native[index])
