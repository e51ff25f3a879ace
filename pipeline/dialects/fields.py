"""What an item states of numbers, times and the coding of its files; what it states wrongly is refused, never guessed at."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite, isnan
from typing import Any

import pystac

from pipeline.errors import Refused

TYPES = frozenset(
    ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
)
"""Types of digital numbers that can be read, as the raster extension names them."""

UNITS = {"db": "dB", "decibel": "dB", "decibels": "dB", "amplitude": "amplitude"}
"""Units that change how digital numbers are decoded, in the words of catalogs (lower case) and in ours."""

BROKEN = (
    pystac.STACError, pystac.STACTypeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip
"""What reading an item raises that is not made as STAC says."""

FIRST, LAST = datetime(1972, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Between which any scene was acquired: the first Landsat flew in 1972."""


@dataclass(frozen=True)
class Stated:
    """What an item states of how one layer of a file is coded, ``None`` where it does not."""

    scale: float | None = None
    """Step of the scaled value per digital number."""
    offset: float | None = None
    """Scaled value of digital number 0."""
    nodata: float | None = None
    """Digital number of nodata; may be NaN."""
    dtype: str | None = None
    """Type of the digital numbers."""
    unit: str | None = None
    """Unit of the scaled value."""


@contextmanager
def naming(item: pystac.Item) -> Iterator[None]:
    """Every error below becomes a refusal that names the item; an item without a proper id is refused at once."""
    if text(item.id, 500) == "":
        raise Refused(f"item {str(item.id)[:60]!r} has an id that is no short printable string; correct the item.")
    try:
        yield
    except Refused as error:
        raise error if str(item.id) in str(error) else Refused(f"item {item.id}: {error}") from error
    except BROKEN as error:
        raise Refused(
            f"item {item.id} has a field that cannot be used ({str(error)[:120]}); correct the item."
        ) from error


def number(value: object) -> float | None:
    """A finite number, ``None`` where the value is none; words and truth values are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if isfinite(value) else None
    except OverflowError:
        return None


def text(value: object, longest: int = 200) -> str:
    """A short printable string; empty where the value is none."""
    return value if isinstance(value, str) and len(value) <= longest and value.isprintable() else ""


def first(properties: Mapping[str, Any], *names: str) -> Any:
    """The first of several fields that is there and not null."""
    return next((properties[name] for name in names if properties.get(name) is not None), None)


def stated(item: pystac.Item, key: str, layer: int) -> Stated:
    """What an item states of a layer (from 1) of an asset: ``raster:bands``, ``bands`` of STAC 1.1, the asset, the item.

    Raises ``Refused`` where it states something that cannot be, or two things that differ.
    """
    more = item.assets[key].extra_fields
    sources = [
        source for name in ("raster:bands", "bands") if (source := _layer(item, key, more.get(name), name, layer))
    ]
    sources.append(more)
    sources.append(
        {name: item.properties[name] for name in ("raster:scale", "raster:offset") if name in item.properties}
    )
    readers: Mapping[str, tuple[Callable[[object], Any], tuple[str, ...]]] = {
        "scale": (_step, ("scale", "raster:scale")),
        "offset": (_shift, ("offset", "raster:offset")),
        "nodata": (_nodata, ("nodata", "raster:nodata")),
        "dtype": (_dtype, ("data_type", "raster:data_type")),
        "unit": (_unit, ("unit",)),
    }
    found: dict[str, Any] = {}
    for field, (read, names) in readers.items():
        said = [value for source in sources if (value := first(source, *names)) is not None]
        try:
            values = [read(value) for value in said]
        except ValueError:
            raise Refused(
                f"item {item.id} states {names[0]} {str(said)[:60]} for asset {key}, which cannot be; correct the item."
            ) from None
        if any(not _same(value, values[0]) for value in values):
            raise Refused(f"item {item.id} states {names[0]} of asset {key} twice, {str(said)[:60]}; correct the item.")
        found[field] = values[0] if values else None
    return Stated(**found)


def _layer(item: pystac.Item, key: str, layers: object, name: str, layer: int) -> Mapping[str, Any] | None:
    """What a list of layers says of one; a list of one speaks for all."""
    if layers is None:
        return None
    if not isinstance(layers, list) or not all(isinstance(entry, dict) for entry in layers):
        raise Refused(f"item {item.id} has {name} of asset {key} that is no list of layers; correct the item.")
    if len(layers) == 1:
        return layers[0]
    return layers[layer - 1] if layer <= len(layers) else None


def _same(left: object, right: object) -> bool:
    both_nan = isinstance(left, float) and isinstance(right, float) and isnan(left) and isnan(right)
    return left == right or both_nan


def _step(value: object) -> float:
    step = number(value)
    if step is None or step == 0:
        raise ValueError
    return step


def _shift(value: object) -> float:
    shift = number(value)
    if shift is None:
        raise ValueError
    return shift


def _nodata(value: object) -> float:
    if value in ("nan", "inf", "-inf"):
        return float(str(value))
    if isinstance(value, float) and not isfinite(value):
        return value
    return _shift(value)


def _dtype(value: object) -> str:
    if not isinstance(value, str) or value not in TYPES:
        raise ValueError
    return value


def _unit(value: object) -> str:
    said = text(value, 60)
    if not said:
        raise ValueError
    return UNITS.get(said.lower(), said)


def acquired(item: pystac.Item) -> datetime:
    """When an item was acquired, UTC: its ``datetime``, else the middle of its period; raises ``Refused`` without one."""
    start, end = period_of(item)
    return start + (end - start) / 2


OVERPASS = {"terra": 10.5, "aqua": 13.5}
"""Local solar time, in hours, at which MODIS passes by day: MODIS Land Surface Reflectance User's Guide, collection 6."""


