"""A model over one window: tiles of a fixed shape, in batches, on the device that the window is on.

Convolutions give the same bits at every place only for a fixed shape of the batch, so a window is computed in tiles of the
model's own tile size whatever the chunk: the last ones are filled up, never cut down.

A local model's tiles are laid from the core's corner. A model with global context gives a pixel a value that depends on
the tile, so its tiles lie on a grid of their own (windows are aligned to it), and neighbours are blended.
"""

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.models.declaration import FusionModel

if TYPE_CHECKING:
    import torch
    from torch import nn


def infer(
    network: "nn.Module",
    model: FusionModel,
    inputs: Sequence[NDArray[np.floating]],
    halo: int,
    batch: int = 1,
) -> NDArray[np.floating]:
    """``tiled`` for a network and inputs in this machine's own memory."""
    import torch

    window = [torch.from_numpy(np.require(x, requirements="W")) for x in inputs]
    return tiled(network, model, window, halo, batch).numpy()


def tiled(
    network: "nn.Module", model: FusionModel, inputs: Sequence["torch.Tensor"], halo: int, batch: int = 1
) -> "torch.Tensor":
    """The output over the core of a window, (bands, rows, cols), on the device of the inputs.

    Parameters
    ----------
    network
        What ``build`` made of the declaration, on the device of the inputs.
    model
        The declaration.
    inputs
        One (bands, rows, cols) tensor each declared input, all over the same window, without gaps (NaN).
    halo
        Pixels of the output around the core that the window has on each side, at least ``model.halo``.
    batch
        Tiles computed together; the last batch is filled up.
    """
    import torch

    if halo < model.halo:
        raise ValueError(f"a halo of {halo} px is less than the {model.halo} px that '{model.name}' declares")
    factors = [wanted.resolution // model.output.resolution for wanted in model.inputs]
    rows, cols = (length * factors[0] - 2 * halo for length in inputs[0].shape[1:])
    begin = torch.zeros if model.blend else torch.empty  # tiles that are not blended fill it, each its own place
    out = begin((len(model.output.bands), rows, cols), dtype=inputs[0].dtype, device=inputs[0].device)
    margin = halo - _around(model)
    edge, offset = model.tile + 2 * margin, halo - margin
    places = corners(model, rows, cols)
    inner = slice(margin - model.blend, margin + model.tile + model.blend)
    with torch.inference_mode():
        for first in range(0, len(places), batch):
            some = places[first : first + batch]
            full = [(top + offset, left + offset) for top, left in [*some, *([some[-1]] * (batch - len(some)))]]
            given = network(*(_cut(x, full, f, edge) for x, f in zip(inputs, factors, strict=True)))
            for corner, result in zip(some, given[..., inner, inner], strict=False):
                _lay_down(result, out, corner, model.blend)
    return out


def corners(model: FusionModel, rows: int, cols: int) -> list[tuple[int, int]]:
    """Row and column of the first pixel of every tile that a core takes, from the core's own corner."""
    around = _around(model)
    down, across = (range(-around, length + model.blend, model.tile) for length in (rows, cols))
    return list(product(down, across))


def _around(model: FusionModel) -> int:
    """Pixels around a core that are tiles themselves: those beside it are blended into it."""
    return model.tile if model.global_context else 0


def _cut(x: "torch.Tensor", places: Sequence[tuple[int, int]], factor: int, edge: int) -> "torch.Tensor":
    """Tiles of one input as (B, C, edge / factor, edge / factor), the last pixel going on beyond the window."""
    import torch
    import torch.nn.functional as F

    size = edge // factor
    tiles = [x[:, top // factor :, left // factor :][:, :size, :size] for top, left in places]
    missing = [(0, size - t.shape[2], 0, size - t.shape[1]) for t in tiles]
    return torch.stack([F.pad(t, m, mode="replicate") if any(m) else t for t, m in zip(tiles, missing, strict=True)])


def _lay_down(result: "torch.Tensor", out: "torch.Tensor", corner: tuple[int, int], ramp: int) -> None:
    """Lay a tile, with ``ramp`` pixels beyond it on every side, into the core where it meets it.

    Where there is a ramp, neighbours share the 2 ``ramp`` pixels along their border in falling and rising shares that add up
    to one.
    """
    height, width = result.shape[1:]
    top, left = corner[0] - ramp, corner[1] - ramp
    rows = slice(max(top, 0), min(top + height, out.shape[1]))
    cols = slice(max(left, 0), min(left + width, out.shape[2]))
    part = result[:, rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]
    if ramp:
        down, across = _shares(height, ramp, out.device), _shares(width, ramp, out.device)
        part = part * down[rows.start - top : rows.stop - top, None] * across[cols.start - left : cols.stop - left]
        out[:, rows, cols] += part
    else:
        out[:, rows, cols] = part


def _shares(length: int, ramp: int, device: "torch.device") -> "torch.Tensor":
    """Share of a tile along an axis: rising over its first 2 ``ramp`` pixels, falling over the last."""
    import torch

    rise = (torch.arange(length, dtype=torch.float32, device=device) + 0.5) / (2 * ramp)
    return torch.minimum(rise, rise.flip(0)).clamp(max=1)
