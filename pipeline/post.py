"""What a worker process holds for a job: told once when it joins, so that tasks carry nothing but their chunks."""

import asyncio
import time
from dataclasses import replace
from datetime import date
from threading import Lock
from uuid import uuid4

import zarr
from distributed import Worker, WorkerPlugin

from pipeline.device import Equipment, Runner
from pipeline.errors import Refused, one_line
from pipeline.job import Job
from pipeline.models.declaration import FusionModel
from pipeline.models.weights import here
from pipeline.store import WEIGHTS, Store

KEPT = 3
"""Networks that a worker holds at once: days have weights of their own where they were adapted."""


ATTEMPTS = 3
"""How often a worker tries to make ready, where the store does not answer."""

one_at_a_time = Lock()  # a post is made ready by the first that asks


class Runners:
    """The latest networks of this process, each built once however many threads ask at once."""

    def __init__(self, equipment: Equipment) -> None:
        self.equipment = equipment
        self._built: dict[FusionModel, Runner] = {}
        self._lock = Lock()

    def get(self, model: FusionModel) -> Runner:
        """What runs the network of a declaration."""
        with self._lock:
            runner = self._built.pop(model, None)
            if runner is None:
                from pipeline.models.registry import build

                runner = Runner(build(model), model, self.equipment)
            self._built[model] = runner  # now the latest
            for oldest in list(self._built)[:-KEPT]:
                del self._built[oldest]
            return runner


class Unfit(RuntimeError):
    """A worker that cannot do the work: ``Unfit(worker, reason)``."""

    @property
    def worker(self) -> str:
        """Its address."""
        return str(self.args[0])

    @property
    def reason(self) -> str:
        """Why, in one line."""
        return str(self.args[1])


def one_task(threads: int) -> None:
    """Raise ``Refused`` for a worker that would take several strips at once."""
    if threads > 1:
        raise Refused(
            f"it works on {threads} tasks at once, and memory is priced for one; start it with --nthreads 1, and as many of "
            "them as there is memory for: a chunk takes the cores by itself."
        )


class Post(WorkerPlugin):
    """A job at its post on a worker. Dask sets it up on every worker, also on one that joins later.

    Parameters
    ----------
    job
        What is to be done.
    where
        The store, as ``Objects.at`` takes it.
    lease
        Token of the run's lease on the store.
    equipment
        What the worker computes on.
    """

    def __init__(self, job: Job, where: str, lease: int, equipment: Equipment) -> None:
        self.name = f"fusecube-{uuid4().hex[:12]}"
        self.job = job
        self.where = where
        self.lease = lease
        self.equipment = equipment
        self.since = 0.0  # not before it is ready

    async def setup(self, worker: Worker) -> None:
        """Make ready, apart from the loop in which the worker answers: networks take their time to load or to compile."""
        await asyncio.to_thread(self.ready, worker)

    def ready(self, worker: Worker) -> "Post":
        """Itself, once the network of the job is loaded and tried; raises ``Unfit`` where that cannot be.

        Dask gives work to a worker that joined later even where its ``setup`` failed, so each strip asks again.
        """
        with one_at_a_time:
            if not self.since:
                self._try(worker)
                self.since = time.perf_counter()
        return self

    def _try(self, worker: Worker) -> None:
        for attempt in range(ATTEMPTS):
            try:
                self._prepare(worker.state.nthreads)
                return
            except Exception as error:  # whatever it is, this worker can do nothing and others may
                passing = isinstance(error, OSError) and not isinstance(error, Refused)
                if not passing or attempt == ATTEMPTS - 1:
                    raise Unfit(worker.address, one_line(error)) from error
            time.sleep(1.0)

    def _prepare(self, threads: int) -> None:
        import torch

        one_task(threads)
        cores = self.equipment.threads or threads
        torch.set_num_threads(cores)
        zarr.config.set({"threading.max_workers": cores})  # compression must not take the neighbour's core
        self.store = Store(self.where)
        self.runners = Runners(self.equipment)
        if self.job.adapt:
            return  # each day has a network of its own
        runner = self.runners.get(self.job.model)
        if self.equipment.device == "cuda":  # whose libraries look for the fastest way at the first call
            runner.warm_up()

    def turn(self, now: float) -> float:
        """Seconds since a chunk was last finished here, or since there was none to be."""
        since, self.since = self.since, now
        return round(now - since, 4)

    def runner(self, day: date) -> Runner:
        """What runs the network of a day; weights that are not on this machine come from the store."""
        model = self.job.model_on(day)
        if model.weights and not here(model.weights_file).is_file():
            file = self.store.local(f"{WEIGHTS}/{model.weights_file.name}", model.weights)
            model = replace(model, weights_file=file)
        return self.runners.get(model)
