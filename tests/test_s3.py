"""A store in a bucket is a store in a folder: the same pixels, the same commands, the same resilience."""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest
import rasterio
import yaml
from buckets import KEY, SECRET
from conftest import fusecube, specification
from typer.testing import CliRunner

from flows.cli import app
from flows.spec import validate
from pipeline.errors import Refused
from pipeline.ledger import Ledger
from pipeline.objects import Objects
from pipeline.store import Store
from pipeline.summary import current, digest

AREA = {"bbox": [13.55, 52.3, 13.59, 52.32]}


@pytest.fixture
def cloud(bucket, client):
    """The bucket, known to the shared workers too."""
    client.run(_set, bucket.environment)
    return bucket


def _set(environment):
    os.environ.update(environment)


def said(*words: object) -> tuple[int, str]:
    """A command in this process: its code and what it printed."""
    found = CliRunner().invoke(app, [str(word) for word in words])
    return found.exit_code, found.output


def test_a_store_in_a_bucket_holds_what_one_in_a_folder_holds(archive, tmp_path, cloud, go):
    raw = {"time": "2024-06", "model": "identity"}
    folder, _ = go(specification(archive, tmp_path / "a.zarr", **raw))
    where = cloud.at("runs/a.zarr")
    store, result = go(specification(archive, where, **raw))
    assert (result.computed, result.complete) == (8, True)
    assert digest(store) == digest(folder)
    code, text = said("digest", where)
    assert (code, text.split()[-1]) == (0, digest(folder))
    assert said("status", where)[0] == 0
    _, text = said("report", where, "--out", tmp_path / "a.html")
    page, same = (tmp_path / "a.html").read_text(), tmp_path / "b.html"
    said("report", folder.path, "--out", same)
    assert len(page) == pytest.approx(len(same.read_text()), rel=0.02)
    cloud.fail("503 Slow Down", only="/reflectance/c/")
    down = fusecube("digest", where)
    assert down.returncode == 1
    assert "the server of the store answers 503" in down.stderr
    assert "Traceback" not in down.stderr
    cloud.recover()
    code, text = said("export", where, tmp_path / "cogs")
    assert code == 0, text
    with rasterio.open(tmp_path / "cogs" / "2024-06-01-reflectance.tif") as file:
        np.testing.assert_array_equal(file.read(), folder.array("reflectance")[0])
    _, result = go(specification(archive, where, **raw))
    assert (result.computed, result.held) == (0, 8)
    for entry in store.objects.entries(""):
        assert SECRET.encode() not in (store.objects.get(entry.key) or b"")


def test_killed_midway_and_run_again(archive, tmp_path, cloud, go):
    raw = {"chunk": 120, "time": "2024-06", "model": "identity", "area": AREA}
    undisturbed, _ = go(specification(archive, tmp_path / "undisturbed.zarr", **raw))
    where = cloud.at("killed.zarr")
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(specification(archive, where, **raw)))
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "run", str(path)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    ledger, deadline = Ledger(where), time.monotonic() + 120
    while len(ledger.done()) < 3:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "the run did not get going"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    held = {entry.key: entry.modified for entry in ledger.objects.entries("ledger")}
    expected = sum(1 for _ in Store(where).contents.layout.chunks()) * 2
    assert 3 <= len(held) < expected
    again = fusecube("run", path)
    assert again.returncode == 0, again.stderr
    assert f"{expected - len(held)} chunks to do, {len(held)} done" in again.stdout
    after = {entry.key: entry.modified for entry in ledger.objects.entries("ledger")}
    assert len(after) == expected
    assert {key: after[key] for key in held} == held, "what the ledger held was written again"
    assert digest(Store(where)) == digest(undisturbed)
    assert said("status", where)[0] == 0


