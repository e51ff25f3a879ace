"""Parts of files from servers that falter, lie, redirect and refuse; and what GDAL makes of them."""

import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import RasterioError
from rasterio.transform import from_origin
from rasterio.windows import Window
from servers import Faults, Files, FilesHandler, serve_files, serving

import pipeline.access
from pipeline.access import open_raster
from pipeline.errors import Refused
from pipeline.hosts import addresses
from pipeline.remote import SPAN, Heads, merged
from pipeline.signing import FromEnvironment, Keyring, bearer
from pipeline.transport import Patience, Transport

QUICK = Patience(tries=12, pause=0.002, longest=0.02, timeout=0.3)
BLOB = bytes(range(256)) * 512  # 131,072 bytes


def reading(patience: Patience = QUICK, signers: tuple = ()) -> Transport:
    return Transport(Keyring(signers), patience)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file of bytes."""
    place = tmp_path / "files"
    place.mkdir()
    (place / "x.bin").write_bytes(BLOB)
    return place


@pytest.fixture
def heads(monkeypatch: pytest.MonkeyPatch) -> Heads:
    """What ``open_raster`` reads through in this test: nothing is known of any server yet."""
    found = Heads(reading())
    monkeypatch.setattr(pipeline.access, "heads", lambda: found)
    return found


def raster(path: Path, **options: object) -> np.ndarray:
    """Write 400 x 400 pixels in blocks of 128 as a cloud-optimised file."""
    pixels = np.random.default_rng(0).integers(0, 4000, (400, 400), dtype=np.uint16)
    profile = {"driver": "COG", "count": 1, "height": 400, "width": 400, "dtype": "uint16", "crs": "EPSG:32633"}
    with rasterio.open(path, "w", **profile, **options, transform=from_origin(0, 0, 10, 10), blocksize=128) as target:
        target.write(pixels, 1)
    return pixels


@pytest.mark.parametrize("kind", ["unavailable", "busy", "reset", "truncated", "slow"])
def test_what_may_pass_is_asked_again(folder, kind):
    with serve_files(folder, Faults(**{kind: 0.4}, delay=0.6, seed=2)) as files:
        client = reading()
        for first in range(0, 131072, 16384):
            assert client.part(f"{files.address}/x.bin", first, first + 16383).data == BLOB[first : first + 16384]
        assert {request.fault for request in files.log} == {kind, "none"}
        # eight parts were wanted: whatever came beyond them was asked again for a fault
        assert len(files.log) == 8 + sum(request.fault == kind for request in files.log)


@pytest.mark.parametrize("wait", [0, 1])
def test_a_busy_server_is_given_the_time_that_it_asks_for(folder, wait):
    with serve_files(folder, Faults(busy=1, times=1, retry_after=wait)) as files:
        start = time.monotonic()
        reading().part(f"{files.address}/x.bin", 0, 9)
        assert wait <= time.monotonic() - start < wait + 0.5


def test_what_will_not_pass_is_asked_once(folder):
    with serve_files(folder) as files:
        with pytest.raises(FileNotFoundError, match="^the file is missing$"):
            reading().part(f"{files.address}/y.bin", 0, 9)
        with pytest.raises(OSError, match="answers 416 where a part"):
            reading().part(f"{files.address}/x.bin", 131072, 131080)
        files.ranges = False
        with pytest.raises(OSError, match="does not serve parts of files"):
            reading().part(f"{files.address}/x.bin", 0, 9)
        assert len(files.log) == 3


def test_a_file_smaller_than_the_part_may_come_whole(folder):
    (folder / "small.bin").write_bytes(b"abc")
    with serve_files(folder) as files:
        files.ranges = False
        assert reading().part(f"{files.address}/small.bin", 0, 9).data == b"abc"


def test_a_file_that_was_given_up_is_tried_once_until_it_answers(folder):
    with serve_files(folder, Faults(unavailable=1)) as files:
        client, address = reading(Patience(tries=4, pause=0.001)), f"{files.address}/x.bin"
        with pytest.raises(OSError, match="^the server answers 503; tried 4 times$"):
            client.part(address, 0, 9)
        with pytest.raises(OSError, match="^the server answers 503$"):
            client.part(address, 0, 9)
        assert len(files.log) == 5
        files.misbehave(Faults())
        client.part(address, 0, 9)
        files.misbehave(Faults(unavailable=1, times=3))
        assert client.part(address, 0, 9).data == BLOB[:10], "patience is back once it has answered"


def test_nothing_answers(folder):
    with serve_files(folder) as files:
        address = f"{files.address}/x.bin"
    with pytest.raises(OSError, match="^nothing answers there; tried 2 times$"):
        reading(Patience(tries=2, pause=0.001)).part(address, 0, 9)


def test_so_many_requests_at_once_and_no_more(folder):
    with serve_files(folder, Faults(slow=1, delay=0.03)) as files:
        client = reading(Patience(requests=6))
        threads = [threading.Thread(target=client.part, args=(f"{files.address}/x.bin", 0, 9)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(files.log) == 20
        assert files.busiest == 3, "half of what a process may, for one host"


def test_a_redirect_is_followed_remembered_and_given_no_key(folder, monkeypatch):
    monkeypatch.setenv("SECRET", "s3cr3t")
    with serve_files(folder) as origin, serve_files(folder) as mirror:
        origin.redirects["*"] = mirror.address
        origin.header = ("Authorization", "Bearer s3cr3t")
        client = reading(signers=(FromEnvironment((origin.address,), "SECRET", bearer),))
        for first in (0, 10):
            assert client.part(f"{origin.address}/x.bin", first, first + 9).data == BLOB[first : first + 10]
        assert len(origin.log) == 1
        assert len(mirror.log) == 2
        assert all("authorization" not in request.headers for request in mirror.log)


def test_a_mirror_that_refuses_is_asked_for_anew(folder):
    with serve_files(folder) as origin, serve_files(folder) as mirror:
        origin.redirects["*"] = mirror.address
        client = reading()
        client.part(f"{origin.address}/x.bin", 0, 9)
        mirror.header = ("X-Pass", "yes")
        origin.redirects.clear()
        assert client.part(f"{origin.address}/x.bin", 0, 9).data == BLOB[:10]


@pytest.mark.parametrize("host", ["127.0.0.2", "[::ffff:127.0.0.2]", "127.2", "0x7f000002", "2130706434"])
def test_a_redirect_to_another_private_host_is_not_followed(folder, host):
    with serve_files(folder) as origin, serve_files(folder, host="127.0.0.2") as inside:
        origin.redirects["*"] = f"http://{host}:{inside.address.rpartition(':')[2]}"
        with pytest.raises(PermissionError, match="redirects to '.*', a private address"):
            reading().part(f"{origin.address}/x.bin", 0, 9)
        assert inside.log == []
        assert len(origin.log) == 1


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://mirror.example/x", "http://[", "javascript:0"])
def test_a_redirect_to_no_web_address_is_not_followed(folder, target):
    with serve_files(folder) as origin:
        origin.redirects["/x.bin"] = target
        with pytest.raises(PermissionError, match="what is no web address"):
            reading().part(f"{origin.address}/x.bin", 0, 9)


def test_a_redirect_in_a_circle_ends(folder):
    with serve_files(folder) as origin:
        origin.redirects["/x.bin"] = "/x.bin"
        with pytest.raises(OSError, match="more than 5 times"):
            reading().part(f"{origin.address}/x.bin", 0, 9)


def resolving(monkeypatch: pytest.MonkeyPatch, **names: list[str]) -> None:
    """Names lead to these addresses; anything else as always."""
    import socket

    real = socket.getaddrinfo

    def lookup(host: str, port: int, *args: object, **kwargs: object) -> list:
        found = names.get(host.replace(".", "_"), [host])
        return [entry for address in found for entry in real(address, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)


def test_a_public_name_that_leads_to_a_private_address_is_refused_before_a_connection(folder, monkeypatch):
    with serve_files(folder) as files:
        port = files.address.rpartition(":")[2]
        for led in (["127.0.0.1"], ["93.184.215.14", "127.0.0.1"], ["::ffff:10.0.0.1"], ["169.254.169.254"]):
            resolving(monkeypatch, archive_example=led)
            with pytest.raises(PermissionError, match="'archive.example' leads to a private address; allow it in FUSE"):
                reading().part(f"http://archive.example:{port}/x.bin", 0, 9)
            monkeypatch.undo()
        assert files.log == []


def test_a_host_allowed_by_name_may_be_private(folder, monkeypatch):
    resolving(monkeypatch, archive_example=["127.0.0.1"])
    monkeypatch.setenv("FUSECUBE_ALLOWED_HOSTS", "other.example, archive.example")
    with serve_files(folder) as files:
        address = f"http://archive.example:{files.address.rpartition(':')[2]}/x.bin"
        assert reading().part(address, 0, 9).data == BLOB[:10]


def test_all_addresses_of_a_public_host_may_be_connected_to(monkeypatch):
    resolving(monkeypatch, archive_example=["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
    assert addresses("archive.example", 443) == ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"]


@pytest.fixture
def certificate(tmp_path):
    """A certificate of archive.example that nobody has signed."""
    path = tmp_path / "archive.pem"
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=archive.example"]
    command += [
        "-addext",
        "subjectAltName=DNS:archive.example",
        "-keyout",
        str(path),
        "-out",
        str(tmp_path / "only.pem"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + (tmp_path / "only.pem").read_text())
    return path


def test_an_encrypted_host_is_known_by_its_name_and_certificate(folder, certificate, monkeypatch):
    monkeypatch.setenv("FUSECUBE_ALLOWED_HOSTS", "archive.example,other.example")
    resolving(monkeypatch, archive_example=["127.0.0.1"], other_example=["127.0.0.1"])
    files = Files(folder)
    with serving(partial(FilesHandler, files=files), certificate=certificate) as address:
        port = address.rpartition(":")[2]
        with pytest.raises(OSError, match="^the server's certificate is not accepted$"):
            reading().part(f"https://archive.example:{port}/x.bin", 0, 9)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert reading().part(f"https://archive.example:{port}/x.bin", 0, 9).data == BLOB[:10]
        with pytest.raises(OSError, match="^the server's certificate is not accepted$"):
            reading().part(f"https://other.example:{port}/x.bin", 0, 9)
        assert len(files.log) == 1


def test_a_proxy_of_the_environment_is_used_but_for_those_it_is_not_for(folder, monkeypatch):
    with serve_files(folder) as proxy, serve_files(folder) as beside:
        monkeypatch.setenv("http_proxy", proxy.address)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert reading().part("http://archive.example/x.bin", 0, 9).data == BLOB[:10]
        assert reading().part(f"{beside.address}/x.bin", 0, 9).data == BLOB[:10]
        assert [request.headers["host"] for request in proxy.log] == ["archive.example"]
        assert len(beside.log) == 1


def test_ranges_are_merged_where_that_saves_a_request():
    # 0-9 and 10-19 touch; 4,115 lies 4,095 bytes on, 9,000 further than the 4,096 that are read for nothing
    assert merged([9000, 10, 0, 4115], [5, 10, 10, 5]) == [(0, 4119, [2, 1, 3]), (9000, 9004, [0])]


def test_requests_for_a_small_window(folder, heads):
    pixels = raster(folder / "x.tif", compress="DEFLATE")
    window = Window(10, 140, 80, 80)  # in the block of rows 128 to 255
    with serve_files(folder) as files:
        for count in (2, 3):  # the head and the block; then the block alone
            with open_raster(f"{files.address}/x.tif") as source:
                np.testing.assert_array_equal(source.read(1, window=window), pixels[140:220, 10:90])
            assert len(files.log) == count
        with open_raster(f"{files.address}/x.tif") as source:
            np.testing.assert_array_equal(source.read(1), pixels)
        spans = [tuple(int(n) for n in request.range[6:].split("-")) for request in files.log[3:]]
        assert len(spans) <= 2, "all blocks lie one after the other"


@pytest.mark.parametrize("kind", ["unavailable", "reset", "truncated"])
def test_pixels_are_the_same_with_faults(folder, heads, kind):
    pixels = raster(folder / "x.tif", compress="DEFLATE")
    with serve_files(folder, Faults(**{kind: 0.3}, seed=1)) as files:
        for row in range(0, 400, 100):
            with open_raster(f"{files.address}/x.tif") as source:
                part = source.read(1, window=Window(0, row, 400, 100))
            np.testing.assert_array_equal(part, pixels[row : row + 100])
        assert any(request.fault == kind for request in files.log)


def test_bytes_that_never_came_are_an_error_and_not_pixels(folder, monkeypatch):
    raster(folder / "x.tif", compress="NONE")  # whatever is in memory would pass for pixels
    found = Heads(reading(Patience(tries=2, pause=0.001)))
    monkeypatch.setattr(pipeline.access, "heads", lambda: found)
    with serve_files(folder) as files:
        for window in (Window(0, 0, 400, 400), Window(140, 140, 20, 20)):  # many ranges at once, and one
            files.misbehave(Faults())
            found.forget(f"{files.address}/x.tif")
            with pytest.raises(OSError, match="^the server breaks off in the middle of an answer"):
                read_after(f"{files.address}/x.tif", window, partial(files.misbehave, Faults(truncated=1)))


def read_after(address: str, window: Window, happens: Callable[[], object]) -> np.ndarray:
    """A window, where something happens once the file is open."""
    with open_raster(address) as source:
        happens()
        return source.read(1, window=window)


def test_a_file_that_changes_meanwhile_is_an_error(folder, heads):
    raster(folder / "x.tif", compress="NONE")
    with serve_files(folder) as files:
        address = f"{files.address}/x.tif"
        with pytest.raises(OSError, match="was changed while it was read"):
            read_after(address, Window(0, 0, 400, 400), partial(raster, folder / "x.tif", compress="NONE"))
        with open_raster(address) as source:
            assert source.read(1).shape == (400, 400)


def test_a_header_that_is_none_is_asked_for_once(folder, heads):
    (folder / "x.tif").write_bytes(b"II*\0" + bytes(SPAN))
    with serve_files(folder) as files:
        with pytest.raises(RasterioError), open_raster(f"{files.address}/x.tif"):
            pass
        assert len(files.log) <= 2
        with pytest.raises(FileNotFoundError, match="the file is missing"), open_raster(f"{files.address}/y.tif"):
            pass


def test_patience_as_gdal_users_know_it(monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "2")
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "5")
    found = Patience.of_environment()
    assert (found.tries, found.timeout, found.pause) == (3, 5.0, Patience.pause)


def test_patience_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "long")
    with pytest.raises(Refused, match="GDAL_HTTP_TIMEOUT is 'long'; give a number"):
        Patience.of_environment()
