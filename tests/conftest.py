"""What the tests share: a simulated archive, a cluster, the command line, the folder of real data."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from buckets import Bucket, serve_bucket
from distributed import Client

from cluster.local import local
from flows.prepare import prepare
from flows.road import Result, adapted, execute, planned, registered
from flows.spec import validate
from pipeline.models.registry import build, sharpening
from pipeline.models.weights import Card, save
from pipeline.sensors import SENTINEL2
from pipeline.simulated.archive import simulate
from pipeline.store import Store

ALL_BANDS = tuple(band.name for band in SENTINEL2.bands)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated archive of 600 x 600 pixels on two days; gives its folder, not to be changed."""
    folder = tmp_path_factory.mktemp("archive")
    simulate(folder, size=600, dates=2, clouds=0.1, seed=3)
    return folder


@pytest.fixture
def own_archive(archive: Path, tmp_path: Path) -> Path:
    """A copy of the archive that a test may damage."""
    return Path(shutil.copytree(archive, tmp_path / "archive"))


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """A local cluster of two workers."""
    with local(2) as found:
        yield found


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An S3 server on loopback with an empty bucket, which the environment of the test names."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with serve_bucket() as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store may lie: a folder, then a bucket."""
    return (
        str(tmp_path / "a.zarr") if request.param == "folder" else request.getfixturevalue("bucket").at("runs/a.zarr")
    )


def specification(archive: Path, out: "Path | str", **changes: object) -> dict:
    """A specification of the simulated archive as plain values."""
    base = {
        "flow": "sharpen",
        "catalog": str(archive / "catalog.json"),
        "area": {"tile": "33UVT"},
        "time": "2024-06-01",
        "level": "L2A",
        "model": "bicubic",
        "chunk": 300,
        "cluster": {"kind": "local", "workers": 1},
        "out": str(out),
    }
    return base | changes


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a very small light network, as chance gave them, said to be taught on L2A."""
    import torch

    options = {"width": 8, "blocks": 1}
    torch.manual_seed(0)
    network = build(sharpening("light", SENTINEL2, ALL_BANDS, network=options))
    file = tmp_path_factory.mktemp("weights") / "small.safetensors"
    training = {"20m": {"steps": 0}, "60m": {"steps": 0}}
    save(file, network.state_dict(), Card("light", "sentinel-2", "", ("L2A",), (), training, options=options))
    return file


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Networks of tests are so small that they are done before threads have met."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def go(client: Client) -> Callable[[dict], tuple[Store, Result]]:
    """Runs a specification of plain values on the shared cluster; gives the store and what the run came to."""

    def run(raw: dict) -> tuple[Store, Result]:
        prepared = prepare(validate(raw))
        job, work, _ = adapted(prepared, *registered(prepared, *planned(prepared)))
        result = execute(client, prepared, job, work)
        return Store(prepared.spec.out), result

    return run


def fusecube(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "flows.cli", *(str(word) for word in words)]
    environment = os.environ | {"COLUMNS": "200", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=240)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; tests that need it are skipped, saying so, where it is not there."""
    name = os.environ.get("FUSECUBE_REAL_DATA")
    if not name or not Path(name).is_dir():
        pytest.skip("FUSECUBE_REAL_DATA names no folder of real data")
    return Path(name).resolve()
