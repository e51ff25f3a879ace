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
from pipeline.models.registry import identity, sharpening, untrained_residual
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


@pytest.fixture(scope="module")
def clusters(client):
    """Clusters by the number of their workers."""
    with local(1) as one, local(4) as four:
        yield {1: one, 2: client, 4: four}


def test_digest_is_that_of_any_order(archive, tmp_path, go, clusters):
    straight, _ = go(specification(archive, tmp_path / "straight.zarr", area=AREA, chunk=120, time="2024-06"))
    prepared = prepare(validate(specification(archive, tmp_path / "mixed.zarr", area=AREA, chunk=120, time="2024-06")))
    job, work = planned(prepared)
    store = _empty(prepared, job, work)
    todo = list(work.todo)
    random.Random(7).shuffle(todo)
    assert not run(clusters[4], store.where, job, todo).troubles
    assert digest(store) == digest(straight)


def _empty(prepared, job, work):
    days = sorted({task.day for task in work.todo})
    contents = contents_of(job, days, {}, [s.id for s in prepared.scenes], "run", __version__)
    return Store.create(prepared.spec.out, contents)


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
        identity(SENTINEL2, ALL_BANDS, 10),
        untrained_residual(SENTINEL2, ALL_BANDS, 10, width=16, blocks=2),
        replace(sharpening("dsen2", SENTINEL2, ALL_BANDS, network={"width": 8, "blocks": 2}), tile=120),
        small_mpifnet("fixed"),
        small_mpifnet("pooled"),
    ],
    ids=["identity", "residual", "dsen2", "mpifnet, fixed gates", "mpifnet, context tiles"],
)
def test_digest_is_that_of_any_cut_spread_order_and_resume(archive, tmp_path, clusters, model):
    # context tiles cost nine for one: less of them
    area = {"bbox": [13.54, 52.31, 13.565, 52.326]} if model.global_context else AREA
    job, todo, straight = _work(archive, tmp_path / "straight.zarr", model, chunk=600, area=area)
    _run(clusters[1], straight, job, todo)

    job, todo, mixed = _work(archive, tmp_path / "mixed.zarr", model, chunk=120, area=area)
    random.Random(7).shuffle(todo)
    half = len(todo) // 2
    _run(clusters[4], mixed, job, todo[:half])
    outcome = _run(clusters[2], mixed, job, todo)  # told of all, as a run is that was killed before it could say
    assert outcome.held == half
    assert outcome.computed == len(todo) - half
    assert digest(mixed) == digest(straight)


def _work(archive, out, model, chunk, area):
    """The job of a model, its tasks and an empty store for them."""
    prepared = prepare(validate(specification(archive, out, chunk=chunk, area=area)))
    layout = prepared.job.layout
    layout = Layout.over(layout.lattice, layout.area.outward(max(1, model.align // 6)), layout.core)
    prepared = replace(prepared, job=replace(prepared.job, model=model, layout=layout))
    job, work = planned(prepared)
    return job, list(work.todo), _empty(prepared, job, work)


def _run(client, store, job, todo):
    client.run(torch.manual_seed, 0)  # an untrained network is the same on every worker
    outcome = run(client, store.where, job, todo)
    assert not outcome.troubles
    return outcome


def test_digest_changes_with_a_single_pixel(archive, tmp_path, go):
    store, _ = go(specification(archive, tmp_path / "a.zarr"))
    before = digest(store)
    pixel = store.array("reflectance")[0, 0, 17, 23]
    store.array("reflectance")[0, 0, 17, 23] = pixel + 1
    assert digest(store) != before
