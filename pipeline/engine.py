"""The engine: strips of neighbouring chunks streamed over a Dask cluster into a store, a bounded number in flight.

Every chunk reads its own window, so chunks are independent: resuming, retrying and writing each exactly once follow. The
scheduler knows of no more than a few strips a worker, however large the region.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from queue import Empty, SimpleQueue

from distributed import Client, Future
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from pipeline.device import Equipment
from pipeline.errors import Refused, StoreFull
from pipeline.events import Done, Trouble
from pipeline.job import Job, Task
from pipeline.lease import Superseded
from pipeline.ledger import Ledger
from pipeline.post import Post
from pipeline.record import Failure
from pipeline.strip import event, fuse_strip, one_line

IN_FLIGHT = 2
"""Strips handed to the cluster ahead of time, per thread of a worker: one to work on and one that waits."""

STRIP = 8
"""Chunks of a strip at most; fewer towards the end, so that all workers end together."""

PATIENCE = 5.0
"""Seconds between looks at which workers there are."""

NAMED = 1000
"""Troubles that are named; the others are in the ledger."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended; it does not grow with the region."""

    computed: int
    """Chunks that this run finished."""
    held: int
    """Chunks that the ledger turned out to hold when their turn came."""
    troubles: tuple[Trouble, ...]
    """Chunks that were not finished, the first thousand."""
    missed: tuple[Failure, ...]
    """Files that could not be read, each once."""
    full: bool
    """Whether the run stopped because no space was left."""
    lost: bool
    """Whether the run stopped because another run has taken the store."""


def run(
    client: Client,
    where: str,
    job: Job,
    todo: Iterable[Task],
    equipment: Equipment = Equipment(),  # noqa: B008  frozen
    lease: int = 0,
    watch: Callable[[Done | Trouble], None] | None = None,
) -> Outcome:
    """Stream tasks over a cluster into the store at ``where``; ends when all are finished, or none can be any more.

    Parameters
    ----------
    client
        A client of the cluster.
    where
        The store, as ``Objects.at`` takes it; every worker must be able to reach it.
    job
        What is to be done.
    todo
        The tasks, neighbours together; taken one by one, so that it may be a stream.
    equipment
        What workers compute on. Strips ask for its resources, so that ``GPU`` work meets no worker without one.
    lease
        Token of the run's lease on the store.
    watch
        Hears of every chunk as it ends, in this thread.

    Raises ``Refused`` where the scheduler goes away. Where no worker has what the equipment asks for, it waits for one.
    """
    place = (
        str(where) if "://" in str(where) else str(Path(where).absolute())
    )  # workers may have begun in other folders
    post = Post(job, place, lease, equipment)
    stream = _Stream(client, post, iter(todo), len(todo) if isinstance(todo, Sized) else None, watch)
    try:
        client.register_plugin(post)
        client.subscribe_topic(post.name, stream.hear)
        return stream.drain()
    finally:
        # a scheduler that is gone, or a worker that dies now, has left its post already; why the run ended is not to be hidden
        with suppress(Exception):
            client.unsubscribe_topic(post.name)
        with suppress(Exception):
            client.unregister_worker_plugin(post.name)


@dataclass
class _Tally:
    """What has come of a run so far."""

    computed: int = 0
    held: int = 0
    troubles: list[Trouble] = field(default_factory=list)
    missed: dict[Failure, None] = field(default_factory=dict)

    def add(self, told: Done | Trouble) -> None:
        """Count a chunk."""
        if isinstance(told, Trouble):
            if len(self.troubles) < NAMED:
                self.troubles.append(told)
        elif told.held:
            self.held += 1
        else:
            self.computed += 1
            self.missed |= dict.fromkeys(told.failures)


