"""Two drivers of one ``fuse_chunk``: streamed over a Dask cluster into a store, or lazily as a Dataset.

Every task reads its own window, so chunks are independent: resuming, retrying and writing each exactly once follow.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import dask
import dask.array as da
import numpy as np
import xarray as xr
from distributed import Client, Future, as_completed

from pipeline.errors import Refused, StoreFull
from pipeline.fuse import fuse_chunk
from pipeline.job import Job, Task, tasks
from pipeline.ledger import Ledger
from pipeline.memory import release_memory
from pipeline.models.declaration import FusionModel
from pipeline.record import Record
from pipeline.scene import Scene
from pipeline.store import Store, store_errors

if TYPE_CHECKING:
    from torch import nn

IN_FLIGHT = 3
"""Tasks handed to the cluster ahead of time, per thread of a worker: the graph stays small for any region."""


RELEASE_EVERY = 4
"""Chunks, on average, after which a worker gives back what is free: every time would cost 0.1 s a chunk (measured)."""


KEPT_NETWORKS = 3
"""Networks that a worker holds at once: days have weights of their own where they were adapted."""


class Networks:
    """The latest networks of this process, each built once however many threads ask at once."""

    def __init__(self) -> None:
        self._built: dict[FusionModel, nn.Module] = {}
        self._lock = Lock()

    def get(self, model: FusionModel) -> "nn.Module":
        """The network of a declaration."""
        with self._lock:
            network = self._built.pop(model, None)
            if network is None:
                from pipeline.models.registry import build

                network = build(model)
            self._built[model] = network  # now the latest
            for oldest in list(self._built)[:-KEPT_NETWORKS]:
                del self._built[oldest]
            return network


networks = Networks()  # per worker process: a network is far too large to travel with every task


@dataclass(frozen=True)
class Trouble:
    """A chunk that could not be finished."""

    task: str
    """Its name."""
    reason: str
    """Why, in one line."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    written: tuple[Record, ...]
    """Records of the chunks that were finished, in the order in which they were."""
    troubles: tuple[Trouble, ...]
    """Chunks that were not."""
    full: bool
    """Whether the run stopped because no space was left."""


def fuse_into(path: Path, job: Job, task: Task) -> Record:
    """Fuse a chunk and write it: the old record goes first, then the data comes, then the new record."""
    fused = fuse_chunk(job, task, networks.get(job.model_on(task.day)))
    start = time.perf_counter()
    store = Store(path)
    with store_errors():
        store.ledger.drop(task.day, task.chunk.core)
        store.write(task.chunk, task.day, fused.numbers, fused.flags)
        seconds = dict(fused.record.seconds) | {"write": round(time.perf_counter() - start, 4)}
        record = replace(fused.record, seconds=seconds)
        store.ledger.put(record)
    if int(record.key, 16) % RELEASE_EVERY == 0:
        release_memory()
    return record


def run(
    client: Client, path: Path, job: Job, todo: Iterable[Task], watch: Callable[[Record | Trouble], None] | None = None
) -> Outcome:
    """Stream tasks over a cluster into the store at ``path``; ends when all are finished or no space is left."""
    pending = iter(todo)
    submitted: dict[object, Task] = {}
    ledger = Ledger(path)
    written: list[Record] = []
    troubles: list[Trouble] = []
    full = False

    def submit(task: Task) -> Future:
        future = client.submit(fuse_into, path, job, task, pure=False)
        submitted[future.key] = task
        return future

    slots = IN_FLIGHT * max(1, sum(client.nthreads().values()))
    stream = as_completed([submit(task) for task in islice(pending, slots)])
    for future in stream:
        task = submitted.pop(future.key)
        try:
            result: Record | Trouble = future.result()
        except Exception as error:  # noqa: BLE001  whatever it was, it is reported and the other chunks go on
            result = Trouble(task.name, " ".join(str(error).split())[:300] or type(error).__name__)
            full = full or isinstance(error, StoreFull)
        if isinstance(result, Record):
            written.append(result)
        else:
            troubles.append(result)
            with suppress(OSError):  # a full disk may refuse this too, and is told all the same
                ledger.trouble(task.day, task.chunk.core, result.reason)
        if watch:
            watch(result)
        if not full:
            for task in islice(pending, 1):
                stream.add(submit(task))
    return Outcome(tuple(written), tuple(troubles), full)


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
    fused = fuse_chunk(job, task, networks.get(job.model_on(task.day)))
    for failure in fused.record.failures:
        raise OSError(f"{failure.scene} {failure.band}: {failure.reason}")
    return fused.numbers, fused.flags
