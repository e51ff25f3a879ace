"""Workers come and go, and some can do nothing: the work goes on where it can, and ends with a sentence where it cannot."""

from collections import Counter
from contextlib import ExitStack

import pytest
from test_bounded import work_of
from test_clusters import GPU, joined, running, started_with, worker

import pipeline.engine as engine
import pipeline.staff as staff
from cluster.checking import check
from cluster.local import local
from pipeline.errors import Refused
from pipeline.events import Done
from pipeline.store import Store

__all__ = ["running"]


@pytest.fixture(autouse=True)
def looks_often(monkeypatch):
    monkeypatch.setattr(staff, "LOOK", 0.2)
    monkeypatch.setattr(engine, "LOOK", 0.2)
    monkeypatch.setattr(engine, "STRIP", 4)


def test_a_worker_that_joins_and_cannot_do_the_work_is_left_out(running, archive, tmp_path):
    job, plan, where = work_of(archive, tmp_path / "a.zarr", chunk=120)
    with ExitStack() as later, worker(running, "able"), joined(running) as client:

        def one_joins(told):
            if len(client.nthreads()) == 1:
                later.enter_context(worker(running, "odd", "--nthreads", 2))
                client.wait_for_workers(2, timeout=30)

        outcome = engine.run(client, where, job, plan.todo, watch=one_joins)
    assert (outcome.computed, outcome.troubles) == (len(plan.todo), ())
    (left_out,) = outcome.unfit
    assert "it works on 2 tasks at once" in left_out
    assert "--nthreads 1" in left_out


def test_workers_that_cannot_do_the_work_are_named_at_once(running, archive, tmp_path):
    job, plan, where = work_of(archive, tmp_path / "a.zarr")
    said = pytest.raises(Refused, match=r"^worker tcp://\S+: it works on 2 tasks at once")
    with worker(running, "odd", "--nthreads", 2), joined(running) as client, said:
        engine.run(client, where, job, plan.todo)
    assert not Store(where).ledger.done()


def test_workers_of_several_threads_are_refused_before_anything_is_written(running, tmp_path):
    said = pytest.raises(
        Refused, match=r"^worker tcp://\S+: it works on 2 tasks at once, .* start it with --nthreads 1"
    )
    with worker(running, "odd", "--nthreads", 2), joined(running) as client, said:
        check(client, None, str(tmp_path / "a.zarr"))
    assert not (tmp_path / "a.zarr").exists()


def test_work_that_waits_for_workers_which_are_gone_goes_to_those_that_come(running, archive, tmp_path):
    job, plan, where = work_of(archive, tmp_path / "a.zarr", chunk=120)
    blocks: Counter[str] = Counter()
    with ExitStack() as old, ExitStack() as new, worker(running, "with", "--resources", "GPU=1"):
        old.enter_context(worker(running, "old"))
        with joined(running, 2) as client:
            names = {}

            def changes(told):
                names.update({a: w["name"] for a, w in client.scheduler_info(n_workers=-1)["workers"].items()})
                blocks[names[told.worker]] += 1
                if sum(blocks.values()) == 3:
                    old.close()
                    new.enter_context(worker(running, "new"))

            outcome = engine.run(client, where, job, plan.todo, watch=changes)
    assert (outcome.computed + outcome.held, outcome.troubles) == (25, ())
    assert blocks["new"] > 0
    assert blocks["with"] == 0, "the worker with the GPU is kept for others"


def test_work_that_no_worker_can_take_is_not_waited_for_for_ever(client, archive, tmp_path):
    job, plan, where = work_of(archive, tmp_path / "a.zarr")
    with pytest.raises(
        Refused, match=r"^no worker that can take the work \(with GPU=1\) has been there for 0\.5 s; what"
    ):
        engine.run(client, where, job, plan.todo, GPU, patience=0.5)


def test_a_chunk_over_which_workers_die_is_given_up_alone(archive, tmp_path, monkeypatch):
    deaths = tmp_path / "deaths"
    lines = f"""
import os
import pipeline.fuse as fuse
read = fuse.read_chunk
def deadly(job, task):
    if (task.chunk.row, task.chunk.col) == (1, 1):
        open({str(deaths)!r}, "a").write("x")
        os.kill(os.getpid(), 9)
    return read(job, task)
fuse.read_chunk = deadly
"""
    job, plan, where = work_of(archive, tmp_path / "a.zarr", chunk=120)
    monkeypatch.setenv("PYTHONPATH", started_with(tmp_path / "site", lines))
    monkeypatch.setattr(engine, "DEATHS", 1)
    told = []
    with local(2) as here:
        outcome = engine.run(here, where, job, plan.todo, watch=told.append)
    assert (outcome.computed + outcome.held, len(outcome.troubles)) == (24, 1)
    assert "all workers that took it died" in outcome.troubles[0].reason
    assert len(deaths.read_text()) <= 8, "twice in its strip, twice alone; of a death at once no beginning may be heard"
    assert sum(isinstance(one, Done) for one in told) == 24


def test_where_everything_fails_the_run_ends(client, archive, tmp_path, monkeypatch):
    job, plan, where = work_of(archive, tmp_path / "a.zarr", chunk=120)
    (tmp_path / "a.zarr" / "reflectance" / "c").write_text("no folder")
    monkeypatch.setattr(engine, "HOPELESS", 3)
    outcome = engine.run(client, where, job, plan.todo)
    assert outcome.hopeless
    assert (outcome.computed, outcome.full, outcome.lost) == (0, False, False)
    assert 3 <= len(outcome.troubles) < len(plan.todo) == 25


def test_chunks_that_were_not_tried_are_in_no_trouble(client, archive, tmp_path, monkeypatch):
    job, plan, where = work_of(archive, tmp_path / "a.zarr", chunk=120)
    outcome = engine.run(client, where, job, plan.todo, lease=1)  # which was never taken
    assert (outcome.lost, outcome.computed, outcome.troubles) == (True, 0, ())
    assert not Store(where).ledger.troubles()
