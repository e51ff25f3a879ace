"""Servers on loopback for the tests: files by range, misbehaving as told; tokens that expire; a STAC API.

Everything binds to 127.0.0.1. Each server keeps a log of what it was asked.
"""

import json
import random
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from urllib.request import urlopen

import pytest


@dataclass(frozen=True)
class Faults:
    """How a server misbehaves; shares are of the requests for files, drawn by chance, at most one fault a request."""

    unavailable: float = 0.0
    """Share answered with 503 and ``Retry-After``."""
    busy: float = 0.0
    """Share answered with 429 and ``Retry-After``."""
    reset: float = 0.0
    """Share whose connection is reset instead of an answer."""
    truncated: float = 0.0
    """Share of which only half of the promised bytes come, and the connection is closed."""
    slow: float = 0.0
    """Share that is answered after ``delay``."""
    delay: float = 0.0
    """Seconds that a slow answer takes."""
    retry_after: int = 0
    """Seconds that such a server asks for."""
    times: int = 2**31
    """Faults after which the server behaves."""
    only: str = ""
    """Regular expression of the paths that are hit; empty for all."""
    seed: int = 0
    """The same seed draws the same faults, request by request."""

    def kinds(self) -> tuple[list[str], list[float]]:
        """Names of faults and their shares; the last is none."""
        names = ["unavailable", "busy", "reset", "truncated", "slow"]
        shares = [getattr(self, name) for name in names]
        return [*names, "none"], [*shares, max(0.0, 1 - sum(shares))]


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    method: str
    """GET or HEAD."""
    path: str
    """Path without the query, decoded."""
    query: str
    """Query as it came."""
    range: str | None
    """The ``Range`` header."""
    headers: dict[str, str]
    """Headers, names in lower case."""
    status: int
    """What was answered; 0 until it is, and where the connection was reset."""
    fault: str
    """Which fault was drawn."""


@dataclass
class Tokens:
    """Issues shared access signatures and tells which are good: what a storage account and its token service share."""

    lifetime: float = 3600.0
    """Seconds for which a token is good."""
    stated: float | None = None
    """Seconds that the service says; ``lifetime`` where ``None``."""
    issued: dict[str, float] = field(default_factory=dict)
    """Token to the moment it ends, monotonic seconds."""
    asked: list[Request] = field(default_factory=list)
    """Requests to the token service."""
    failures: int = 0
    """How many requests the token service answers with 503 before it works."""

    def issue(self) -> dict[str, str]:
        """A new token, as Planetary Computer's service gives it."""
        secret = token_hex(16)
        self.issued[secret] = time.monotonic() + self.lifetime
        ends = datetime.now(UTC) + timedelta(seconds=self.lifetime if self.stated is None else self.stated)
        return {
            "token": f"se={ends:%Y-%m-%dT%H%%3A%M%%3A%SZ}&sp=r&sig={secret}",
            "msft:expiry": f"{ends:%Y-%m-%dT%H:%M:%SZ}",
        }

    def end(self) -> None:
        """Every token ends now, unannounced."""
        self.issued = dict.fromkeys(self.issued, 0.0)

    def good(self, query: str) -> bool:
        """Whether a query carries a token that has not ended."""
        (secret,) = parse_qs(query).get("sig", [""])
        return self.issued.get(secret, 0.0) > time.monotonic()


@dataclass
class Files:
    """A folder served over HTTP/1.1 with ranges and connections kept alive."""

    folder: Path
    """What is served."""
    faults: Faults = Faults()
    """How it misbehaves; may be changed while it runs."""
    tokens: Tokens | None = None
    """Where set, a request without a good token is answered with 403."""
    header: tuple[str, str] | None = None
    """Where set, a request without this header is answered with 401."""
    redirects: dict[str, str] = field(default_factory=dict)
    """Path to the address it is redirected to; the key ``*`` is a prefix for every path."""
    ranges: bool = True
    """Whether parts of files are served."""
    address: str = ""
    """Where it is served, without a slash at the end."""
    log: list[Request] = field(default_factory=list)
    """Requests, in the order in which they came."""
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    """Draws the faults."""
    drawn: int = 0
    """Faults so far."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Guards the log and the draws."""
    busy: int = 0
    """Requests under way."""
    busiest: int = 0
    """Most requests under way at once."""

    def draw(self, method: str, path: str) -> str:
        """The fault of the next request."""
        with self.lock:
            if self.drawn >= self.faults.times or not re.search(self.faults.only, path):
                return "none"
            fault = self.chance.choices(*self.faults.kinds())[0]
            if fault == "truncated" and method == "HEAD":  # there is nothing to cut off
                return "none"
            self.drawn += fault != "none"
            return fault

    def misbehave(self, faults: Faults) -> None:
        """Misbehave so from now on."""
        with self.lock:
            self.faults, self.chance, self.drawn = faults, random.Random(faults.seed), 0

    def of(self, name: str) -> list[Request]:
        """Requests whose path ends so."""
        with self.lock:
            return [request for request in self.log if request.path.endswith(name)]


class Quiet(BaseHTTPRequestHandler):
    """What all handlers here share."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args: object) -> None:
        """Quiet."""

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        """An answer with its length; names of headers with ``_`` for ``-``."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, content: object, status: int = 200) -> None:
        """An answer in JSON."""
        self.send(status, json.dumps(content).encode(), Content_Type="application/json")


