"""Which hosts may be spoken to: public ones, the catalog's own, and those that an installation allows by name.

A name is judged twice: by its spelling when a catalog is read, and by the addresses it resolves to when a worker connects.
"""

import ipaddress
import os
import socket
import unicodedata
from urllib.parse import SplitResult, unquote, urlsplit

ALLOWED = "FUSECUBE_ALLOWED_HOSTS"
"""Environment variable: names of private hosts that may be read from, with commas between."""

INSIDE = ("localhost", "localdomain", "local", "internal", "intranet", "lan", "home.arpa")
"""Domains that are never public (RFC 6761, 6762, 8375, and what routers and clouds use)."""

NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""Addresses that stand for one of the older internet (RFC 6052)."""


def split(address: str) -> SplitResult:
    """The parts of an address; raises ``ValueError`` where it has none that every client would agree on."""
    parts = urlsplit(address)
    if parts.netloc and (not parts.hostname or parts.port == 0):
        raise ValueError(f"{parts.netloc!r} is no host")
    return parts


def host_of(address: str) -> str:
    """The host of an address in lower case, decoded as clients decode it, without a dot at its end; '' for none."""
    host = unquote(split(address).hostname or "")
    return unicodedata.normalize("NFKC", host).replace("\u3002", ".").lower().rstrip(".")


def allowed() -> frozenset[str]:
    """Hosts that this installation allows by name."""
    return frozenset(name.strip().lower() for name in os.environ.get(ALLOWED, "").split(",") if name.strip())


def is_private(host: str) -> bool:
    """Whether the spelling of a host says that it is not public (``127.1``, ``0x7f000001``, ``[::1]``, ``printer``)."""
    try:
        return not _public(host)
    except ValueError:
        pass
    try:
        return not _public(socket.inet_ntoa(socket.inet_aton(host)))
    except (OSError, UnicodeError):
        return "." not in host or any(host.endswith(f".{domain}") for domain in INSIDE)


def _public(address: str) -> bool:
    """Whether an IP address is public, and the one that it wraps; raises ``ValueError`` where it is none."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        wrapped = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if wrapped is None and (ip in NAT64 or int(ip) < 2**32):
            wrapped = ipaddress.IPv4Address(int(ip) % 2**32)
        if wrapped is not None:
            return _public(str(wrapped))
    return ip.is_global and not ip.is_multicast


def addresses(host: str, port: int) -> list[str]:
    """IP addresses of a host that may be connected to, in the system's order.

    A host whose very spelling is private was let pass when the catalog was read, and is not judged again; a public name that
    leads to a private address is refused with ``PermissionError``. Raises ``OSError`` where the name is not known.
    """
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if not is_private(host) and host not in allowed() and not all(_public(address) for address in found):
        raise PermissionError(f"the name '{host}' leads to a private address; allow it in {ALLOWED} if that is meant")
    return found
