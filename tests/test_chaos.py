"""Unkillable: workers die by SIGKILL again and again, and the client too; nothing is lost, nothing is computed twice.

Five kills here; ``make chaos`` sets ``FUSECUBE_KILLS`` to fifty.
"""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml
from conftest import specification

from pipeline.simulated.archive import simulate
from pipeline.store import Store
from pipeline.summary import digest

KILLS = int(os.environ.get("FUSECUBE_KILLS", "5"))
PROGRESS = 3
"""Records that must have come since the kill before."""


@pytest.fixture(scope="module")
def field(archive, tmp_path_factory):
    """An archive large enough for all kills."""
    if KILLS <= 10:
        return archive
    folder = tmp_path_factory.mktemp("field")
    simulate(folder, size=1200, dates=2, clouds=0.1, seed=3)
    return folder


@pytest.mark.timeout(120 + 30 * KILLS)
def test_workers_and_client_are_killed_and_nothing_shows(field, tmp_path, go):
    undisturbed, _ = go(_raw(field, tmp_path / "undisturbed.zarr"))
    out = tmp_path / "chaos.zarr"
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(_raw(field, out)))
    chance = random.Random(11)
    client_dies = {KILLS // 3, 2 * KILLS // 3} if KILLS > 10 else {KILLS // 2}
    kills, seen = 0, {}
    process = _start(path)
    try:
        while kills < KILLS:
            before = len(seen)
            seen = _wait(out, process, before + PROGRESS, seen)
            victims = _workers(process)
            if not victims:
                continue
            chance.choice(victims).kill()
            kills += 1
            if kills in client_dies:
                process.kill()  # the client alone: its workers are left to themselves
                process.wait()
                process = _start(path)
        assert process.wait(timeout=300) == 0, path.with_suffix(".said").read_text()
    finally:
        _end(process)
    after = _records(out)
    assert {name: after.get(name) for name in seen} == seen, "what the ledger held was written again"
    assert kills == KILLS
    assert digest(Store(out)) == digest(undisturbed)


def _raw(archive, out):
    days = "2024-06-01" if KILLS <= 10 else "2024-06"
    return specification(archive, out, chunk=60, time=days, cluster={"kind": "local", "workers": 2})


def _start(path):
    command = [sys.executable, "-m", "flows.cli", "run", str(path)]
    with path.with_suffix(".said").open("w") as said:
        return subprocess.Popen(command, start_new_session=True, stdout=said, stderr=said)


def _wait(out, process, wanted, seen):
    """All records, once there are enough; none that was seen has changed."""
    deadline = time.monotonic() + 120
    while True:
        found = _records(out)
        assert {name: found.get(name) for name in seen} == seen, "what the ledger held was written again"
        if len(found) >= wanted:
            return found
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "the run makes no progress"
        time.sleep(0.02)


def _records(out: Path):
    """Records by name, with when they were written."""
    found = {}
    for path in (out / "ledger").rglob("*.json"):
        try:
            found[path.name] = path.stat().st_mtime_ns
        except FileNotFoundError:  # a draft that has got its name since
            continue
    return found


def _workers(process):
    """The worker processes of a run."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(_cmdline(child))]


def _cmdline(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _end(process):
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
