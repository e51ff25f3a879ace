"""What cannot be read or written is named, and everything else goes on."""

import errno
import shutil
import subprocess

import pytest
import yaml
from conftest import ALL_BANDS, fusecube, specification

from pipeline.store import Store
from pipeline.summary import digest

SCENE = "S2A_33UVT_20240601_SIM_L2A"


def _spec_file(tmp_path, raw):
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def test_broken_and_missing_files_are_survived_named_and_healed(own_archive, archive, tmp_path, go):
    sound, _ = go(specification(archive, tmp_path / "sound.zarr", time="2024-06"))
    folder = own_archive / "sentinel-2-l2a" / SCENE
    (folder / "B05.tif").unlink()
    whole = (folder / "B11.tif").read_bytes()
    (folder / "B11.tif").write_bytes(whole[: len(whole) // 2] + bytes(len(whole) // 2))
    out = tmp_path / "a.zarr"
    path = _spec_file(tmp_path, specification(own_archive, out, time="2024-06"))

    first = fusecube("run", path)
    assert first.returncode == 1
    assert f"not read: {SCENE} B05: the file is missing" in first.stderr
    assert f"not read: {SCENE} B11:" in first.stderr
    assert "Traceback" not in first.stderr
    store = Store(out)
    broken = store.array("reflectance")[0]
    assert (broken[ALL_BANDS.index("B05")] == 0).all(), "a missing file is nodata for that day"
    assert (broken[ALL_BANDS.index("B04")] > 0).all()
    assert (store.array("reflectance")[1] > 0).all(), "the other day is whole"
    status = fusecube("status", out)
    assert status.returncode == 1
    assert f"{SCENE} B05: the file is missing" in status.stdout
    assert str(tmp_path) not in "".join(p.read_text() for p in (out / "ledger").rglob("*.json"))

    shutil.copytree(archive / "sentinel-2-l2a" / SCENE, folder, dirs_exist_ok=True)
    again = fusecube("run", path)
    assert again.returncode == 0, again.stderr
    assert "4 chunks to do, 4 done" in again.stdout, "only the chunks that missed a file are computed again"
    assert digest(Store(out)) == digest(sound)
    assert fusecube("status", out).returncode == 0


def test_an_asset_that_an_item_lacks_is_named(own_archive, tmp_path, go):
    import json

    item = next((own_archive / "sentinel-2-l2a").glob(f"{SCENE}/{SCENE}.json"))
    content = json.loads(item.read_text())
    del content["assets"]["swir22"]
    item.write_text(json.dumps(content))
    _, result = go(specification(own_archive, tmp_path / "a.zarr", time="2024-06"))
    assert result.missed == (f"{SCENE} B12: the item lists no such asset",)


def test_full_disk_is_said_clearly_and_run_again_completes(archive, tmp_path, go):
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(mount)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        sound, _ = go(specification(archive, tmp_path / "sound.zarr", chunk=120))
        path = _spec_file(tmp_path, specification(archive, mount / "a.zarr", chunk=120))
        first = fusecube("run", path)
        assert first.returncode == 1
        assert "no space is left" in first.stderr
        assert "Traceback" not in first.stderr
        held = len(Store(mount / "a.zarr").ledger.done())
        assert 0 < held < 25
        subprocess.run(["mount", "-o", "remount,size=100m", str(mount)], check=True)
        again = fusecube("run", path)
        assert again.returncode == 0, again.stderr
        assert f"{25 - held} chunks to do, {held} done" in again.stdout
        assert digest(Store(mount / "a.zarr")) == digest(sound)
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_store_errors_are_told_apart():
    from pipeline.errors import StoreFull
    from pipeline.store import store_errors

    with pytest.raises(StoreFull), store_errors():
        raise OSError(errno.ENOSPC, "no space left on device")
    with pytest.raises(PermissionError), store_errors():
        raise PermissionError(errno.EACCES, "not allowed")
