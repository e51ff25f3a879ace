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
    process.token = int(process.stdout.readline())
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
        assert mine.token == process.token + 1
        assert time.monotonic() - start > 1
    process.communicate()


def test_a_killed_holder_is_superseded_at_once(place, first):
    objects = Objects.at(place)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not holder(objects).alive
    with take(objects, {}, wait=False) as mine:
        assert mine.token == first.token + 1
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
    guard(objects, process.token)
    os.kill(process.pid, signal.SIGSTOP)
    monkeypatch.setattr(lease, "LAPSES", 1.0)
    while holder(objects).alive:
        time.sleep(0.1)
    time.sleep(1.5)  # a bucket tells whole seconds
    with take(objects, {}, wait=False) as mine:
        os.kill(process.pid, signal.SIGCONT)
        assert process.communicate(timeout=30)[0] == "lost\n"
        assert holder(objects).process == os.getpid(), "the first says nothing more in the second's name"
        assert not holder(objects).ended
        guard(objects, mine.token)
        with pytest.raises(Superseded, match="taken by another run"):
            guard(objects, process.token)


def holding_fast(place: str, after: str) -> subprocess.Popen:
    """The same with renewals ten times a second; those of this test cannot wait."""
    code = (
        f"import pipeline.lease as lease; lease.RENEWED = 0.1\n{HOLD}"
        f"with take(Objects.at({place!r}), {{}}, False) as mine:\n print(mine.token, flush=True); {after}"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    process.token = int(process.stdout.readline())
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
    with take(objects, {}, wait=False) as next_one:
        assert next_one.token == mine.token + 1


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
    tokens = []
    for _ in range(2):
        with take(objects, {}, wait=False) as mine:
            tokens.append(mine.token)
    latest, stale = lease._latest, iter([tokens[0]])
    with take(objects, {}, wait=False):
        objects.delete([lease._key(tokens[1])])
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


def test_a_run_that_outlives_its_store_is_not_taken_for_one_on_the_next(place):
    objects = Objects.at(place)
    with take(objects, {}, wait=False) as old:
        objects.clear("lease")
        time.sleep(0.01)
        with take(objects, {}, wait=False):
            with pytest.raises(Superseded):
                old.check()
            old.lost.set()  # as its renewal would find


def said_elsewhere(objects: Objects, heard: float) -> None:
    """A lease that a process of another machine holds, whose clock said so much when it was renewed just now."""
    with take(objects, {}, wait=False) as mine:
        pass
    there = replace(holder(objects), host="elsewhere", ended=False, heard=heard)
    objects.put(lease._key(mine.token), lease._plain(there))


@pytest.mark.parametrize("late", [-7200.0, 7200.0])
def test_a_holder_whose_clock_is_wrong_keeps_what_it_renews(place, late):
    objects = Objects.at(place)
    said_elsewhere(objects, time.time() + late)
    with pytest.raises(Refused, match="on elsewhere"):
        take(objects, {}, wait=False)


def test_a_holder_whose_clock_is_ahead_loses_what_it_does_not_renew(tmp_path):
    objects = Objects.at(tmp_path / "a.zarr")
    said_elsewhere(objects, time.time() + 7200)
    for file in (tmp_path / "a.zarr" / "lease").glob("*.json"):
        os.utime(file, (time.time() - 61, time.time() - 61))
    with take(objects, {}, wait=False) as mine:
        assert not mine.lost.is_set()


def test_a_lease_that_cannot_be_read_is_named(place):
    objects = Objects.at(place)
    with take(objects, {}, wait=False) as mine:
        pass
    objects.put(lease._key(mine.token), b"{half")
    with pytest.raises(Refused, match=r"lease/\d+\.json cannot be read; delete the folder lease"):
        take(objects, {}, wait=False)
