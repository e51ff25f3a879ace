"""What the tests of teaching share: small models, and land to teach them."""

import numpy as np
import torch

from pipeline.models.registry import build, sharpening
from pipeline.sensors import SENTINEL2

UP_TO_20 = tuple(band.name for band in SENTINEL2.bands if band.resolution <= 20)
ALL_BANDS = tuple(band.name for band in SENTINEL2.bands)
TINY = {"width": 16, "blocks": 1}


def tiny(bands=UP_TO_20, name="light", network=TINY):
    return sharpening(name, SENTINEL2, bands, precision="float32", network=network)


def built(model, seed=0):
    torch.manual_seed(seed)
    return build(model)


def native(model, edge, seed=0):
    """Land over a window of ``edge`` pixels of 10 m, on the grids of a model's inputs; bands are alike, as on land."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[0:edge, 0:edge]
    waves = sum(np.sin(rows * a + cols * b + c) for a, b, c in rng.uniform(-0.7, 0.7, (12, 3)))
    fine = 0.2 + 0.05 * waves
    out = []
    for wanted in model.inputs:
        f = wanted.resolution // 10
        blocks = fine.reshape(edge // f, f, edge // f, f).mean(axis=(1, 3))
        gains = 1 + 0.1 * np.arange(len(wanted.bands))
        out.append((gains[:, None, None] * blocks).astype(np.float32))
    return out


def weights(network):
    return {n: t.clone() for n, t in network.state_dict().items()}


def same(a, b):
    a, b = (x if isinstance(x, dict) else weights(x) for x in (a, b))
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)
