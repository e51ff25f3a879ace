"""What a search found, so that a person can decide from it: a table, and a map of the footprints."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import cos, radians
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from shapely import from_wkt, make_valid
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from pipeline.errors import Refused, nearest
from pipeline.scene import Scene
from pipeline.sensors import SENSORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = dict(zip(SENSORS, ("#7f5539", "#2a9d8f", "#e76f51", "#f4a261", "#6d597a", "#1d4ed8", "#60a5fa"), strict=True))
"""A colour for each sensor on the map."""


@dataclass(frozen=True)
class Row:
    """One scene, as the table has it."""

    scene: Scene
    """The scene."""
    covers: float
    """Share of the area that its footprint covers, 0 to 1."""
    missing: tuple[str, ...]
    """Bands and quality layers that other scenes of its sensor and level have, and it has not."""


def named(text: str) -> tuple[str, ...]:
    """Sensors named on the command line: ``all``, or names with commas between; raises ``Refused`` for others."""
    names = tuple(SENSORS) if text == "all" else tuple(part.strip() for part in text.split(",") if part.strip())
    for name in names:
        if name not in SENSORS:
            raise Refused(f"--sensors: there is no sensor '{name}': {nearest(name, SENSORS)}.")
    return names


def pictured(path: Path) -> Path:
    """Where a map is to be drawn; raises ``Refused`` where that is no PNG."""
    if path.suffix.lower() != ".png" or path.is_dir():
        raise Refused(f"--map: {path} is no name of a picture; write one that ends in .png.")
    return path


def ground(scenes: Iterable[Scene]) -> BaseGeometry:
    """All that scenes cover, in degrees: the area where a whole tile or scene was asked for."""
    return unary_union([footprint(scene) for scene in scenes])


def rows(scenes: Sequence[Scene], area: BaseGeometry) -> list[Row]:
    """Scenes by day, then sensor; ``area`` in degrees."""
    have: dict[tuple[str, str], dict[str, None]] = {}
    for scene in scenes:
        have.setdefault((scene.sensor, scene.level), {}).update(dict.fromkeys(scene.assets))
    found = []
    for scene in sorted(scenes, key=lambda s: (s.solar_day, s.sensor, s.acquired, s.id)):
        covered = footprint(scene).intersection(area).area / area.area if area.area else 0.0
        absent = [band for band in have[scene.sensor, scene.level] if band not in scene.assets]
        found.append(Row(scene, min(covered, 1.0), tuple(absent)))
    return found


def footprint(scene: Scene) -> BaseGeometry:
    """Where a scene lies, in degrees: its footprint, else its bbox; split at the antimeridian."""
    if scene.footprint:
        return make_valid(from_wkt(scene.footprint))
    west, south, east, north = scene.bbox
    if west <= east:
        return box(*scene.bbox)
    return unary_union([box(west, south, 180, north), box(-180, south, east, north)])


def table(found: Iterable[Row]) -> Table:
    """The table that ``fusecube search`` prints."""
    found = list(found)
    days = len({row.scene.solar_day for row in found})
    shown = Table(title=f"{len(found)} scenes on {days} days")
    for heading in ("day", "sensor", "platform", "level", "tile", "cloud", "covers", "missing", "scene"):
        right = heading in ("cloud", "covers")
        shown.add_column(heading, justify="right" if right else "left", overflow="fold", no_wrap=heading == "day")
    for row in found:
        scene = row.scene
        radar = scene.sensor == "sentinel-1"
        tile = scene.tile or (f"orbit {scene.track.split('-')[0]}" if scene.track else "")
        shown.add_row(
            str(scene.solar_day),
            scene.sensor,
            scene.platform,
            scene.level,
            tile,
            "" if radar else f"{scene.cloud_cover:.0f} %",
            f"{row.covers:.0%}",
            ", ".join(row.missing[:4]) + (f" and {len(row.missing) - 4} more" if len(row.missing) > 4 else ""),
            scene.id,
        )
    return shown


def draw_map(found: Sequence[Row], area: BaseGeometry, path: Path) -> Path:
    """A picture of the footprints, a colour a sensor, paler under clouds, the area in black; gives its path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for row in found:
        share = 1.0 if row.scene.sensor == "sentinel-1" else 1 - row.scene.cloud_cover / 100
        colour = COLOURS[row.scene.sensor]
        _outline(axes, footprint(row.scene), color=colour, linewidth=1.2, alpha=0.9)
        _fill(axes, footprint(row.scene), color=colour, alpha=0.02 + 0.12 * max(share, 0))
    _outline(axes, area, color="black", linewidth=2)
    for name in dict.fromkeys(row.scene.sensor for row in found):
        count = sum(row.scene.sensor == name for row in found)
        axes.plot([], [], color=COLOURS[name], linewidth=4, label=f"{name}: {count}")
    days = sorted(row.scene.solar_day for row in found)
    axes.set(xlabel="longitude, °", ylabel="latitude, °", title=f"{len(found)} scenes, {days[0]} to {days[-1]}")
    middle = sum(axes.get_ylim()) / 2
    axes.set_aspect(1 / max(0.05, cos(radians(middle))))  # degrees of longitude as long as they are there
    axes.ticklabel_format(useOffset=False)  # whole coordinates, however small the area
    axes.legend(loc="upper left", frameon=True)
    axes.grid(alpha=0.2)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path


def _rings(shape: BaseGeometry) -> Iterable[tuple[Sequence[float], Sequence[float]]]:
    """Longitudes and latitudes of the outer rings of a shape."""
    for part in getattr(shape, "geoms", [shape]):
        if part.geom_type == "Polygon":
            yield part.exterior.xy


def _outline(axes: "Axes", shape: BaseGeometry, **style: Any) -> None:
    for x, y in _rings(shape):
        axes.plot(x, y, **style)


def _fill(axes: "Axes", shape: BaseGeometry, **style: Any) -> None:
    for x, y in _rings(shape):
        axes.fill(x, y, **style)
