"""Small work over a cluster, a bounded number of tasks in flight, each result handed over as it comes."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from distributed import Client, Future
from distributed.client import FutureCancelledError

from pipeline.errors import Refused

IN_FLIGHT = 2
"""Tasks handed to the cluster ahead of time, per thread of a worker: one to work on and one that waits."""

PATIENCE = 5.0
"""Seconds between looks at which workers there are, and whether the scheduler is."""

GONE = "the scheduler is gone; what was finished is kept: start one and run again to go on."
"""What is said where it is."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def fly(
    client: Client, work: Callable[..., Result], items: Iterable[Item], *shared: Any
) -> Iterator[tuple[Item, Result | Exception]]:
    """Each item with what ``work(*shared, item)`` gives on a worker, or the error that it raised, as they come.

    Items are taken one by one, so that they may be a stream. Who stops asking cancels what has not begun. Raises ``Refused``
    where the scheduler goes away.
    """
    pending = iter(items)
    flying: dict[Future, Item] = {}
    landed: SimpleQueue[Future] = SimpleQueue()

    def submit(item: Item) -> None:
        future = client.submit(work, *shared, item, pure=False)
        flying[future] = item
        future.add_done_callback(landed.put)

    looked, slots = time.monotonic(), _slots(client)
    try:
        while True:
            if client.status != "running":
                raise Refused(GONE)
            while len(flying) < slots:
                try:
                    item = next(pending)
                except StopIteration:
                    break
                submit(item)
            if not flying:
                return
            try:
                future = landed.get(timeout=PATIENCE)
            except Empty:
                future = None
            if time.monotonic() - looked > PATIENCE:
                looked, slots = time.monotonic(), _slots(client)
            if future is None or client.status != "running":
                continue
            item = flying.pop(future)
            try:
                result: Result | Exception = future.result()
            except FutureCancelledError:  # not by its own fault
                submit(item)
                continue
            except Exception as error:  # noqa: BLE001  whatever it was, it is handed over
                result = error
            future.release()
            yield item, result
    finally:
        with suppress(Exception):  # a scheduler that is gone has nothing to cancel
            client.cancel(list(flying))


def _slots(client: Client) -> int:
    """How many tasks may be in flight with the workers that there are: some die, others join."""
    return IN_FLIGHT * max(
        1, sum(worker["nthreads"] for worker in client.scheduler_info(n_workers=-1)["workers"].values())
    )
