"""A store grown to a larger area or to more days, in a folder or a bucket alike, without computing a whole core again.

Cores stay where they are on the ground and shards are whole cores, so no pixel is touched. Where days and cores keep their
numbers, documents change and nothing else. Else every shard gets its new name: first in a draft beside the old names, then,
once the draft is whole, in their place. What is being done stands in a mark, so that whatever was killed is undone, or
finished, by ``mend``.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.ledger import Ledger
from pipeline.objects import Objects
from pipeline.store import GROWING, Contents, Store, describe, store_errors

ARRAYS = {"reflectance": ("time", "band", "y", "x"), "flags": ("time", "y", "x")}

DRAFT = "growing"
"""Folder of shards under their new names, until they have replaced the old ones."""


def mend(where: str | Path) -> None:
    """Finish or undo a growth that was interrupted."""
    objects = Objects.at(where)
    found = objects.get(GROWING)
    if found is None or not objects.exists("zarr.json"):
        return
    mark = json.loads(found)
    with store_errors():
        if mark["stage"] == "draft":
            _clear(objects)
        else:
            _finish(objects, mark["stage"], Contents.from_attrs(mark["contents"]))


def grow(store: Store, wanted: Contents) -> Store:
    """The store with room for everything in ``wanted``, whose area holds the store's; the same where it has that already."""
    have = store.contents
    if not wanted.layout.area.holds(have.layout.area):
        raise ValueError(f"{wanted.layout.area} does not hold {have.layout.area}: a store may grow, not shrink")
    layout = have.layout.grown(wanted.layout.area)
    days = tuple(sorted({*have.days, *wanted.days}))
    scenes = tuple(sorted({*have.scenes, *wanted.scenes}))
    if layout == have.layout and days == have.days:
        if scenes != have.scenes:
            target = replace(have, scenes=scenes)
            store.group.attrs.put(dict(store.group.attrs) | {"fusecube": target.to_attrs()})
        return store if scenes == have.scenes else Store(store.where)
    target = replace(wanted, layout=layout, days=days, scenes=scenes)
    objects = store.objects
    with store_errors():
        if _stays(have, target):
            _finish(objects, "documents", target)
        else:
            _mark(objects, "draft", target)
            objects.copy((old, f"{DRAFT}/{new}") for old, new in _renamed(objects, have, target))
            _finish(objects, "shards", target)
    return Store(store.where)


def _stays(have: Contents, target: Contents) -> bool:
    """Whether every shard keeps its name."""
    before, after = have.layout.frame, target.layout.frame
    same_corner = (before.left, before.top) == (after.left, after.top)
    return same_corner and target.days[: len(have.days)] == have.days


def _finish(objects: Objects, stage: str, target: Contents) -> None:
    """Do what is left once nothing can be lost any more; it may be done again."""
    _mark(objects, stage, target)
    if stage == "shards":
        for array in ARRAYS:
            objects.clear(f"{array}/c")
        objects.copy((key, key.removeprefix(f"{DRAFT}/")) for key in _keys(objects, DRAFT))
        _mark(objects, "documents", target)
    objects.clear("metrics")  # of other chunks; the run folds them anew
    Ledger(objects).forget_troubles()  # of cores that were partial, perhaps; the next run knows better
    describe(objects, target)
    _clear(objects)


def _clear(objects: Objects) -> None:
    objects.clear(DRAFT)
    objects.delete([GROWING])


def _mark(objects: Objects, stage: str, target: Contents) -> None:
    objects.put(GROWING, json.dumps({"stage": stage, "contents": target.to_attrs()}).encode())


def _keys(objects: Objects, prefix: str) -> Iterator[str]:
    return (entry.key for entry in objects.entries(prefix))


def _renamed(objects: Objects, have: Contents, target: Contents) -> Iterator[tuple[str, str]]:
    """Every shard of a store, with the name that it gets."""
    north = (have.layout.frame.top - target.layout.frame.top) // target.layout.core
    west = (have.layout.frame.left - target.layout.frame.left) // target.layout.core
    for array, dims in ARRAYS.items():
        for old in _keys(objects, f"{array}/c"):
            parts = old.split("/")[2:]
            if len(parts) != len(dims) or not all(part.isdigit() for part in parts):
                continue  # what a kill left of a write that did not end
            index = dict(zip(dims, (int(part) for part in parts), strict=True))
            index["time"] = target.days.index(have.days[index["time"]])
            index["y"] += north
            index["x"] += west
            yield old, "/".join([array, "c", *(str(index[dim]) for dim in dims)])
