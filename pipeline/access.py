"""Which files may be opened, and how: every address passes here before anything is opened."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from urllib.parse import SplitResult, unquote, unquote_plus, urljoin, urlsplit, urlunsplit

import rasterio
from rasterio.errors import RasterioError, RasterioIOError

from pipeline.errors import Refused
from pipeline.hosts import ALLOWED, allowed, host_of, is_private, split
from pipeline.remote import NAME, Opener, heads
from pipeline.signing import SharedAccess, signer_of, signers

REMOTE = ("http", "https", "s3")

# GeoTIFF and JPEG 2000 only. A VRT could name any other file or address, so it is not among them.
DRIVERS = ("GTiff", "JP2OpenJPEG")

# Of a file whose address names a variable.
GRIDS = {"netCDF": 'NETCDF:"{path}":{variable}', "HDF5Image": 'HDF5:"{path}"://{variable}'}

ANEW = {"CPL_VSIL_CURL_NON_CACHED": "/vsis3/"}
"""With these, GDAL's client asks again for what it has had a broken answer for."""

LAYER = "#layer="
"""What stands between an address and the layer of a file."""

AREAS = (1e-18, 1e15)
"""Least and largest area of a pixel, in the unit of its CRS: below a millimetre in degrees, above the Earth in metres."""

FARTHEST = (720.0, 120.0)
"""Degrees of longitude and latitude beyond which a file has none: grids may begin elsewhere and end past a pole, in part."""

SIGNED = {
    *("sig", "sas", "key", "auth", "authorization", "jwt", "bearer", "policy", "pwd", "pass", "passwd", "session"),
    *("awsaccesskeyid", "googleaccessid", "keypairid", "clientid", "hmac", "hdnea", "hdnts"),
}
"""Names in a query that carry a secret; in lower case, without what joins their words."""

SECRET = ("token", "secret", "password", "signature", "credential", "apikey", "accesskey", "subscriptionkey", "authkey")
"""Words that say the same wherever they stand in a name."""

# A small block cache (MB), so that a worker's memory does not grow with the region. The others are for s3:// only, which
# GDAL's client reads: transient failures are tried again, neighbouring ranges come in one request.
GDAL_OPTIONS = {
    "GDAL_CACHEMAX": 64,
    "GDAL_HTTP_MAX_RETRY": 6,
    "GDAL_HTTP_RETRY_DELAY": 0.5,
    "GDAL_HTTP_RETRY_CODES": "ALL",
    "GDAL_HTTP_TIMEOUT": 60,
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
}


def resolve(href: str, base: str, root: str) -> str:
    """The absolute address of an asset, without a signature; raises ``Refused`` where it must not be opened.

    Parameters
    ----------
    href
        Address as the item has it, perhaps relative; ``#layer=3`` or ``#layer=variable:1`` at its end names a layer.
    base
        Address of the item or of the item collection.
    root
        Address of the catalog. Files of this machine are opened only below its folder, and a private or loopback host
        only where the catalog itself came from it, or where ``FUSECUBE_ALLOWED_HOSTS`` names it.
    """
    place, variable, index = split_layer(href)
    layer = LAYER + (f"{variable}:{index}" if variable else str(index)) if LAYER in href else ""
    try:
        scheme = urlsplit(place).scheme or _prefix(place)
        if not place.strip():
            raise _refused(href, "it is empty; correct the item.")
        if re.search(r"[<\0-\x1f\x7f]", unquote(place)) or (scheme not in REMOTE and "/vsi" in unquote(place).lower()):
            raise _refused(href, "it names a GDAL device, not a file; correct the item.")
        if not scheme and urlsplit(base).scheme in REMOTE:
            place = urljoin(base, place)
            scheme = urlsplit(place).scheme
        if scheme in REMOTE:
            return _web_address(place, root, variable) + layer
    except Refused:
        raise
    except ValueError as error:
        raise _refused(href, f"it is no address ({redacted(str(error))[:80]}); correct the item.") from None
    if scheme not in ("", "file"):
        raise _refused(href, f"'{scheme}' is not among {', '.join(REMOTE)}.")
    if urlsplit(root).scheme in REMOTE:
        raise _refused(href, "a remote catalog cannot name files of this machine.")
    return str(_path(place, base, root, variable)) + layer


def split_layer(address: str) -> tuple[str, str | None, int]:
    """Address of a file, the variable of it that is meant (``None`` for the file itself), and the band, from 1.

    Raises ``Refused`` where a layer is named that cannot be one.
    """
    place, mark, layer = address.rpartition(LAYER)
    if not mark:
        return address, None, 1
    named = re.fullmatch(r"(?:(?P<variable>[A-Za-z0-9_][\w ./-]*):)?(?P<index>[1-9]\d{0,5})", layer, re.ASCII)
    if not named or LAYER in place:
        raise _refused(address, "its layer is neither a number nor variable:number; correct the item.")
    return place, named["variable"], int(named["index"])


