"""Memory of each network on a processor: by how much the tiles of a chunk raise a worker's peak, in bytes a pixel of a tile.

Each in a process of its own with a worker's variables; a peak creeps up over the first tiles, while gaps of the heap fill.
"""

import argparse
import os
import subprocess
import sys
from math import ceil

from cluster.environment import environment
from pipeline.memory import peak_memory
from pipeline.models.registry import build, sharpening
from pipeline.price import NETWORK_BYTES
from pipeline.sensors import SENTINEL2

TILES = 4
"""Of a chunk of 1200 px."""


def main() -> None:
    """Print bytes a pixel, after each tile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", nargs="?", help="one network, in this process")
    given = parser.parse_args()
    if given.network:
        print(f"{given.network}: {' '.join(f'{rise:.0f}' for rise in rises(given.network))} bytes a pixel", flush=True)
        return
    for name in NETWORK_BYTES:
        subprocess.run([sys.executable, __file__, name], env=os.environ | environment(1), check=True)


def rises(name: str) -> list[float]:
    """By how much the peak lies above that of a process with network and tile, after each tile, a pixel of it."""
    import torch

    torch.set_num_threads(1)
    model = sharpening(name, SENTINEL2, [band.name for band in SENTINEL2.bands])
    network, edge = build(model), model.tile + 2 * 6 * ceil(model.reach / 6)  # whole pixels of 60 m
    inputs = [torch.rand(1, len(i.bands), edge * 10 // i.resolution, edge * 10 // i.resolution) for i in model.inputs]
    found, before = [], peak_memory()
    with torch.inference_mode():
        for _ in range(TILES):
            network(*inputs)
            found.append((peak_memory() - before) / edge**2)
    return found


if __name__ == "__main__":
    main()
