"""A store that grows keeps every pixel where it is on the ground, in a folder and in a bucket, whatever is killed."""

from contextlib import suppress
from dataclasses import replace
from datetime import date
from fractions import Fraction

import numpy as np
import pytest
import xarray as xr

from pipeline.encoding import encoding
from pipeline.growth import grow, mend
from pipeline.lattice import Box, Lattice, Layout
from pipeline.objects import Objects
from pipeline.store import GROWING, Contents, Store

LATTICE = Lattice("EPSG:32633", Fraction(10), Fraction(60))
FIRST, SECOND, THIRD = (date(2024, 6, day) for day in (1, 6, 11))
AREA = Box(10, 10, 13, 14)


def contents(area: Box, *days: date) -> Contents:
    """What a store of two bands and cores of 2 x 2 steps over an area is to hold."""
    return Contents(
        identity={"flow": "sharpen", "model": {"name": "identity"}},
        layout=Layout.over(LATTICE, area, 2),
        days=days,
        bands=("B02", "B03"),
        encoding=encoding("uint16"),
        specification={},
        scenes=tuple(str(day) for day in days),
        run="run",
        software="0",
    )


def filled(where: str) -> Store:
    """A store whose every pixel has a number of its own."""
    store = Store.create(where, contents(AREA, FIRST, THIRD))
    for index, day in enumerate(store.contents.days):
        for chunk in store.contents.layout.chunks():
            rows, cols = store.contents.layout.pixels_of(chunk.core)
            y, x = np.mgrid[rows, cols]
            numbers = 1 + x + 100 * y + 10000 * index
            store.write(chunk, day, np.stack([numbers, numbers + 1]).astype("uint16"), numbers.astype("uint16"))
    store.objects.put("ledger/kept.json", b"{}")
    return store


def ground(store: Store, day: date) -> np.ndarray:
    """Reflectance and flags over the first area on a day."""
    rows, cols = store.contents.layout.pixels_of(AREA)
    time = store.contents.days.index(day)
    bands = np.asarray(store.array("reflectance")[time, :, rows, cols])
    return np.concatenate([bands, np.asarray(store.array("flags")[time, rows, cols])[None]])


def same(store: Store, before: dict[date, np.ndarray]) -> None:
    for day, pixels in before.items():
        np.testing.assert_array_equal(ground(store, day), pixels)


GROWN = {
    "days at the end": contents(AREA, FIRST, THIRD, date(2024, 7, 1)),
    "south and east": contents(Box(10, 10, 17, 19), FIRST, THIRD),
    "a day between": contents(AREA, FIRST, SECOND, THIRD),
    "north and west": contents(Box(7, 6, 13, 14), FIRST, THIRD),
    "all of it": contents(Box(7, 6, 17, 19), FIRST, SECOND, THIRD),
}
MOVES = {"a day between", "north and west", "all of it"}


@pytest.mark.parametrize("how", GROWN)
def test_pixels_stay_on_the_ground(place, how, monkeypatch):
    copied = []
    copy = Objects._copy
    monkeypatch.setattr(Objects, "_copy", lambda self, *names: copied.append(names) or copy(self, *names))
    store = filled(place)
    before = {day: ground(store, day) for day in (FIRST, THIRD)}
    assert all((pixels > 0).all() for pixels in before.values())
    grown = grow(store, GROWN[how])
    same(grown, before)
    layout = grown.contents.layout
    assert grown.contents.days == GROWN[how].days
    assert layout.area == GROWN[how].layout.area
    assert grown.array("flags").shape == (len(GROWN[how].days), *layout.geobox.shape)
    assert bool(copied) == (how in MOVES), "what keeps its name is not touched"
    names = {entry.key.split("/")[0] for entry in grown.objects.entries("")}
    assert not names & {"growing", GROWING}
    assert grown.objects.get("ledger/kept.json") == b"{}"
    if grown.objects.folder:
        with xr.open_zarr(grown.path) as cube:
            assert cube.reflectance.shape[-2:] == (cube.y.size, cube.x.size)
            assert [str(day)[:10] for day in cube.time.values] == [str(day) for day in GROWN[how].days]
    assert grow(grown, GROWN[how]) is grown


class Killed(BaseException):
    """What ends a process midway."""


def killed_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so many changes of objects through, then none."""
    left, delete = [count], Objects.delete

    def counted(change):
        def wrapped(self, *arguments):
            if left[0] == 0 and change.__name__ == "clear":
                keys = sorted(entry.key for entry in self.entries(arguments[0]))
                delete(self, keys[: len(keys) // 2])
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return change(self, *arguments)

        return wrapped

    for name in ("put", "_copy", "delete", "clear"):
        monkeypatch.setattr(Objects, name, counted(getattr(Objects, name)))


@pytest.mark.parametrize("how", ["days at the end", "all of it"])
@pytest.mark.parametrize("first", [0, 1])
def test_killed_anywhere_it_is_undone_or_finished(place, how, first, monkeypatch):
    """At places that are spread over the whole of a growth."""
    step = 3 if place.startswith("/") else 29
    for count in range(first, 10**6, step):
        where = f"{place}-{count}"
        store = filled(where)
        before = {day: ground(store, day) for day in (FIRST, THIRD)}
        with monkeypatch.context() as patch:
            killed_after(count, patch)
            try:
                grow(store, GROWN[how])
                break
            except Killed:
                pass
        with monkeypatch.context() as patch:
            killed_after(count // 2, patch)
            with suppress(Killed):
                mend(where)
        mend(where)
        mended = Store(where)
        assert not {entry.key.split("/")[0] for entry in mended.objects.entries("")} & {"growing", GROWING}
        assert mended.contents.layout.area in (AREA, GROWN[how].layout.area)
        same(mended, before)
        same(grow(mended, GROWN[how]), before)


def test_a_store_that_was_half_made_is_made_again(place, monkeypatch):
    for count in range(0, 10**6, 1 if place.startswith("/") else 5):
        where = f"{place}-{count}"
        with monkeypatch.context() as patch:
            killed_after(count, patch)
            try:
                Store.create(where, contents(AREA, FIRST))
                break
            except Killed:
                pass
        mend(where)
        if not Store.exists(where):
            Store.create(where, contents(AREA, FIRST))
        found = Store(where)
        assert found.contents == contents(AREA, FIRST)
        assert set(found.group.array_keys()) == {"reflectance", "flags", "x", "y", "time", "band", "spatial_ref"}
        assert not found.objects.exists(GROWING) or Store.exists(where)
    assert count > 5


def test_shards_are_copied_where_the_file_system_links_none(tmp_path, monkeypatch):
    import obstore
    from obstore.exceptions import GenericError

    def no_links(*_: object) -> None:
        raise GenericError("Operation not permitted (os error 1)")

    store = filled(str(tmp_path / "a.zarr"))
    before = {day: ground(store, day) for day in (FIRST, THIRD)}
    monkeypatch.setattr(obstore, "copy", no_links)
    same(grow(store, GROWN["all of it"]), before)


def test_no_store_shrinks(tmp_path):
    store = filled(str(tmp_path / "a.zarr"))
    with pytest.raises(ValueError, match="may grow, not shrink"):
        grow(store, contents(Box(10, 10, 12, 14), FIRST, THIRD))


def test_scenes_that_are_found_later_are_named(place):
    store = filled(place)
    grown = grow(store, replace(store.contents, scenes=("late",)))
    assert grown.contents.scenes == tuple(sorted({*store.contents.scenes, "late"}))
    assert Store(place).contents == grown.contents
