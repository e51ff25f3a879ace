"""What an item says of its pass and its processing: platform, tile, track, time of processing, and its radiometric fields."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import pystac
from dateutil.parser import ParserError, isoparse  # type: ignore[import-untyped]

from pipeline.dialects.fields import FIRST, LAST, first, number, text
from pipeline.errors import Refused

KEPT = ("view:", "s2:", "s1:", "sat:", "landsat:", "earthsearch:boa", "updated")
"""Beginnings of fields that a scene keeps."""

RENAMED = {
    "sentinel2:processing_baseline": "s2:processing_baseline",
    "sentinel:processing_baseline": "s2:processing_baseline",
    "processing:version": "s2:processing_baseline",
    "sentinel2:generation_time": "s2:generation_time",
    "sentinel2:product_title": "s2:product_uri",
    "sentinel:product_id": "s2:product_uri",
    "sentinel:boa_offset_applied": "earthsearch:boa_offset_applied",
    "sentinel2:relative_orbit_number": "sat:relative_orbit",
    "eo:sun_elevation": "view:sun_elevation",
    "eo:sun_azimuth": "view:sun_azimuth",
}
"""Fields that mean what another catalog's field means, which the scene has; the latter counts where both are there."""

PROCESSED = (
    "s2:generation_time",
    "processing:datetime",
    "s1:processing_datetime",
    "odc:processing_datetime",
    "updated",
    "created",
)
"""Fields that say when an item was processed, the most telling first."""

_PRODUCT = re.compile(r"_N(\d{2})(\d{2})_R(\d{3})_")
"""Processing baseline and relative orbit in the name of a Sentinel-2 product (S2-PDGS-TAS-DI-PSD, naming convention)."""

_MGRS = re.compile(r"(?:^|[_.])T?(\d{2}[C-HJ-NP-X][A-HJ-NP-Z]{2})(?=[_.]|$)")
"""A tile of the Military Grid Reference System in a name."""


def properties_of(item: pystac.Item, sensor: str) -> dict[str, Any]:
    """The radiometric and geometric fields that a scene keeps, in the words of Earth Search: plain values only.

    A Sentinel-2 item that does not state its baseline or orbit has them of its product's name.
    """
    renamed = {new: item.properties[old] for old, new in RENAMED.items() if _renames(item, old, sensor)}
    flag = first(renamed | item.properties, "earthsearch:boa_offset_applied")
    if flag is not None and not isinstance(flag, bool):
        raise Refused(
            f"item {item.id} states earthsearch:boa_offset_applied {str(flag)[:20]!r}, neither true nor false; correct it."
        )
    kept = {k: v for k, v in (renamed | item.properties).items() if str(k).startswith(KEPT) and _plain(v)}
    named = _PRODUCT.search(f"{text(kept.get('s2:product_uri'))} {text(item.id)} ")
    if sensor == "sentinel-2" and named:
        _agree(item, kept, f"{named[1]}.{named[2]}")
        kept.setdefault("sat:relative_orbit", int(named[3]))
    elevation, zenith = kept.get("view:sun_elevation"), number(kept.get("s2:mean_solar_zenith"))
    if elevation is None and zenith is not None:
        kept["view:sun_elevation"] = 90.0 - zenith
    return kept


def _agree(item: pystac.Item, kept: dict[str, Any], baseline: str) -> None:
    """Keep the baseline of a product's name; raises ``Refused`` where the item states another."""
    said = kept.setdefault("s2:processing_baseline", baseline)
    if said != baseline:
        raise Refused(
            f"item {item.id} contradicts itself: it states baseline {str(said)[:20]}, its product's name {baseline}; correct "
            "the item."
        )


def _renames(item: pystac.Item, old: str, sensor: str) -> bool:
    """Whether a field is there under another catalog's name; versions are baselines of Sentinel-2 only."""
    return item.properties.get(old) is not None and (old != "processing:version" or sensor == "sentinel-2")


def _plain(value: object) -> bool:
    """Whether a value may stand in a record: a short string, a number, or a truth value."""
    return isinstance(value, bool) or number(value) is not None or text(value) != ""


def platform_of(item: pystac.Item) -> str:
    """The satellite in lower case, such as ``landsat-8``; of several all, ``aqua,terra``; empty where not stated."""
    said = first(item.properties, "platform", "eo:platform")
    names = re.split(r"[,+]", text(said, 60).lower().replace("_", "-").replace(" ", ""))
    return ",".join(sorted(filter(None, names)))