def overpass(item: pystac.Item, platform: str, longitude: float) -> datetime:
    """When MODIS passed a longitude within the UTC day of a daily product; the item's own time where it states one.

    East of about 150 degrees the pass of a UTC day falls on the next local day.
    """
    start, end = period_of(item)
    if not timedelta(hours=20) < end - start < timedelta(hours=25) or platform not in OVERPASS:
        return start + (end - start) / 2
    return start + timedelta(hours=(OVERPASS[platform] - longitude / 15) % 24)


def period_of(item: pystac.Item) -> tuple[datetime, datetime]:
    """First and last moment of an item, UTC: twice its ``datetime``, where it has one; raises ``Refused`` without either."""
    try:
        start, end = item.datetime, item.datetime
        if start is None:
            start, end = item.common_metadata.start_datetime, item.common_metadata.end_datetime
        if start is None:
            raise Refused(f"item {item.id} has no time; add datetime to the item.")
        start, end = _utc(start), _utc(end or start)
    except Refused:
        raise
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise Refused(f"item {item.id} has a time that cannot be read; correct the item.") from error
    if not FIRST <= start <= end < LAST:
        raise Refused(
            f"item {item.id} says that it is of {start.year} to {end.year}, which cannot be; correct the item."
        )
    return start, end


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def cloud_cover(item: pystac.Item) -> float:
    """Percent; 100 where the item does not say, so that such a scene comes last.

    Services write -1 where it was not estimated (Landsat); anything that is no number is refused.
    """
    said = first(item.properties, "eo:cloud_cover")
    if said is None:
        return 100.0
    percent = number(said)
    if percent is None:
        raise Refused(
            f"item {item.id} states a cloud cover of {str(said)[:60]!r}, which is no number; correct the item."
        )
    return percent if 0 <= percent <= 100 else 100.0


def words_of(item: pystac.Item, collection: bool = True) -> str:
    """An item's own words for what it is, in lower case: its id, collection, platform, product, and names of its assets."""
    names = (
        "platform", "eo:platform", "constellation", "mission", "s2:product_type", "product:type", "sentinel2:product_type",
        "landsat:correction", "odc:product", "eo:productType", "product_key", "pl:item_type", "sar:product_type",
    )  # fmt: skip
    said = [text(item.properties.get(name)) for name in names]
    instruments = item.properties.get("instruments")
    said += [text(word) for word in (instruments if isinstance(instruments, list) else [])[:8]]
    said += [text(item.id, 500), text(item.collection_id) if collection else ""]
    return " ".join((*filter(None, said), *asset_words(item))).lower()


def asset_words(item: pystac.Item) -> Iterable[str]:
    """Keys and types of an item's assets, and the name of the first file."""
    keys = [
        text(word)
        for key, asset in list(item.assets.items())[:64]
        for word in (key, asset.extra_fields.get("pl:asset_type"))
    ]
    files = (text(asset.href, 2000).partition("?")[0].rpartition("/")[2] for asset in item.assets.values())
    return *filter(None, keys), next(filter(None, files), "")
