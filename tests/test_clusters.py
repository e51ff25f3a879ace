"""Clusters: what specifications say of them, what is refused before anything is written, where work goes, what is shipped."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import specification
from distributed import Client, Security
from slurm import free_ports

import pipeline
from cluster.address import Certificates, address
from cluster.checking import check, offering, on_gpus, threads, waited
from cluster.local import local
from flows.clusters import connected
from flows.prepare import prepare
from flows.road import execute, planned
from flows.spec import Cluster, validate
from flows.strict import validate as validated
from pipeline.device import Equipment
from pipeline.errors import Refused
from pipeline.models.registry import identity
from pipeline.sensors import SENTINEL2
from pipeline.store import Store

MODEL = identity(SENTINEL2, ("B04",), 10)


@contextmanager
def process(*words: object, cwd: Path | None = None, **variables: str) -> Iterator[None]:
    """A command of Dask in a process of its own, ended at the end."""
    environment = os.environ | {"PYTHONWARNINGS": "ignore", "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "critical"}
    with subprocess.Popen(
        [sys.executable, "-m", "dask", *(str(word) for word in words)], cwd=cwd, env=environment | variables
    ) as started:
        try:
            yield
        finally:
            started.terminate()


@contextmanager
def scheduler(*words: object, protocol: str = "tcp") -> Iterator[str]:
    """The address of a scheduler."""
    port, page = free_ports(2)
    bound = ["--host", "127.0.0.1", "--port", port, "--dashboard-address", f"127.0.0.1:{page}"]
    with process("scheduler", *bound, *words):
        yield f"{protocol}://127.0.0.1:{port}"


@contextmanager
def worker(where: str, name: str, *words: object, cwd: Path | None = None, **variables: str) -> Iterator[None]:
    """A worker of one thread."""
    bound = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--nthreads", 1, "--no-nanny"]
    root = str(Path(pipeline.__file__).parents[1])
    path = os.pathsep.join([*filter(None, [variables.pop("PYTHONPATH", "")]), root])
    with process("worker", where, "--name", name, *bound, *words, cwd=cwd, PYTHONPATH=path, **variables):
        yield


def started_with(folder: Path, lines: str) -> str:
    """A folder for PYTHONPATH whose lines every Python runs as it starts."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(lines)
    return str(folder)


@pytest.fixture(scope="module")
def running() -> Iterator[str]:
    """A scheduler without workers, for the tests of this file."""
    with scheduler() as where:
        yield where


@contextmanager
def joined(where: str, count: int = 1) -> Iterator[Client]:
    """A client, once so many workers are there and no others."""
    with address(where) as client:
        until = time.monotonic() + 30
        while len(client.nthreads()) != count:  # one of the test before may be on its way out
            assert time.monotonic() < until
            time.sleep(0.05)
        yield client


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("local", Cluster()),
        ("slurm", Cluster(kind="slurm")),
        ("tcp://node1:8786", Cluster(kind="address", address="tcp://node1:8786")),
        ({"kind": "tls://[::1]:8786"}, Cluster(kind="address", address="tls://[::1]:8786")),
        (
            {"address": "tcp://node1:8786", "device": "gpu"},
            Cluster(kind="address", address="tcp://node1:8786", device="gpu"),
        ),
    ],
)
def test_the_short_form_is_the_long_one(raw, expected, archive, tmp_path):
    spec = validate(specification(archive, tmp_path / "a.zarr", cluster=raw))
    assert spec.cluster == expected
    assert "cluster" not in spec.published()


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ({"kind": "slrm"}, "kind: Input should be 'local', 'cuda', 'slurm'"),
        ({"kind": "tcp://node1"}, "'tcp://node1' is no address of a scheduler; write tcp://host:8786"),
        ({"kind": "http://node1:8786"}, "no address of a scheduler"),
        ({"kind": "tcp://node1:port"}, "no address of a scheduler"),
        ({"kind": "address"}, "give the address of the scheduler"),
        ({"kind": "local", "address": "tcp://node1:8786"}, "address goes with address, not with local"),
        ({"kind": "tcp://node1:8786", "workers": 3}, "workers goes with local or cuda .* not with address"),
        ({"kind": "kubernetes", "host": "0.0.0.0"}, "host goes with local or cuda or slurm, not with kubernetes"),
        ({"kind": "local", "slurm": {"queue": "gpu"}}, "slurm goes with slurm, not with local"),
        ({"kind": "slurm", "slurm": {"queu": "gpu"}}, r"unknown key 'slurm\.queu': did you mean 'queue'"),
        ({"kind": "tcp://a:1", "tls": {"ca": "a", "cert": "b", "key": "c"}}, "certificates need a tls:// address"),
        ({"kind": "tls://a:1", "tls": {"ca": "a", "cert": "b"}}, r"tls\.key"),
        ({"kind": "cuda", "device": "cpu"}, "with device: cpu the kind is local"),
        ({"device": "gpu", "workers": 2}, "local runs one process on one GPU"),
        ({"memory": "lots"}, "'lots' is no memory; write it such as 8 GB"),
        ({"dashboard": "8787"}, "'8787' is no address and port; write 127.0.0.1:8787"),
        ({"dashboard": ":65536"}, "':65536' is no address and port"),
    ],
)
def test_what_contradicts_itself_is_refused_in_one_sentence(raw, why):
    with pytest.raises(Refused, match=why) as refused:
        validated(Cluster, raw)
    assert str(refused.value).count(". ") == 0


