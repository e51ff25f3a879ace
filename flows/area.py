"""From the place a specification names to pixels: which CRS, which box of the lattice, which polygon."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from odc.geo.geom import Geometry, box
from shapely import box as rectangle
from shapely import force_2d, union_all, wkt
from shapely.errors import ShapelyError
from shapely.geometry import shape

from flows.spec import Area, Grid
from pipeline.errors import Refused
from pipeline.lattice import Layout
from pipeline.region import commonest_crs, metric, projected
from pipeline.scene import Bounds, Scene, touching


@dataclass(frozen=True)
class Place:
    """An area on the ground."""

    crs: str
    """The CRS of the result."""
    bounds: Bounds
    """Left, bottom, right, top in it."""
    clip: str | None
    """Polygon that the result is clipped to, WKT in that CRS."""


def outline(area: Area) -> Geometry | None:
    """The area in degrees, ``None`` where it is named by tile or scene."""
    if area.bbox:
        return box(*area.bbox, "EPSG:4326")
    return Geometry(_polygon(area.geojson), "EPSG:4326") if area.geojson else None


def place(area: Area, scenes: Sequence[Scene], crs: str) -> Place:
    """Where the result lies; raises ``Refused`` where the grid cannot be told from the scenes.

    A bounding box or polygon in degrees is bounded in the CRS, its bent sides followed closely; a tile or scene is taken
    at the extent that its own metadata states.
    """
    target = metric(commonest_crs(scenes) if crs == "auto" else crs)
    shape_lonlat = outline(area)
    if shape_lonlat is not None:
        there = projected(shape_lonlat, target)
        clip = wkt.dumps(there.geom, rounding_precision=3) if area.geojson else None
        return Place(target, there.boundingbox.bbox, clip)
    extents = [scene.extent for scene in scenes if scene.extent and scene.crs == target]
    if not extents:
        raise Refused(f"no scene states its extent in {target} (proj:transform, proj:shape); give the area as bbox.")
    sides = list(zip(*extents, strict=True))
    return Place(target, (min(sides[0]), min(sides[1]), max(sides[2]), max(sides[3])), None)


def zones(grid: Grid, scenes: Sequence[Scene], layout: Layout) -> tuple[str, ...]:
    """The CRSs in each of which an area is fused on its own; none where it is fused on one grid.

    That is where the scenes on the grid's own pixels cover the area, or no scene lies on others, unless told otherwise.
    """
    lattice = layout.lattice
    there = touching(scenes, lattice.geobox(layout.area))
    found = tuple(sorted({native(scene) for scene in there}))
    if grid.zones != "auto":
        return found if grid.zones == "each" else ()
    own = union_all([rectangle(*_extent(s, lattice.crs)) for s in there if native(s) == lattice.crs])
    covered = own.buffer(1.0).covers(rectangle(*lattice.bounds(layout.area)))  # a metre, for coordinates as decimals
    return () if len(found) < 2 or covered else found


def native(scene: Scene) -> str:
    """CRS of a scene's pixels; its UTM zone where it states none."""
    return commonest_crs([scene])


def within_scenes(layout: Layout, scenes: Sequence[Scene], crs: str) -> Bounds | None:
    """Bounds in a CRS of what scenes on its pixels have of an area, ``None`` where that is nothing."""
    lattice = layout.lattice
    area = projected(box(*lattice.bounds(layout.area), lattice.crs), crs).geom
    part = area.intersection(union_all([rectangle(*_extent(scene, crs)) for scene in scenes]))
    return part.bounds if part.area else None


def _extent(scene: Scene, crs: str) -> Bounds:
    """Left, bottom, right, top of a scene in a CRS: its own pixels', else those of its bbox."""
    if scene.extent and scene.crs == crs:
        return scene.extent
    return projected(box(*scene.bbox, "EPSG:4326"), crs).boundingbox.bbox


def _polygon(path: Path):  # type: ignore[no-untyped-def]
    """The union of all polygons of a GeoJSON file, in degrees; points and lines beside them are left out."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        geometries = [part.get("geometry", part) for part in raw.get("features", [raw])]
        shapes = [force_2d(shape(geometry)) for geometry in geometries if geometry]
        parts = [part for found in shapes for part in getattr(found, "geoms", [found])]
        whole = union_all([part for part in parts if part.geom_type in ("Polygon", "MultiPolygon")])
    except (OSError, ValueError, AttributeError, KeyError, TypeError, ShapelyError) as error:
        raise Refused(f"area.geojson: {path.name} cannot be read as GeoJSON ({type(error).__name__}).") from None
    if whole.is_empty or whole.area == 0:
        raise Refused(f"area.geojson: {path.name} holds no polygon.")
    west, south, east, north = whole.bounds
    if west < -180 or south < -90 or east > 180 or north > 90:
        raise Refused(f"area.geojson: {path.name} is not in degrees (longitude, latitude); write it in EPSG:4326.")
    return whole
