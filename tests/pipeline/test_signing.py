"""Tokens and keys: where they go, when they are renewed, and that they are told to nobody."""

import logging
import pickle
import socket
import threading
import time

import pytest
from servers import Faults, Quiet, Tokens, serve_files, serve_tokens, serving

from pipeline.errors import Refused
from pipeline.signing import FromEnvironment, Keyring, SharedAccess, Signature, basic, bearer, signer_of, signers
from pipeline.transport import Patience, Transport

QUICK = Patience(tries=3, pause=0.002, longest=0.02)


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "files" / "container"
    place.mkdir(parents=True)
    (place / "x.bin").write_bytes(bytes(100))
    return place.parent


def client_of(files, endpoint):
    return Transport(Keyring((SharedAccess((files.address,), endpoint),)), QUICK)


def test_a_token_is_asked_for_once_whatever_the_threads(folder):
    tokens = Tokens()
    with serve_files(folder, tokens=tokens) as files, serve_tokens(tokens) as endpoint:
        client = client_of(files, endpoint)
        address = f"{files.address}/container/x.bin"
        threads = [threading.Thread(target=client.part, args=(address, 0, 9)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [request.path for request in tokens.asked] == ["/token/127/container"]
        assert [request.status for request in files.log] == [206] * 8
        assert "ocp-apim-subscription-key" not in tokens.asked[0].headers


def test_a_token_is_renewed_before_it_ends(folder):
    # said to be good for 2 s (or 1, as the service cuts it to whole seconds), in truth for longer: it is renewed a tenth of
    # that before its end, without a refusal
    tokens = Tokens(lifetime=30.0, stated=2.0)
    with serve_files(folder, tokens=tokens) as files, serve_tokens(tokens) as endpoint:
        client = client_of(files, endpoint)
        end = time.monotonic() + 2.2
        while time.monotonic() < end:
            client.part(f"{files.address}/container/x.bin", 0, 9)
            time.sleep(0.05)
        assert {request.status for request in files.log} == {206}
        assert 2 <= len(tokens.asked) <= 3


def test_a_token_that_ends_unannounced_is_renewed_once_refused(folder):
    tokens = Tokens(lifetime=0.3, stated=3600)
    with serve_files(folder, tokens=tokens) as files, serve_tokens(tokens) as endpoint:
        client = client_of(files, endpoint)
        for _ in range(2):
            assert client.part(f"{files.address}/container/x.bin", 0, 9).size == 100
            time.sleep(0.35)
        assert [request.status for request in files.log] == [206, 403, 206]
        assert len(tokens.asked) == 2


def test_a_file_that_is_refused_with_a_new_token_too_is_given_up(folder):
    tokens = Tokens(lifetime=0.0)
    with serve_files(folder, tokens=tokens) as files, serve_tokens(tokens) as endpoint:
        with pytest.raises(
            PermissionError, match=r"refuses access \(403\): the storage refuses a new token too"
        ) as told:
            client_of(files, endpoint).part(f"{files.address}/container/x.bin", 0, 9)
        assert [request.status for request in files.log] == [403, 403]
        assert all(secret not in str(told.value) for secret in tokens.issued)


def test_a_place_that_the_service_does_not_know_is_read_without_a_token(folder):
    tokens = Tokens()
    with serve_files(folder) as files, serve_tokens(tokens) as endpoint:
        client = client_of(files, f"{endpoint}/no/such")
        for _ in range(2):
            assert client.part(f"{files.address}/container/x.bin", 0, 9).size == 100
        assert [request.status for request in tokens.asked] == [404]
        assert {request.query for request in files.log} == {""}


def test_a_service_that_falters_is_asked_again_and_one_that_is_down_is_said_to_be(folder):
    tokens = Tokens(failures=1)
    with serve_files(folder, tokens=tokens) as files:
        with serve_tokens(tokens) as endpoint:
            client = client_of(files, endpoint)
            assert client.part(f"{files.address}/container/x.bin", 0, 9).size == 100
        with pytest.raises(OSError, match="^the service of access tokens does not answer$"):
            client_of(files, "http://127.0.0.1:9/token").part(f"{files.address}/container/x.bin", 0, 9)


def test_the_subscription_key_goes_to_the_service_alone(folder, monkeypatch):
    monkeypatch.setenv("PC_SDK_SUBSCRIPTION_KEY", "my-key")
    tokens = Tokens()
    with serve_files(folder, tokens=tokens) as files, serve_tokens(tokens) as endpoint:
        client_of(files, endpoint).part(f"{files.address}/container/x.bin", 0, 9)
        assert tokens.asked[0].headers["ocp-apim-subscription-key"] == "my-key"
        assert "my-key" not in str(files.log)


@pytest.mark.parametrize(("form", "sent"), [(bearer, "Bearer abc"), (basic, "Basic YWJjOg==")])  # base64 of "abc:"
def test_a_key_from_the_environment_goes_to_its_hosts_alone(folder, monkeypatch, form, sent):
    monkeypatch.setenv("KEY", "abc")
    with serve_files(folder) as mine, serve_files(folder) as other:
        mine.header = ("Authorization", sent)
        client = Transport(Keyring((FromEnvironment((mine.address,), "KEY", form),)), QUICK)
        client.part(f"{mine.address}/container/x.bin", 0, 9)
        client.part(f"{other.address}/container/x.bin", 0, 9)
        assert all("authorization" not in request.headers for request in other.log)


@pytest.mark.parametrize(("held", "told"), [("abc", "KEY has ended or gives no right"), ("", "KEY is not set; set it")])
def test_a_key_that_is_refused_is_named_and_not_told(folder, monkeypatch, held, told):
    monkeypatch.setenv("KEY", held)
    with serve_files(folder) as files:
        files.header = ("Authorization", "Bearer other")
        client = Transport(Keyring((FromEnvironment((files.address,), "KEY", bearer),)), QUICK)
        with pytest.raises(PermissionError, match=told) as error:
            client.part(f"{files.address}/container/x.bin", 0, 9)
        assert "abc" not in str(error.value)


ARCHIVES = {
    "https://sentinel1euwestrtc.blob.core.windows.net/sentinel1-grd-rtc/x.tif": "PC_SDK_SUBSCRIPTION_KEY",
    "https://data.lpdaac.earthdatacloud.nasa.gov/lp-prod-protected/HLSL30.020/x.tif": "EARTHDATA_TOKEN",
    "https://api.planet.com/data/v1/x.tif": "PL_API_KEY",
    "https://zipper.dataspace.copernicus.eu/odata/v1/x.jp2": "CDSE_TOKEN",
    "https://sentinel-cogs.s3.us-west-2.amazonaws.com/x.tif": None,
    "http://data.lpdaac.earthdatacloud.nasa.gov/x.tif": None,
    "http://sentinel2l2a01.blob.core.windows.net/x/y.tif": None,
    "https://api.planet.com.evil.example/x.tif": None,
    "https://evil.example/https://api.planet.com/x.tif": None,
    "https://evil.example/?.planet.com": None,
    "https://evil.example/#.planet.com": None,
    "https://api.planet.com:8443/x.tif": None,
    "https://x@evil.example:443/.planet.com": None,
    "https://evilplanet.com/x.tif": None,
}


@pytest.mark.parametrize("address", ARCHIVES)
def test_who_signs_for_the_public_archives(address):
    found = signer_of(address, signers())
    variable = found.key if isinstance(found, SharedAccess) else found.variable if found else None
    assert variable == ARCHIVES[address]


def test_the_scope_of_planetary_computer_is_account_and_container():
    address = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/33/U/VT/2024/B04.tif"
    assert signer_of(address, signers()).scope(address) == "sentinel2l2a01/sentinel2-l2"


def test_an_installation_may_name_hosts_of_its_own(monkeypatch):
    monkeypatch.setenv(
        "FUSECUBE_SAS", "https://a.example=https://tokens.example/sas/, https://b.example:8443=https://t.example"
    )
    monkeypatch.setenv("FUSECUBE_BEARER", "https://*.c.example=MY_TOKEN")
    among = signers()
    assert signer_of("https://a.example/c/x.tif", among) == SharedAccess(
        ("https://a.example",), "https://tokens.example/sas"
    )
    assert signer_of("https://b.example:8443/c/x.tif", among).endpoint == "https://t.example"
    assert signer_of("https://b.example/c/x.tif", among) is None
    assert signer_of("https://x.c.example/x.tif", among).variable == "MY_TOKEN"


@pytest.mark.parametrize("entry", ["a.example=https://t.example", "https://a.example", "https://a.example="])
def test_hosts_that_are_named_wrongly_are_refused(monkeypatch, entry):
    monkeypatch.setenv("FUSECUBE_SAS", entry)
    with pytest.raises(Refused, match="FUSECUBE_SAS is not a list of https://host=…; correct it"):
        signers()


def test_a_signature_does_not_show_itself():
    secret = Signature(query="sig=abc", headers={"Authorization": "Bearer abc"})
    assert "abc" not in repr(secret)
    assert "abc" not in f"{secret}"
    assert "abc" not in repr(Keyring(signers()))


def test_a_keyring_cannot_be_sent_anywhere(folder):
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(Keyring(signers()))


def test_a_log_of_everything_holds_no_token(folder, caplog):
    tokens = Tokens(lifetime=0.1, stated=3600)
    caplog.set_level(logging.DEBUG)
    with serve_files(folder, Faults(reset=0.3), tokens) as files, serve_tokens(tokens) as endpoint:
        client = client_of(files, endpoint)
        for _ in range(4):
            client.part(f"{files.address}/container/x.bin", 0, 9)
            time.sleep(0.04)
    assert "GET /container/x.bin" in caplog.text
    assert tokens.issued
    assert not [secret for secret in [*tokens.issued, "sig="] if secret in caplog.text]


def test_faults_of_the_storage_do_not_cost_tokens(folder):
    tokens = Tokens()
    faults = Faults(unavailable=1, times=2)
    with serve_files(folder, faults, tokens) as files, serve_tokens(tokens) as endpoint:
        client_of(files, endpoint).part(f"{files.address}/container/x.bin", 0, 9)
        assert len(tokens.asked) == 1


def test_a_token_service_that_redirects_is_not_followed_with_the_key(folder, monkeypatch):
    class Elsewhere(Quiet):
        def do_GET(self):
            self.send(302, Location=f"{endpoint}/127/container")

    monkeypatch.setenv("PC_SDK_SUBSCRIPTION_KEY", "s3cr3t")
    tokens = Tokens()
    with serve_files(folder, tokens=tokens) as files, serve_tokens(tokens) as endpoint, serving(Elsewhere) as first:
        with pytest.raises(OSError, match="the service of access tokens answers 302 without a token"):
            client_of(files, first).part(f"{files.address}/container/x.bin", 0, 9)
        assert tokens.asked == []


def test_a_token_service_behind_a_public_name_that_is_private_is_not_asked(folder, monkeypatch):
    tokens = Tokens()
    known = socket.getaddrinfo
    monkeypatch.setattr(
        "socket.getaddrinfo",
        lambda host, *args, **kwargs: known("127.0.0.1" if host == "sas.example.com" else host, *args, **kwargs),
    )
    with serve_tokens(tokens) as endpoint:
        place = SharedAccess(("https://a.example",), endpoint.replace("127.0.0.1", "sas.example.com"))
        with pytest.raises(OSError, match="the name 'sas.example.com' leads to a private address"):
            place.obtain("a/b")
    assert tokens.asked == []