def _prefix(place: str) -> str:
    """What stands before a colon and is no scheme, as GDAL names its drivers (``GTIFF_RAW:``); '' for none."""
    named = re.match(r"([A-Za-z]\w*):", place)
    return named[1].lower() if named else ""


def shown(address: str) -> str:
    """An address as whoever gave it may be told: without user, query and signature, and not at any length."""
    place = re.split(r"[?#]", address, maxsplit=1)[0]
    place = re.sub(r"^((?:[A-Za-z][\w+.-]*:)?//)[^/]*@", r"\1", place)
    return re.sub(r"(^|/)[^/@]*:[^/@]*@", r"\1", place)[:200]


def shortened(address: str) -> str:
    """An address as a store may keep it: its host, if any, and its last part; no folder, user, query or signature."""
    place = shown(address)
    server = re.match(r"(?:[A-Za-z][\w+.-]*:)?//[^/]+(?=/|$)", place)
    start, rest = (server[0], place[server.end() :]) if server else ("", place)
    folders, _, name = rest.rpartition("/")
    return f"{start}{'/…' if start and folders else '…' if folders else ''}{'/' if '/' in rest else ''}{name.split(';')[0]}"


def redacted(text: str) -> str:
    """A text in which every address is ``shortened``, whoever put it there."""
    text = re.sub(r"[A-Za-z][\w+.-]*://[^\s'\"<>]+", lambda found: shortened(found[0]), text)
    text = re.sub(r"(?<![\w.:/…*])/(?:[^\s/'\"]+/)+(?=[^\s/'\"])", "…/", text)
    text = re.sub(r"[^\s'\"/@:(]+:[^\s'\"/@]+@", "", text)
    return re.sub(r"\?[^\s'\"]*=[^\s'\"]*", "", text)


def _refused(href: str, reason: str) -> Refused:
    return Refused(f"asset address {shortened(href)!r} is refused: {reason}")


def _web_address(place: str, root: str, variable: str | None) -> str:
    """An address of a server, as it is kept."""
    parts, host = split(place), host_of(place)
    _readable(place, parts.path.rsplit("/", 1)[-1], variable)
    if variable:
        raise _refused(
            place, "netCDF and HDF5 are read from disk only; download the file and name it in a catalog there."
        )
    if parts.scheme == "s3":
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", parts.netloc) or not parts.path.strip("/"):
            raise _refused(place, "it names no bucket and key; correct the item.")
        return place
    private = not host or is_private(host)
    if private and host not in allowed() and host != (host_of(root) if urlsplit(root).scheme in REMOTE else None):
        raise _refused(
            place,
            f"'{host}' is a private address and not the catalog's host; name it in {ALLOWED} if it may be read from.",
        )
    if "@" in parts.netloc:
        raise _refused(place, "it carries a user name; correct the item.")
    if not re.fullmatch(r"[\w-]+(\.[\w-]+)*|[0-9a-f:.]+", host):
        raise _refused(place, f"'{host}' is no host; correct the item.")
    if _signed(parts):
        if not isinstance(signer_of(place, signers()), SharedAccess):
            raise _refused(
                place,
                "it carries a signature or key, which would be stored with it; name the unsigned address, and give keys in "
                "the environment.",
            )
        place = urlunsplit((*parts[:3], "", ""))
    return place


def _signed(parts: SplitResult) -> bool:
    """Whether an address carries what looks like a secret: in its query, its fragment, or behind a semicolon."""
    behind = [parameter for segment in parts.path.split("/") for parameter in segment.split(";")[1:]]
    for parameter in (*re.split("[&;]", parts.query), *re.split("[?&;]", parts.fragment), *behind):
        name = re.sub(r"[\W_]", "", unquote_plus(parameter.partition("=")[0])).lower()
        if name in SIGNED or any(word in name for word in SECRET):
            return True
    return False


def _path(place: str, base: str, root: str, variable: str | None) -> Path:
    """A file of this machine, links followed."""
    try:
        path = (Path(base).parent / unquote(urlsplit(place).path)).resolve()
    except (OSError, RuntimeError):
        raise _refused(place, "it is no path; correct the item.") from None
    if not path.is_relative_to(Path(root).resolve().parent):
        raise _refused(place, "it lies outside the catalog's own folder.")
    _readable(place, path.name, variable)
    return path


def _readable(href: str, name: str, variable: str | None) -> None:
    """Refuse files that are known by their name not to be readable here."""
    kind = unquote(name).lower().rpartition(".")[2]
    if kind == "vrt":
        raise _refused(href, "a VRT can name any other file; name the files that it is made of.")
    if kind in ("hdf", "hdf4", "h4"):
        raise _refused(
            href, "HDF4 is not read here; take the product as GeoTIFF (COG), or convert it with gdal_translate."
        )
    if kind in ("nc", "nc4", "h5", "hdf5", "he5") and not variable:
        raise _refused(href, f"it does not say which variable is meant; add {LAYER}variable:1 to it.")


