"""Small work over a cluster, a bounded number of tasks in flight, each result handed over as it comes."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from distributed import Client, Future
from distributed.client import FutureCancelledError

from pipeline.device import Equipment
from pipeline.errors import Refused
from pipeline.staff import LOOK, Staff

IN_FLIGHT = 2
"""Tasks, or strips of them, handed to the cluster ahead of time, per worker: one to work on and one that waits."""

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
    flying: dict[Future, tuple[Item, tuple[str, ...]]] = {}
    landed: SimpleQueue[Future] = SimpleQueue()

    staff = Staff(client, Equipment())
    over = False

    def submit(item: Item) -> None:
        future = client.submit(work, *shared, item, pure=False, workers=list(staff.only) or None)
        flying[future] = item, staff.only
        future.add_done_callback(landed.put)

    try:
        while not over or flying:
            if client.status != "running":
                raise Refused(GONE)
            if staff.look():
                for future in [future for future, (_, only) in flying.items() if staff.gone(only)]:
                    future.cancel()
            while not over and len(flying) < IN_FLIGHT * len(staff.able):
                try:
                    submit(next(pending))
                except StopIteration:
                    over = True
            if not flying and over:
                return
            try:
                future = landed.get(timeout=LOOK)
            except Empty:
                continue
            item, _ = flying.pop(future)
            if client.status != "running":
                raise Refused(GONE)
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