@pytest.mark.parametrize(
    ("status", "told", "full"),
    [
        ("503 Slow Down", "the server of the store answers 503", False),
        ("507 Insufficient Storage", "no space is left", True),
    ],
)
def test_a_server_that_fails_midway_loses_nothing(archive, tmp_path, cloud, go, status, told, full):
    raw = {"chunk": 120, "model": "identity", "area": AREA}
    sound, _ = go(specification(archive, tmp_path / "sound.zarr", **raw))
    where = cloud.at("a.zarr")
    expected = sum(1 for _ in sound.contents.layout.chunks())
    cloud.fail(status, only=r"PUT .*/(reflectance/c/0/0/[1-9]|ledger/.*/trouble)")
    store, result = go(specification(archive, where, **raw))
    assert result.full == full
    assert not result.complete
    assert [trouble for trouble in result.troubles if told not in trouble] == []
    held = len(store.ledger.done())
    assert 0 < held < expected
    cloud.recover()
    store, result = go(specification(archive, where, **raw))
    assert result.complete
    assert (result.held, result.computed) == (held, expected - held)
    assert digest(store) == digest(sound)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "cannot be reached; see AWS_ENDPOINT_URL"),
        ({"AWS_ENDPOINT_URL": "http://10.0.0.1:9"}, "without encryption"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "set AWS_ACCESS_KEY_ID"),
    ],
)
def test_what_is_wrong_with_a_place_is_one_sentence(archive, bucket, monkeypatch, tmp_path, change, told):
    for name, value in change.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(specification(archive, bucket.at("a.zarr"))))
    found = CliRunner().invoke(app, ["run", str(path)])
    assert told in str(found.exception)
    assert "\n" not in str(found.exception)
    assert SECRET not in str(found.exception) + repr(Objects.at(bucket.at("a.zarr")))


def test_a_bucket_that_is_not_there_is_named(bucket):
    with pytest.raises(OSError, match="there is no bucket for s3://nobody/a.zarr"):
        Store.exists("s3://nobody/a.zarr")
    bucket.fail("403 Forbidden")
    with pytest.raises(OSError, match="may not be read or written with these credentials"):
        Store.exists(bucket.at("a.zarr"))


@pytest.mark.parametrize("where", ["gs://bucket/a.zarr", "s3://bucket", "s3://key:secret@bucket/a.zarr", "https://x/a"])
def test_other_places_are_refused(archive, where):
    with pytest.raises(Refused) as refused:
        validate(specification(archive, where))
    assert "secret" not in str(refused.value)


def test_credentials_stay_where_they_are(bucket):
    objects = Objects.at(bucket.at("a.zarr"))
    carried = pickle.dumps(objects)
    assert SECRET.encode() not in carried
    assert KEY.encode() not in carried
    assert pickle.loads(carried).where == objects.where  # noqa: S301  its own


def test_adapted_weights_are_kept_in_the_bucket_and_found_again(
    archive, tmp_path, cloud, go, weights, monkeypatch, one_thread
):
    raw = {
        "model": "light",
        "weights": str(weights),
        "adapt": 3,
        "chunk": 300,
        "precision": "float32",
        "bands": ["B05"],
    }
    folder, _ = go(specification(archive, tmp_path / "a.zarr", **raw))
    where = cloud.at("adapted.zarr")
    store, result = go(specification(archive, where, **raw))
    assert (result.computed, result.complete) == (4, True)
    names = sorted(entry.key.rpartition(".")[2] for entry in store.objects.entries("weights"))
    assert names == ["json", "safetensors"]
    assert {record.weights for record in current(store)} == {record.weights for record in current(folder)}
    assert digest(store) == digest(folder)
    _, result = go(specification(archive, where, **raw))
    assert (result.computed, result.held) == (0, 4), "the same weights are not taught again"
    (key,) = (entry.key for entry in store.objects.entries("weights") if entry.key.endswith(".safetensors"))
    (name,) = {record.weights for record in current(store)}
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # as another machine would
    copy = store.local(key, name)
    assert copy.read_bytes() == (folder.path / key).read_bytes()
    with pytest.raises(Refused, match="does not hold weights/.* as it was"):
        store.local(key, "0" * 64)
    cloud.fail("403 Forbidden")
    assert store.local(key, name) == copy, "it is there"
