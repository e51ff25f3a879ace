"""A run on a real SLURM of one node."""

import subprocess
import sys
from pathlib import Path

import pytest
import slurm
import yaml
from conftest import fusecube, specification

from cluster.slurm import Submission


@pytest.fixture
def one_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A SLURM for a test; its variables are in the environment."""
    reason = slurm.absent()
    if reason:
        pytest.skip(reason)
    (tmp_path / "slurm").mkdir()
    with slurm.one_node(tmp_path / "slurm") as environment:
        monkeypatch.setenv("SLURM_CONF", environment["SLURM_CONF"])
        yield


def test_a_run_on_slurm_gives_what_a_local_one_does(one_node, archive, tmp_path):
    digests = []
    given = {"kind": "slurm", "workers": 2, "memory": "1 GB", "slurm": {"walltime": "00:10:00", "queue": "test"}}
    for name, cluster in (("slurm", given), ("local", {"kind": "local", "workers": 1})):
        out = tmp_path / f"{name}.zarr"
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(specification(archive, out, cluster=cluster)))
        said = fusecube("run", file, cwd=tmp_path)
        assert said.returncode == 0, said.stderr
        digests.append(fusecube("digest", out).stdout)
    assert digests[0] == digests[1] != ""
    workers = list(tmp_path.glob("slurm-*.out"))
    assert len(workers) == 2  # what the jobs said: they were SLURM's
    assert not list(tmp_path.glob(".fusecube-*"))  # the certificates are gone
    assert subprocess.run(["squeue", "--noheader"], capture_output=True, text=True).stdout == ""


def test_what_slurm_would_not_take_is_refused_before_anything_is_written(one_node, archive, tmp_path):
    file, out = tmp_path / "a.yaml", tmp_path / "a.zarr"
    cluster = {"kind": "slurm", "memory": "1 GB", "slurm": {"queue": "none"}}
    file.write_text(yaml.safe_dump(specification(archive, out, cluster=cluster)))
    said = fusecube("run", file, cwd=tmp_path)
    assert (said.returncode, "invalid partition specified: none" in said.stderr) == (2, True), said.stderr
    assert not out.exists()


def test_a_job_for_a_gpu_asks_for_one_unless_an_option_does():
    assert Submission(gpu=True).directives == ["--gres=gpu:1"]
    assert Submission(gpu=True, options=("--gpus-per-task=a100:1",)).directives == ["--gpus-per-task=a100:1"]
    assert Submission(options=("--exclusive",)).directives == ["--exclusive"]


def test_a_machine_without_slurm_is_told_so(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump(specification(archive, tmp_path / "a.zarr", cluster="slurm")))
    said = fusecube("run", file)
    assert (said.returncode, "finds no sbatch here" in said.stderr) == (2, True), said.stderr
