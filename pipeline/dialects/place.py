"""Where an item lies: its projection, its extent there, and its bounds in degrees, from whichever fields state them."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import isfinite
from typing import Any

import pystac
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError
from shapely import Geometry, MultiPolygon, Polygon, box
from shapely.errors import ShapelyError
from shapely.geometry import shape

from pipeline.dialects.fields import number
from pipeline.errors import Refused
from pipeline.scene import Bounds

FARTHEST = 1e8
"""No coordinate of a projection lies farther from its origin, in metres."""

MOST_PIXELS = 10**7
"""No file here has more rows or columns."""

MARGIN = 0.1
"""Degrees by which bounds stated twice may lie apart: footprints are drawn by hand and rounded."""


def crs_of(item: pystac.Item, keys: Iterable[str]) -> str | None:
    """The item's projection, ``EPSG:code`` or WKT; ``None`` where it does not say. ``keys`` are the assets that count.

    Raises ``Refused`` where it names one that does not exist, or two.
    """
    fields = [item.properties, *(item.assets[key].extra_fields for key in keys)]
    found = dict.fromkeys(name for source in fields for name in _projections(item, source))
    if len(found) > 1:
        names = " and ".join(name[:40] for name in found)
        raise Refused(f"item {item.id} states two projections, {names}; correct the item.")
    return next(iter(found), None)


def _projections(item: pystac.Item, source: Mapping[str, Any]) -> Iterable[str]:
    """Every projection that fields state, in the words of a scene; a definition that says the same as a code is left out."""
    readers = {
        "proj:code": _of_code,
        "proj:epsg": _of_code,
        "crs": _of_code,
        "proj:wkt2": _of_wkt,
        "proj:projjson": _of_json,
    }
    said = {name: source[name] for name in readers if source.get(name) is not None}
    found: list[str] = []
    for name, value in said.items():
        try:
            crs = readers[name](value)
        except (CRSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise Refused(
                f"item {item.id} states {name} {str(value)[:60]!r}, which is no projection on the ground; correct the item."
            ) from error
        if not any(_alike(crs, other) for other in found):
            found.append(crs)
    return found


def _alike(one: str, other: str) -> bool:
    """Whether two projections put a point at the same place to a hundredth of a degree, however they are written."""
    if one == other:
        return True
    places = [_to_degrees(crs).transform(400_000.0, 5_000_000.0) for crs in (one, other)]
    return all(abs(a - b) < 0.01 for a, b in zip(*places, strict=True))


def _of_code(value: object) -> str:
    digits = str(value).upper().removeprefix("EPSG:") if isinstance(value, int | str) else ""
    if isinstance(value, bool) or not (digits.isascii() and digits.isdigit() and len(digits) < 7):
        raise ValueError(value)
    _existing(int(digits))
    return f"EPSG:{int(digits)}"


@lru_cache(512)
def _existing(code: int) -> None:
    _flat(CRS.from_epsg(code))


def _of_wkt(value: object) -> str:
    if not isinstance(value, str) or len(value) > 20_000:
        raise ValueError("no WKT")
    return _from_wkt(value)


@lru_cache(64)
def _from_wkt(value: str) -> str:
    return _plain(CRS.from_wkt(value))


def _of_json(value: object) -> str:
    if not isinstance(value, dict) or len(str(value)) > 20_000:
        raise ValueError("no PROJJSON")
    return _plain(CRS.from_json_dict(value))


def _plain(crs: CRS) -> str:
    code = _flat(crs).to_epsg(min_confidence=100)
    return f"EPSG:{code}" if code else str(crs.to_wkt())


def _flat(crs: CRS) -> CRS:
    if not (crs.is_projected or crs.is_geographic) or len(crs.axis_info) > 2:
        raise ValueError(f"{crs.name} is no map projection")
    return crs


def extent_of(item: pystac.Item, keys: Iterable[str]) -> Bounds | None:
    """Bounds in the item's projection that hold every asset named, as far as they or the item state their grid.

    Raises ``Refused`` where a grid is stated that cannot be.
    """
    found = [bounds for key in keys if (bounds := _grid(item, f"asset {key}", item.assets[key].extra_fields))]
    found = found or [bounds for bounds in [_grid(item, "the item", item.properties)] if bounds]
    if not found:
        return None
    if not all(_overlap(found[0], bounds) for bounds in found):
        raise Refused(f"item {item.id} contradicts itself: the grids of its assets lie apart; correct the item.")
    left, bottom, right, top = zip(*found, strict=True)
    return min(left), min(bottom), max(right), max(top)


def _overlap(one: Bounds, other: Bounds) -> bool:
    """Whether bounds share at least half of the larger."""
    width, height = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    larger = max((side[2] - side[0]) * (side[3] - side[1]) for side in (one, other))
    return min(width, height) > 0 and width * height >= larger / 2


def _grid(item: pystac.Item, what: str, fields: Mapping[str, Any]) -> Bounds | None:
    """Bounds of a grid from ``proj:transform`` and ``proj:shape``, else ``proj:bbox``."""
    transform, size, bounds = (fields.get(f"proj:{name}") for name in ("transform", "shape", "bbox"))
    if transform is not None and size is not None:
        corners = _corners(transform, size)
        if corners is None:
            raise Refused(
                f"item {item.id} states a grid of {what} that cannot be (proj:transform {str(transform)[:60]}, proj:shape "
                f"{str(size)[:30]}); correct the item."
            )
        if bounds is not None and not _meet(corners, _sides(item, what, bounds)):
            raise Refused(
                f"item {item.id} contradicts itself: proj:bbox and grid of {what} lie apart; correct the item."
            )
        return corners
    return None if bounds is None else _sides(item, what, bounds)


def _sides(item: pystac.Item, what: str, bounds: object) -> Bounds:
    """Bounds that ``proj:bbox`` states."""
    sides = _numbers(bounds, 4) or _flattened(_numbers(bounds, 6))
    if sides is None or not _ordered(sides):
        raise Refused(
            f"item {item.id} states a proj:bbox of {what} that cannot be ({str(bounds)[:60]}); correct the item."
        )
    return sides[0], sides[1], sides[2], sides[3]


def _meet(one: Bounds, other: Bounds) -> bool:
    return max(one[0], other[0]) < min(one[2], other[2]) and max(one[1], other[1]) < min(one[3], other[3])


def _corners(transform: object, size: object) -> Bounds | None:
    """Bounds of a grid of (rows, cols) pixels under an affine transform in rasterio's order; ``None`` where it is none."""
    terms = _numbers(transform, 6) or _numbers(transform, 9)
    counts = _numbers(size, 2)
    if terms is None or counts is None or not all(0 < n <= MOST_PIXELS and n == int(n) for n in counts):
        return None
    a, b, left, d, e, top = terms[:6]
    if a * e - b * d == 0 or (len(terms) == 9 and terms[6:] != [0, 0, 1]):
        return None
    rows, cols = counts
    across, down = (0, a * cols, b * rows, a * cols + b * rows), (0, d * cols, e * rows, d * cols + e * rows)
    sides = [left + min(across), top + min(down), left + max(across), top + max(down)]
    return (sides[0], sides[1], sides[2], sides[3]) if _ordered(sides) else None