class FilesHandler(Quiet):
    """Answers GET and HEAD for the files of a folder."""

    def __init__(self, *args: Any, files: Files, **kwargs: Any) -> None:
        self.files = files
        super().__init__(*args, **kwargs)

    def do_HEAD(self) -> None:
        """As GET, without the body."""
        self.do_GET()

    def do_GET(self) -> None:
        """A file, a part of it, or what the faults say."""
        files, parts = self.files, urlsplit(self.path)
        path = unquote(parts.path)
        fault = files.draw(self.command, path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, path, parts.query, self.headers.get("Range"), headers, 0, fault)
        with files.lock:
            self.place = len(files.log)
            files.log.append(request)
            files.busy += 1
            files.busiest = max(files.busiest, files.busy)
        try:
            self.answer(path, parts.query, fault)
        finally:
            with files.lock:
                files.busy -= 1

    def send_response(self, code: int, message: str | None = None) -> None:
        """Note the status before anything is sent, so that who has the answer finds it in the log."""
        with self.files.lock:
            self.files.log[self.place] = replace(self.files.log[self.place], status=code)
        super().send_response(code, message)

    def answer(self, path: str, query: str, fault: str) -> None:
        """Answer, or not."""
        files = self.files
        if fault == "slow":
            time.sleep(files.faults.delay)
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        if fault in ("unavailable", "busy"):
            self.send(503 if fault == "unavailable" else 429, Retry_After=str(files.faults.retry_after))
            return
        if files.tokens is not None and not files.tokens.good(query):
            self.send(403, b"<Error><Code>AuthenticationFailed</Code></Error>")
            return
        if files.header is not None and self.headers.get(files.header[0]) != files.header[1]:
            self.send(401)
            return
        target = files.redirects.get(path) or ("*" in files.redirects and files.redirects["*"] + quote(path))
        if target:
            self.send(302, Location=str(target))
            return
        self.file(path, truncated=fault == "truncated")

    def file(self, path: str, truncated: bool) -> None:
        """Send a file or a part of it."""
        place = (self.files.folder / path.lstrip("/")).resolve()
        if not place.is_file() or not place.is_relative_to(self.files.folder.resolve()):
            self.send(404)
            return
        size, wanted = place.stat().st_size, self.headers.get("Range") if self.files.ranges else None
        first, last = 0, size - 1
        if wanted:
            start, _, end = wanted.removeprefix("bytes=").partition("-")
            first, last = (int(start), min(int(end or last), last)) if start else (max(0, size - int(end)), last)
            if first > last:
                self.send(416, Content_Range=f"bytes */{size}")
                return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{place.stat().st_mtime_ns:x}-{size:x}"')
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        if self.command != "HEAD":
            with place.open("rb") as file:
                file.seek(first)
                body = file.read(last - first + 1)
            self.wfile.write(body[: len(body) // 2] if truncated else body)
            self.close_connection = self.close_connection or truncated


class TokenHandler(Quiet):
    """Answers ``/token/<account>/<container>`` as Planetary Computer's token service does."""

    def __init__(self, *args: Any, tokens: Tokens, **kwargs: Any) -> None:
        self.tokens = tokens
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        """A new token."""
        path = urlsplit(self.path).path
        headers = {name.lower(): value for name, value in self.headers.items()}
        status = 503 if self.tokens.failures > 0 else 200 if re.fullmatch(r"/token/[^/]+/[^/]+", path) else 404
        self.tokens.asked.append(Request("GET", path, "", None, headers, status, "none"))
        if status == 200:
            self.json(self.tokens.issue())
        else:
            self.tokens.failures -= status == 503
            self.send(status)


class Server(ThreadingHTTPServer):
    """A server whose broken connections are nobody's concern."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


@contextmanager
def serving(handler: Any, host: str = "127.0.0.1", certificate: Path | None = None) -> Iterator[str]:
    """Serve on a free port of loopback; gives the address without a slash at the end. With a certificate, encrypted."""
    server = Server((host, 0), handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.05), daemon=True)
    thread.start()
    try:
        yield f"http{'s' if certificate else ''}://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serve_files(
    folder: Path, faults: Faults | None = None, tokens: Tokens | None = None, host: str = "127.0.0.1"
) -> Iterator[Files]:
    """A folder over HTTP, misbehaving as told; ``host`` may be any address of 127.0.0.0/8."""
    files = Files(folder, tokens=tokens)
    files.misbehave(faults or Faults())
    with serving(partial(FilesHandler, files=files), host) as files.address:
        yield files


@contextmanager
def serve_tokens(tokens: Tokens) -> Iterator[str]:
    """A service of shared access signatures; gives its endpoint, to which ``/<account>/<container>`` is added."""
    with serving(partial(TokenHandler, tokens=tokens)) as address:
        yield f"{address}/token"


@contextmanager
def serve_stac(items: Sequence[dict], folder: Path) -> Iterator[str]:
    """A STAC API over items: rustac's own server, in memory, in a process of its own; gives the address of its root.

    Item search by collections, ids, bbox, datetime and intersects, GET and POST, in pages; no filter and no query.
    """
    rustac = Path(sys.executable).with_name("rustac")
    if not rustac.exists():
        pytest.skip("rustac is not installed")
    given = folder / "items.json"
    given.write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [str(rustac), "serve", "--addr", address, "--create-collections", str(given)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(f"http://{address}/", server)
            yield f"http://{address}"
        finally:
            server.terminate()


def _wait_for(address: str, server: subprocess.Popen) -> None:
    """Until a server answers, 20 seconds at most."""
    for _ in range(200):
        try:
            with urlopen(address, timeout=5):
                return
        except OSError:
            if server.poll() is not None:
                raise RuntimeError(f"the server ended with {server.returncode}") from None
            time.sleep(0.1)
    raise RuntimeError("the server does not answer")
