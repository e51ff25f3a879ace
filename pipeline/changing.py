"""How the data of a core changes: no record tells of it meanwhile, and a run that has lost the store leaves none behind.

A worker may be paused in the middle of a write, its run be taken for dead, and another run take the store, grow it and fill
it before the worker goes on. What it then writes lies over pixels of the other run, under the old name of its shard.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from pipeline.lattice import Box, Chunk
from pipeline.lease import Superseded, guard
from pipeline.objects import Objects
from pipeline.store import GROWING, Contents, Store


@contextmanager
def changing(store: Store, chunk: Chunk, day: date, lease: int) -> Iterator[None]:
    """While the data of a core changes no record says that it is done; its new record is put inside, when it is.

    Raises ``Superseded`` where another run than the one with this token has taken the store. Where that turns out only
    afterwards, its own record goes, and with it those of whatever core the other run has under the names that were written.
    """
    guard(store.objects, lease)
    store.ledger.drop(day, chunk.core)
    yield
    try:
        guard(store.objects, lease)
    except Superseded:
        store.ledger.drop(day, chunk.core)
        for theirs in _under_the_same_name(store, chunk, day):
            store.ledger.drop(*theirs)
        raise


def _under_the_same_name(store: Store, chunk: Chunk, day: date) -> Iterator[tuple[date, Box]]:
    """Day and core that the names of a core's shards stand for in the store as it is now, or will be once it is grown."""
    now, index = _now(store.objects), store.contents.days.index(day)
    if now is None or index >= len(now.days):
        return
    core = now.layout.slot(chunk.row, chunk.col).intersection(now.layout.area)
    if core:
        yield now.days[index], core


def _now(objects: Objects) -> Contents | None:
    """What a store holds, or is about to; ``None`` where it is gone."""
    growing = json.loads(objects.get(GROWING) or b"{}")
    if "contents" in growing:
        return Contents.from_attrs(growing["contents"])
    root = objects.get("zarr.json")
    return Contents.from_attrs(json.loads(root)["attributes"]["fusecube"]) if root else None