def _ordered(sides: list[float]) -> bool:
    """Whether left, bottom, right, top are bounds of an area that fits the Earth and is no mere point."""
    left, bottom, right, top = sides
    span = min(right - left, top - bottom)
    return all(abs(side) <= FARTHEST for side in sides) and span > 1e-9 * max(1.0, *(abs(side) for side in sides))


def _numbers(values: object, count: int) -> list[float] | None:
    """``count`` finite numbers, ``None`` where the value is anything else."""
    if not isinstance(values, list | tuple) or len(values) != count:
        return None
    found = [value for entry in values if (value := number(entry)) is not None]
    return found if len(found) == count else None


def _flattened(sides: list[float] | None) -> list[float] | None:
    """West, south, east, north of six sides that have heights as well."""
    return [*sides[:2], *sides[3:5]] if sides else None


def bbox_of(item: pystac.Item, crs: str | None, extent: Bounds | None) -> Bounds:
    """West, south, east, north in degrees; west is greater than east across the antimeridian.

    From the item's bbox where that can be in degrees and does not run round the whole Earth (as items do that were cut at the
    antimeridian wrongly), else from its extent, else from its footprint. Raises ``Refused`` where none can be had, or where
    bbox and extent lie apart.
    """
    given, derived = _given(item), _degrees(item, crs, extent) if crs and extent else None
    drawn = _drawn(item)
    said = given or (_bounds(drawn) if drawn is not None else None)
    if said and derived and _apart(said, derived):
        raise Refused(
            f"item {item.id} contradicts itself: its bbox and its extent in its projection lie apart; correct the item."
        )
    if given is not None and _span(given) < 180:
        return given
    found = derived or (_bounds(drawn) if drawn is not None else given)
    if found is None:
        raise Refused(f"item {item.id} has no bbox in degrees, and none follows from its projection; correct the item.")
    return found


