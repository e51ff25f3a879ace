"""What a run holds does not grow with its region: memory of a worker, strips in flight, records."""

import gc
import os
import subprocess
import sys
import weakref
from types import SimpleNamespace

import pytest
from conftest import specification

from cluster.local import local
from flows.prepare import prepare
from flows.road import opened, planned
from flows.spec import validate
from pipeline import engine
from pipeline.device import Equipment
from pipeline.events import Done
from pipeline.flight import IN_FLIGHT
from pipeline.post import Post
from pipeline.record import Record
from pipeline.strip import Line

SHARE = 1.1
"""How much larger the peak of a worker may be for nine times the chunks; most of it is what any process takes."""


def work_of(archive, out, **changes):
    """A job over the whole tile, its chunks and its empty store."""
    prepared = prepare(validate(specification(archive, out, model="identity", **changes)))
    job, plan = planned(prepared)
    return job, plan, opened(prepared, job, plan).where


def peak(archive, out, days, count):
    """Peak memory of a worker of its own, in bytes, over so many chunks of 150 px."""
    job, plan, where = work_of(archive, out, chunk=150, time=days)
    told = []
    with local(1) as alone:
        outcome = engine.run(alone, where, job, list(plan.todo)[:count], watch=told.append)
    assert outcome.computed == count
    return max(done.peak_memory for done in told if isinstance(done, Done))


def test_a_workers_memory_does_not_grow_with_the_chunks(archive, tmp_path):
    few, many = (peak(archive, tmp_path / f"{n}.zarr", "2024-06", n) for n in (4, 32))
    assert many < SHARE * few, (few, many)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is given back by glibc alone")
def test_what_is_free_goes_back():
    code = """
import numpy as np
from pipeline.memory import release_memory, resident_memory
held = [np.ones(10_000) for _ in range(2500)]  # 80 kB each, 200 MB in all, each below what is mapped by itself
last, held = held[-1], None  # what lies above the gap keeps it from going back of itself
before = resident_memory()
release_memory()
print(before - resident_memory())
"""
    kept = {"MALLOC_TRIM_THRESHOLD_": str(2**30)}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | kept, capture_output=True, text=True, check=True
    )
    assert int(ended.stdout) > 150e6


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("resident", "released"), [(0, 0), (10**12, 3)])
def test_a_worker_that_holds_more_than_planned_gives_back(archive, tmp_path, monkeypatch, resident, released):
    job, plan, where = work_of(archive, tmp_path / "a.zarr", chunk=120)
    calls = []
    monkeypatch.setattr("pipeline.strip.resident_memory", lambda: resident)
    monkeypatch.setattr("pipeline.strip.release_memory", lambda: calls.append(resident))
    worker = SimpleNamespace(state=SimpleNamespace(nthreads=1), address="here")
    line = Line(Post(job, where, 0, Equipment()).ready(worker), worker.address, lambda: False)
    done = list(line.fused(list(plan.todo)[:3]))
    assert [type(one) for one in done] == [Done] * 3
    assert len(calls) == released


@pytest.fixture
def flown(client, monkeypatch):
    """How many strips were in flight whenever one was handed out, and how many chunks they had."""
    found = []
    submit = client.submit

    def counted(function, name, strip, **options):
        future = submit(function, name, strip, **options)
        alive.add(future)
        gc.collect()
        found.append((len(alive), len(strip)))
        return future

    alive: weakref.WeakSet = weakref.WeakSet()
    monkeypatch.setattr(client, "submit", counted)
    return found


def test_a_run_keeps_a_few_strips_a_worker_and_takes_chunks_as_they_are_needed(client, archive, tmp_path, flown):
    job, plan, where = work_of(archive, tmp_path / "a.zarr", chunk=120, time="2024-06")
    taken, ended, ahead = 0, 0, []

    def stream():
        nonlocal taken
        for task in plan.todo:
            taken += 1
            yield task

    def watch(told):
        nonlocal ended
        ended += 1
        ahead.append(taken - ended)

    outcome = engine.run(client, where, job, stream(), watch=watch)
    assert outcome.computed == len(plan.todo) == taken == 50
    slots = 2 * IN_FLIGHT
    assert max(count for count, _ in flown) <= slots + 1, "one that has landed may still be looked at"
    assert max(length for _, length in flown) <= engine.STRIP
    assert max(ahead) <= (slots + 1) * engine.STRIP


def test_a_run_keeps_no_record(client, archive, tmp_path):
    job, plan, where = work_of(archive, tmp_path / "a.zarr", chunk=120)
    gc.collect()
    before = len(kept())
    outcome = engine.run(client, where, job, plan.todo)
    gc.collect()
    assert outcome.computed == len(plan.todo)
    assert len(kept()) == before


def kept():
    """What this process holds of chunks that have ended; `type`, since `isinstance` wakes proxies that warn."""
    return [thing for thing in gc.get_objects() if type(thing) in (Record, Done)]
