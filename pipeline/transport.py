"""Parts of files over HTTP: signed, tried again where that may help, never followed to a private host.

GDAL speaks to no web server here. Its own client follows redirects wherever they lead, resolves names unchecked, puts
addresses into its messages, and takes a broken connection or an outdated token for the end.
"""

import os
import random
import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from urllib.parse import urljoin, urlsplit, urlunsplit

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError, SSLError, TimeoutError

from pipeline.connections import Barred, pools, proxy_for
from pipeline.errors import Refused
from pipeline.hosts import allowed, host_of, is_private, split
from pipeline.signing import Keyring, Signature, signers

AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Answers that may be another one a little later."""

MOVED = (301, 302, 303, 307, 308)
"""Answers that name another address."""

HOPS = 5
"""Redirects that are followed."""

LANDED = 60.0
"""Seconds for which it is remembered where an address was redirected to."""

LARGEST_PAUSE = 60.0
"""Seconds that a server is waited for at most, whatever it asks for."""


@dataclass(frozen=True)
class Patience:
    """How long a server is borne with. The variables are those that GDAL's own client knows."""

    tries: int = 8
    """Times that a request is sent (``GDAL_HTTP_MAX_RETRY`` and one)."""
    pause: float = 0.25
    """Seconds before the second try; they double each time (``GDAL_HTTP_RETRY_DELAY``)."""
    longest: float = 8.0
    """Seconds that a pause comes to at most, unless the server asks for more."""
    total: float = 180.0
    """Seconds after which no further try is begun."""
    timeout: float = 30.0
    """Seconds without a byte after which an answer is given up (``GDAL_HTTP_TIMEOUT``)."""
    requests: int = 16
    """Requests under way at once in a process, half of them to one host (``FUSECUBE_REQUESTS``)."""

    @classmethod
    def of_environment(cls) -> "Patience":
        """As the environment has it; raises ``Refused`` where a variable is no number."""
        return cls(
            tries=int(_number("GDAL_HTTP_MAX_RETRY", cls.tries - 1)) + 1,
            pause=_number("GDAL_HTTP_RETRY_DELAY", cls.pause),
            timeout=max(0.1, _number("GDAL_HTTP_TIMEOUT", cls.timeout)),
            requests=max(1, int(_number("FUSECUBE_REQUESTS", cls.requests))),
        )


def _number(variable: str, default: float) -> float:
    """An environment variable that is a number, not below zero."""
    given = os.environ.get(variable, "").strip()
    try:
        return max(0.0, float(given)) if given else default
    except ValueError:
        raise Refused(f"the environment variable {variable} is {given!r}; give a number.") from None


@dataclass(frozen=True)
class Part:
    """A part of a file."""

    data: bytes
    """Its bytes."""
    size: int
    """Size of the whole file."""
    tag: str
    """What tells this state of the file from another; empty where the server does not say."""