def footprint_of(item: pystac.Item, bbox: Bounds) -> str:
    """The item's geometry as WKT in degrees, in two parts across the antimeridian; empty where it is none or lies elsewhere."""
    drawn = _drawn(item)
    return str(drawn.wkt) if drawn is not None and drawn.within(boxes(bbox).buffer(MARGIN)) else ""


def boxes(bbox: Bounds) -> Geometry:
    """West, south, east, north in degrees as an area: two parts where west is greater than east."""
    west, south, east, north = bbox
    if west <= east:
        return box(*bbox)
    return MultiPolygon([box(west, south, 180.0, north), box(-180.0, south, east, north)])


def _given(item: pystac.Item) -> Bounds | None:
    """The item's bbox, ``None`` where it is not an area in degrees."""
    sides = _numbers(item.bbox, 4) or _flattened(_numbers(item.bbox, 6))
    if sides is None:
        return None
    west, south, east, north = sides
    inside = -180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90 and west != east
    return (west, south, east, north) if inside else None


def _span(bbox: Bounds) -> float:
    """Degrees of longitude from west to east."""
    return bbox[2] - bbox[0] + (360 if bbox[0] > bbox[2] else 0)


def _apart(one: Bounds, other: Bounds) -> bool:
    """Whether bounds in degrees do not meet, on a sphere."""
    if one[3] + MARGIN < other[1] or other[3] + MARGIN < one[1]:
        return True
    middles = (one[0] + _span(one) / 2) - (other[0] + _span(other) / 2)
    return abs((middles + 180) % 360 - 180) > (_span(one) + _span(other)) / 2 + MARGIN


def _degrees(item: pystac.Item, crs: str, extent: Bounds) -> Bounds | None:
    """Bounds of an extent in degrees, ``None`` where it reaches beyond what its projection maps."""
    try:
        west, south, east, north = _to_degrees(crs).transform_bounds(*extent)
    except ProjError:
        return None
    if not all(isfinite(side) for side in (west, south, east, north)):
        return None
    if not (max(abs(west), abs(east)) <= 180 and -90 <= south < north <= 90 and west != east):
        raise Refused(f"item {item.id} states an extent that lies off the Earth in its projection; correct the item.")
    return west, south, east, north


@lru_cache(512)
def _to_degrees(crs: str) -> Transformer:
    return Transformer.from_crs(crs, "EPSG:4326", always_xy=True)


def _drawn(item: pystac.Item) -> MultiPolygon | None:
    """The item's geometry as polygons in degrees; ``None`` where it is none, or has one that runs round the Earth."""
    try:
        if not isinstance(item.geometry, dict) or not _finite(item.geometry["coordinates"]):
            return None
        area = shape(item.geometry)
        parts = [area] if isinstance(area, Polygon) else list(area.geoms) if isinstance(area, MultiPolygon) else []
        if not parts or not all(part.is_valid and not part.is_empty and _plausible(part.bounds) for part in parts):
            return None
        return MultiPolygon(parts)
    except (ShapelyError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _finite(coordinates: object) -> bool:
    """Whether nested lists hold finite numbers only."""
    if isinstance(coordinates, list | tuple):
        return all(_finite(entry) for entry in coordinates)
    return number(coordinates) is not None


def _plausible(bounds: Bounds) -> bool:
    west, south, east, north = bounds
    return -180 <= west < east <= 180 and -90 <= south < north <= 90 and east - west < 180


def _bounds(drawn: MultiPolygon) -> Bounds:
    """Bounds of polygons in degrees; those on either side of the antimeridian meet across it."""
    west, south, east, north = drawn.bounds
    if east - west >= 180:
        west = min(part.bounds[0] for part in drawn.geoms if part.centroid.x > 0)
        east = max(part.bounds[2] for part in drawn.geoms if part.centroid.x <= 0)
    return west, south, east, north
