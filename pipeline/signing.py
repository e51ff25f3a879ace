"""What a host wants to see before it gives a file: tokens and keys, taken when a worker reads and kept in its memory only.

Secrets come from the environment or from a token service. They are added to a request as it is sent: no address, record,
graph or message holds them.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from functools import cache
from typing import Protocol

import urllib3
from urllib3.exceptions import HTTPError

from pipeline.connections import Barred, pools, proxy_for
from pipeline.errors import Refused
from pipeline.hosts import host_of, split

SHARED_ACCESS = "FUSECUBE_SAS"
"""Environment variable: further hosts whose files want a shared access signature, ``https://host=https://endpoint``, with
commas between; ``/<account>/<container>`` is added to the endpoint."""

BEARERS = "FUSECUBE_BEARER"
"""Environment variable: further hosts that want a bearer token, ``https://host=NAME``, NAME the variable that holds it."""

EARLY = 60.0
"""Seconds before its end at which a token is renewed, or a tenth of its life where that is less."""

UNSIGNED = 600.0
"""Seconds for which a token service's word that it has no token for a place is believed."""


RETRIES = urllib3.Retry(total=5, connect=2, read=2, backoff_factor=0.2, status_forcelist=(429, 500, 502, 503, 504))
"""How a token service is asked again: with growing pauses. A redirect is not followed, as a key would go along."""


@dataclass(frozen=True)
class Signature:
    """What is added to a request."""

    query: str = field(default="", repr=False)
    """Added to the query of the address."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to the headers."""
    ends: float = float("inf")
    """When it is to be renewed, in seconds of the monotonic clock."""


class Signer(Protocol):
    """Who signs for some hosts."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Patterns of ``scheme://host`` or ``scheme://host:port``; ``*`` stands for anything."""
        ...

    def scope(self, address: str) -> str:
        """What one signature is good for."""
        ...

    def obtain(self, scope: str) -> Signature:
        """A new signature; raises ``OSError`` where there is none to be had."""
        ...

    def remedy(self) -> str:
        """What to do where the host refuses all the same."""
        ...


@dataclass(frozen=True)
class SharedAccess:
    """Shared access signatures of Azure storage from a token service: one for each container, for minutes to hours.

    Source: https://planetarycomputer.microsoft.com/docs/concepts/sas/ (``/token/{account}/{container}``; anonymous requests
    are served, at a lower rate than those with a subscription key).
    """

    hosts: tuple[str, ...]
    """Storage hosts."""
    endpoint: str
    """Address of the service."""
    key: str = "PC_SDK_SUBSCRIPTION_KEY"
    """Environment variable of the subscription key, which need not be set."""

    def scope(self, address: str) -> str:
        """``account/container``."""
        parts = split(address)
        return f"{host_of(address).split('.')[0]}/{parts.path.lstrip('/').split('/')[0]}"

    def obtain(self, scope: str) -> Signature:
        """A token for a container; an empty one where the service knows no such container: it may be public."""
        headers = {"Ocp-Apim-Subscription-Key": os.environ[self.key]} if os.environ.get(self.key) else {}
        try:
            answer = _tokens(proxy_for(self.endpoint)).request(
                "GET", f"{self.endpoint}/{scope}", headers=headers, redirect=False, retries=RETRIES
            )
        except Barred as error:
            raise OSError(str(error)) from None
        except HTTPError:
            raise OSError("the service of access tokens does not answer") from None
        if answer.status in (400, 403, 404):
            return Signature(ends=time.monotonic() + UNSIGNED)
        try:
            stated = answer.json()
            token, expiry = str(stated["token"]), datetime.fromisoformat(stated["msft:expiry"])
            now = parsedate_to_datetime(answer.headers["Date"]) if "Date" in answer.headers else datetime.now(UTC)
            life = (expiry - now).total_seconds()
        except (ValueError, TypeError, KeyError):
            raise OSError(f"the service of access tokens answers {answer.status} without a token") from None
        return Signature(query=token, ends=time.monotonic() + life - min(EARLY, life / 10))

    def remedy(self) -> str:
        """What to do where the host refuses all the same."""
        return "the storage refuses a new token too"


