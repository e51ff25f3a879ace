"""A core's data changes without a record that is not true, also where the run that changes it has lost the store."""

import pytest
from test_growth import AREA, FIRST, THIRD, contents
from test_ledger import record

from pipeline.changing import changing
from pipeline.growth import grow
from pipeline.lattice import Box, Chunk
from pipeline.lease import Superseded, take
from pipeline.objects import Objects
from pipeline.store import Store

KEY, THEIRS = "0123456789abcdef", "1123456789abcdef"


@pytest.fixture
def store(place) -> Store:
    return Store.create(place, contents(AREA, THIRD))


@pytest.fixture
def chunk(store) -> Chunk:
    return next(store.contents.layout.chunks())


def lost(store: Store) -> int:
    """The token of a run whose lease another may take now."""
    with take(store.objects, {}, wait=False) as lease:
        return lease.token


def test_while_data_changes_nothing_is_done(store, chunk):
    store.ledger.put(record(chunk.core, THIRD, KEY))
    with changing(store, chunk, THIRD, lost(store)):
        assert store.ledger.done() == set()
        store.ledger.put(record(chunk.core, THIRD, KEY))
    assert store.ledger.done() == {KEY}


def test_a_run_that_has_lost_the_store_changes_nothing(store, chunk):
    token = lost(store)
    with take(store.objects, {}, wait=False):
        store.ledger.put(record(chunk.core, THIRD, THEIRS))
        with pytest.raises(Superseded), changing(store, chunk, THIRD, token):
            pytest.fail("its data is written")
    assert store.ledger.done() == {THEIRS}


def test_a_run_that_loses_the_store_meanwhile_leaves_no_record_that_is_not_true(store, chunk):
    paused = changing(store, chunk, THIRD, lost(store))
    paused.__enter__()
    with take(store.objects, {}, wait=False):
        store.ledger.put(record(chunk.core, THIRD, THEIRS))
        with pytest.raises(Superseded):  # it went on, and its data lies over the other run's
            paused.__exit__(None, None, None)
    assert store.ledger.done() == set()


def test_where_the_other_run_has_grown_the_store_the_core_goes_that_lies_under_the_name_now(store, chunk):
    paused = changing(store, chunk, THIRD, lost(store))
    paused.__enter__()
    with take(store.objects, {}, wait=False):
        core = store.contents.layout.core
        wider = Box(
            AREA.left - core, AREA.top, AREA.right, AREA.bottom
        )  # one column of cores to the west, and a day before
        grown = grow(store, contents(wider, FIRST, THIRD))
        for index, other in enumerate(grown.contents.layout.chunks()):
            for number, day in enumerate(grown.contents.days):
                grown.ledger.put(record(other.core, day, f"{number}{index:015x}"))
        with pytest.raises(Superseded):
            paused.__exit__(None, None, None)
    left = {(r.day, r.box) for r in grown.ledger.records()}
    under = grown.contents.layout.slot(chunk.row, chunk.col)
    everything = {(day, other.core) for other in grown.contents.layout.chunks() for day in (FIRST, THIRD)}
    assert everything - left == {(THIRD, chunk.core), (FIRST, under)}, "its own place, and the shard that it wrote into"


def test_where_the_store_is_gone_it_is_said_that_it_was_taken(store, chunk):
    token = lost(store)
    paused = changing(store, chunk, THIRD, token)
    paused.__enter__()
    where = Objects.at(store.where)
    for top in ("lease", "ledger", "reflectance", "flags"):
        where.clear(top)
    where.delete(["zarr.json"])
    with pytest.raises(Superseded):
        paused.__exit__(None, None, None)
