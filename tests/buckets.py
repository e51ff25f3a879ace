"""An S3 server on loopback for the tests: the real protocol over HTTP, objects in memory, misbehaving as told."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any
from urllib.request import Request, urlopen

KEY, SECRET = "AKIATESTTESTTEST", "a-secret-that-no-record-may-hold"


@dataclass
class Bucket:
    """A bucket of such a server."""

    endpoint: str
    """Address of the server."""
    name: str = "bucket"
    """Name of the bucket."""
    asked: list[str] = field(default_factory=list)
    """Requests as they came: method and path."""
    status: str = ""
    """Status such as ``503 Slow Down`` that requests are answered with; empty for the truth."""
    only: str = ""
    """Regular expression of the requests that are answered so, over method and path."""
    times: int = 2**31
    """How many of them are, before the truth comes again."""

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to reach the server."""
        keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        return keys | {"AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": "us-east-1"}

    def at(self, path: str) -> str:
        """Address of a place in the bucket."""
        return f"s3://{self.name}/{path}"

    def fail(self, status: str, only: str = "", times: int = 2**31) -> None:
        """Answer requests with a status from now on."""
        self.status, self.only, self.times = status, only, times

    def recover(self) -> None:
        """Tell the truth again."""
        self.times = 0

    def _fails(self, request: str) -> bool:
        if not self.status or not self.times or not re.search(self.only, request):
            return False
        self.times -= 1
        return True

    def before(self, app: Callable) -> Callable:
        """A WSGI application that this bucket stands in front of."""

        def answer(environ: dict[str, Any], start: Callable) -> Iterable[bytes]:
            request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
            self.asked.append(request)
            if not self._fails(request):
                return app(environ, start)
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start(self.status, [("Content-Type", "application/xml")])
            return [b"<Error><Code>Told</Code><Message>so</Message></Error>"]

        return answer


@contextmanager
def serve_bucket() -> Iterator[Bucket]:
    """A server with one empty bucket, gone when it is left."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        """Says nothing of its requests."""

        def log(self, *args: object) -> None:
            """Nothing."""

    bucket = Bucket("")
    app = bucket.before(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    Thread(target=server.serve_forever, daemon=True).start()
    bucket.endpoint = f"http://127.0.0.1:{server.server_port}"
    _ask(f"{bucket.endpoint}/moto-api/reset", "POST")
    _ask(f"{bucket.endpoint}/{bucket.name}", "PUT")
    bucket.asked.clear()
    try:
        yield bucket
    finally:
        server.shutdown()
        server.server_close()


def _ask(address: str, method: str) -> None:
    urlopen(Request(address, method=method, data=b"")).close()
