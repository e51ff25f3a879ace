"""A cluster that runs already, by the address of its scheduler."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from distributed import Client, Security

from pipeline.errors import Refused

TIMEOUT = 10.0
"""Seconds after which a scheduler that does not answer is not there."""


@dataclass(frozen=True)
class Certificates:
    """Files in PEM that a scheduler with TLS asks for; they never leave this machine."""

    ca: Path
    """Certificate of the authority that signed the scheduler's."""
    cert: Path
    """Certificate that this client shows."""
    key: Path
    """Its key."""


@contextmanager
def address(where: str, certificates: Certificates | None = None, *, timeout: float = TIMEOUT) -> Iterator[Client]:
    """A client of the scheduler at an address, which goes on when the client leaves.

    Parameters
    ----------
    where
        ``tcp://host:port``, or ``tls://host:port`` for one with TLS.
    certificates
        For TLS; by default those of Dask's own configuration (``DASK_DISTRIBUTED__COMM__TLS__CA_FILE`` and the like).
    timeout
        Seconds after which a scheduler that does not answer is not there.

    Raises ``Refused`` where there is no scheduler, or certificates are missing.
    """
    security = _security(where, certificates)
    try:
        client = Client(where, security=security, timeout=timeout)
    except OSError as error:  # Dask's timeouts are of this kind too
        reason = "certificates do not agree" if "certificate" in str(error).lower() else "it does not answer"
        raise Refused(
            f"there is no Dask scheduler at {where} ({reason}); start one by 'dask scheduler', or see to the address, "
            "the network and, for tls://, the certificates."
        ) from None
    with client:
        yield client


def _security(where: str, certificates: Certificates | None) -> Security | None:
    if not where.startswith("tls://"):
        return None
    if certificates is None:
        security = Security(require_encryption=True)
        if not all(security.get_tls_config_for_role("client")[part] for part in ("ca_file", "cert", "key")):
            raise Refused(f"{where} needs certificates; give cluster.tls: {{ca: …, cert: …, key: …}}.")
        return security
    for name in ("ca", "cert", "key"):
        file = getattr(certificates, name)
        if not file.is_file():
            raise Refused(f"there is no file {file}; cluster.tls.{name} names one in PEM.")
    return Security(
        require_encryption=True,
        tls_ca_file=str(certificates.ca),
        tls_client_cert=str(certificates.cert),
        tls_client_key=str(certificates.key),
    )
