"""A model over one window: tiles of a fixed shape, batches, device.

Convolutions give the same bits at every place only for a fixed shape of the batch, so a window is computed in tiles of the
model's own tile size whatever the chunk: the last ones are filled up, never cut down.

A local model's tiles are laid from the core's corner. A model with global context gives a pixel a value that depends on
the tile, so its tiles lie on a grid of their own (windows are aligned to it), and neighbours are blended.
"""

from collections.abc import Sequence
from dataclasses import replace
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
    """The output over the core of a window, (bands, rows, cols).

    Parameters
    ----------
    network
        What ``build`` made of the declaration, on the device where it is to run.
    model
        The declaration.
    inputs
        One (bands, rows, cols) array each declared input, all over the same window, without gaps (NaN).
    halo
        Pixels of the output around the core that the window has on each side, at least ``model.halo``.
    batch
        Tiles computed together.
    """
    import torch

    if halo < model.halo:
        raise ValueError(f"a halo of {halo} px is less than the {model.halo} px that '{model.name}' declares")
    factors = [wanted.resolution // model.output.resolution for wanted in model.inputs]
    rows, cols = (length * factors[0] - 2 * halo for length in inputs[0].shape[1:])
    out = np.zeros((len(model.output.bands), rows, cols), dtype=inputs[0].dtype)
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    tile, ramp = model.tile, model.blend
    around = tile if model.global_context else 0  # context tiles beside the core are blended into it
    margin = halo - around
    corners = list(product(range(-around, rows + ramp, tile), range(-around, cols + ramp, tile)))
    with torch.inference_mode():
        for first in range(0, len(corners), batch):
            some = corners[first : first + batch]
            full = [*some, *([some[-1]] * (batch - len(some)))]
            places = [(top + around, left + around) for top, left in full]
            tensors = [_stack(places, x, f, tile + 2 * margin, device) for x, f in zip(inputs, factors, strict=True)]
            given = network(*tensors)
            inner = slice(margin - ramp, margin + tile + ramp)
            for corner, result in zip(some, given[..., inner, inner].cpu().numpy(), strict=False):
                _lay_down(result, out, corner, ramp)
    return out


def _lay_down(result: NDArray, out: NDArray, corner: tuple[int, int], ramp: int) -> None:
    """Add a tile, with ``ramp`` pixels beyond it on every side, to the core where it meets it.

    Neighbours share the 2 ``ramp`` pixels along their border in falling and rising shares that add up to one.
    """
    height, width = result.shape[1:]
    top, left = corner[0] - ramp, corner[1] - ramp
    rows = slice(max(top, 0), min(top + height, out.shape[1]))
    cols = slice(max(left, 0), min(left + width, out.shape[2]))
    part = result[:, rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]
    if ramp:
        down, across = _shares(height, ramp), _shares(width, ramp)
        part = part * down[rows.start - top : rows.stop - top, None] * across[cols.start - left : cols.stop - left]
    out[:, rows, cols] += part


def _shares(length: int, ramp: int) -> NDArray[np.float32]:
    """Share of a tile along an axis: rising over its first 2 ``ramp`` pixels, falling over the last."""
    rise = (np.arange(length, dtype=np.float32) + np.float32(0.5)) / np.float32(2 * ramp)
    return np.minimum(1, np.minimum(rise, rise[::-1]))


def _stack(
    corners: Sequence[tuple[int, int]], x: NDArray[np.floating], factor: int, edge: int, device: "torch.device"
) -> "torch.Tensor":
    """Tiles of one input as (B, C, edge / factor, edge / factor), the last pixel going on beyond the window."""
    import torch

    size = edge // factor
    tiles = [x[:, top // factor :, left // factor :][:, :size, :size] for top, left in corners]
    padding = (((0, 0), (0, size - t.shape[1]), (0, size - t.shape[2])) for t in tiles)
    full = [
        np.pad(t, p, mode="edge") if t.shape[1:] != (size, size) else t for t, p in zip(tiles, padding, strict=True)
    ]
    return torch.from_numpy(np.stack(full)).to(device)


def warm_up(network: "nn.Module", model: FusionModel) -> None:
    """Run one tile, so that the first chunk does not pay for what libraries set up at the first call."""
    local = replace(model, halo=model.reach, global_context=False, blend=0)
    factors = [wanted.resolution // model.output.resolution for wanted in model.inputs]
    halo = local.halo + -local.halo % max(factors)
    edge = model.tile + 2 * halo
    sizes = [(len(wanted.bands), edge // f, edge // f) for wanted, f in zip(model.inputs, factors, strict=True)]
    infer(network, local, [np.zeros(size, np.float32) for size in sizes], halo)
