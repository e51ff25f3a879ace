"""The naive way: ``stackstac -> map_overlap -> to_zarr`` with the same network, as a competent user would write it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import stackstac
from distributed import Client, LocalCluster
from numpy.typing import NDArray

from pipeline.job import Job
from pipeline.memory import peak_memory
from pipeline.models.declaration import FusionModel
from pipeline.models.registry import build
from pipeline.sensors import SENTINEL2

SCALE, OFFSET = np.float32(1e-4), np.float32(-0.1)
"""Reflectance of a digital number."""


def naive(catalog: Path, job: Job, out: Path, block: int, workers: int) -> tuple[float, int]:
    """Seconds and the largest peak memory of a worker in bytes, the cluster being there and all settings Dask's own."""
    item = next(iter(pystac.ItemCollection.from_file(str(catalog))))
    common = {band.name: band.common for band in SENTINEL2.bands}
    halo = job.halo * job.layout.lattice.pixels()
    with _cluster(workers) as client:
        start = time.perf_counter()
        cube = stackstac.stack(
            [item.to_dict()],
            assets=[common[band] for wanted in job.model.inputs for band in wanted.bands],
            epsg=job.layout.geobox.crs.epsg,
            resolution=10,
            bounds=job.layout.geobox.boundingbox.bbox,
            chunksize=block,
            dtype=np.dtype("float32"),
            fill_value=np.float32(0),
            rescale=False,
        )
        bands = cube.data[0].rechunk({0: -1})
        fused = bands.map_overlap(
            apply,
            depth={0: 0, 1: halo, 2: halo},
            boundary="reflect",
            trim=False,
            model=job.model,
            halo=halo,
            chunks=((len(job.model.output.bands),), *bands.chunks[1:]),
            dtype=np.uint16,
            meta=np.empty((0, 0, 0), np.uint16),
        )
        fused.to_zarr(str(out))
        return time.perf_counter() - start, max(client.run(peak_memory).values())


def apply(block: NDArray[np.float32], model: FusionModel, halo: int) -> NDArray[np.uint16]:
    """A block with its overlap through the network: numbers of the block, (bands, rows, cols)."""
    import torch

    reflectance, inputs, first = block * SCALE + OFFSET, [], 0
    for wanted in model.inputs:
        times = wanted.resolution // model.output.resolution
        inputs.append(torch.from_numpy(reflectance[None, first : first + len(wanted.bands), ::times, ::times].copy()))
        first += len(wanted.bands)
    with torch.inference_mode():
        out: Any = network(model)(*inputs)[0].float().numpy()
    core = out[:, halo : out.shape[1] - halo, halo : out.shape[2] - halo]
    return np.clip(np.rint((core - OFFSET) / SCALE), 1, 65535).astype(np.uint16)


@cache
def network(model: FusionModel) -> Any:
    """The network, loaded once a process."""
    return build(model).eval()


@contextmanager
def _cluster(workers: int) -> Iterator[Client]:
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client
