"""Overviews: what they hold, that only what has changed is made again, and that a viewer finds them."""

import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from conftest import specification
from distributed import Client, LocalCluster

from flows.prepare import prepare
from flows.road import execute, planned
from flows.spec import validate
from pipeline import flight, overviews, staff
from pipeline.errors import Refused
from pipeline.flags import Flag
from pipeline.flight import fly
from pipeline.growth import grow
from pipeline.overviews import above, build, factors, halve, halve_flags, nearest_below, stale
from pipeline.picture import quick_look
from pipeline.store import Store
from pipeline.summary import digest

BANDS = ["B02", "B03", "B04"]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Small arrays have overviews too."""
    monkeypatch.setattr(overviews, "EDGE", 100)


AREA = {"bbox": [13.535, 52.305, 13.575, 52.325]}


@pytest.fixture(scope="module")
def built(archive, client, tmp_path_factory) -> Path:
    """A store of 290 x 240 pixels or so in cores of 120, so that the last ones are partial, and its overviews."""
    out = tmp_path_factory.mktemp("overviews") / "a.zarr"
    prepared = prepare(validate(specification(archive, out, area=AREA, bands=BANDS, model="identity", chunk=120)))
    execute(client, prepared, *planned(prepared))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overviews, "EDGE", 100)
        build(client, Store(out))
    return out


@pytest.fixture
def store(built, tmp_path) -> Store:
    """A copy of it that a test may change."""
    shutil.copytree(built, tmp_path / "a.zarr", copy_function=shutil.copy2)
    return Store(tmp_path / "a.zarr")


def test_each_is_half_of_the_one_below_until_it_is_short(monkeypatch):
    monkeypatch.undo()
    assert factors((10980, 10980)) == (2, 4, 8, 16)
    assert factors((1024, 300)) == ()
    assert factors((1025, 300)) == (2,)
    assert factors((300, 200_000)) == (2, 4, 8, 16, 32, 64, 128, 256)


def test_means_of_what_has_a_value():
    numbers = np.array([[10, 20, 0, 0, 7], [30, 0, 0, 0, 0], [1, 1, 2, 4, 5]], np.uint16)
    # (10 + 20 + 30) / 3 = 20; nothing; 7 alone; a last row and column stand for themselves
    np.testing.assert_array_equal(halve(numbers, 0), [[20, 0, 7], [1, 3, 5]])
    values = np.array([[1.0, np.nan], [2.0, 6.0]], np.float32)
    np.testing.assert_array_equal(halve(values, np.nan), [[3.0]])
    assert halve(np.full((2, 2), 65535, np.uint16), 0)[0, 0] == 65535


def test_flags_of_at_least_half_of_what_has_a_value():
    nodata, cloud, masked = int(Flag.NODATA), int(Flag.CLOUD), int(Flag.MASKED)
    cases = {
        (0, 0, 0, cloud): 0,
        (0, 0, cloud, cloud): cloud,
        (nodata, nodata, 0, cloud): cloud,
        (nodata, nodata, nodata, 0): 0,
        (nodata | masked, nodata | masked, nodata, nodata): nodata | masked,
        (nodata | masked, nodata, nodata, nodata): nodata,
        (nodata | cloud, nodata | cloud, nodata | cloud, 0): 0,
    }
    for pixels, expected in cases.items():
        block = np.array(pixels, np.uint16).reshape(2, 2)
        assert halve_flags(block)[0, 0] == expected, pixels


def test_an_overview_opens_with_its_own_grid(store):
    with xr.open_zarr(store.where) as whole, xr.open_zarr(store.where, group="overviews/4") as small:
        assert small.rio.crs == whole.rio.crs
        assert small.rio.resolution() == (40.0, -40.0)
        left, _, _, top = whole.rio.bounds()
        assert small.rio.bounds()[0] == left
        assert small.rio.bounds()[3] == top
        assert small.sizes["x"] == -(-whole.sizes["x"] // 4)
        rows, cols = small.sizes["y"] - 1, small.sizes["x"] - 1
        means = whole.reflectance.coarsen(y=4, x=4, boundary="trim").mean()
        got = small.reflectance.isel(y=slice(rows), x=slice(cols)).values
        known = np.isfinite(got)
        assert known.mean() > 0.9
        expected = means.isel(y=slice(rows), x=slice(cols)).values
        full = whole.reflectance.notnull().coarsen(y=4, x=4, boundary="trim").mean().isel(y=slice(rows), x=slice(cols))
        assert np.abs(got - expected)[known & (full.values == 1)].max() < 1.01e-4  # rounded at each level
        assert set(small.band.values) == set(BANDS)


def test_the_root_names_them_as_geozarr_does(store):
    said = dict(store.group.attrs)
    assert {c["name"] for c in said["zarr_conventions"]} == {"multiscales", "spatial:", "proj:"}
    layout = said["multiscales"]["layout"]
    assert [level["asset"] for level in layout] == [".", "overviews/2", "overviews/4"]
    for level in layout[1:]:
        group = store.group[level["asset"]]
        assert list(group["flags"].shape[1:]) == level["spatial:shape"]
        assert level["spatial:transform"] == group.attrs["spatial:transform"]
    with xr.open_zarr(store.where) as whole:
        assert whole.rio.crs == said["proj:code"]


def test_nothing_is_made_twice_and_the_digest_stays(store, client, archive, go, tmp_path):
    before = digest(store)
    assert build(client, store) == 0
    (record, *_) = store.ledger.records()
    store.ledger.drop(record.day, record.box)
    store.ledger.put(replace(record, digest="other"))
    made: list = []
    build(client, Store(store.where), told=made.append)
    assert sorted(shard.factor for shard in made) == [2, 4]
    assert digest(Store(store.where)) == before


def test_what_was_killed_goes_on(store, client):
    for entry in list(store.objects.entries("overviewed/4")):
        store.objects.delete([entry.key])
    store.group["overviews"].attrs["state"] = "other"
    store.consolidate()
    made: list = []
    build(client, Store(store.where), told=made.append)
    assert {shard.factor for shard in made} == {4}


def test_a_grown_store_keeps_the_overviews_that_hold(store, client, archive, go):
    raw = specification(archive, store.path, bands=BANDS, model="identity", chunk=120, area=AREA)
    grown, _ = go(raw | {"time": "2024-06-01/2024-06-06"})
    made: list = []
    build(client, grown, told=made.append)
    assert {shard.place[0] for shard in made} == {date(2024, 6, 6)}
    wide, _ = go(raw | {"time": "2024-06-01/2024-06-06", "area": {"bbox": [13.535, 52.295, 13.585, 52.325]}})
    build(client, wide)
    with xr.open_zarr(wide.where) as whole, xr.open_zarr(wide.where, group="overviews/2") as small:
        assert small.sizes["y"] == -(-whole.sizes["y"] // 2)
        assert abs(float(small.reflectance.mean()) - float(whole.reflectance.mean())) < 1e-3
        assert abs(float(small.reflectance.notnull().mean()) - float(whole.reflectance.notnull().mean())) < 0.01


def test_a_store_that_has_changed_is_not_looked_at_through_old_overviews(store):
    assert nearest_below(store, 4) == 4
    assert nearest_below(store, 3) == 2
    assert nearest_below(store, 100) == 4
    (record, *_) = store.ledger.records()
    store.ledger.drop(record.day, record.box)
    assert nearest_below(store, 4) == 1


def test_a_grown_store_is_not_looked_at_through_overviews_of_its_old_frame(store):
    layout = store.contents.layout
    wider = replace(layout.area, right=layout.frame.right + layout.core)
    grown = grow(store, replace(store.contents, layout=layout.grown(wider)))
    assert nearest_below(grown, 4) == 1
    assert stale(grown)


def test_what_breaks_on_a_worker_is_told_in_one_sentence(store, client):
    for key in [entry.key for entry in store.objects.entries("flags/c")]:
        store.objects.put(key, b"no shard at all, and long enough for an index of shards" * 9)
    store.group["overviews"].attrs["state"] = "other"
    store.objects.delete([entry.key for entry in store.objects.entries("overviewed/2")])
    store.consolidate()
    with pytest.raises(OSError, match="the overviews could not be made: .*; run again"):
        build(client, store)


def test_a_quick_look_through_overviews_looks_the_same(store, monkeypatch):
    from pipeline import picture

    _, _, rows, cols = store.array("reflectance").shape
    monkeypatch.setattr(picture, "EDGE", -(-max(rows, cols) // 4))
    (day,) = store.contents.days
    asked: list[int] = []

    def noted(store: Store, times: int) -> int:
        asked.append(nearest_below(store, times))
        return asked[-1]

    monkeypatch.setattr(picture, "nearest_below", noted)
    through = np.asarray(quick_look(store, day)).astype(int)
    assert asked == [2]
    monkeypatch.setattr(picture, "nearest_below", lambda store, times: 1)
    direct = np.asarray(quick_look(store, day)).astype(int)
    assert through.shape == direct.shape
    assert np.abs(through - direct).mean() < 2


def test_names_follow_from_what_lies_below():
    day = date(2024, 6, 1)
    below = {(day, 0, 0): "a", (day, 1, 1): "b", (day, 4, 2): "c"}
    names = above(below)
    assert set(names) == {(day, 0, 0), (day, 2, 1)}
    moved = above({(day, 0, 1): "a", (day, 1, 1): "b", (day, 4, 2): "c"})
    assert moved[day, 0, 0] != names[day, 0, 0]
    assert moved[day, 2, 1] == names[day, 2, 1]


def test_small_work_flies_a_few_at_a_time(client):
    taken: list[int] = []

    def items():
        for n in range(40):
            taken.append(n)
            yield n

    found = {}
    most = 0
    for item, result in fly(client, divided, items(), 120):
        found[item] = result
        most = max(most, len(taken) - len(found))
    assert isinstance(found.pop(0), ZeroDivisionError)
    assert found == {n: 120 / n for n in range(1, 40)}
    assert most <= 2 * sum(client.nthreads().values()) + 1


def test_small_work_flies_no_further_without_a_scheduler(monkeypatch):
    monkeypatch.setattr(flight, "LOOK", 0.2)
    alone = LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None)
    with alone as cluster, Client(cluster, timeout=1) as client:
        results = fly(client, divided, range(1, 40), 120)
        next(results)
        cluster.close()
        with pytest.raises(Refused, match="the scheduler is gone"):
            list(results)


def test_small_work_flies_to_workers_that_join(monkeypatch):
    monkeypatch.setattr(staff, "LOOK", 0.0)
    taken: list[int] = []
    alone = LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None)
    with alone as cluster, Client(cluster) as client:
        results = fly(client, divided, (taken.append(n) or n for n in range(1, 40)), 120)
        next(results)
        cluster.scale(3)
        client.wait_for_workers(3)
        next(results)
        next(results)
        assert len(taken) >= 2 * 3
        assert len(list(results)) == 36


def divided(by: int, item: int) -> float:
    return by / item
