"""Overviews of a store: the same cube on pixels 2, 4, 8, … times as large, so that a viewer opens a region at once.

::

    overviews/2, overviews/4, …   each a group that opens like the store itself
    overviewed/                   one empty object a shard that is done, named by what it was made of (not Zarr)

A pixel is the mean of those of the 2 x 2 pixels below it that have a value (as in GDAL's averaged overviews a mean of means).
It carries a flag where at least half of those do; where none has a value, where at least half of all do: so it is nodata where
nothing below it has a value, and not before. A shard is made of the 2 x 2 shards below it; its name is a hash over theirs, so
only what lies above a chunk that has changed is made again.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from pipeline.flags import Flag
from pipeline.job import fingerprint
from pipeline.lease import guard
from pipeline.store import OVERVIEWED, OVERVIEWS, Contents, Store, coordinates, cube, store_errors

if TYPE_CHECKING:
    from distributed import Client

EDGE = 1024
"""Longest edge in pixels from which on a smaller overview follows."""

CONVENTIONS = {
    "multiscales": ("multiscales", "d35379db-88df-4056-af3a-620245f8e347"),
    "spatial:": ("spatial", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4"),
    "proj:": ("geo-proj", "f17cb550-5864-4468-aeb7-f3180cfb622f"),
}
"""Name of a Zarr convention that GeoZarr is made of to its repository and its id (github.com/zarr-conventions)."""

Place = tuple[date, int, int]
"""Day, row and column of a shard."""


@dataclass(frozen=True)
class Shard:
    """A shard of an overview that is to be made."""

    factor: int
    """How many pixels of the store lie across one of the overview's."""
    place: Place
    """Which."""
    name: str
    """Hash of what it is made of."""
    stale: tuple[str, ...]
    """Keys of what was noted of it before."""

    @property
    def mark(self) -> str:
        """Key of what is noted once it is done."""
        day, row, col = self.place
        return f"{OVERVIEWED}/{self.factor}/{day}/{row}_{col}-{self.name}"


def factors(shape: Sequence[int]) -> tuple[int, ...]:
    """The overviews of an array of (rows, cols): each half of the one below, the last no longer than ``EDGE``.

    >>> factors((10980, 10980))
    (2, 4, 8, 16)
    """
    found: list[int] = []
    while ceil(max(shape) / 2 ** len(found)) > EDGE:
        found.append(2 ** (len(found) + 1))
    return tuple(found)


def build(client: "Client", store: Store, lease: int = 0, told: Callable[[Shard], None] | None = None) -> int:
    """Bring the overviews of a store up to date over a cluster; gives how many shards were made.

    What is killed midway goes on where it stopped. Raises ``StoreFull``, ``Superseded``, and ``OSError`` for all else that
    goes wrong on a worker.
    """
    from pipeline.flight import fly  # here, so that whether there is anything to do is known without a cluster

    levels = factors(store.contents.layout.geobox.shape)
    state = _state(store)
    if not levels or _told(store) == state:
        return 0
    guard(store.objects, lease)
    with store_errors():
        for factor in levels:
            _make_room(store, factor)
        store.consolidate()
    places = {chunk.core: (chunk.row, chunk.col) for chunk in store.contents.layout.chunks()}
    made = 0
    for day in store.contents.days:  # of one day at a time a few words a chunk are held
        records = store.ledger.read(sorted(key for _, key in store.ledger.places(day)))
        below = {(day, *places[r.box]): r.digest for r in records if r.box in places}
        for factor in levels:
            names = above(below)
            for shard, result in fly(client, shrink_into, _todo(store, factor, day, names), store.where, lease):
                if isinstance(result, OSError):  # a full store and a lost lease among them
                    raise result
                if isinstance(result, Exception):
                    raise OSError(f"the overviews could not be made: {_reason(result)}; run again") from result
                made += 1
                if told:
                    told(shard)
            below = names
    with store_errors():
        store.group[OVERVIEWS].attrs["state"] = state
        store.group.attrs.update(attributes(store.contents))
        store.consolidate()
    return made


def stale(store: Store) -> bool:
    """Whether a store should have overviews that it lacks, or which has changed since."""
    return bool(factors(store.contents.layout.geobox.shape)) and _told(store) != _state(store)


