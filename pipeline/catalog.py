"""From a query to scenes: a STAC API, a static catalog, or a file with an item collection."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import pystac
from pystac.stac_io import RetryStacIO
from pystac_client import Client
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from requests.exceptions import RequestException
from shapely.geometry import box, shape
from urllib3 import Retry
from urllib3.exceptions import HTTPError

from pipeline.dialects import collections_of, tile_of, to_scene
from pipeline.dialects.normalise import cloud_cover
from pipeline.errors import Refused
from pipeline.scene import Scene
from pipeline.sensors import Sensor

Made = TypeVar("Made")

PAGE = 100
"""Items asked of an API at a time."""


@dataclass(frozen=True)
class Query:
    """What to look for."""

    catalog: str
    """Address of a STAC API, of a static catalog, or of a file with an item collection; or a path."""
    sensor: Sensor
    """The sensor whose collections are searched."""
    start: datetime
    """First moment, UTC."""
    end: datetime
    """Last moment, UTC."""
    bbox: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees; everywhere where ``None``."""
    level: str | None = None
    """Processing level; where ``None``, the sensor's preferred level that has scenes."""
    max_cloud: float = 100.0
    """Highest cloud cover of a scene in percent."""
    scenes: tuple[str, ...] = ()
    """Only these item ids, where any are named."""
    tile: str | None = None
    """Only this tile of the Military Grid Reference System, such as ``33UUB``."""
    limit: int | None = None
    """No more than this many items of an API."""


def find(query: Query) -> list[Scene]:
    """The scenes that answer a query, oldest first; an empty list where there are none.

    The sensor's collections are asked in their order of preference, and the first that has scenes is taken: one service
    may hold the same acquisitions under two names.

    Transient failures of the service (429 and 5xx) are tried again with growing pauses; pages are followed. Raises
    ``Refused`` where there is no catalog at the address or an item cannot be used.
    """
    for collection, level in collections_of(query.sensor):
        if query.level not in (None, level):
            continue
        scenes = {}
        for item in _items(query, [collection]):
            if item.collection_id == collection and _checked(item, partial(_answers, query=query)):
                make = partial(to_scene, root=query.catalog)
                scenes[item.id] = _checked(item, make)
        if scenes:
            return sorted(scenes.values(), key=lambda s: (s.acquired, s.id))
    return []


def _checked(item: pystac.Item, use: Callable[[pystac.Item], Made]) -> Made:
    """What ``use`` makes of an item; raises ``Refused``, naming the item, where its fields do not allow it."""
    try:
        return use(item)
    except Refused:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise Refused(
            f"item {item.id} has a field that cannot be used ({_reason(error)}); correct the item."
        ) from error


def _answers(item: pystac.Item, query: Query) -> bool:
    """Whether an item lies in the query; an API has looked already, a file has not."""
    moment = item.datetime or item.common_metadata.start_datetime
    if moment is None or not query.start <= moment.astimezone(UTC) <= query.end:
        return False
    if query.scenes and item.id not in query.scenes:
        return False
    if query.tile and query.tile != tile_of(item):
        return False
    if query.max_cloud < 100 and cloud_cover(item) > query.max_cloud:
        return False
    if query.bbox is None:
        return True
    footprint = shape(item.geometry) if item.geometry else box(*(item.bbox or (-180, -90, 180, 90)))
    return bool(footprint.intersects(box(*query.bbox)))


def _items(query: Query, collections: list[str]) -> Iterator[pystac.Item]:
    """All items of a catalog that might answer, from whichever kind of catalog it is."""
    io = RetryStacIO(retry=_retries())
    try:
        document = json.loads(io.read_text(query.catalog))
        if not isinstance(document, dict):
            raise Refused(f"there is no STAC catalog at {query.catalog}: the document there is of another kind.")
        kind = document.get("type")
        if kind == "FeatureCollection":
            for feature in document.get("features", []):
                item = pystac.Item.from_dict(feature)
                item.set_self_href(item.get_self_href() or query.catalog)
                yield item
        elif kind == "Feature":
            yield _with_home(pystac.Item.from_dict(document), query.catalog)
        elif any(link.get("rel") == "search" for link in document.get("links", [])):
            yield from _search(query, collections)
        elif kind in ("Catalog", "Collection"):
            yield from _walk(pystac.read_file(query.catalog, stac_io=io), set(collections))
        else:
            raise Refused(f"there is no STAC catalog at {query.catalog}: the document there is of another kind.")
    except Refused:
        raise
    except (APIError, RequestException, HTTPError, OSError) as error:
        raise Refused(
            f"there is no usable STAC catalog at {query.catalog} ({_reason(error)}); check the address and try again."
        ) from error
    except (pystac.STACError, pystac.STACTypeError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"the STAC catalog at {query.catalog} is not valid ({_reason(error)}); mend it there.") from error


def _retries() -> Retry:
    """Five more tries with growing pauses, or as long as the service asks for; two where nothing answers at all."""
    return Retry(
        total=5, connect=2, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None
    )


def _reason(error: Exception) -> str:
    """A few words for an error, without the trail of retries that led to it."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, HTTPError | RequestException) and "onnect" in str(error):
        return "nothing answers there"
    text = str(error).strip().splitlines()
    return text[0][:160] if text else type(error).__name__


def _with_home(item: pystac.Item, address: str) -> pystac.Item:
    item.set_self_href(address)
    return item


def _search(query: Query, collections: list[str]) -> Iterable[pystac.Item]:
    client = Client.open(query.catalog, stac_io=StacApiIO(max_retries=_retries()))
    found = client.search(
        collections=collections,
        bbox=query.bbox,
        datetime=(query.start, query.end),
        ids=list(query.scenes) or None,
        query={"grid:code": {"eq": f"MGRS-{query.tile}"}} if query.tile else None,
        limit=PAGE,
        max_items=query.limit,
    )
    return found.items()


def _walk(root: pystac.STACObject, collections: set[str]) -> Iterator[pystac.Item]:
    """Items of a static catalog, leaving out the branches of other collections."""
    if isinstance(root, pystac.Collection) and root.id not in collections:
        return
    if isinstance(root, pystac.Catalog):
        yield from root.get_items()
        for child in root.get_children():
            yield from _walk(child, collections)