class _Stream:
    """Strips on their way through a cluster."""

    def __init__(
        self,
        client: Client,
        post: Post,
        todo: Iterator[Task],
        count: int | None,
        watch: Callable[[Done | Trouble], None] | None,
    ) -> None:
        self.client = client
        self.post = post
        self.todo = todo
        self.left = count
        self.watch = watch
        self.ledger = Ledger(post.where)
        self.tally = _Tally()
        self.news: SimpleQueue[Done | Trouble | Future] = SimpleQueue()
        self.flying: dict[Future, dict[str, Task]] = {}
        self.again: deque[Task] = deque()
        self.looked = 0.0
        self.slots = 0
        self.workers: list[str] | None = None
        self.stop: BaseException | None = None

    def hear(self, told: tuple) -> None:
        """An event of a worker, in the client's own thread."""
        self.news.put(event(told[1]))

    def drain(self) -> Outcome:
        """Keep the cluster busy until nothing is left."""
        self._look()
        self._fill()
        while self.flying:
            try:
                news = self.news.get(timeout=PATIENCE)
            except Empty:
                news = None
            if isinstance(news, Future):
                self._landed(news)
            elif news is not None:
                self._heard(news)
            if self.client.status != "running":
                raise Refused("the scheduler is gone; what was finished is kept: start one and run again to go on.")
            self._look()
            self._fill()
        return Outcome(
            computed=self.tally.computed,
            held=self.tally.held,
            troubles=tuple(self.tally.troubles),
            missed=tuple(self.tally.missed),
            full=isinstance(self.stop, StoreFull),
            lost=isinstance(self.stop, Superseded),
        )

    def _look(self) -> None:
        """See now and then which workers there are: some die, others join."""
        if time.monotonic() - self.looked < PATIENCE:
            return
        found = self.client.scheduler_info()["workers"]
        able, restricted = suited(found, self.post.equipment)
        self.slots = IN_FLIGHT * max(1, sum(found[name]["nthreads"] for name in able))
        self.workers = able if restricted and able else None
        self.looked = time.monotonic()

    def _fill(self) -> None:
        """Hand out strips until enough are in flight."""
        while self.stop is None and len(self.flying) < self.slots:
            strip = self._next()
            if not strip:
                return
            future = self.client.submit(
                fuse_strip,
                self.post.name,
                strip,
                pure=False,
                resources=dict(self.post.equipment.resources) or None,
                workers=self.workers,
            )
            self.flying[future] = {task.name: task for task in strip}
            future.add_done_callback(self.news.put)

    def _next(self) -> tuple[Task, ...]:
        """The next strip: neighbours of one day; one by one where a strip took its worker with it."""
        if self.again:
            return (self.again.popleft(),)
        length = STRIP if self.left is None else max(1, min(STRIP, self.left // (2 * self.slots)))
        strip: list[Task] = []
        for task in self.todo:
            if strip and task.day != strip[0].day:
                self.todo = chain([task], self.todo)
                break
            strip.append(task)
            if len(strip) == length:
                break
        if self.left is not None:
            self.left -= len(strip)
        return tuple(strip)

    def _heard(self, told: Done | Trouble) -> None:
        """A chunk has ended; what comes late or twice is left out."""
        strip = next((strip for strip in self.flying.values() if told.task in strip), None)
        if strip is not None:
            self._ended(strip.pop(told.task), told)

    def _ended(self, task: Task, told: Done | Trouble) -> None:
        self.tally.add(told)
        if isinstance(told, Trouble):
            self._keep(task, told)
        if self.watch:
            self.watch(told)

    def _keep(self, task: Task, trouble: Trouble) -> None:
        """Leave word of a trouble in the ledger; a full disk may refuse this too, and is told all the same."""
        try:
            self.ledger.trouble(task.day, task.chunk.core, trouble.reason)
        except OSError as error:
            self.stop = self.stop or (error if isinstance(error, StoreFull) else None)

    def _landed(self, future: Future) -> None:
        """A strip has come back: whole, or with the error that ended it."""
        strip = self.flying.pop(future)
        try:
            for told in future.result():
                if told.task in strip:
                    self._ended(strip.pop(told.task), told)
        except (StoreFull, Superseded) as error:
            self.stop = error
            self._give_up(strip, error)
        except FutureCancelledError:
            self.again.extend(strip.values())
        except KilledWorker:
            self._killed(strip)
        except Exception as error:  # noqa: BLE001  a strip that cannot even begin is told chunk by chunk
            self._give_up(strip, error)

    def _killed(self, strip: dict[str, Task]) -> None:
        """Workers died over a strip: try its chunks one by one, and blame the one that does it again."""
        if len(strip) > 1:
            self.again.extend(strip.values())
            return
        reason = (
            "all workers that took it died, likely for want of memory; make chunk: smaller, or give workers more memory"
        )
        self._give_up(strip, RuntimeError(reason))

    def _give_up(self, strip: dict[str, Task], error: BaseException) -> None:
        for task in strip.values():
            self._ended(task, Trouble(task.name, one_line(error)))


def suited(workers: dict, equipment: Equipment) -> tuple[list[str], bool]:
    """The workers that may be given strips, and whether others are there that may not.

    Strips that ask for resources go where Dask finds them. Strips that ask for none stay away from workers with a GPU, which
    are kept for those that do, as long as there are others.
    """
    wanted = dict(equipment.resources)
    if wanted:
        able = [n for n, w in workers.items() if all(w["resources"].get(r, 0) >= v for r, v in wanted.items())]
        return able, False
    plain = [name for name, worker in workers.items() if not worker["resources"].get("GPU")]
    return (plain, len(plain) < len(workers)) if plain else (list(workers), False)