def track_of(item: pystac.Item, sensor: str, kept: Mapping[str, Any]) -> str:
    """Relative orbit, for a radar with its datatake, such as ``005-0378DC``; empty where not stated."""
    orbit = number(kept.get("sat:relative_orbit"))
    relative = f"{int(orbit):03d}" if orbit is not None and 0 < orbit < 1000 else ""
    if sensor != "sentinel-1":
        return relative
    return "-".join(filter(None, (relative, _datatake(item, kept))))


def _datatake(item: pystac.Item, kept: Mapping[str, Any]) -> str:
    """Mission datatake in six hexadecimal digits, of the item's or its products' names, else of its field (decimal)."""
    products = item.properties.get("sentinel:product_ids")
    names: Iterable[object] = (item.id, *(products if isinstance(products, list) else []))
    for name in names:
        named = re.search(r"_(\d{6})_([0-9A-F]{6})(?:_|$)", text(name, 500))
        if named:
            return named[2]
    said = str(kept.get("s1:datatake_id", ""))
    if said.isascii() and said.isdigit() and len(said) <= 8:
        return f"{int(said):06X}"
    return f"A{item.properties['sat:absolute_orbit']}" if number(item.properties.get("sat:absolute_orbit")) else ""


def processed_of(item: pystac.Item, kept: Mapping[str, Any]) -> str:
    """When an item was processed, ``2023-06-17T17:00:54.000000``, UTC; empty where nothing says.

    The name of a Landsat product has the day of it; other catalogs state a time, at worst when the item was written.

    Raises ``Refused`` where what says so is no time: which of two processings is the newer would not be known.
    """
    named = re.search(r"^L[A-Z]\d{2}_\w{4}_\d{6}_\d{8}_(\d{4})(\d{2})(\d{2})_", item.id)
    if named:
        return "-".join(named.groups())
    for name in PROCESSED:
        said = kept.get(name, item.properties.get(name))
        if said is None:
            continue
        try:
            moment = isoparse(str(said)[:40])
        except (ParserError, ValueError, OverflowError):
            raise Refused(
                f"item {item.id} states {name} {str(said)[:60]!r}, which is no time; correct the item."
            ) from None
        if FIRST.year <= moment.year < LAST.year:
            return moment.replace(tzinfo=None).isoformat(timespec="microseconds")
    return ""


def tile_of(item: pystac.Item) -> str | None:
    """The item's tile of its product's own tiling; ``None`` where it has none.

    ``33UUB`` (Sentinel-2, HLS), path and row ``193023`` (Landsat), ``h18v03`` (MODIS), ``33N-23E-223N`` (Planet Fusion).
    """
    fields = item.properties
    rows = (first(fields, "landsat:wrs_path"), first(fields, "landsat:wrs_row"))
    tiles = (first(fields, "modis:horizontal-tile"), first(fields, "modis:vertical-tile"))
    if all(_counts(n) for n in rows):
        return f"{int(rows[0]):03d}{int(rows[1]):03d}"
    if all(_counts(n) for n in tiles):
        return f"h{int(tiles[0]):02d}v{int(tiles[1]):02d}"
    if region := text(fields.get("odc:region_code"), 20):
        return region
    return _mgrs(item) or _of_name(item)


def _counts(value: object) -> bool:
    return re.fullmatch(r"\d{1,3}", str(value)) is not None and not isinstance(value, bool)


def _mgrs(item: pystac.Item) -> str | None:
    """Tile of the Military Grid Reference System that the fields of some catalog state."""
    fields = item.properties
    code = text(fields.get("grid:code"), 20)
    if code.startswith("MGRS-"):
        return code.removeprefix("MGRS-").zfill(5)
    whole = text(first(fields, "s2:mgrs_tile", "sentinel:mgrs"), 6)
    parts = [
        str(first(fields, f"mgrs:{name}", f"sentinel:{name}") or "")
        for name in ("utm_zone", "latitude_band", "grid_square")
    ]
    joined = whole or ("".join(parts) if all(parts) else "")
    return joined.zfill(5) if re.fullmatch(r"\d{1,2}[A-Z]{3}", joined) else None


def _of_name(item: pystac.Item) -> str | None:
    """Tile in the item's id, else in the name of a file of it."""
    files = (text(asset.href, 2000).partition("?")[0].rpartition("/")[2] for asset in item.assets.values())
    for name in (text(item.id, 500), next((file for file in files if file.startswith("HLS.")), "")):
        for pattern, form in (
            (r"(?:^|[._])(h\d{2}v\d{2})(?=[._]|$)", "{}"),
            (r"^L[A-Z]\d{2}_\w{4}_(\d{6})_", "{}"),
            (r"^(\d{1,2}[NS]-\d+E-\d+N)-PF", "{}"),
            (_MGRS, "{:0>5}"),
        ):
            if found := re.search(pattern, name):
                return form.format(found[1])
    return None
