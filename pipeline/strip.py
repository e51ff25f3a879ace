"""A strip on a worker: a few neighbouring chunks as one Dask task, so that files stay open and stages overlap.

While the model runs on one chunk, readers read those after it and the one before is measured and written. A chunk's data is
written before its record, and an old record goes before its data is touched: whatever is killed, a record tells the truth.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, replace
from datetime import date
from itertools import islice
from typing import Any, cast

from distributed import get_worker

from pipeline.changing import changing
from pipeline.errors import StoreFull, one_line
from pipeline.events import Begun, Done, Trouble
from pipeline.fuse import Fused, Read, apply_model, finish, read_chunk
from pipeline.job import Task, key
from pipeline.lattice import Box
from pipeline.lease import Superseded
from pipeline.memory import release_memory, resident_memory
from pipeline.post import Post
from pipeline.price import WorkerMemory, Workers
from pipeline.record import Failure
from pipeline.store import store_errors

STOP = (StoreFull, Superseded)
"""What ends a whole run, whichever chunk it meets."""


def fuse_strip(name: str, strip: Sequence[Task]) -> list[Done | Trouble]:
    """Fuse and write the chunks of a strip, all of one day; each is told as a Dask event as it happens.

    Raises ``Unfit`` where this worker cannot do the work, ``StoreFull`` where no space is left and ``Superseded`` where
    another run has taken the store.
    """
    worker = get_worker()
    post = worker.plugins.get(name)
    if post is None:
        return []  # the run has ended
    worker.log_event(name, plain(Begun(strip[0].name)))
    line = Line(cast(Post, post).ready(worker), worker.address, lambda: name not in worker.plugins)
    found = []
    for event in line.fused(strip):
        worker.log_event(name, plain(event))
        found.append(event)
    return found


class Line:
    """The stages of a strip, each in a thread of its own.

    What piles up in gaps of the heap from chunk to chunk must not grow with a region, and what is given back must be faulted
    in again, which is dear without a network. So a worker gives back once it holds more than was planned.
    """

    def __init__(self, post: Post, worker: str, over: Callable[[], bool]) -> None:
        self.post = post
        self.worker = worker
        self.over = over
        equipment = post.equipment
        workers = Workers(readers=equipment.readers, gpu=equipment.device == "cuda")
        self.planned = WorkerMemory.of(post.job, workers).total

    def fused(self, strip: Sequence[Task]) -> Iterator[Done | Trouble]:
        """What became of each chunk, in order; once the run is over no other is begun.

        In memory at any time: a window for each reader, the one in the model, the one that is measured, and the stored
        numbers of the one that is written.
        """
        readers = self.post.equipment.readers
        with (
            ThreadPoolExecutor(readers) as reading,
            ThreadPoolExecutor(1) as measuring,
            ThreadPoolExecutor(1) as writing,
        ):
            rest, ahead = iter(strip), deque[tuple[Task, Future]]()
            behind, measured = deque[tuple[Task, Future]](), Future[Fused | None]()
            while True:
                if self.over():
                    rest = iter(())
                ahead.extend((t, reading.submit(self._read, t)) for t in islice(rest, readers + 1 - len(ahead)))
                if not ahead:
                    break
                task, read = ahead.popleft()
                applied = self._applied(task, read)
                if behind:
                    wait([measured])
                while behind and (len(behind) > 1 or behind[0][1].done()):
                    yield self._ended(*behind.popleft())
                measured = measuring.submit(self._measured, task, applied)
                behind.append((task, writing.submit(self._written, task, measured)))
                del applied, read  # not to be kept until the next chunk has been read
            for one in behind:
                yield self._ended(*one)

    def _read(self, task: Task) -> Read | None:
        """What the chunk is given; ``None`` where its record is there already."""
        if self._has(task):
            return None
        return read_chunk(self.post.job, task)

    def _has(self, task: Task) -> bool:
        return self.post.store.ledger.has(task.day, task.chunk.core, key(self.post.job, task))

    def _applied(self, task: Task, reading: Future) -> Any:
        """The read chunk, its fused pixels, the GPU's memory; ``None`` where it is done already, or the error that it met."""
        try:
            read = reading.result()
            if read is None:
                return None
            runner = self.post.runner(task.day)
            return read, apply_model(self.post.job, read, runner), runner.gpu_memory
        except Exception as error:  # noqa: BLE001  told with the chunk, in its turn
            return error

    def _measured(self, task: Task, applied: Any) -> Fused | None:
        """What will be stored of a chunk, ``None`` where it is done already."""
        if isinstance(applied, Exception):
            raise applied
        if applied is None:
            return None
        read, pixels, gpu_memory = applied
        fused = finish(self.post.job, task, read, pixels)
        return replace(fused, record=replace(fused.record, gpu_memory=gpu_memory))

    def _written(self, task: Task, measured: Future) -> Done:
        """Write a chunk: the old record goes first, then the data comes, then the new record."""
        fused = measured.result()
        if fused is None or self._has(task):  # another worker, of which this one did not hear, has been faster
            return self._held(task)
        store, start = self.post.store, time.perf_counter()
        with store_errors(), changing(store, task.chunk, task.day, self.post.lease):
            store.write(task.chunk, task.day, fused.numbers, fused.flags)
            now = time.perf_counter()
            record = replace(
                fused.record,
                seconds=dict(fused.record.seconds) | {"write": round(now - start, 4)},
                turn=self.post.turn(now),
            )
            store.ledger.put(record)
        if resident_memory() > self.planned:
            release_memory()
        return Done.of(task.name, record, self.worker)

    def _ended(self, task: Task, writing: Future) -> Done | Trouble:
        """How a chunk ended; what must stop the run is raised."""
        try:
            return writing.result()
        except STOP:
            raise
        except Exception as error:  # noqa: BLE001  whatever it was, it is reported and the other chunks go on
            return Trouble(task.name, one_line(error))

    def _held(self, task: Task) -> Done:
        work = key(self.post.job, task)
        return Done(task.name, work, task.day, task.chunk.core, 0, 0, True, (), {}, 0.0, 0, self.worker)


def plain(event: Begun | Done | Trouble) -> dict[str, Any]:
    """An event as plain values, as Dask sends them."""
    found = asdict(event)
    return found | {"day": event.day.isoformat()} if isinstance(event, Done) else found


def event(raw: dict[str, Any]) -> Begun | Done | Trouble:
    """The event that ``plain`` wrote; Dask's scheduler has added the worker to it."""
    if "strip" in raw:
        return Begun(raw["strip"])
    if "reason" in raw:
        return Trouble(raw["task"], raw["reason"])
    failures = tuple(Failure(**found) for found in raw["failures"])
    changed = {"day": date.fromisoformat(raw["day"]), "box": Box(**raw["box"]), "failures": failures}
    return Done(**raw | changed)
