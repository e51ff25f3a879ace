"""One run at a time on a store, alike in a folder and in a bucket; whoever was taken for dead notices and stops."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest

import pipeline.lease as lease
from pipeline.errors import Refused
from pipeline.lease import Superseded, guard, holder, take
from pipeline.objects import Objects

HOLD = "import sys, time; from pipeline.lease import take; from pipeline.objects import Objects\n"


def holding(place: str, after: str = "time.sleep(60)") -> subprocess.Popen:
    """A process of its own that holds the lease of a place, once this returns."""
    code = f"{HOLD}with take(Objects.at({place!r}), {{}}, False) as mine:\n print(mine.token, flush=True); {after}"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "1\n"
    return process


@pytest.fixture
def first(place):
    process = holding(place)
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_is_refused_and_told_of_the_first(place, first):
    with pytest.raises(Refused) as refused:
        take(Objects.at(place), {}, wait=False)
    said = str(refused.value)
    assert f"{place} is being written by another run (process {first.pid} on {socket.gethostname()}, since" in said
    assert "last heard of 0 s ago" in said
    assert "--wait" in said
    assert "\n" not in said


def test_a_second_run_waits_for_the_first(place):
    process = holding(place, after="time.sleep(2)")
    start = time.monotonic()
    with take(Objects.at(place), {}, wait=True) as mine:
        assert mine.token == 2
        assert time.monotonic() - start > 1
    process.communicate()


def test_a_killed_holder_is_superseded_at_once(place, first):
    objects = Objects.at(place)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not holder(objects).alive
    with take(objects, {}, wait=False) as mine:
        assert mine.token == 2
        assert holder(objects).process == os.getpid()


def test_a_dead_child_that_nobody_has_buried_holds_nothing(place, first):
    first.kill()
    time.sleep(0.3)  # its number stays until it is waited for
    assert psutil.Process(first.pid).status() == psutil.STATUS_ZOMBIE
    assert not holder(Objects.at(place)).alive


def test_a_recycled_number_is_not_taken_for_the_holder(place):
    objects = Objects.at(place)
    with take(objects, {}, wait=False):
        mine = holder(objects)
        assert mine.alive
        assert not replace(mine, born=mine.born - 60).alive
        assert replace(mine, born=mine.born - 60, host="elsewhere").alive, "of another host only its silence tells"
        assert replace(mine, born=mine.born - 60, boot="other").alive, "nor of another machine that is called the same"
        assert not replace(mine, host="elsewhere", heard=mine.heard - 61).alive


def test_a_clock_that_is_set_kills_no_holder(tmp_path, monkeypatch):
    objects = Objects.at(tmp_path / "a.zarr")
    with take(objects, {}, wait=False):
        began = lease.psutil.boot_time
        monkeypatch.setattr(lease.psutil, "boot_time", lambda: began() + 3600)
        created = lease.psutil.Process.create_time
        monkeypatch.setattr(lease.psutil.Process, "create_time", lambda self: created(self) + 3600)
        assert holder(objects).alive


def test_a_paused_holder_that_was_superseded_notices_and_writes_no_more(place, monkeypatch):
    code = "mine.lost.wait(30); print('lost' if mine.lost.is_set() else 'kept', flush=True)"
    process = holding_fast(place, code)
    objects = Objects.at(place)
    guard(objects, 1)
    os.kill(process.pid, signal.SIGSTOP)
    monkeypatch.setattr(lease, "LAPSES", 1.0)
    while holder(objects).alive:
        time.sleep(0.1)
    with take(objects, {}, wait=False) as mine:
        os.kill(process.pid, signal.SIGCONT)
        assert process.communicate(timeout=30)[0] == "lost\n"
        assert holder(objects).process == os.getpid(), "the first says nothing more in the second's name"
        assert not holder(objects).ended
        guard(objects, mine.token)
        with pytest.raises(Superseded, match="taken by another run"):
            guard(objects, 1)


def holding_fast(place: str, after: str) -> subprocess.Popen:
    """The same with renewals ten times a second; those of this test cannot wait."""
    code = (
        f"import pipeline.lease as lease; lease.RENEWED = 0.1\n{HOLD}"
        f"with take(Objects.at({place!r}), {{}}, False) as mine:\n print(mine.token, flush=True); {after}"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "1\n"
    return process


def test_a_lease_is_renewed_and_given_back(place, monkeypatch):
    monkeypatch.setattr(lease, "RENEWED", 0.05)
    objects = Objects.at(place)
    with take(objects, {"run": "it"}, wait=False) as mine:
        first = holder(objects)
        while holder(objects).heard == first.heard:
            time.sleep(0.02)
        assert (holder(objects).about, mine.lost.is_set()) == ({"run": "it"}, False)
    assert holder(objects).ended
    with take(objects, {}, wait=False) as mine:
        assert mine.token == 2


def test_of_many_at_once_one_takes_the_store(place):
    code = (
        f"{HOLD}sys.stdin.readline()\ntry:\n with take(Objects.at({place!r}), {{}}, False):\n"
        "  print('took', flush=True); sys.stdin.readline()\nexcept ValueError as error: print(error)"
    )
    many = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in many:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.stdout.readline() for process in many]
    for process in many:
        process.communicate("\n")
    assert said.count("took\n") == 1
    assert all("is being written by another run" in line for line in said if line != "took\n")


def test_a_generation_that_has_come_and_gone_is_not_taken_again(tmp_path, monkeypatch):
    objects = Objects.at(tmp_path / "a.zarr")
    for _ in range(2):
        with take(objects, {}, wait=False):
            pass
    latest, stale = lease._latest, iter([1])
    with take(objects, {}, wait=False):
        objects.delete(["lease/00000002.json"])
        monkeypatch.setattr(lease, "_latest", lambda objects: next(stale, None) or latest(objects))
        with pytest.raises(Refused, match="being written"):
            take(objects, {}, wait=False)  # it saw the first, then the second ended and the third began


def test_an_unreachable_store_hides_no_error_of_the_run(bucket):
    mine = take(Objects.at(bucket.at("a.zarr")), {}, wait=False)
    mine.__enter__()
    bucket.fail("403 Forbidden")
    mine.__exit__()  # raises nothing


def test_without_a_lease_nothing_is_guarded(tmp_path):
    guard(Objects.at(tmp_path / "a.zarr"), 0)
    assert holder(Objects.at(tmp_path / "a.zarr")) is None
