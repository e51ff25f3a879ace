"""The lazy driver: a fused result as a Dataset whose chunks are computed when they are looked at."""

from collections.abc import Sequence
from threading import Lock

import dask
import dask.array as da
import numpy as np
import xarray as xr

from pipeline.device import Equipment
from pipeline.errors import Refused
from pipeline.fuse import apply_model, finish, read_chunk
from pipeline.job import Job, Task, tasks
from pipeline.post import Runners
from pipeline.scene import Scene

runners = Runners(Equipment())  # per process: a network is far too large to travel with every chunk
alone = Lock()  # Dask computes in threads, and a runner serves one at a time


def lazy(job: Job, scenes: Sequence[Scene]) -> xr.Dataset:
    """The fused result as a lazy Dataset, (time, band, y, x): selecting computes just the chunks it touches.

    Raises ``OSError``, naming it, when a file that cannot be read is needed, and ``Refused`` where weights are still to be
    adapted.
    """
    todo = list(tasks(job, scenes))
    for day in sorted({task.day for task in todo}):
        if job.weights_on(day).endswith("not adapted"):
            raise Refused(
                f"the weights of {day} are still to be adapted, which takes a run; give adapt: 0, or run the specification "
                "and take its weights (flows.adapting.with_known)."
            )
    days = sorted({task.day for task in todo})
    geobox, dtype = job.layout.geobox, np.dtype(job.encoding.dtype)
    bands = job.model.output.bands
    planes = [_lazy_day(job, [t for t in todo if t.day == day], len(bands), dtype) for day in days]
    coords = {
        "time": np.array(days, "datetime64[ns]"),
        "band": list(bands),
        "y": geobox.coords["y"].values,
        "x": geobox.coords["x"].values,
    }
    numbers = xr.DataArray(da.stack([p[0] for p in planes]), dims=("time", "band", "y", "x"))
    flags = xr.DataArray(da.stack([p[1] for p in planes]), dims=("time", "y", "x"))
    decoded = xr.apply_ufunc(job.encoding.decode, numbers, dask="parallelized", output_dtypes=["f8"])
    found = xr.Dataset({"reflectance": decoded, "flags": flags}, coords=coords)
    return found.rio.write_crs(job.layout.lattice.crs)


def _lazy_day(job: Job, day: list[Task], bands: int, dtype: np.dtype) -> tuple[da.Array, da.Array]:
    rows: dict[int, list[tuple[da.Array, da.Array]]] = {}
    for task in day:
        shape = job.layout.lattice.geobox(task.chunk.core).shape
        fused = dask.delayed(_arrays)(job, task)
        numbers = da.from_delayed(fused[0], (bands, *shape), dtype)
        flags = da.from_delayed(fused[1], shape, np.uint16)
        rows.setdefault(task.chunk.row, []).append((numbers, flags))
    grid = [rows[row] for row in sorted(rows)]
    return da.block([[cell[0] for cell in row] for row in grid]), da.block([[cell[1] for cell in row] for row in grid])


def _arrays(job: Job, task: Task) -> tuple[np.ndarray, np.ndarray]:
    read = read_chunk(job, task)
    with alone:
        applied = apply_model(job, read, runners.get(job.model_on(task.day)))
    fused = finish(job, task, read, applied)
    for failure in fused.record.failures:
        raise OSError(f"{failure.scene} {failure.band}: {failure.reason}")
    return fused.numbers, fused.flags
