"""Global gates, fixed or pooled over context tiles: quality beside a reference, seams at the borders of tiles, cost.

Both with the same weights, those shipped for MPIFNet. Quality one scale down on the scene of the benchmarks; seams on a smooth
image, as the mean jump across the borders of context tiles over that beside them.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scenes import tiled

from flows.evaluate import Method, declared
from flows.teach import Source, scenes
from pipeline.inference import infer
from pipeline.models.declaration import FusionModel
from pipeline.models.registry import build, sharpening, with_weights
from pipeline.models.weights import SHIPPED
from pipeline.quality import score
from pipeline.sensors import SENTINEL2
from pipeline.training.wald import pair
from pipeline.training.windows import Window, lattice_of, windows


def smooth(model: FusionModel, edge: int) -> list[np.ndarray]:
    """Inputs that rise evenly to the south-east, so that every jump should be like its neighbours."""
    out = []
    for wanted in model.inputs:
        factor = wanted.resolution // model.output.resolution
        at = (np.arange(edge // factor) + 0.5) * factor
        slopes = 0.1 + 0.01 * np.arange(len(wanted.bands))
        out.append((0.1 + slopes[:, None, None] * (at[:, None] + at) / (2 * edge)).astype(np.float32))
    return out


def seams(image: np.ndarray, tile: int) -> float:
    """Mean jump between neighbours across the border of tiles over that one and two coarsest pixels beside it.

    Beside it in steps of six pixels, for a sharpened image has a rhythm of its own coarse pixels.
    """
    ratios = []
    for axis in (1, 2):
        jumps = np.abs(np.diff(image, axis=axis)).mean(axis=(0, 3 - axis))
        border = np.arange(tile - 1, len(jumps), tile)
        beside = np.concatenate([border + shift for shift in (-12, -6, 6, 12)])
        ratios.append(jumps[border].mean() / jumps[beside].mean())
    return float(np.mean(ratios))


def quality(gates: str, group: str, found: Window) -> float:
    """PSNR in dB one scale down, the border where pixels were mirrored left out."""
    model = declared(Method(model="mpifnet", gates=gates), group)
    low = pair(model, found.inputs[: len(model.inputs)], len(model.inputs) - 1)
    ratio = model.inputs[-1].resolution // model.output.resolution
    with torch.inference_mode():
        estimate = build(model).estimate(group, [torch.from_numpy(x[None]) for x in low.inputs])[0].numpy()
    inner = (slice(None), slice(2 * ratio, -2 * ratio), slice(2 * ratio, -2 * ratio))
    return score([estimate[inner]], [low.label[inner]], ratio).psnr


def main() -> None:
    """Print what both come to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tile", type=int, default=300, help="edge of a context tile, pixels")
    given = parser.parse_args()
    bands = tuple(band.name for band in SENTINEL2.bands)
    with tempfile.TemporaryDirectory() as name:
        scene = scenes(Source(catalog=str(tiled(Path(name), 600)), level="L1C"))[0]
        widest = declared(Method(model="mpifnet"), "60m")
        found = next(windows(widest, scene, lattice_of(widest, scene), 1))
    for gates in ("fixed", "pooled"):
        for group in ("20m", "60m"):
            print(f"{gates}, {group}: PSNR {quality(gates, group, found):.2f} dB", flush=True)
        model = with_weights(sharpening("mpifnet", SENTINEL2, bands, gates=gates), SHIPPED / "mpifnet.safetensors")
        reach = model.reach
        model = replace(model, tile=given.tile, halo=reach + (given.tile if model.global_context else 0))
        network = build(model)
        core = 2 * given.tile
        start = time.perf_counter()
        image = infer(network, model, smooth(model, core + 2 * model.halo), model.halo)
        seconds = time.perf_counter() - start
        coarse = image[[model.output.bands.index(b) for i in model.inputs[1:] for b in i.bands]]
        print(
            f"{gates}: jump across the border of tiles over that beside it {seams(coarse, given.tile):.4f}; "
            f"{seconds:.1f} s for {core} x {core} px",
            flush=True,
        )


if __name__ == "__main__":
    main()
