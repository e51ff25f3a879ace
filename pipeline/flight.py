"""Small work over a cluster, a bounded number of tasks in flight, each result handed over as it comes."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, TypeVar

from distributed import Client, Future, as_completed

IN_FLIGHT = 2
"""Tasks handed to the cluster ahead of time, per thread of a worker: one to work on and one that waits."""


Item = TypeVar("Item")
Result = TypeVar("Result")


def fly(
    client: Client, work: Callable[..., Result], items: Iterable[Item], *shared: Any
) -> Iterator[tuple[Item, Result | Exception]]:
    """Each item with what ``work(*shared, item)`` gives on a worker, or the error that it raised, as they come.

    Items are taken one by one, so that they may be a stream. Who stops asking cancels what has not begun.
    """
    pending = iter(items)
    flying: dict[object, Item] = {}

    def submit(item: Item) -> Future:
        future = client.submit(work, *shared, item, pure=False)
        flying[future.key] = item
        return future

    slots = IN_FLIGHT * max(1, sum(client.nthreads().values()))
    stream = as_completed([submit(item) for item in islice(pending, slots)])
    try:
        for future in stream:
            item = flying.pop(future.key)
            try:
                result: Result | Exception = future.result()
            except Exception as error:  # noqa: BLE001  whatever it was, it is handed over
                result = error
            future.release()
            yield item, result
            for following in islice(pending, 1):
                stream.add(submit(following))
    finally:
        with suppress(Exception):  # a scheduler that is gone has nothing to cancel
            client.cancel(list(stream.futures))