def test_a_local_worker_that_is_killed_comes_again_and_the_page_is_served_here_only():
    with local(1, memory="2 GB") as client:
        assert client.dashboard_link.startswith("http://127.0.0.1:")
        (about,) = client.scheduler_info(n_workers=-1)["workers"].values()
        assert (about["memory_limit"], about["nthreads"]) == (2 * 10**9, 1)
        before = client.submit(os.getpid).result()
        os.kill(before, signal.SIGKILL)
        assert client.submit(os.getpid, pure=False, key="again").result(timeout=30) != before
        assert client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.allowed_failures) == 100


def test_a_scheduler_that_is_not_there():
    (port,) = free_ports(1)
    with pytest.raises(Refused, match=f"there is no Dask scheduler at tcp://127.0.0.1:{port} .*; start one"):  # noqa: SIM117
        with address(f"tcp://127.0.0.1:{port}", timeout=0.5):
            pass


def test_a_scheduler_without_workers(running):
    with joined(running, 0) as client, pytest.raises(Refused, match=r"no worker has come .* in 0\.2 s; start some\."):
        waited(client, 0.2, "start some")


def test_certificates_open_a_scheduler_with_tls_and_nothing_else_does(tmp_path, monkeypatch):
    made = Security.temporary().get_tls_config_for_role("client")
    files = {}
    for part in ("ca_file", "cert", "key"):
        files[part] = tmp_path / f"{part}.pem"
        files[part].write_text(made[part])
    told = ["--tls-ca-file", files["ca_file"], "--tls-cert", files["cert"], "--tls-key", files["key"]]
    own = Certificates(files["ca_file"], files["cert"], files["key"])
    with scheduler(*told, "--protocol", "tls", protocol="tls") as where, worker(where, "encrypted", *told):
        with address(where, own) as client:
            assert client.submit(sum, [1, 2]).result() == 3
        with pytest.raises(Refused, match="needs certificates; give cluster.tls"), address(where):
            pass
        with pytest.raises(Refused, match=r"there is no file .*none\.pem; cluster\.tls\.key"):  # noqa: SIM117
            with address(where, replace(own, key=tmp_path / "none.pem")):
                pass
        others = Security.temporary().get_tls_config_for_role("client")
        (tmp_path / "other.pem").write_text(others["ca_file"])
        with pytest.raises(Refused, match="there is no Dask scheduler at tls://"):  # noqa: SIM117
            with address(where, replace(own, ca=tmp_path / "other.pem"), timeout=2):
                pass
        with pytest.raises(Refused, match="there is no Dask scheduler at tcp://"):  # noqa: SIM117
            with address(where.replace("tls", "tcp"), timeout=2):
                pass


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("import sys; sys.modules['pipeline'] = None", "has no fusecube; install fusecube"),
        ("import pipeline; pipeline.__version__ = '0.0.9'", f"has fusecube 0.0.9, and this is {pipeline.__version__}"),
    ],
)
def test_a_worker_of_another_version_or_without_fusecube(running, tmp_path, lines, why):
    site = started_with(tmp_path / "site", lines)
    with worker(running, "odd", cwd=tmp_path, PYTHONPATH=site), joined(running) as client:
        with pytest.raises(Refused, match=rf"^worker tcp://127\.0\.0\.1:\d+ {why}"):
            check(client, MODEL, str(tmp_path / "a.zarr"))
        assert not (tmp_path / "a.zarr").exists()


