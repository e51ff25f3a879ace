"""A model over one window: tiles of a fixed shape, batches, device.

Convolutions give the same bits at every place only for a fixed shape of the batch, so a window is computed in tiles of the
model's own tile size whatever the chunk: the last ones are filled up, never cut down.
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
    out = np.empty((len(model.output.bands), rows, cols), dtype=inputs[0].dtype)
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    corners = list(product(range(0, rows, model.tile), range(0, cols, model.tile)))
    with torch.inference_mode():
        for first in range(0, len(corners), batch):
            some = corners[first : first + batch]
            full = [*some, *([some[-1]] * (batch - len(some)))]
            tensors = [_stack(full, x, f, model.tile + 2 * halo, device) for x, f in zip(inputs, factors, strict=True)]
            given = network(*tensors)[..., halo : halo + model.tile, halo : halo + model.tile].cpu().numpy()
            for (top, left), tile in zip(some, given, strict=False):
                inside = out[:, top : top + model.tile, left : left + model.tile]
                inside[...] = tile[:, : inside.shape[1], : inside.shape[2]]
    return out


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
    factors = [wanted.resolution // model.output.resolution for wanted in model.inputs]
    halo = model.halo + -model.halo % max(factors)
    edge = model.tile + 2 * halo
    sizes = [(len(wanted.bands), edge // f, edge // f) for wanted, f in zip(model.inputs, factors, strict=True)]
    infer(network, model, [np.zeros(size, np.float32) for size in sizes], halo)
