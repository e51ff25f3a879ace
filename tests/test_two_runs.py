"""Two runs on one store: the second is refused or waits; one that was killed leaves the store to the next at once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import fusecube, specification

from pipeline.lease import holder, take
from pipeline.objects import Objects
from pipeline.store import Store


@pytest.fixture
def spec(archive, tmp_path, go):
    """A specification of a finished store."""
    raw = specification(archive, tmp_path / "a.zarr")
    go(raw)
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def start(*words: object) -> subprocess.Popen:
    """The command line in a process and a group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *map(str, words)],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_second_run_is_refused_and_told_who_is_at_work(spec, tmp_path):
    objects = Objects.at(tmp_path / "a.zarr")
    with take(objects, {}, wait=False):
        found = fusecube("run", spec)
        assert found.returncode == 2
        assert f"is being written by another run (process {os.getpid()} on" in found.stderr
        assert "--wait" in found.stderr
        assert not (tmp_path / "a.jsonl").exists(), "a run that was refused has nothing to log"
        status = fusecube("status", tmp_path / "a.zarr")
        assert "a run is on since" in status.stdout
        assert f"process {os.getpid()}" in status.stdout
    assert fusecube("run", spec).returncode == 0


def test_the_second_run_waits_where_it_is_told_to(spec, tmp_path):
    objects = Objects.at(tmp_path / "a.zarr")
    with take(objects, {}, wait=False):
        second = start("run", spec, "--wait")
        line = second.stdout.readline()
        assert "waiting for another run to end" in line
        time.sleep(1.5)
        assert second.poll() is None
    out, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    assert "nothing to compute" in out
    assert holder(objects).ended


def _chunks(run: subprocess.Popen, log: Path, count: int) -> None:
    """Wait until a run has told of so many chunks."""
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text().count('"chunk"') >= count):
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_after_a_kill_the_next_run_goes_on_at_once(archive, tmp_path):
    raw = specification(archive, tmp_path / "a.zarr", chunk=60)
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(raw))
    first = start("run", path)
    log = tmp_path / "a.jsonl"
    _chunks(first, log, 5)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    told = json.loads(fusecube("status", tmp_path / "a.zarr", "--json").stdout)
    assert (told["running"], told["stopped"], told["complete"]) == (None, True, False)
    assert 5 <= told["done"] < told["chunks"] == 100
    assert told["progress"]["total"] == 100
    assert "the last run stopped without an end" in fusecube("status", tmp_path / "a.zarr").stdout
    again = fusecube("run", path)
    assert again.returncode == 0, again.stderr
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    runs = list(dict.fromkeys(line["run"] for line in lines))
    assert len(runs) == 2, "the log goes on after the killed run's"
    keys = [line["key"] for line in lines if line["event"] == "chunk" and line["run"] == runs[1]]
    assert len(keys) == len(set(keys)) == 100 - int(again.stdout.partition("chunks to do, ")[2].split()[0])
    assert str(tmp_path) not in log.read_text()
    assert str(tmp_path) not in (tmp_path / "a.zarr" / "progress.json").read_text()
    assert [lines[-1][k] for k in ("event", "complete")] == ["end", True]
    assert fusecube("status", tmp_path / "a.zarr").returncode == 0
    assert len(Store(tmp_path / "a.zarr").ledger.done()) == 100


def test_a_run_whose_store_is_taken_stops_with_a_sentence(archive, tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(specification(archive, tmp_path / "a.zarr")))
    code = (
        "import sys; import pipeline.lease as lease; from flows.cli import main; "
        "enter = lease.Lease.__enter__; "
        "lease.Lease.__enter__ = lambda self: "
        "(enter(self), self.objects.create(lease._key(self.token + 1), lease._plain(self._holder)))[0]; "
        "sys.argv = ['fusecube', 'run', sys.argv[1]]; main()"
    )
    found = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=120)
    assert found.returncode == 1
    assert "taken by another run" in found.stderr
    assert "Traceback" not in found.stderr
    assert not Store(tmp_path / "a.zarr").ledger.done()


def test_who_stops_a_run_keeps_what_was_finished(archive, tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(specification(archive, tmp_path / "a.zarr", chunk=60)))
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from flows.cli import main; main()"
    first = subprocess.Popen(  # in the background of a shell Python would not hear of it
        [sys.executable, "-c", code, "run", str(path)], start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    _chunks(first, tmp_path / "a.jsonl", 5)
    os.killpg(first.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, err = first.communicate(timeout=60)
    assert first.returncode == 130, err
    assert err.strip().splitlines()[-1] == "fusecube: stopped; what was finished is kept: run again to go on."
    assert "Traceback" not in err, err
    again = fusecube("run", path)
    assert again.returncode == 0, again.stderr
    assert 100 - int(again.stdout.partition("chunks to do, ")[2].split()[0]) >= 5
