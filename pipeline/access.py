"""Which files may be opened, and how: every address passes here before GDAL sees it."""

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import rasterio
from rasterio.errors import RasterioIOError

from pipeline.errors import Refused

REMOTE = ("http", "https", "s3")

# GeoTIFF and JPEG 2000 only. A VRT could name any other file or address, so it is not among them.
DRIVERS = ("GTiff", "JP2OpenJPEG")

# Retries of what may pass (429, 5xx) with GDAL's own back-off; neighbouring ranges in one request; a small block cache
# (MB), so that a worker's memory does not grow with the region.
GDAL_OPTIONS = {
    "GDAL_HTTP_MAX_RETRY": 4,
    "GDAL_HTTP_RETRY_DELAY": 0.5,
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_TIMEOUT": 60,
    "GDAL_CACHEMAX": 64,
    "VSI_CACHE": True,
}


def resolve(href: str, base: str, root: str) -> str:
    """The absolute address of an asset; raises ``Refused`` where it must not be opened.

    Parameters
    ----------
    href
        Address as the item has it, perhaps relative.
    base
        Address of the item or of the item collection.
    root
        Address of the catalog. Files of this machine are opened only below its folder, and a private or loopback host
        only where the catalog itself came from it.
    """
    scheme = urlsplit(href).scheme
    if "<" in href or "\0" in href or (scheme not in REMOTE and "/vsi" in href):
        raise Refused(f"asset address {href!r} is refused: it names a GDAL device, not a file; correct the item.")
    if not scheme and urlsplit(base).scheme in REMOTE:
        href = urljoin(base, href)
        scheme = urlsplit(href).scheme
    if scheme in REMOTE:
        _allow_host(href, root)
        return href
    if scheme not in ("", "file"):
        raise Refused(f"asset address {href!r} is refused: '{scheme}' is not among {', '.join(REMOTE)}.")
    if urlsplit(root).scheme in REMOTE:
        raise Refused(f"asset address {href!r} is refused: a remote catalog cannot name files of this machine.")
    path = (Path(base).parent / unquote(urlsplit(href).path)).resolve()
    if not path.is_relative_to(Path(root).resolve().parent):
        raise Refused(f"asset address {href!r} is refused: it lies outside the catalog's own folder.")
    return str(path)


def _allow_host(href: str, root: str) -> None:
    """Refuse private hosts, in every spelling that an HTTP client takes for one (``127.1``, ``0x7f000001``, ``%31…``)."""
    host = unquote(urlsplit(href).hostname or "").rstrip(".")
    if host == urlsplit(root).hostname:
        return
    try:
        public = ipaddress.ip_address(host).is_global
    except ValueError:
        try:
            public = ipaddress.ip_address(socket.inet_aton(host)).is_global
        except OSError:
            public = bool(host) and host != "localhost" and not host.endswith(".localhost")
    if not public:
        raise Refused(f"asset address {href!r} is refused: '{host}' is a private address and not the catalog's host.")


@contextmanager
def open_raster(address: str) -> Iterator[rasterio.DatasetReader]:
    """Open a file that ``resolve`` let pass, at full resolution (overviews hidden), with the allowed drivers only.

    Raises ``rasterio.errors.RasterioError`` where it cannot be opened, ``OSError`` where it has no georeference.
    """
    # Side-car files of a remote file cost a request each; those of a local one may hold its georeference.
    listing = "EMPTY_DIR" if urlsplit(address).scheme in REMOTE else "TRUE"
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN=listing, **GDAL_OPTIONS), _open(address) as source:
        if source.crs is None:
            raise OSError("the file has no georeference")
        yield source


def _open(address: str) -> rasterio.DatasetReader:
    first: RasterioIOError | None = None
    for driver in DRIVERS:
        try:
            return rasterio.open(address, driver=driver, OVERVIEW_LEVEL="NONE", sharing=False)
        except RasterioIOError as error:
            first = first or error
    raise first or RasterioIOError("no driver is allowed")