@contextmanager
def open_raster(address: str) -> Iterator[rasterio.DatasetReader]:
    """Open a file that ``resolve`` let pass, at full resolution (overviews hidden), with the allowed drivers only.

    What was read is good once the block is left without an exception: only then is it known that every part of a remote
    file has come. Raises ``rasterio.errors.RasterioError`` where it cannot be opened, ``OSError`` where it has no
    georeference or its server does not give it; the text of the latter names no address.
    """
    place, variable, _ = split_layer(address)
    scheme = urlsplit(place).scheme
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR" if scheme in REMOTE else "TRUE", **GDAL_OPTIONS):
        if scheme in ("http", "https"):
            with _remote(place) as source:
                yield _placed(source)
        elif scheme == "s3":
            with rasterio.Env(**_endpoint(place)), _open(place) as source:
                yield _placed(source)
        else:
            with _open_variable(place, variable) if variable else _open(place) as source:
                yield _placed(source)


def may_pass(error: Exception, address: str) -> bool:
    """Whether reading a file anew may help: only of s3://, where GDAL's own client takes a broken answer for the end.

    What was fetched through ``pipeline.transport`` has been tried again already.
    """
    lasting = ("404", "403", "not recognized", "does not exist", "No such file")
    broken = isinstance(error, RasterioError) and not any(word in str(error) for word in lasting)
    return broken and urlsplit(address).scheme == "s3"


@contextmanager
def _remote(place: str) -> Iterator[rasterio.DatasetReader]:
    """A file of a web server; a failure of the server comes before what GDAL makes of it."""
    held = heads()
    held.of(place)  # what its server has to say comes before GDAL
    opener = Opener(place, held)
    try:
        with _open(NAME, opener=opener) as source:
            yield source
    except RasterioError:
        if opener.failure is not None:
            raise opener.failure from None
        raise
    if opener.failure is not None:
        raise opener.failure


def _endpoint(place: str) -> dict[str, str]:
    """Where a bucket is, other than with Amazon: that of Copernicus Data Space is with its own service.

    Source: https://documentation.dataspace.copernicus.eu/APIs/S3.html. Keys are taken from ``AWS_ACCESS_KEY_ID`` and
    ``AWS_SECRET_ACCESS_KEY`` by GDAL.
    """
    if urlsplit(place).netloc.lower() == "eodata":
        return {"AWS_S3_ENDPOINT": "eodata.dataspace.copernicus.eu", "AWS_VIRTUAL_HOSTING": "FALSE"}
    return {}


def _placed(source: rasterio.DatasetReader) -> rasterio.DatasetReader:
    """A file whose header says where on Earth its pixels lie; raises ``OSError`` where it does not."""
    crs = source.crs
    if crs is None or source.transform.is_identity:
        raise OSError("the file has no georeference")
    least, most = AREAS
    if not all(map(isfinite, source.transform)) or not least < abs(source.transform.determinant) < most:
        raise OSError("the file's pixels have no extent on Earth")
    if not (crs.is_geographic or crs.is_projected):
        raise OSError("the file's CRS is neither geographic nor projected")
    if crs.is_geographic:
        corners = [source.transform * (col, row) for col in (0, source.width) for row in (0, source.height)]
        if any(abs(east) > FARTHEST[0] or abs(north) > FARTHEST[1] for east, north in corners):
            raise OSError("the file's CRS is in degrees, its coordinates are not")
    return source


def _open(address: str, **options: Opener) -> rasterio.DatasetReader:
    """Open with the allowed drivers, one after the other."""
    first: RasterioIOError | None = None
    for driver in DRIVERS:
        try:
            return rasterio.open(address, driver=driver, OVERVIEW_LEVEL="NONE", sharing=False, **options)
        except RasterioIOError as error:
            first = first or error
    raise first or RasterioIOError("no driver is allowed")


def _open_variable(path: str, variable: str) -> rasterio.DatasetReader:
    """Open a variable of a netCDF or HDF5 file of this machine."""
    with open(path, "rb") as file:
        start = file.read(8)
    if start.startswith(b"\x0e\x03\x13\x01"):
        raise OSError("the file is HDF4, which is not read here; take the product as GeoTIFF, or convert it")
    if '"' in path or not (start.startswith(b"CDF") or start == b"\x89HDF\r\n\x1a\n"):
        raise OSError("the file is neither netCDF nor HDF5")
    for driver, form in GRIDS.items():
        try:
            return rasterio.open(form.format(path=path, variable=variable), driver=driver, sharing=False)
        except RasterioIOError:
            continue
    raise OSError(f"the file has no variable '{variable}' that can be read")
