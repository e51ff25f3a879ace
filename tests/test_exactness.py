"""The same specification gives the same result, however the work is cut, ordered, spread or grown."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import ALL_BANDS, specification

from cluster.local import local
from flows.prepare import prepare
from flows.road import planned
from flows.spec import validate
from pipeline import __version__
from pipeline.engine import run
from pipeline.lattice import Layout
from pipeline.models.registry import sharpening, untrained_residual
from pipeline.sensors import SENTINEL2
from pipeline.store import Store, contents_of
from pipeline.summary import digest

# 4260 x 4440 m, on no multiple of any chunk: the last row and column of cores are partial for every chunk size
AREA = {"bbox": [13.54, 52.293, 13.6, 52.33]}


@pytest.mark.parametrize("model", ["identity", "bicubic"])
def test_digest_is_that_of_any_chunk_size(archive, tmp_path, go, model):
    digests = set()
    for chunk in (120, 300, 600):
        store, result = go(specification(archive, tmp_path / f"{chunk}.zarr", model=model, chunk=chunk, area=AREA))
        assert result.complete
        partial = {(c.core.width, c.core.height) for c in store.contents.layout.chunks()}
        assert chunk == 600 or len(partial) > 1  # partial cores are among them
        digests.add(digest(store))
    assert len(digests) == 1


def test_digest_is_that_of_one_worker(archive, tmp_path, go):
    two, _ = go(specification(archive, tmp_path / "two.zarr", area=AREA))
    prepared = prepare(validate(specification(archive, tmp_path / "one.zarr", area=AREA)))
    one = _run_by_hand(prepared, planned(prepared)[1].todo, workers=1)
    assert digest(one) == digest(two)


def test_digest_is_that_of_any_order(archive, tmp_path, go):
    straight, _ = go(specification(archive, tmp_path / "straight.zarr", area=AREA, chunk=120, time="2024-06"))
    prepared = prepare(validate(specification(archive, tmp_path / "mixed.zarr", area=AREA, chunk=120, time="2024-06")))
    todo = list(planned(prepared)[1].todo)
    random.Random(7).shuffle(todo)
    assert digest(_run_by_hand(prepared, todo, workers=2)) == digest(straight)


def _run_by_hand(prepared, todo, workers):
    days = sorted({task.day for task in todo})
    contents = contents_of(prepared.job, days, {}, [s.id for s in prepared.scenes], "run", __version__)
    store = Store.create(prepared.spec.out, contents)
    with local(workers) as own:
        assert not run(own, store.where, prepared.job, todo).troubles
    return store


@pytest.mark.parametrize(
    "first",
    [[13.54, 52.31, 13.57, 52.33], [13.57, 52.293, 13.6, 52.31], [13.555, 52.3, 13.58, 52.32]],
    ids=["grown to the south-east", "grown to the north-west", "grown all around"],
)
def test_digest_is_that_of_a_store_that_started_smaller(archive, tmp_path, go, first):
    whole, _ = go(specification(archive, tmp_path / "whole.zarr", area=AREA, time="2024-06"))
    small = specification(archive, tmp_path / "grown.zarr", area={"bbox": first}, chunk=120)
    before, _ = go(small)
    kept = before.ledger.done()
    grown, result = go(small | {"area": AREA, "time": "2024-06"})
    assert result.held > 0, "whole cores of the smaller store are not computed again"
    assert len(kept & grown.ledger.done()) >= result.held
    assert digest(grown) == digest(whole)


def test_overlapping_areas_agree(archive, tmp_path, go):
    west, _ = go(specification(archive, tmp_path / "w.zarr", area={"bbox": [13.54, 52.295, 13.58, 52.325]}))
    east, _ = go(specification(archive, tmp_path / "e.zarr", area={"bbox": [13.557, 52.301, 13.6, 52.335]}, chunk=180))
    left, right = (xr.open_zarr(store.path).reflectance for store in (west, east))
    one, other = xr.align(left, right, join="inner")
    assert one.sizes["x"] > 150
    assert one.sizes["y"] > 150
    np.testing.assert_array_equal(one.values, other.values)


def small_mpifnet(gates):
    """MPIFNet at an eighth of its width, as chance gives it, in tiles of 120 px."""
    model = sharpening("mpifnet", SENTINEL2, ALL_BANDS, gates=gates, network={"width": 8})
    if gates == "fixed":
        return replace(model, tile=120)
    return replace(model, tile=120, align=120, halo=model.reach + 120)


@pytest.mark.parametrize(
    "model",
    [
        untrained_residual(SENTINEL2, ALL_BANDS, 10, width=16, blocks=2),
        small_mpifnet("fixed"),
        small_mpifnet("pooled"),
    ],
    ids=["residual", "mpifnet, fixed gates", "mpifnet, context tiles"],
)
def test_network_gives_the_same_digest_for_any_chunk_size(archive, tmp_path, client, model):
    digests = set()
    for chunk in (120, 600) if model.cost else (120, 300, 600):
        prepared = prepare(validate(specification(archive, tmp_path / f"{chunk}.zarr", chunk=chunk, area=AREA)))
        layout = prepared.job.layout
        layout = Layout.over(layout.lattice, layout.area.outward(max(1, model.align // 6)), layout.core)
        prepared = replace(prepared, job=replace(prepared.job, model=model, layout=layout))
        job, work = planned(prepared)
        store = Store.create(prepared.spec.out, contents_of(job, [next(iter(work.todo)).day], {}, [], "run", __version__))
        client.run(torch.manual_seed, 0)  # an untrained network is the same on every worker
        assert not run(client, store.where, job, work.todo).troubles
        digests.add(digest(store))
    assert len(digests) == 1


def test_digest_changes_with_a_single_pixel(archive, tmp_path, go):
    store, _ = go(specification(archive, tmp_path / "a.zarr"))
    before = digest(store)
    pixel = store.array("reflectance")[0, 0, 17, 23]
    store.array("reflectance")[0, 0, 17, 23] = pixel + 1
    assert digest(store) != before
