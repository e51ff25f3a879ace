"""Connections to web servers: kept alive, so many at once, and never to a private address behind a public name."""

import logging
import os
import socket
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.certs import where
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from pipeline.hosts import addresses, allowed, host_of, is_private

CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Environment variables that may name a file of certificates; else those that come with requests."""


class Unsigned(logging.Filter):
    """Leaves the query out of the addresses that urllib3 logs, when it is told to log at all."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, without a query."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                arg.partition("?")[0] if isinstance(arg, str) and "?" in arg else arg for arg in record.args
            )
        return True


UNSIGNED = Unsigned()


class Barred(HTTPError):
    """A host that may not be connected to."""


def connect(connection: HTTPConnection) -> socket.socket:
    """A socket to an address of the host that may be connected to.

    What was judged is what is connected to: the name is not resolved a second time. Raises ``Barred``, or what urllib3 raises
    where there is no connection.
    """
    try:
        found = addresses(connection.host, connection.port)
    except socket.gaierror as error:
        raise NameResolutionError(connection.host, connection, error) from error
    except PermissionError as error:
        raise Barred(str(error)) from error
    failure: OSError = OSError("the name has no address")
    for address in found:
        try:
            return create_connection(
                (address, connection.port),
                connection.timeout,
                source_address=connection.source_address,
                socket_options=connection.socket_options,
            )
        except OSError as error:
            failure = error
    if isinstance(failure, TimeoutError):
        raise ConnectTimeoutError(connection, "no connection in time") from failure
    raise NewConnectionError(connection, "no connection") from failure


class Plain(HTTPConnection):
    """A connection to a host that may be spoken to."""

    def _new_conn(self) -> socket.socket:
        return connect(self)


class Secure(HTTPSConnection):
    """The same, encrypted; the certificate is still checked against the name."""

    def _new_conn(self) -> socket.socket:
        return connect(self)


class PlainPool(HTTPConnectionPool):
    """Connections to one host."""

    ConnectionCls = Plain


class SecurePool(HTTPSConnectionPool):
    """Encrypted connections to one host."""

    ConnectionCls = Secure


def proxy_for(url: str) -> str:
    """Address of the proxy that the environment names for an address; '' for none."""
    parts, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all", "")
    return "" if proxy_bypass(parts.netloc) else proxy


def certificates() -> str:
    """The file of certificates that are believed."""
    return next((os.environ[name] for name in CERTIFICATES if os.environ.get(name)), where())


def pools(proxy: str, each: int, timeout: float) -> urllib3.PoolManager:
    """Connections, ``each`` at once to a host; a further request waits.

    Parameters
    ----------
    proxy
        Address of a proxy, '' for none. With one it is the proxy that resolves names, and they are not judged here.
    each
        Connections to one host.
    timeout
        Seconds without a byte after which an answer is given up.
    """
    for name in ("urllib3.connectionpool", "urllib3.util.retry"):
        logging.getLogger(name).addFilter(UNSIGNED)
    held: dict[str, Any] = {
        "maxsize": each,
        "block": True,
        "timeout": urllib3.Timeout(connect=min(10.0, timeout), read=timeout),
        "ca_certs": certificates(),
    }
    if proxy:
        return urllib3.ProxyManager(proxy, **held)
    manager = urllib3.PoolManager(**held)
    manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return manager


class Patient(HTTPAdapter):
    """Requests that end: none waits for ever."""

    def __init__(self, retries: urllib3.Retry, timeout: float) -> None:
        self.timeout = (min(10.0, timeout), timeout)
        super().__init__(max_retries=retries)

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """As ``HTTPAdapter.send``, in the time that is set and with the certificates of the environment."""
        timed = options | {"timeout": self.timeout, "verify": certificates()}
        return super().send(request, *args, **timed)


class Judged(Patient):
    """Requests to addresses that may be connected to; with a proxy it is the proxy that resolves names."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Connections as ``pools`` has them."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


class Documents(requests.Session):
    """Requests for the documents of one catalog: wherever a link or a redirect leads is judged before it is asked.

    Parameters
    ----------
    own
        Address of the catalog, whose host the user named: it may be private.
    retries
        What is tried again.
    timeout
        Seconds without a byte after which an answer is given up.
    """

    def __init__(self, own: str, retries: urllib3.Retry, timeout: float) -> None:
        super().__init__()
        self.max_redirects = 5
        self._own = host_of(own)
        self._direct, self._judged = Patient(retries, timeout), Judged(retries, timeout)

    def get_adapter(self, url: str | bytes) -> HTTPAdapter:
        """Who sends a request; raises ``requests.exceptions.InvalidURL`` where nobody may."""
        address = url.decode() if isinstance(url, bytes) else url
        host = host_of(address)
        if urlsplit(address).scheme.lower() not in ("http", "https") or not host:
            raise requests.exceptions.InvalidURL("it leads to what is no web address")
        if host == self._own:
            return self._direct
        if is_private(host) and host not in allowed():
            raise requests.exceptions.InvalidURL(f"it leads to '{host}', a private address and not the catalog's host")
        return self._judged

    def close(self) -> None:
        """Close every connection."""
        super().close()
        self._direct.close()
        self._judged.close()
