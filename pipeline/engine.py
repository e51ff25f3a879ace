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
from pipeline.errors import Refused, StoreFull, one_line
from pipeline.events import Begun, Done, Trouble
from pipeline.flight import GONE, IN_FLIGHT
from pipeline.job import Job, Task
from pipeline.lease import Superseded
from pipeline.ledger import Ledger
from pipeline.post import Post, Unfit
from pipeline.record import Failure
from pipeline.staff import LOOK, PATIENCE, Staff
from pipeline.strip import event, fuse_strip

STRIP = 32
"""Chunks of a strip at most: its first read and its last write overlap with nothing. Fewer towards the end, so that all
workers end together."""

DEATHS = 5
"""Workers that may die over a strip, or be lost, without a chunk of it finished; then its chunks are tried one by one, and
one that does it again is given up."""

ATTEMPTS = 3
"""How often workers are told of the work, where some die over it."""

HOPELESS = 100
"""Chunks that failed one after the other, none finished between them, after which the run ends: the store is gone, perhaps."""

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
    hopeless: bool = False
    """Whether the run stopped because everything failed."""
    unfit: tuple[str, ...] = ()
    """Workers that were left out, each with the reason."""


def run(
    client: Client,
    where: str,
    job: Job,
    todo: Iterable[Task],
    equipment: Equipment = Equipment(),  # noqa: B008  frozen
    lease: int = 0,
    watch: Callable[[Done | Trouble], None] | None = None,
    patience: float = PATIENCE,
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
    patience
        Seconds to wait where no worker is there that can take the work.

    Raises ``Refused`` where a worker cannot do the work, where the scheduler goes away, or all workers stay away.
    """
    place = (
        str(where) if "://" in str(where) else str(Path(where).absolute())
    )  # workers may have begun in other folders
    post = Post(job, place, lease, equipment)
    count = len(todo) if isinstance(todo, Sized) else None
    stream = _Stream(client, post, iter(todo), count, watch, patience)
    try:
        _registered(client, post)
        client.subscribe_topic(post.name, stream.hear)
        return stream.drain()
    except Unfit as error:
        raise Refused(f"worker {error.worker}: {error.reason}") from None
    finally:
        # a scheduler that is gone, or a worker that dies now, has left its post already; why the run ended is not to be hidden
        with suppress(Exception):
            client.unsubscribe_topic(post.name)
        with suppress(Exception):
            client.unregister_worker_plugin(post.name)


def _registered(client: Client, post: Post) -> None:
    """Give every worker its post; one that dies meanwhile is left to come again."""
    for attempt in range(ATTEMPTS):
        try:
            client.register_plugin(post)
            return
        except OSError as error:
            if attempt == ATTEMPTS - 1:
                raise Refused(f"workers end before they are ready ({one_line(error)}); see their logs.") from None
        time.sleep(1.0)


class Hopeless(RuntimeError):
    """Everything fails."""


@dataclass
class _Tally:
    """What has come of a run so far."""

    computed: int = 0
    held: int = 0
    troubles: list[Trouble] = field(default_factory=list)
    missed: dict[Failure, None] = field(default_factory=dict)

    failing: int = 0
    """Chunks that failed since one was finished."""

    def add(self, told: Done | Trouble) -> None:
        """Count a chunk."""
        self.failing = self.failing + 1 if isinstance(told, Trouble) else 0
        if isinstance(told, Trouble):
            if len(self.troubles) < NAMED:
                self.troubles.append(told)
        elif told.held:
            self.held += 1
        else:
            self.computed += 1
            self.missed |= dict.fromkeys(told.failures)


@dataclass
class _Flight:
    """A strip on its way."""

    strip: str
    """Name of its first task."""
    left: dict[str, Task]
    """Its tasks that have not ended, by name."""
    workers: tuple[str, ...]
    """The only workers that may take it; any where there are none."""
    troubles: list[Trouble] = field(default_factory=list)
    """What was told of chunks that failed; a strip that is begun again tries them again."""
    begun: int = 0
    """How often it was begun since a chunk of it was finished."""


class _Stream:
    """Strips on their way through a cluster."""

    def __init__(
        self,
        client: Client,
        post: Post,
        todo: Iterator[Task],
        count: int | None,
        watch: Callable[[Done | Trouble], None] | None,
        patience: float,
    ) -> None:
        self.client = client
        self.post = post
        self.todo = todo
        self.count = count
        self.watch = watch
        self.ledger = Ledger(post.where)
        self.tally = _Tally()
        self.news: SimpleQueue[Begun | Done | Trouble | Future] = SimpleQueue()
        self.flying: dict[Future, _Flight] = {}
        self.again: deque[tuple[Task, ...]] = deque()
        self.staff = Staff(client, post.equipment, patience)
        self.over = False
        self.stop: BaseException | None = None

    def hear(self, told: tuple) -> None:
        """An event of a worker, in the client's own thread."""
        self.news.put(event(told[1]))

    def drain(self) -> Outcome:
        """Keep the cluster busy until nothing is left."""
        self.staff.look()
        self._fill()
        while self.flying or (self.stop is None and (self.again or not self.over)):
            with suppress(Empty):
                self._heard(self.news.get(timeout=LOOK))
            if self.client.status != "running":
                raise Refused(GONE)
            if self.staff.look():
                self._recall()
            self._fill()
        return Outcome(
            computed=self.tally.computed,
            held=self.tally.held,
            troubles=tuple(self.tally.troubles),
            missed=tuple(self.tally.missed),
            full=isinstance(self.stop, StoreFull),
            lost=isinstance(self.stop, Superseded),
            hopeless=isinstance(self.stop, Hopeless),
            unfit=tuple(f"{worker}: {reason}" for worker, reason in self.staff.unfit.items()),
        )

    def _recall(self) -> None:
        """Take back strips that only workers may take which are no more."""
        for future, flight in self.flying.items():
            if self.staff.gone(flight.workers):
                future.cancel()

    def _fill(self) -> None:
        """Hand out strips until enough are in flight."""
        while self.stop is None and len(self.flying) < IN_FLIGHT * len(self.staff.able):
            strip = self._next()
            if not strip:
                self.over = True
                return
            future = self.client.submit(
                fuse_strip,
                self.post.name,
                strip,
                pure=False,
                resources=dict(self.post.equipment.resources) or None,
                workers=list(self.staff.only) or None,
            )
            self.flying[future] = _Flight(strip[0].name, {task.name: task for task in strip}, self.staff.only)
            future.add_done_callback(self.news.put)

    def _next(self) -> tuple[Task, ...]:
        """The next strip: one that came back, or neighbours of one day."""
        if self.again:
            return self.again.popleft()
        length = STRIP if self.count is None else max(1, min(STRIP, self.count // len(self.staff.able)))
        strip: list[Task] = []
        for task in self.todo:
            if strip and task.day != strip[0].day:
                self.todo = chain([task], self.todo)
                break
            strip.append(task)
            if len(strip) == length:
                break
        if self.count is not None:
            self.count -= len(strip)
        return tuple(strip)

    def _heard(self, news: Begun | Done | Trouble | Future) -> None:
        """Something has happened; what comes late or twice is left out."""
        if isinstance(news, Future):
            self._landed(news)
        elif isinstance(news, Begun):
            for future, flight in self.flying.items():
                if flight.strip == news.strip:
                    flight.begun += 1
                    if flight.begun > DEATHS:
                        future.cancel()
        else:
            own = next((flight for flight in self.flying.values() if news.task in flight.left), None)
            if own and isinstance(news, Done):
                self._ended(own.left.pop(news.task), news)
                own.begun = 1
            elif own and isinstance(news, Trouble):
                own.troubles.append(news)

    def _ended(self, task: Task, told: Done | Trouble) -> None:
        self.tally.add(told)
        if isinstance(told, Trouble):
            self._keep(task, told)
            if self.tally.failing >= HOPELESS:
                self._halt(Hopeless())
        if self.watch:
            self.watch(told)

    def _keep(self, task: Task, trouble: Trouble) -> None:
        """Leave word of a trouble in the ledger; a full disk may refuse this too, and is told all the same."""
        try:
            self.ledger.trouble(task.day, task.chunk.core, trouble.reason)
        except OSError as error:
            if isinstance(error, StoreFull):
                self._halt(error)

    def _halt(self, error: BaseException) -> None:
        """Let what has begun end, and nothing else begin: strips ask between chunks whether their post is still there."""
        if self.stop is not None:
            return
        self.stop = error
        with suppress(Exception):  # a scheduler that is gone is told of elsewhere
            self.client.unregister_worker_plugin(self.post.name)

    def _landed(self, future: Future) -> None:
        """A strip has come back: whole, or with the error that ended it."""
        flight = self.flying.pop(future)
        if not flight.left and future.status == "finished":
            return  # all was told as it happened, and its worker may be gone by now
        try:
            told = future.result(timeout=LOOK)
        except TimeoutError:  # its worker is gone, and with it the result: it is on its way again
            self.flying[future] = flight
            future.add_done_callback(self.news.put)
        except (StoreFull, Superseded) as error:
            self._halt(error)
            self._settle(flight, flight.troubles)  # those that were not tried are in no trouble
        except Unfit as error:
            self.staff.unfit[error.worker] = error.reason
            self.staff.look(now=True)
            self._again(flight)
        except FutureCancelledError:
            if flight.begun > DEATHS:
                self._deadly(flight)
            else:
                self._again(flight)
        except KilledWorker:
            if flight.begun:
                self._deadly(flight)
            else:  # workers died while it waited there
                self._again(flight)
        except Exception as error:  # noqa: BLE001  a strip that cannot even begin is told chunk by chunk
            self._settle(flight, [Trouble(name, one_line(error)) for name in flight.left])
        else:
            self._settle(flight, told)

    def _again(self, flight: _Flight) -> None:
        """Hand out what is left of a strip again, through no fault of its own."""
        if flight.left:
            self.again.append(tuple(flight.left.values()))

    def _settle(self, flight: _Flight, told: Iterable[Done | Trouble]) -> None:
        """Count what has not been counted as it happened."""
        for one in told:
            if one.task in flight.left:
                self._ended(flight.left.pop(one.task), one)

    def _deadly(self, flight: _Flight) -> None:
        """Workers died over a strip: try its chunks one by one, and blame the one that does it again."""
        if len(flight.left) > 1:
            self.again.extend((task,) for task in flight.left.values())
            return
        reason = (
            "all workers that took it died, likely for want of memory; make chunk: smaller, or give workers more memory"
        )
        self._settle(flight, [Trouble(name, reason) for name in flight.left])
