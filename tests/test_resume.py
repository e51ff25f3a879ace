"""Whatever is killed whenever: run again completes the store and computes nothing that the ledger holds."""

import os
import signal
import subprocess
import sys
import time

import yaml
from conftest import fusecube, specification

from pipeline.ledger import Ledger
from pipeline.store import Store
from pipeline.summary import digest


def test_killed_midway_and_run_again(archive, tmp_path, go):
    undisturbed, _ = go(specification(archive, tmp_path / "undisturbed.zarr", chunk=120))
    path = tmp_path / "spec.yaml"
    out = tmp_path / "killed.zarr"
    path.write_text(yaml.safe_dump(specification(archive, out, chunk=120)))
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "run", str(path)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (out.exists() and len(Ledger(out).done()) >= 5):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "the run did not get going"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    held = _finished(out)
    assert 5 <= len(held) < 25
    again = fusecube("run", path)
    assert again.returncode == 0, again.stderr
    assert f"{25 - len(held)} chunks to do, {len(held)} done" in again.stdout
    after = _finished(out)
    assert len(after) == 25
    assert {name: after[name] for name in held} == held, "what the ledger held was written again"
    assert digest(Store(out)) == digest(undisturbed)


def _finished(out):
    """Records by name, with when they were written."""
    return {p.name: p.stat().st_mtime_ns for p in (out / "ledger").rglob("*.json") if not p.name.startswith(".")}


def test_finished_store_computes_nothing_and_loads_nothing_heavy(archive, tmp_path, go):
    raw = specification(archive, tmp_path / "done.zarr")
    store, _ = go(raw)
    before = _finished(store.path)
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(raw))
    code = (
        "import sys; from flows.cli import app; app(['run', sys.argv[1]], standalone_mode=False); "
        "print('heavy:', sorted({'torch', 'distributed', 'stackstac', 'xarray'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert "all 4 chunks are done; nothing to compute" in found.stdout.replace("\n", " "), found.stderr
    assert "heavy: []" in found.stdout
    assert _finished(store.path) == before


def test_new_days_are_added_to_a_store(archive, tmp_path, go):
    both, _ = go(specification(archive, tmp_path / "both.zarr", time="2024-06"))
    late = specification(archive, tmp_path / "late.zarr", time="2024-06-06")
    go(late)
    store, result = go(late | {"time": "2024-06"})
    assert (result.held, result.computed) == (4, 4)
    assert digest(store) == digest(both)


def test_killed_after_the_last_chunk(archive, tmp_path, go):
    raw = specification(archive, tmp_path / "a.zarr")
    store, _ = go(raw)
    for name in ("metrics", "preview"):
        del store.group[name]  # as if it had been killed before they were written
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(raw))
    found = fusecube("run", path)
    assert found.returncode == 0, found.stderr
    assert "nothing to compute" in found.stdout
    assert "metrics" in Store(store.path).group
    assert (tmp_path / "a.html").exists()
    assert "report:" not in fusecube("run", path).stdout


def test_growth_after_a_kill_amid_a_write(archive, tmp_path, go):
    small = specification(archive, tmp_path / "a.zarr", area={"bbox": [13.55, 52.3, 13.57, 52.31]}, chunk=120)
    store, _ = go(small)
    shard = next(p for p in (store.path / "reflectance" / "c").rglob("*") if p.is_file())
    shard.with_name(shard.name + ".0123abcd.partial").write_bytes(b"half")
    grown, result = go(small | {"area": {"bbox": [13.54, 52.293, 13.6, 52.33]}})
    assert result.complete
    whole, _ = go(small | {"area": {"bbox": [13.54, 52.293, 13.6, 52.33]}, "out": str(tmp_path / "whole.zarr")})
    assert digest(grown) == digest(whole)


def test_area_does_not_grow_on_some_days_only(archive, tmp_path, go):
    import pytest

    from pipeline.errors import Refused

    small = specification(archive, tmp_path / "a.zarr", area={"bbox": [13.55, 52.3, 13.57, 52.31]})
    go(small)
    with pytest.raises(Refused, match="2024-06-01"):
        go(small | {"area": {"bbox": [13.54, 52.29, 13.6, 52.33]}, "time": "2024-06-06"})
