"""Connections to web servers: kept alive, so many at once, and never to a private address behind a public name."""

import logging
import os
import socket
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from requests.certs import where
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from pipeline.hosts import addresses

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
    bundle = next((os.environ[name] for name in CERTIFICATES if os.environ.get(name)), where())
    held: dict[str, Any] = {
        "maxsize": each,
        "block": True,
        "timeout": urllib3.Timeout(connect=min(10.0, timeout), read=timeout),
        "ca_certs": bundle,
    }
    if proxy:
        return urllib3.ProxyManager(proxy, **held)
    manager = urllib3.PoolManager(**held)
    manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return manager