def test_what_a_worker_sees_is_what_this_machine_sees(running, tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    (here / "own.safetensors").write_bytes(b"weights")
    model = replace(MODEL, weights="0" * 64, weights_file=Path("own.safetensors"))
    with worker(running, "elsewhere", cwd=there), joined(running) as client:
        with pytest.raises(Refused, match=r"^worker tcp://\S+: the weights own\.safetensors are not on this machine"):
            check(client, model, str(here / "a.zarr"))
        (there / "own.safetensors").write_bytes(b"others")
        with pytest.raises(Refused, match=r"^worker tcp://\S+: the weights own\.safetensors have changed"):
            check(client, model, str(here / "a.zarr"))
        (here / "b.zarr").mkdir()
        (here / "b.zarr" / "zarr.json").write_text("{}")
        with pytest.raises(Refused, match=r"^worker tcp://\S+ on \S+ sees another folder than this machine at b\.zarr"):
            check(client, MODEL, "b.zarr")
        with pytest.raises(Refused, match=r"^worker tcp://\S+: "):
            check(client, MODEL, str(here / "own.safetensors" / "a.zarr"))
        found = check(client, MODEL, str(here / "b.zarr"))
        assert [answer.begun for answer in found.values()] == [True]
        assert threads(client, found) == os.cpu_count()


def test_a_gpu_that_is_asked_for_where_none_is(running, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with worker(running, "boaster", "--resources", "GPU=1"), joined(running) as client:
        offers, found = offering(client), check(client, MODEL, str(tmp_path / "a.zarr"))
        assert len(offers) == 1
        assert not on_gpus("auto", found, offers)
        with pytest.raises(Refused, match=rf"worker {offers[0]} offers a GPU, but torch finds none there"):
            on_gpus("gpu", found, offers)
        with pytest.raises(Refused, match="no worker offers a GPU; start workers by 'dask worker"):
            on_gpus("gpu", found, ())
        boasting = {name: replace(answer, gpu=True) for name, answer in found.items()}
        assert on_gpus("auto", boasting, offers)
        assert not on_gpus("cpu", boasting, offers)


GPU = Equipment(
    resources=(("GPU", 1.0),)
)  # on the processor all the same: where work goes is Dask's to decide, not torch's


@pytest.mark.parametrize(("equipment", "name"), [(GPU, "with"), (Equipment(), "without")])
def test_every_chunk_goes_to_the_workers_it_is_for(running, archive, tmp_path, equipment, name):
    prepared = prepare(validate(specification(archive, tmp_path / "a.zarr", model="identity", chunk=120)))
    job, work = planned(prepared)
    with (
        worker(running, "with", "--resources", "GPU=1"),
        worker(running, "without"),
        joined(running, 2) as client,
    ):
        names = {about: w["name"] for about, w in client.scheduler_info(n_workers=-1)["workers"].items()}
        blocks: Counter[str] = Counter()
        result = execute(client, prepared, job, work, equipment, watch=lambda done: blocks.update([names[done.worker]]))
    assert (result.complete, blocks) == (True, {name: 25})


def test_a_run_for_gpus_where_no_worker_has_one_is_refused(running, archive, tmp_path):
    prepared = prepare(validate(specification(archive, tmp_path / "a.zarr", model="identity")))
    with worker(running, "without"), joined(running):
        asked = Cluster(kind="address", address=running, device="gpu")
        with pytest.raises(Refused, match="no worker offers a GPU"), connected(asked, prepared.job, prepared.spec.out):
            pass
    assert not Store.exists(prepared.spec.out)


@pytest.mark.parametrize("wrong", [{"host": "192.0.2.1"}, {"dashboard": "nowhere.invalid:0"}])
def test_an_address_that_cannot_be_bound_is_one_sentence(wrong):
    with pytest.raises(Refused, match="see cluster.host and cluster.dashboard"), local(1, **wrong):
        pass


@pytest.mark.parametrize("memory", [8, "0 GB", "much"])
def test_memory_that_cannot_be_read_is_told_with_how_to_write_it(memory):
    with pytest.raises(ValueError, match="write it such as 8 GB"):
        Cluster(memory=memory)
