"""A store grown to a larger area or to more days, without computing a whole core again.

Cores stay where they are on the ground and shards are whole cores, so growing renames objects and touches no pixel. The
grown store is made beside the old one and takes its place at the end: killed anywhere, one of the two is whole.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

from pipeline.lease import FOLDER as LEASE
from pipeline.ledger import FOLDER, TROUBLE
from pipeline.objects import Objects
from pipeline.store import (
    DRAFT,
    OVERVIEWED,
    OVERVIEWS,
    REGISTRATION,
    WEIGHTS,
    ZONES,
    Contents,
    Store,
    describe,
    store_errors,
)

ARRAYS = {"reflectance": ("time", "band", "y", "x"), "flags": ("time", "y", "x")}


def mend(path: Path) -> None:
    """Finish or undo a growth that was interrupted."""
    draft, old = _beside(path)
    if old.exists() and not path.exists():
        old.rename(path)
    for leftover in (draft, old):
        if leftover.exists():
            shutil.rmtree(leftover)


def grow(store: Store, wanted: Contents) -> Store:
    """The store with room for everything in ``wanted``, whose area holds the store's; the same where it has that already."""
    have = store.contents
    if not wanted.layout.area.holds(have.layout.area):
        raise ValueError(f"{wanted.layout.area} does not hold {have.layout.area}: a store may grow, not shrink")
    layout = have.layout.grown(wanted.layout.area)
    days = tuple(sorted({*have.days, *wanted.days}))
    scenes = tuple(sorted({*have.scenes, *wanted.scenes}))
    if layout == have.layout and days == have.days and scenes == have.scenes:
        return store
    if layout == have.layout and days == have.days:
        target = replace(have, scenes=scenes)
        store.group.attrs.put(dict(store.group.attrs) | {"fusecube": target.to_attrs()})
        return Store(store.path)
    target = replace(wanted, layout=layout, days=days, scenes=scenes)
    draft, old = _beside(store.path)
    with store_errors():
        describe(Objects.at(draft), target)
        _carry_over(store.path, have, draft, target)
        store.path.rename(old)
        draft.rename(store.path)
        shutil.rmtree(old)
    return Store(store.path)


def _beside(path: Path) -> tuple[Path, Path]:
    return path.with_name(path.name + DRAFT), path.with_name(path.name + ".grown-from")


def _carry_over(source: Path, have: Contents, draft: Path, target: Contents) -> None:
    """Give every object of the old store its name in the new one."""
    north = (have.layout.frame.top - target.layout.frame.top) // target.layout.core
    west = (have.layout.frame.left - target.layout.frame.left) // target.layout.core
    for array, dims in ARRAYS.items():
        for old in (source / array / "c").glob("/".join("*" * len(dims))):
            if not all(part.isdigit() for part in old.parts[-len(dims) :]):
                continue  # what a kill left of a write that did not end
            place = dict(zip(dims, (int(part) for part in old.parts[-len(dims) :]), strict=True))
            place["time"] = target.days.index(have.days[place["time"]])
            place["y"] += north
            place["x"] += west
            _link(old, draft.joinpath(array, "c", *(str(place[d]) for d in dims)))
    for folder in (FOLDER, LEASE, "preview", WEIGHTS, REGISTRATION, ZONES, OVERVIEWS, OVERVIEWED):
        for old in (source / folder).rglob("*"):
            if old.is_file() and old.name != TROUBLE and old.suffix != ".draft":  # of these the next run knows better
                _link(old, draft / old.relative_to(source))


def _link(old: Path, new: Path) -> None:
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(old, new)
    except OSError:  # a file system without hard links
        shutil.copy2(old, new)
