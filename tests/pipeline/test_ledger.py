"""The ledger is alike in a folder and in a bucket; a store's records are folded without holding them all."""

import weakref
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import xarray as xr
from test_growth import AREA, FIRST, THIRD, contents

import pipeline.summary as summary
from pipeline.growth import grow
from pipeline.lattice import Box
from pipeline.ledger import Ledger
from pipeline.metrics import BandSums, PairSums
from pipeline.record import Failure, Record
from pipeline.store import Store
from pipeline.summary import Totals, count, current, fold, folded

BOX = Box(-3, 12, 5, 14)
MISSED = (Failure("scene", "B02", "not found"),)


def record(box: Box = BOX, day: date = FIRST, key: str = "0123456789abcdef", **changes) -> Record:
    """A record that says little."""
    sums = {band: BandSums.of(np.full((2, 2), box.left + 100.0 * box.top)) for band in ("B02", "B03")}
    plain = Record(
        key=key, day=day, box=box, pixels=4, scenes=("scene",), weights="", readings={"B02": ("native",)}, failures=(),
        shifts={}, flags={"NODATA": 1}, bands=sums, consistency={"B02": PairSums()}, before={}, angles={},
        seconds={"read": 1.0}, peak_memory=7, digest="0", software="0",
    )  # fmt: skip
    return replace(plain, **changes)


@pytest.fixture
def ledger(place) -> Ledger:
    return Ledger(place)


def test_a_record_says_that_a_chunk_is_done_until_it_is_dropped(ledger):
    assert (ledger.done(), ledger.has(FIRST, BOX, "0123456789abcdef"), list(ledger.records())) == (set(), False, [])
    ledger.put(record())
    assert ledger.done() == {"0123456789abcdef"}
    assert ledger.has(FIRST, BOX, "0123456789abcdef")
    assert not ledger.has(FIRST, BOX, "fedcba9876543210"), "another work at the same place"
    assert not ledger.has(THIRD, BOX, "0123456789abcdef")
    assert list(ledger.records()) == [record()]
    assert list(ledger.places(FIRST)) == [(BOX, "ledger/2024-06-01/-3_12_5_14/0123456789abcdef.json")]
    ledger.drop(FIRST, BOX)
    assert (ledger.done(), ledger.has(FIRST, BOX, "0123456789abcdef"), list(ledger.places(FIRST))) == (set(), False, [])


def test_a_chunk_that_missed_a_file_is_kept_and_not_done(ledger):
    ledger.put(record(failures=MISSED))
    assert (ledger.done(), ledger.has(FIRST, BOX, "0123456789abcdef")) == (set(), False)
    assert list(ledger.records()) == [record(failures=MISSED)]
    ledger.drop(FIRST, BOX)
    assert not list(ledger.records())


def test_neighbours_are_not_dropped_with_a_chunk(ledger):
    near = Box(-3, 12, 5, 140)  # its name begins alike
    ledger.put(record())
    ledger.put(record(near, key="1123456789abcdef"))
    ledger.drop(FIRST, BOX)
    assert ledger.done() == {"1123456789abcdef"}


def test_troubles_are_kept_until_the_chunk_is_tried_again(ledger):
    ledger.trouble(FIRST, BOX, "no such luck")
    assert ledger.troubles() == {"2024-06-01 -3_12_5_14": "no such luck"}
    assert (ledger.done(), list(ledger.places(FIRST))) == (set(), [])
    ledger.drop(FIRST, BOX)
    assert ledger.troubles() == {}


def test_the_state_changes_with_the_records_and_with_nothing_else(ledger):
    seen = [ledger.state()]
    ledger.put(record())
    seen.append(ledger.state())
    ledger.put(record(key="1123456789abcdef"))
    seen.append(ledger.state())
    ledger.put(record(key="1123456789abcdef", peak_memory=12345))
    seen.append(ledger.state())
    assert len(set(seen)) == 4
    ledger.trouble(FIRST, BOX, "so")
    ledger.objects.put("elsewhere.json", b"")
    assert ledger.state() == seen[-1]


def stored(where: str, area: Box = AREA) -> Store:
    """A store whose every chunk has a record, written in no order."""
    store = Store.create(where, contents(area, FIRST, THIRD))
    chunks = [(day, chunk) for day in store.contents.days for chunk in store.contents.layout.chunks()]
    for index, (day, chunk) in reversed(list(enumerate(chunks))):
        store.ledger.put(record(chunk.core, day, key=f"{index:016x}"))
    return store


def test_records_come_day_by_day_and_row_by_row(place):
    store = stored(place)
    chunks = list(store.contents.layout.chunks())
    assert [(r.day, r.box) for r in current(store)] == [(day, c.core) for day in (FIRST, THIRD) for c in chunks]
    assert count(store) == 2 * len(chunks) == 8


def test_metrics_of_every_chunk_are_in_its_place_whatever_the_strips(place, monkeypatch):
    store = stored(place)
    store.ledger.drop(THIRD, next(store.contents.layout.chunks()).core)
    assert not folded(store)
    for strip in (1, 64):
        monkeypatch.setattr(summary, "STRIP", strip)
        fold(store)
        assert folded(store)
        assert folded(Store(place))
        with xr.open_zarr(store.objects.zarr(), group="metrics", chunks=None) as metrics:
            assert metrics["mean"].dims == ("time", "chunk_y", "chunk_x", "band")
            mean, valid = metrics["mean"].values, metrics.valid_fraction.values
            assert [str(band) for band in metrics.band.values] == ["B02", "B03"]
        for chunk in store.contents.layout.chunks():
            expected = chunk.core.left + 100 * chunk.core.top
            np.testing.assert_allclose(mean[0, chunk.row, chunk.col], expected)
            assert valid[0, chunk.row, chunk.col] == 0.75
        assert np.isnan(mean[1, 0, 0]).all(), "a chunk without a record"
        assert np.isfinite(mean[1]).sum() == 2 * 3


def test_records_of_cores_that_have_grown_since_are_left_out(place):
    store = stored(place)
    fold(store)
    store.ledger.trouble(FIRST, BOX, "so")
    before = count(store)
    grown = grow(store, contents(Box(AREA.left, AREA.top, AREA.right + 3, AREA.bottom), FIRST, THIRD))
    assert not folded(grown), "of other chunks"
    assert grown.ledger.troubles() == {}
    partial = sum(chunk.core.width < 2 for chunk in store.contents.layout.chunks())
    assert partial
    assert count(grown) == before - 2 * partial == len(list(current(grown)))
    assert all(grown.contents.layout.cuts(r.box) for r in current(grown))


def test_few_records_are_held_however_many_there_are(tmp_path, monkeypatch):
    store = stored(str(tmp_path / "a.zarr"), Box(0, 0, 60, 40))
    alive, most = weakref.WeakSet(), 0
    read = Record.from_json.__func__

    def counted(cls, text):
        nonlocal most
        found = read(cls, text)
        alive.add(Held(found))
        most = max(most, len(alive))
        return found

    class Held:
        """Stands for a record that may not be hashed, as long as that is alive."""

        def __init__(self, found: Record) -> None:
            object.__setattr__(found, "held", self)

    monkeypatch.setattr(Record, "from_json", classmethod(counted))
    fold(store)
    total = Totals.of(current(store))
    summary.digest(store)
    assert total.chunks == count(store) == 1200
    assert most <= 3