class Later(OSError):
    """What may be otherwise a little later."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


class Denied(OSError):
    """The host does not accept the signature."""


class Moved(Exception):
    """The file is elsewhere."""

    def __init__(self, location: str) -> None:
        super().__init__()
        self.location = location


class Transport:
    """Reads parts of files: one for a process, used by all its threads."""

    def __init__(self, keyring: Keyring, patience: Patience) -> None:
        self.keyring = keyring
        self.patience = patience
        self._slots = threading.BoundedSemaphore(patience.requests)
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._landed: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._given_up: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def part(self, address: str, first: int, last: int) -> Part:
        """Bytes ``first`` to ``last``, both included, or to the end of the file where that comes before.

        Tried again after a pause where the server is busy, breaks off or does not answer. An address that was given up is
        from then on tried once at a time, until it answers. Raises ``FileNotFoundError`` where there is no such file, else
        ``OSError``; the text names no address.
        """
        start, tries = time.monotonic(), 1 if address in self._given_up else self.patience.tries
        for attempt in range(1, tries + 1):
            try:
                part = self._renewed(address, first, last)
            except Later as error:
                doubled = min(self.patience.pause * 2 ** (attempt - 1), self.patience.longest)
                pause = max(doubled * random.uniform(0.75, 1.25), min(error.pause, LARGEST_PAUSE))
                if attempt == tries or time.monotonic() + pause - start > self.patience.total:
                    self._give_up(address)
                    raise OSError(f"{error}; tried {attempt} times" if attempt > 1 else str(error)) from None
                time.sleep(pause)
            else:
                with self._lock:
                    self._given_up.pop(address, None)
                return part
        raise AssertionError("a request is sent at least once")

    def _give_up(self, address: str) -> None:
        with self._lock:
            self._given_up[address] = None
            if len(self._given_up) > 1000:
                self._given_up.popitem(last=False)

    def _renewed(self, address: str, first: int, last: int) -> Part:
        """One try; where the host refuses access, once more with a new signature."""
        try:
            return self._followed(address, first, last)
        except Denied:
            pass
        try:
            return self._followed(address, first, last)
        except Denied as error:
            raise PermissionError(f"{error}: {self.keyring.remedy(address)}") from None

    def _followed(self, address: str, first: int, last: int) -> Part:
        """One try, along redirects."""
        landed, until = self._landed.get(address, (address, 0.0))
        url = landed if time.monotonic() < until else address
        for _ in range(HOPS + 1):
            signature = self.keyring.sign(url)
            try:
                part = self._asked(url, signature, first, last)
            except Moved as moved:
                url = _next(address, url, moved.location)
                with self._lock:
                    self._landed[address] = (url, time.monotonic() + LANDED)
                    if len(self._landed) > 1000:
                        self._landed.popitem(last=False)
            except OSError as error:
                with self._lock:
                    self._landed.pop(address, None)
                if isinstance(error, Denied):
                    self.keyring.forget(url, signature)
                raise
            else:
                return part
        raise OSError(f"the server redirects more than {HOPS} times")

    def _asked(self, url: str, signature: Signature, first: int, last: int) -> Part:
        """One request. Raises ``Later`` where another may help, ``Denied``, ``Moved``, else ``OSError``."""
        headers = {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity", "User-Agent": "fusecube"}
        with self._slots:
            try:
                response = self._pool(url).urlopen(
                    "GET",
                    _signed(url, signature),
                    headers=headers | dict(signature.headers),
                    redirect=False,
                    retries=False,
                    preload_content=False,
                )
            except (HTTPError, OSError) as error:
                raise _judged(error) from None
            try:
                return _received(response, first, last)
            except (TimeoutError, SSLError) as error:
                raise _judged(error) from None
            except HTTPError:
                raise Later("the server breaks off in the middle of an answer") from None
            finally:
                _done_with(response)

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = proxy_for(url)
        with self._lock:
            if proxy not in self._pools:
                self._pools[proxy] = pools(proxy, max(1, self.patience.requests // 2), self.patience.timeout)
            return self._pools[proxy]


@cache
def transport() -> Transport:
    """The transport of this process, as the environment has it."""
    return Transport(Keyring(signers()), Patience.of_environment())


def _signed(url: str, signature: Signature) -> str:
    """An address with its signature, and without a fragment."""
    parts = split(url)
    query = "&".join(part for part in (parts.query, signature.query) if part)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))


def _next(address: str, url: str, location: str) -> str:
    """Where a redirect leads; raises ``PermissionError`` where that may not be followed."""
    try:
        target = urljoin(url, location)
        host = host_of(target)
    except ValueError:
        target, host = "", ""
    if not host or urlsplit(target).scheme not in ("http", "https"):
        raise PermissionError("the server redirects to what is no web address")
    if is_private(host) and host != host_of(address) and host not in allowed():
        raise PermissionError(f"the server redirects to '{host}', a private address")
    return target


def _received(response: urllib3.BaseHTTPResponse, first: int, last: int) -> Part:
    """What an answer holds, where it holds what was asked for."""
    status, headers = response.status, response.headers
    if status in MOVED and "Location" in headers:
        raise Moved(headers["Location"])
    if status in (401, 403):
        raise Denied(f"the host refuses access ({status})")
    if status in (404, 410):
        raise FileNotFoundError("the file is missing")
    if status in AGAIN:
        asked = headers.get("Retry-After", "")
        raise Later(f"the server answers {status}", float(asked) if asked.isdigit() else 0.0)
    span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers.get("Content-Range", ""))
    if status == 206 and span:
        begin, end, size = (int(number) for number in span.groups())
    elif status == 200 and headers.get("Content-Length", "").isdigit():
        size = int(headers["Content-Length"])
        begin, end = 0, size - 1
        if first or size > last + 1:
            raise OSError("the server does not serve parts of files")
    else:
        raise OSError(f"the server answers {status} where a part of a file was asked for")
    if begin != first or end != min(last, size - 1):
        raise OSError("the server sends another part of the file than was asked for")
    data = response.read(end - begin + 1)
    if len(data) != end - begin + 1:
        raise Later("the server breaks off in the middle of an answer")
    return Part(data, size, headers.get("ETag", ""))


def _done_with(response: urllib3.BaseHTTPResponse) -> None:
    """Give the connection back where the answer is read, or soon will be; else close it."""
    left = response.headers.get("Content-Length", "")
    try:
        if response.status != 206 and left.isdigit() and int(left) < 2**16:
            response.drain_conn()
        elif response.status != 206 or response.length_remaining:
            response.close()
    except (HTTPError, OSError):
        response.close()
    response.release_conn()


def _judged(error: Exception) -> OSError:
    """What a broken request means; the texts of libraries name addresses, so they are not passed on."""
    if isinstance(error, Barred):
        return PermissionError(str(error))
    if isinstance(error, SSLError):
        return OSError("the server's certificate is not accepted")
    if isinstance(error, NewConnectionError):  # a name that is not known among them
        return Later("nothing answers there")
    if isinstance(error, TimeoutError):
        return Later("the server does not answer in time")
    if isinstance(error, HTTPError | ConnectionError):
        return Later("the connection breaks")
    return OSError(f"the request cannot be sent ({type(error).__name__})")