def nearest_below(store: Store, times: int) -> int:
    """The factor of the coarsest overview whose pixels are no more than ``times`` those of the store, 1 for the store's own:
    there are none, or they tell of another state of it."""
    fitting = [factor for factor in factors(store.contents.layout.geobox.shape) if factor <= times]
    return fitting[-1] if fitting and _told(store) == _state(store) else 1


def _state(store: Store) -> str:
    """A hash that changes whenever a record does, or the store grows."""
    frame, days = store.contents.layout.frame, [day.isoformat() for day in store.contents.days]
    return fingerprint([store.ledger.state(), [frame.left, frame.top, frame.right, frame.bottom], days])


def _told(store: Store) -> str | None:
    """The state of the store that the overviews tell of, ``None`` without any."""
    found = store.group.get(OVERVIEWS)
    return None if found is None else str(found.attrs.get("state"))


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def above(below: Mapping[Place, str]) -> dict[Place, str]:
    """Names of the shards of an overview by those of the shards that they are made of."""
    parts: dict[Place, list[str]] = {}
    for (day, row, col), name in sorted(below.items()):
        parts.setdefault((day, row // 2, col // 2), []).append(f"{row % 2}{col % 2}{name}")
    return {place: hashlib.sha256(" ".join(names).encode()).hexdigest()[:16] for place, names in parts.items()}


def _todo(store: Store, factor: int, day: date, names: Mapping[Place, str]) -> list[Shard]:
    """The shards of an overview of a day that are not as they should be; one whose chunks are gone is made of nothing."""
    noted: dict[Place, list[str]] = {}
    for entry in store.objects.entries(f"{OVERVIEWED}/{factor}/{day}"):
        row, col = entry.key.rpartition("/")[2].split("-")[0].split("_")
        noted.setdefault((day, int(row), int(col)), []).append(entry.key)
    todo = []
    for place in sorted({*names, *noted}):
        shard = Shard(factor, place, names.get(place, "nothing"), tuple(noted.get(place, ())))
        if shard.stale != (shard.mark,):
            todo.append(shard)
    return todo


def shrink_into(where: str, lease: int, shard: Shard) -> None:
    """Make a shard of an overview: what was noted of it goes first, then the data comes, then the note."""
    store = Store(where)
    day, row, col = shard.place
    time, edge = store.contents.days.index(day), store.contents.layout.core_pixels
    prefix = "" if shard.factor == 2 else f"{OVERVIEWS}/{shard.factor // 2}/"
    with store_errors():
        guard(store.objects, lease)
        store.objects.delete(shard.stale)
        for name, halved in (("reflectance", halve), ("flags", halve_flags)):
            source, target = store.array(prefix + name), store.array(f"{OVERVIEWS}/{shard.factor}/{name}")
            rows, cols = (_span(i, edge, n) for i, n in zip((row, col), target.shape[-2:], strict=True))
            fine = [_span(i, 2 * edge, n) for i, n in zip((row, col), source.shape[-2:], strict=True)]
            if source.ndim == 3:
                target[time, rows, cols] = halved(np.asarray(source[time, fine[0], fine[1]]), source.fill_value)
                continue
            planes = (np.asarray(source[time, band, fine[0], fine[1]]) for band in range(source.shape[1]))
            target[time, :, rows, cols] = np.stack([halved(plane, source.fill_value) for plane in planes])
        store.objects.put(shard.mark, b"")


def _span(index: int, edge: int, length: int) -> slice:
    return slice(index * edge, min((index + 1) * edge, length))


def halve(numbers: NDArray, fill: Any) -> NDArray:
    """Means of those of 2 x 2 pixels, (rows, cols), that are not the fill; the fill where none is."""
    blocks = _blocks(numbers)
    valid = ~np.isnan(blocks) if numbers.dtype.kind == "f" else blocks != fill
    count = valid.sum(axis=0)
    total = np.where(valid, blocks, 0).sum(axis=0, dtype=np.float64)
    mean = total / np.maximum(count, 1)
    means = mean if numbers.dtype.kind == "f" else np.rint(mean)
    return np.where(count > 0, means, fill).astype(numbers.dtype)


def halve_flags(flags: NDArray[np.uint16], fill: Any = None) -> NDArray[np.uint16]:
    """Flags of 2 x 2 pixels, (rows, cols): those that at least half of the pixels with a value carry, else half of all."""
    blocks = _blocks(flags)
    valid = (blocks & np.uint16(Flag.NODATA)) == 0
    counted = valid | ~valid.any(axis=0)
    least = counted.sum(axis=0)
    out = np.zeros(blocks.shape[1:], np.uint16)
    for flag in Flag:
        carried = ((blocks & np.uint16(flag)) > 0) & counted
        out[2 * carried.sum(axis=0) >= least] |= np.uint16(flag)
    return out


def _blocks(plane: NDArray) -> NDArray:
    """The four pixels of each block of 2 x 2, (4, rows, cols); a last odd row or column counts twice."""
    even = np.pad(plane, [(0, length % 2) for length in plane.shape], mode="edge")
    return np.stack([even[i::2, j::2] for i in (0, 1) for j in (0, 1)])


def _make_room(store: Store, factor: int) -> None:
    """The group of an overview, without pixels where there was none, or where cores or days have moved within the store's
    arrays; else with room for what has been added to them."""
    contents, path = store.contents, f"{OVERVIEWS}/{factor}"
    frame, days = contents.layout.frame, [day.isoformat() for day in contents.days]
    stands = {"origin": [frame.left, frame.top], "core": contents.layout.core}
    box = overview(contents, factor)
    root = zarr.open_group(store.group.store, mode="r+", use_consolidated=False)  # a grown store has carried them over
    found = root.get(path)
    known: dict[str, Any] = dict(found.attrs) if isinstance(found, zarr.Group) else {}
    had = known.get("days", [])
    if all(known.get(key) == value for key, value in stands.items()) and days[: len(had)] == had:
        assert isinstance(found, zarr.Group)
        for name in ("reflectance", "flags"):
            array = found[name]
            assert isinstance(array, zarr.Array)
            array.resize((len(days), *array.shape[1:-2], *box.shape))
        coordinates(found, contents, box)
        found.attrs["days"] = days
        return
    store.objects.delete([entry.key for entry in store.objects.entries(f"{OVERVIEWED}/{factor}/")])
    group = root.create_group(path, overwrite=True)
    cube(group, contents, box)
    said: dict[str, Any] = {"Conventions": "CF-1.11", "days": days}
    group.attrs.update(said | stands | _spatial(contents, box))


def overview(contents: Contents, factor: int) -> GeoBox:
    """The pixel grid of an overview: it begins where the store's arrays begin."""
    grid = contents.layout.geobox
    rows, cols = (ceil(length / factor) for length in grid.shape)
    return GeoBox((rows, cols), grid.affine * Affine.scale(factor), grid.crs)


def attributes(contents: Contents) -> dict[str, Any]:
    """What the root of a store says of its overviews, by the conventions of GeoZarr."""
    grid = contents.layout.geobox
    layout: list[dict[str, Any]] = [{"asset": "."} | _place(grid)]
    for factor in factors(grid.shape):
        step = {"transform": {"scale": [2.0, 2.0], "translation": [0.0, 0.0]}}
        named = {"asset": f"{OVERVIEWS}/{factor}", "derived_from": layout[-1]["asset"]}
        layout.append(named | step | _place(overview(contents, factor)))
    said = _spatial(contents, grid)
    said["zarr_conventions"] = [_convention("multiscales"), *said["zarr_conventions"]]
    return said | {"multiscales": {"layout": layout, "resampling_method": "average"}}


def _spatial(contents: Contents, box: GeoBox) -> dict[str, Any]:
    """Where a group lies."""
    named = {"spatial:dimensions": ["y", "x"], "proj:code": contents.layout.lattice.crs}
    return {"zarr_conventions": [_convention("spatial:"), _convention("proj:")]} | named | _place(box)


def _place(box: GeoBox) -> dict[str, Any]:
    return {"spatial:shape": list(box.shape), "spatial:transform": list(box.affine[:6])}


def _convention(name: str) -> dict[str, str]:
    repository, uuid = CONVENTIONS[name]
    home = f"zarr-conventions/{repository}"
    return {
        "schema_url": f"https://raw.githubusercontent.com/{home}/refs/tags/v1/schema.json",
        "spec_url": f"https://github.com/{home}/blob/v1/README.md",
        "uuid": uuid,
        "name": name,
    }
