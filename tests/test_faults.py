"""A run over servers that misbehave: the same bytes, failures named, tokens renewed, secrets told to nobody."""

import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pystac
import pytest
import rasterio
import yaml
from conftest import fusecube, specification
from rasterio.enums import Resampling
from rasterio.errors import RasterioIOError
from rasterio.windows import Window
from servers import Faults, Tokens, serve_files, serve_tokens

import pipeline.access
from pipeline.reader import BandReader, Journal, explain
from pipeline.remote import Heads
from pipeline.signing import Keyring, SharedAccess, signers
from pipeline.store import Store
from pipeline.summary import digest
from pipeline.transport import Patience, Transport

SCENE = "S2A_33UVT_20240601_SIM_L2A"
BANDS = ("B02", "B05", "B09", "SCL")


def through(monkeypatch: pytest.MonkeyPatch, *signers: object, tries: int = 12) -> None:
    """Files are read in this process with these signers, and with little patience between tries."""
    found = Heads(Transport(Keyring(signers), Patience(tries=tries, pause=0.002, longest=0.02, timeout=2)))
    monkeypatch.setattr(pipeline.access, "heads", lambda: found)


def window_of(address: str, journal: Journal, path: Path) -> np.ndarray:
    """A window of a file through the reader, on the file's own grid."""
    with rasterio.open(path) as source:
        spec = SimpleNamespace(epsg=32633, transform=source.transform)
        dtype = np.dtype(source.dtypes[0])
    reader = BandReader(url=address, spec=spec, resampling=Resampling.mode, dtype=dtype, fill_value=0, journal=journal)
    return reader.read(Window(7, 5, 90, 80))


def straight(path: Path) -> np.ndarray:
    """The same window, read with rasterio alone."""
    with rasterio.open(path) as source:
        return source.read(1, window=Window(7, 5, 90, 80))


@pytest.fixture(scope="module")
def folder(archive: Path) -> Path:
    """The files of a scene."""
    return archive / "sentinel-2-l2a" / SCENE


@pytest.mark.parametrize("kind", ["unavailable", "reset", "truncated", "busy"])
def test_with_a_fifth_of_the_requests_failing_windows_are_the_same_bytes(folder, monkeypatch, kind):
    through(monkeypatch)
    journal = Journal()
    with serve_files(folder, Faults(**{kind: 0.2}, seed=3)) as files:
        for band in BANDS * 4:
            pixels = window_of(f"{files.address}/{band}.tif", journal, folder / f"{band}.tif")
            np.testing.assert_array_equal(pixels, straight(folder / f"{band}.tif"))
        assert journal.failures == {}
        assert sum(request.fault == kind for request in files.log) >= 2


def test_a_file_that_never_comes_is_named_and_the_rest_is_there(folder, monkeypatch):
    through(monkeypatch, tries=3)
    journal = Journal()
    with serve_files(folder, Faults(unavailable=1, only="B05")) as files:
        found = {
            band: window_of(f"{files.address}/{band}.tif", journal, folder / f"{band}.tif") for band in ("B02", "B05")
        }
        gone = window_of(f"{files.address}/B77.tif", journal, folder / "B02.tif")
    np.testing.assert_array_equal(found["B02"], straight(folder / "B02.tif"))
    assert not found["B05"].any()
    assert not gone.any()
    assert journal.failures == {
        f"{files.address}/B05.tif": "the server answers 503; tried 3 times",
        f"{files.address}/B77.tif": "the file is missing",
    }


def test_a_token_that_ends_in_the_middle_is_renewed_and_told_to_nobody(archive, folder, monkeypatch):
    tokens, journal = Tokens(), Journal()
    with serve_files(archive, tokens=tokens) as files, serve_tokens(tokens) as endpoint:
        through(monkeypatch, SharedAccess((files.address,), endpoint))
        for number, band in enumerate(BANDS * 3):
            address = f"{files.address}/sentinel-2-l2a/{SCENE}/{band}.tif"
            pixels = window_of(address, journal, folder / f"{band}.tif")
            np.testing.assert_array_equal(pixels, straight(folder / f"{band}.tif"))
            if number in (2, 6):
                tokens.end()
        assert journal.failures == {}
        assert len(tokens.asked) == 3, "one at first, and one each time they ended"
        assert sorted(request.status for request in files.log if request.status != 206) == [403, 403]
        assert all(secret not in repr(journal) for secret in tokens.issued)


def test_what_an_error_tells_has_no_query(folder, monkeypatch):
    tokens, journal = Tokens(lifetime=0.0), Journal()
    with serve_files(folder, tokens=tokens) as files, serve_tokens(tokens) as endpoint:
        through(monkeypatch, SharedAccess((files.address,), endpoint))
        window_of(f"{files.address}/B02.tif", journal, folder / "B02.tif")
    (reason,) = journal.failures.values()
    assert reason == "the host refuses access (403): the storage refuses a new token too"


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (
            "'/vsiriopener_0a1b/remote/file' not recognized as being in a supported file format.",
            "'the file' not recognized",
        ),
        ("HTTP response code: 403 on https://host.example/x.tif?sig=s3cr3t", "HTTP response code: 403"),
        ("/vsis3/bucket/x.tif, band 1: IReadBlock failed", "the file, band 1: IReadBlock failed"),
        ("cannot open x.tif?sig=s3cr3t now", "cannot open the file"),
        (
            "CURL error: Could not resolve host: https://host.example/x.tif?a=1&sig=s3cr3t",
            "CURL error: Could not resolve",
        ),
    ],
)
def test_a_reason_tells_no_address_and_no_query(raised, told):
    said = explain(RasterioIOError(raised), "https://host.example/x.tif")
    assert said.startswith(told)
    assert not [word for word in ("s3cr3t", "host.example", "vsi", "sig") if word in said]


