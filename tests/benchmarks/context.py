"""Global gates, fixed or pooled over context tiles: quality beside a reference, seams at the borders of tiles, cost.

Both with the same weights, those shipped for MPIFNet. Quality one scale down on the scene of the benchmarks; seams on a smooth
image, as the mean jump across the borders of context tiles over that between pixels inside.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from scenes import tiled

from flows.evaluate import Method, declared
from flows.teach import Source, scenes
from pipeline.inference import infer
from pipeline.lattice import Lattice
from pipeline.models.declaration import FusionModel
from pipeline.models.registry import build
from pipeline.quality import score
from pipeline.training.wald import pair
from pipeline.training.windows import windows


def smooth(model: FusionModel, edge: int) -> list[np.ndarray]:
    """Inputs of long waves, so that a seam is what stands out."""
    out = []
    for wanted in model.inputs:
        factor = wanted.resolution // model.output.resolution
        at = (np.arange(edge // factor) + 0.5) * factor
        waves = [
            0.15 + 0.05 * np.sin(at[:, None] / (260 + 30 * b)) * np.cos(at / (310 - 10 * b))
            for b in range(len(wanted.bands))
        ]
        out.append(np.stack(waves).astype(np.float32))
    return out


def seams(image: np.ndarray, tile: int) -> float:
    """Mean jump across the borders of tiles over the mean jump elsewhere, on columns and rows."""
    ratios = []
    for axis in (1, 2):
        jumps = np.abs(np.diff(image, axis=axis)).mean(axis=(0, 3 - axis))
        at = np.arange(tile - 1, len(jumps), tile)
        beside = np.concatenate([at - 3, at - 2, at + 2, at + 3])
        ratios.append(jumps[at].mean() / jumps[beside].mean())
    return float(np.mean(ratios))


def main() -> None:
    """Print what both come to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tile", type=int, default=300, help="edge of a context tile, pixels")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        source = Source(catalog=str(tiled(Path(name), 600)), level="L1C")
        scene = scenes(source)[0]
        found = next(
            windows(
                declared(Method(model="mpifnet"), "60m"), scene, Lattice("EPSG:32633", Fraction(10), Fraction(60)), 1
            )
        )
    for gates in ("fixed", "pooled"):
        model = declared(Method(model="mpifnet", gates=gates))
        model = replace(model, tile=given.tile)
        if gates == "pooled":
            model = replace(model, halo=90 + given.tile, align=given.tile)
        network = build(model)
        for index, group in ((1, "20m"), (2, "60m")):
            low = pair(model, found.inputs[: index + 1], index)
            ratio = model.inputs[index].resolution // model.output.resolution
            with torch.inference_mode():
                estimate = network.estimate(group, [torch.from_numpy(x[None]) for x in low.inputs])[0].numpy()
            inner = (slice(None), slice(2 * ratio, -2 * ratio), slice(2 * ratio, -2 * ratio))
            print(
                f"{gates}, {group}: PSNR {score([estimate[inner]], [low.label[inner]], ratio).psnr:.2f} dB", flush=True
            )
        core = 2 * given.tile
        start = time.perf_counter()
        image = infer(network, model, smooth(model, core + 2 * model.halo), model.halo)
        seconds = time.perf_counter() - start
        coarse = image[[model.output.bands.index(b) for i in model.inputs[1:] for b in i.bands]]
        print(
            f"{gates}: jump at tile borders over that inside {seams(coarse, given.tile):.4f}; {seconds:.1f} s for {core} px"
        )


if __name__ == "__main__":
    main()
