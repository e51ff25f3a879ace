"""STAC items from whichever kind of catalog: an API, a static catalog, a file with items, or a folder of such files.

An item that is not made as STAC says is handed on as what is wrong with it: it spoils nothing but itself.
"""

import json
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pystac
from pystac_client import Client
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from requests.exceptions import RequestException
from urllib3 import Retry
from urllib3.exceptions import HTTPError

from pipeline.access import REMOTE, redacted, resolve, shown
from pipeline.connections import Documents
from pipeline.errors import Refused
from pipeline.scene import Bounds

PAGE = 100
"""Items asked of an API at a time."""

MOST_PAGES = 100
"""Pages of collections, or of a collection of items, that are asked for."""

TIMEOUT = 30.0
"""Seconds without a byte after which an answer is given up."""

UNREACHED = (APIError, RequestException, HTTPError, OSError)
"""What a service or file raises that cannot be read."""

INVALID = (
    pystac.STACError, pystac.STACTypeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip
"""What reading a document raises that is not made as STAC says."""


@dataclass(frozen=True)
class Broken:
    """A document of a catalog that cannot be used."""

    id: str | None
    """Id of the item; ``None`` where the document does not tell."""
    reason: str
    """What is wrong with it, in one sentence that names no folder of this machine and no address in full."""


@dataclass(frozen=True)
class Wanted:
    """What a catalog that can search is asked for."""

    start: datetime
    """First moment, UTC."""
    end: datetime
    """Last moment, UTC."""
    bbox: Bounds | None
    """West, south, east, north in degrees; west is greater than east across the antimeridian."""
    ids: tuple[str, ...]
    """Only these items, where any are named."""
    fields: Mapping[str, Any]
    """Conditions on fields of the items, for services that know the query extension."""
    limit: int | None
    """No more than this many items."""


@dataclass(frozen=True)
class Static:
    """A catalog that is read whole: its documents, each once."""

    root: str
    """Address to which its files belong."""
    items: tuple[pystac.Item | Broken, ...]
    """Its items; of those that are not valid, what is wrong."""


@dataclass(frozen=True)
class Service:
    """A STAC API."""

    root: str
    """Address of its landing page."""
    client: Client
    """What asks it."""
    collections: frozenset[str] | None
    """Ids of its collections; ``None`` where it does not list them."""

    def search(self, collections: Iterable[str], wanted: Wanted) -> Iterator[pystac.Item | Broken]:
        """Items of collections that answer, page by page, each once; of those that are not valid, what is wrong."""
        seen = set()
        for bbox in _parts(wanted.bbox):
            found = self.client.search(
                collections=list(collections),
                bbox=bbox,
                datetime=(wanted.start, wanted.end),
                ids=list(wanted.ids) or None,
                query=dict(wanted.fields) if wanted.fields and self.client.conforms_to("QUERY") else None,
                limit=PAGE,
                max_items=wanted.limit,
            )
            with _named(self.root):
                for feature in found.items_as_dicts():
                    key = (str(feature.get("collection")), str(feature.get("id")))
                    if key not in seen:
                        seen.add(key)
                        yield _parsed(feature, self.root)


def opened(address: str, foreign: Callable[[str], bool]) -> Static | Service:
    """The catalog at an address or path, with its items read unless it is an API that searches them itself.

    Branches of a static catalog whose collection id is ``foreign`` are left out. Transient failures (429 and 5xx) are tried
    again with growing pauses. Raises ``Refused`` where there is no catalog.
    """
    if not address.strip():
        raise Refused("no STAC catalog is named: catalog: is empty; give the address or path of one.")
    with _named(address):
        if not urlsplit(address).scheme and Path(address).is_dir():
            return _folder(Path(address), foreign)
        io = _io(address)
        document = _read(io, address)
        kind = document.get("type")
        if kind == "FeatureCollection":
            return Static(address, tuple(_pages(io, document, address)))
        if kind == "Feature":
            return Static(address, (_parsed(document, address, own=True),))
        if any(link.get("rel") == "search" for link in _links(document)):
            client = Client.open(address, stac_io=io)
            return Service(address, client, _collections(io, document, address))
        if kind in ("Catalog", "Collection"):
            return Static(address, tuple(_walk(io, document, address, foreign)))
    raise _other_kind(address)


def _io(root: str) -> StacApiIO:
    """What reads the documents of a catalog."""
    io = StacApiIO(max_retries=None)
    io.session = Documents(root if urlsplit(root).scheme in REMOTE else "", _retries(), TIMEOUT)
    return io


def _other_kind(address: str) -> Refused:
    return Refused(f"there is no STAC catalog at {shown(address)}: the document there is of another kind.")


def _next(document: Mapping[str, Any], address: str, root: str) -> str | None:
    """Address of the page after one, ``None`` for the last; raises ``Refused`` where it may not be read or not be asked so."""
    link = next((link for link in _links(document) if link.get("rel") == "next"), None)
    if link is None:
        return None
    href = link.get("href")
    if not isinstance(href, str) or str(link.get("method", "GET")).upper() != "GET":
        raise Refused("it is no plain link")
    target = urljoin(address, href)
    # A page may well be named by a token, which no asset may carry; hosts are judged as the page is asked for.
    if urlsplit(root).scheme in REMOTE and urlsplit(target).scheme in ("http", "https"):
        return target
    return resolve(href, address, root)


def _pages(io: StacApiIO, document: dict[str, Any], root: str) -> Iterator[pystac.Item | Broken]:
    """Items of a collection of items, and of the pages that follow it, each page once."""
    seen, address = {root}, root
    while True:
        for feature in document["features"]:
            yield _parsed(feature, address)
        try:
            following = _next(document, address, root)
            if following is None or following in seen:
                return
            if len(seen) == MOST_PAGES:
                raise Refused(f"there are more than {MOST_PAGES} pages; name the API itself, which can be searched")
            document = _read(io, following)
            if not isinstance(document.get("features"), list):
                raise Refused("it holds no items")
        except (Refused, *UNREACHED, *INVALID) as error:
            yield Broken(None, f"what follows page {len(seen)} of the STAC catalog is not read ({reason(error)}).")
            return
        seen.add(following)
        address = following


def _collections(io: StacApiIO, landing: Mapping[str, Any], root: str) -> frozenset[str] | None:
    """Ids of a service's collections; ``None`` where it does not list them."""
    links, ids = _links(landing), set()
    first = next((link.get("href") for link in links if link.get("rel") == "data"), None)
    page = urljoin(root, first) if isinstance(first, str) else None
    for _ in range(MOST_PAGES):
        if page is None:
            break
        try:
            document = _read(io, page)
            ids |= {str(entry["id"]) for entry in document["collections"]}
            page = _next(document, page, root)
        except (Refused, *UNREACHED, *INVALID):
            return None
    return frozenset(ids) if ids else None


def _folder(folder: Path, foreign: Callable[[str], bool]) -> Static:
    """The catalog of a folder, else every item in the JSON files below it."""
    if (folder / "catalog.json").is_file():
        found = opened(str(folder / "catalog.json"), foreign)
        if isinstance(found, Static):
            return found
    root = str(folder / "catalog.json")
    io, items = _io(root), list[pystac.Item | Broken]()
    for path in sorted((*folder.rglob("*.json"), *folder.rglob("*.geojson"))):
        try:
            document = _read(io, str(path))
        except Refused:
            continue  # not every JSON file beside images is an item
        except (*UNREACHED, *INVALID) as error:
            items.append(_unread(str(path), error))  # it may have been one
            continue
        features = document.get("features") if document.get("type") == "FeatureCollection" else [document]
        if document.get("type") in ("Feature", "FeatureCollection") and isinstance(features, list):
            items += [_parsed(feature, str(path), own=True) for feature in features]
    if all(isinstance(item, Broken) and item.id is None for item in items):
        raise Refused(f"there is no STAC catalog at {folder}: no catalog.json, and no JSON file below it is an item.")
    return Static(root, tuple(items))


def _walk(
    io: StacApiIO, catalog: dict[str, Any], root: str, foreign: Callable[[str], bool]
) -> Iterator[pystac.Item | Broken]:
    """Items of a static catalog, depth first, each document once; its links must not lead where an asset must not."""
    seen, waiting = {root}, [root]
    while waiting:
        address = waiting.pop()
        try:
            document = catalog if address == root else _read(io, address)
        except (Refused, *UNREACHED, *INVALID) as error:
            yield _unread(address, error)
            continue
        if document.get("type") == "Feature":
            yield _parsed(document, address, own=True)
            continue
        if document.get("type") == "Collection" and foreign(str(document.get("id"))):
            continue
        onward = []
        for link in _links(document):
            if link.get("rel") not in ("item", "child") or not isinstance(link.get("href"), str):
                continue
            try:
                place = resolve(link["href"], address, root)
            except Refused as error:
                yield Broken(None, redacted(f"a link in {_file(address)} is not followed: {error}"))
                continue
            if place not in seen:
                seen.add(place)
                onward.append(place)
        waiting += reversed(onward)


def _read(io: StacApiIO, address: str) -> dict[str, Any]:
    remote = urlsplit(address).scheme not in ("", "file")
    document = json.loads(io.read_text(address) if remote else Path(address).read_text("utf-8"))
    if not isinstance(document, dict):
        raise _other_kind(address)
    return document


def _file(address: str) -> str:
    """The last part of an address."""
    return shown(address).rstrip("/").rpartition("/")[2]


def _unread(address: str, error: Exception) -> Broken:
    return Broken(None, f"{_file(address)} of the STAC catalog cannot be read ({reason(error)}); mend it there.")


def _links(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    links = document.get("links")
    return [link for link in links if isinstance(link, dict)] if isinstance(links, list) else []


def _parsed(feature: object, address: str, own: bool = False) -> pystac.Item | Broken:
    """The item of a document at ``address``, or what is wrong with it.

    Relative addresses in it are relative to ``address`` where the document is its ``own``, else to its self link.
    """
    named = str(feature.get("id"))[:200] if isinstance(feature, dict) else "?"
    try:
        said = [link for link in _links(feature) if link.get("rel") == "self"]  # type: ignore[arg-type]
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Both proj:code and proj:epsg", UserWarning)  # which contradict each other
            item = pystac.Item.from_dict(feature | {"links": []})  # type: ignore[operator]
        base = said[0].get("href") if said and not own else address
        item.set_self_href(base if isinstance(base, str) else address)
    except (UserWarning, *INVALID) as error:
        return Broken(
            named, redacted(f"item {named} of the STAC catalog is not valid ({reason(error)}); mend it there.")
        )
    return item


def _parts(bbox: Bounds | None) -> list[Bounds | None]:
    """A bbox, or its two parts on either side of the antimeridian."""
    if bbox is None or bbox[0] <= bbox[2]:
        return [bbox]
    west, south, east, north = bbox
    return [(west, south, 180.0, north), (-180.0, south, east, north)]


@contextmanager
def _named(address: str) -> Iterator[None]:
    """Errors below become refusals that name the catalog."""
    try:
        yield
    except Refused:
        raise
    except UNREACHED as error:
        raise Refused(
            f"there is no usable STAC catalog at {shown(address)} ({reason(error)}); check the address and try again."
        ) from error
    except INVALID as error:
        raise Refused(f"the STAC catalog at {shown(address)} is not valid ({reason(error)}); mend it there.") from error


def _retries() -> Retry:
    """Five more tries with growing pauses, or as long as the service asks for; two where nothing answers at all."""
    return Retry(
        total=5, connect=2, read=1, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None
    )


def reason(error: Exception) -> str:
    """A few words for an error, without the trail of retries that led to it, and without an address in full."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if status := getattr(error, "status_code", None):  # of an APIError that stands for an answer
        return f"the server answers {status}"  # what it says may repeat the query
    text = (error.strerror if isinstance(error, OSError) and error.strerror else str(error)).strip()
    if isinstance(error, HTTPError | RequestException | APIError):
        busy = re.search(r"too many (\d+) error", text)
        if busy:
            return f"the server answers {busy[1]} again and again"
        if "timed out" in text:
            return "the server does not answer in time"
        if "ertificate" in text:
            return "the server's certificate is not accepted"
        if "onnect" in text:
            return "nothing answers there"
    return redacted(text.splitlines()[0])[:160] if text else type(error).__name__