# What a run needs beyond the reader: a catalog of absolute addresses, and an environment that its workers inherit.


@pytest.fixture
def remote(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The archive behind tokens that end unannounced after 1.5 s, on a server of which a tenth of the requests fail."""
    tokens = Tokens(lifetime=1.5, stated=3600)
    with (
        serve_files(archive, Faults(unavailable=0.05, truncated=0.05, seed=1), tokens) as files,
        serve_tokens(tokens) as endpoint,
    ):
        items = []
        for path in sorted(archive.glob("sentinel-2-l2a/S2A_*/S2A_*.json")):
            item = pystac.Item.from_file(str(path)).to_dict(transform_hrefs=False)
            item["links"] = []
            for asset in item["assets"].values():
                asset["href"] = f"{files.address}/sentinel-2-l2a/{path.stem}/{Path(asset['href']).name}"
            items.append(item)
        catalog = tmp_path / "items.json"
        catalog.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
        monkeypatch.setenv("FUSECUBE_ALLOWED_HOSTS", "127.0.0.1")
        monkeypatch.setenv("FUSECUBE_SAS", f"{files.address}={endpoint}")
        monkeypatch.setenv("PC_SDK_SUBSCRIPTION_KEY", "the-subscription-key")
        monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.01")
        yield SimpleNamespace(files=files, tokens=tokens, catalog=catalog)


def secrets_in(folder: Path, secrets: list[str]) -> list[str]:
    """Files below a folder that hold a secret."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [str(path) for path in files if any(secret.encode() in path.read_bytes() for secret in secrets)]


def test_a_run_over_such_a_server_is_that_over_files_and_keeps_no_secret(remote, archive, tmp_path, go):
    less = {"bands": ["B02", "B05"], "chunk": 600}
    sound, _ = go(specification(archive, tmp_path / "sound.zarr", **less))
    out = tmp_path / "out"
    path = tmp_path / "spec.yaml"
    path.write_text(
        yaml.safe_dump(
            specification(archive, out / "a.zarr", catalog=str(remote.catalog), cluster={"workers": 1}, **less)
        )
    )
    done = fusecube("run", path)
    assert done.returncode == 0, done.stderr
    assert digest(Store(out / "a.zarr")) == digest(sound)

    assert remote.tokens.asked[0].headers["ocp-apim-subscription-key"] == "the-subscription-key"
    assert {request.fault for request in remote.files.log} == {"unavailable", "truncated", "none"}
    secrets = [*remote.tokens.issued, "the-subscription-key", "sig="]
    assert len(remote.tokens.issued) >= 1
    assert secrets_in(out, secrets) == []
    said = done.stdout + done.stderr
    assert not [secret for secret in secrets if secret in said]


def test_a_graph_holds_no_secret_even_once_it_was_read(remote, monkeypatch):
    from odc.geo.geobox import GeoBox

    from flows.spec import period
    from pipeline.catalog import Query, find
    from pipeline.cube import read
    from pipeline.sensors import SENTINEL2

    start, end = period("2024-06-01")
    (scene,) = find(Query(str(remote.catalog), SENTINEL2, start, end))
    with rasterio.open(remote.files.folder / "sentinel-2-l2a" / SCENE / "B02.tif") as source:
        geobox = GeoBox((60, 60), source.transform, "EPSG:32633")
        expected = source.read(1, window=Window(0, 0, 60, 60))
    through(monkeypatch, *signers())
    cube = read([scene], geobox, ["B02"])
    np.testing.assert_array_equal(cube[0, 0].compute(scheduler="synchronous"), expected)
    assert remote.tokens.issued
    sent = pickle.dumps(cube.__dask_graph__()) + repr(scene).encode()
    assert not [secret for secret in [*remote.tokens.issued, "the-subscription-key", "sig="] if secret.encode() in sent]


@pytest.mark.parametrize("kind", ["unavailable", "truncated", "reset"])
def test_a_bucket_that_falters_gives_the_same_bytes(folder, tmp_path, monkeypatch, kind):
    journal = Journal()
    shutil.copytree(folder, tmp_path / f"bucket-{kind}")  # GDAL keeps what it has read of a bucket: each its own
    with serve_files(tmp_path, Faults(**{kind: 1}, times=1, only="B02")) as files:
        monkeypatch.setenv("AWS_S3_ENDPOINT", files.address.removeprefix("http://"))
        for name, value in (("HTTPS", "NO"), ("VIRTUAL_HOSTING", "FALSE"), ("NO_SIGN_REQUEST", "YES")):
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setitem(pipeline.access.GDAL_OPTIONS, "GDAL_HTTP_RETRY_DELAY", 0.01)
        for band in ("B02", "B05"):
            pixels = window_of(f"s3://bucket-{kind}/{band}.tif", journal, folder / f"{band}.tif")
            np.testing.assert_array_equal(pixels, straight(folder / f"{band}.tif"))
        assert journal.failures == {}
        assert sum(request.fault == kind for request in files.log) == 1