@dataclass(frozen=True)
class FromEnvironment:
    """A token or key in an environment variable, sent as a header."""

    hosts: tuple[str, ...]
    """Hosts that it is sent to."""
    variable: str
    """Name of the environment variable; nothing is sent where it is not set."""
    header: Callable[[str], str]
    """Makes the ``Authorization`` header."""

    def scope(self, address: str) -> str:
        """One for all."""
        return self.variable

    def obtain(self, scope: str) -> Signature:
        """The header."""
        secret = os.environ.get(self.variable, "").strip()
        return Signature(
            headers={"Authorization": self.header(secret)} if secret else {}, ends=time.monotonic() + EARLY
        )

    def remedy(self) -> str:
        """What to do where the host refuses all the same."""
        held = "has ended or gives no right to it; renew" if os.environ.get(self.variable) else "is not set; set"
        return f"the environment variable {self.variable} {held} it"


def bearer(secret: str) -> str:
    """RFC 6750."""
    return f"Bearer {secret}"


def basic(secret: str) -> str:
    """RFC 7617: the key as user name, with no password."""
    return urllib3.make_headers(basic_auth=f"{secret}:")["authorization"]


def signers() -> tuple[Signer, ...]:
    """Who signs here: those of the environment first, then those of the public archives.

    Sources: Planetary Computer as above; https://urs.earthdata.nasa.gov/documentation/for_users/user_token;
    https://developers.planet.com/apis/ (basic authentication); https://documentation.dataspace.copernicus.eu/APIs/Token.html.
    """
    own: list[Signer] = [SharedAccess((host,), endpoint) for host, endpoint in _pairs(SHARED_ACCESS)]
    own += [FromEnvironment((host,), variable, bearer) for host, variable in _pairs(BEARERS)]
    earthdata = ("https://*.earthdatacloud.nasa.gov", "https://*.earthdata.nasa.gov", "https://e4ftl01.cr.usgs.gov")
    copernicus = ("https://download.dataspace.copernicus.eu", "https://zipper.dataspace.copernicus.eu")
    return (
        *own,
        SharedAccess(("https://*.blob.core.windows.net",), "https://planetarycomputer.microsoft.com/api/sas/v1/token"),
        FromEnvironment(earthdata, "EARTHDATA_TOKEN", bearer),
        FromEnvironment(copernicus, "CDSE_TOKEN", bearer),
        FromEnvironment(("https://*.planet.com",), "PL_API_KEY", basic),
    )


def _pairs(variable: str) -> list[tuple[str, str]]:
    """Entries ``left=right`` of an environment variable; raises ``Refused`` where one is none."""
    entries = [entry.strip().partition("=") for entry in os.environ.get(variable, "").split(",") if entry.strip()]
    if not all(left.startswith(("https://", "http://")) and right for left, _, right in entries):
        raise Refused(f"the environment variable {variable} is not a list of https://host=…; correct it.")
    return [(left.rstrip("/"), right.rstrip("/")) for left, _, right in entries]


def signer_of(address: str, among: tuple[Signer, ...]) -> Signer | None:
    """Who signs for the host of an address."""
    parts = split(address)
    port = f":{parts.port}" if parts.port else ""
    place = f"{parts.scheme}://{host_of(address)}{port}"
    return next((signer for signer in among if any(fnmatchcase(place, host) for host in signer.hosts)), None)


@cache
def _tokens(proxy: str) -> urllib3.PoolManager:
    """Connections to token services."""
    return pools(proxy, 4, 20.0)


class Keyring:
    """The signatures that a process holds: one for each scope, obtained when first wanted, renewed when they end."""

    def __init__(self, among: tuple[Signer, ...]) -> None:
        self.among = among
        self._held: dict[tuple[Signer, str], Signature] = {}
        self._lock = threading.Lock()

    def sign(self, address: str) -> Signature:
        """What to add to a request; nothing where nobody signs for the host. Raises ``OSError`` as ``Signer.obtain``."""
        signer = signer_of(address, self.among)
        if signer is None:
            return Signature()
        scope = (signer, signer.scope(address))
        with self._lock:  # held while asking, so that threads that want one token ask for it once
            if scope not in self._held or time.monotonic() >= self._held[scope].ends:
                self._held[scope] = signer.obtain(scope[1])
            return self._held[scope]

    def forget(self, address: str, used: Signature) -> None:
        """Drop a signature that a host refused, unless another thread has renewed it already."""
        signer = signer_of(address, self.among)
        if signer is not None:
            scope = (signer, signer.scope(address))
            with self._lock:
                if self._held.get(scope) is used:
                    del self._held[scope]

    def remedy(self, address: str) -> str:
        """What to do where a host refuses."""
        signer = signer_of(address, self.among)
        return signer.remedy() if signer is not None else "the host wants a key that fusecube does not know of"
