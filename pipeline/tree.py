"""The lazy tree: every sensor on one reference grid, one node per sensor and resolution, (time, band, y, x).

Nothing is read until it is computed; then a chunk of a node reads the few scenes that touch it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.geom import box

from pipeline.catalog import Query, look_all
from pipeline.errors import Refused, nearest
from pipeline.flags import MEANINGS
from pipeline.harmonise.steps import AS_MEASURED, Harmony
from pipeline.lattice import Layout
from pipeline.mosaic import lay, lay_quality, quality_of
from pipeline.region import CHUNK, commonest_crs, layout_over, metric, projected
from pipeline.scene import Bounds, Group, Scene, groups
from pipeline.sensors import Band, sensor


@dataclass(frozen=True)
class Node:
    """One node: the images of a sensor at one resolution."""

    layout: Layout
    """The reference grid, and its chunks."""
    resolution: int
    """Ground sampling distance in metres."""
    bands: tuple[str, ...]
    """Bands of the sensor."""
    groups: tuple[Group, ...]
    """Images, oldest first."""
    harmony: Harmony
    """Steps of harmonisation."""

    @property
    def chunks(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Rows and columns of the cores, in pixels."""
        n = self.layout.lattice.pixels(self.resolution)
        rows = [self.layout.slot(row, 0).height * n for row in range(self.layout.rows)]
        cols = [self.layout.slot(0, col).width * n for col in range(self.layout.cols)]
        return tuple(rows), tuple(cols)


def assemble(query: Query, sensors: Sequence[str] = (), crs: str = "auto", **options: Any) -> xr.DataTree:
    """The tree of what a catalog has for a query: in a notebook, the whole road in a line.

    Parameters
    ----------
    query
        Where and when; its ``bbox`` is the area. Its ``sensor`` counts only where no ``sensors`` are named.
    sensors
        Names of sensors, each a branch of the tree.
    crs
        The reference CRS, ``EPSG:code`` in metres; ``auto`` takes the one that most scenes have.
    options
        Of ``tree_of``, and ``chunk``: edge of the dask chunks in metres, about.

    Items that answer the query and cannot be used stand in the tree's attribute ``not_used``. Raises ``Refused`` where nothing
    is found, or where a step of harmonisation cannot be done. No pixel is read.
    """
    names = sensors or (query.sensor.name,)
    found = look_all(query, [sensor(name) for name in names])
    scenes = found.usable(query)
    if not scenes:
        raise Refused(f"no scene of {', '.join(names)} answers the query; widen its bbox or its time.")
    target = metric(commonest_crs(scenes) if crs == "auto" else crs)
    west, south, east, north = query.bbox or _around(scenes)
    area = projected(box(west, south, east if east > west else east + 360, north, "EPSG:4326"), target)
    resolutions = {b.resolution for s in scenes for b in bands_of([s], options.get("bands"))}
    if not resolutions:
        have = sorted({band for scene in scenes for band in scene.assets})
        raise Refused(f"no scene has a band {', '.join(options['bands'])}: {nearest(options['bands'][0], have)}.")
    chunk = options.pop("chunk", CHUNK)
    tree = tree_of(scenes, layout_over(area.boundingbox.bbox, target, resolutions, chunk), **options)
    if found.refused:
        tree.attrs["not_used"] = list(found.refused)
    return tree


def tree_of(
    scenes: Sequence[Scene], layout: Layout, bands: Sequence[str] | None = None, harmony: Harmony = AS_MEASURED
) -> xr.DataTree:
    """The tree of scenes over a layout, ``/sensor/10m`` and so on; dask chunks are the layout's cores.

    Parameters
    ----------
    scenes
        Of any sensors.
    layout
        The reference grid: its step holds whole pixels of every resolution.
    bands
        Only these bands; by default all that the scenes have.
    harmony
        Steps of harmonisation; none by default.

    A node holds one quantity (``reflectance``, ``gamma_nought``, …; another of the same resolution has a node of its own, such
    as ``/landsat/30m_surface_temperature``), one time an image: optical scenes mosaicked by solar day, radar scenes by pass;
    and ``flags``, (time, y, x). A file that cannot be read raises ``OSError`` when computed.
    """
    made = groups(scenes)
    nodes: dict[str, xr.Dataset] = {}
    for name, quantity in dict.fromkeys((g.sensor, _quantity(g)) for g in made):
        here = tuple(g for g in made if (g.sensor, _quantity(g)) == (name, quantity))
        alone = len({_quantity(g) for g in made if g.sensor == name}) == 1
        root = name if alone else f"{name}_{here[0].level}"
        nodes |= {f"/{root}/{branch}": _dataset(node) for branch, node in _nodes(layout, here, bands, harmony)}
    tree = xr.DataTree.from_dict(nodes)
    tree.attrs = {
        "title": f"{', '.join(dict.fromkeys(g.sensor for g in made))} on one reference grid",
        "crs": layout.lattice.crs,
        "step": f"{float(layout.lattice.step):g} m",
        "days": f"{made[0].day} to {made[-1].day}" if made else "",
    }
    return tree


def _quantity(group: Group) -> str:
    """What the scenes of an image measure: levels that measure different things have branches of their own."""
    return sensor(group.sensor).product(group.level).quantity


def _nodes(
    layout: Layout, here: tuple[Group, ...], bands: Sequence[str] | None, harmony: Harmony
) -> Iterator[tuple[str, Node]]:
    """The nodes of one sensor's images, by resolution and quantity."""
    product = sensor(here[0].sensor).product(here[0].level)
    kinds: dict[tuple[int, str], list[str]] = {}
    for band in bands_of([scene for group in here for scene in group.scenes], bands):
        kinds.setdefault((band.resolution, product.quantity_of(band.name)), []).append(band.name)
    for (resolution, quantity), names in sorted(kinds.items()):
        for scene in (scene for group in here for scene in group.scenes):
            harmony.check(scene, [name for name in names if name in scene.assets])
        branch = f"{resolution}m" if quantity == product.quantity else f"{resolution}m_{_variable(quantity)}"
        yield branch, Node(layout, resolution, tuple(names), here, harmony)


def bands_of(scenes: Sequence[Scene], wanted: Sequence[str] | None) -> list[Band]:
    """The bands that scenes of one sensor have, in the order of its table."""
    have = {band for scene in scenes for band in scene.assets}
    return [b for b in sensor(scenes[0].sensor).bands if b.name in have and (wanted is None or b.name in wanted)]


def _around(scenes: Sequence[Scene]) -> Bounds:
    """West, south, east, north of all scenes; counted from 0 to 360 degrees where one lies across the antimeridian."""
    west, south, east, north = zip(*(scene.bbox for scene in scenes), strict=True)
    first = 0.0 if any(w > e for w, e in zip(west, east, strict=True)) else -180.0
    least = min((side - first) % 360 + first for side in west)
    most = max(first + 360 - (first - side) % 360 for side in east)
    return least, min(south), most, max(north)


def _dataset(node: Node) -> xr.Dataset:
    """The lazy Dataset of a node, with coordinates that say what it is."""
    lattice, table = node.layout.lattice, sensor(node.groups[0].sensor)
    geobox = lattice.geobox(node.layout.frame, node.resolution)
    product = table.product(node.groups[0].level)
    quantity = product.quantity_of(node.bands[0])
    coords: dict[str, Any] = {
        "time": np.array([g.acquired.replace(tzinfo=None) for g in node.groups], "datetime64[ns]"),
        "band": list(node.bands),
        "y": geobox.coords["y"].values,
        "x": geobox.coords["x"].values,
        "id": ("time", [" ".join(s.id for s in g.scenes) for g in node.groups]),
        "platform": ("time", [" ".join(dict.fromkeys(s.platform for s in g.scenes)) for g in node.groups]),
    }
    if table.grouped_by == "track":
        coords["track"] = ("time", [g.track for g in node.groups], {"long_name": "relative orbit and datatake"})
    else:
        coords["cloud_cover"] = ("time", [g.cloud_cover for g in node.groups], {"units": "percent"})
        coords["wavelength"] = ("band", [table.band(b).center for b in node.bands], {"units": "nm"})
    times, (rows, cols) = (1,) * len(node.groups), node.chunks
    values = da.map_blocks(
        _values,
        chunks=(times, (1,) * len(node.bands), rows, cols),
        dtype=np.float32,
        meta=np.empty((0, 0, 0, 0), np.float32),
        name=f"quantity-{tokenize(node)}",
        node=node,
    )
    attributes = {"long_name": f"{quantity}, {table.name} {product.level}"}
    attributes["units"] = "K" if "temperature" in quantity else "1"
    variables: dict[str, tuple] = {_variable(quantity): (("time", "band", "y", "x"), values, attributes)}
    if any(quality_of(scene) for group in node.groups for scene in group.scenes):
        flags = da.map_blocks(
            _flags,
            chunks=(times, rows, cols),
            dtype=np.uint16,
            meta=np.empty((0, 0, 0), np.uint16),
            name=f"flags-{tokenize(node)}",
            node=node,
        )
        variables["flags"] = (("time", "y", "x"), flags, {"long_name": "why a pixel is what it is", **MEANINGS})
    return xr.Dataset(variables, coords=coords).rio.write_crs(lattice.crs)


def _variable(quantity: str) -> str:
    """Name of the variable that holds a quantity."""
    return "reflectance" if "reflectance" in quantity else quantity.replace(" ", "_")


def _window(node: Node, row: int, col: int) -> GeoBox:
    return node.layout.lattice.geobox(node.layout.slot(row, col), node.resolution)


def _values(node: Node, block_id: tuple[int, int, int, int] | None = None) -> NDArray[np.float32]:
    """One chunk of a node: one time, one band."""
    time, band, row, col = block_id or (0, 0, 0, 0)
    window = _window(node, row, col)
    return lay(node.groups[time].scenes, window, [node.bands[band]], harmony=node.harmony).values[None]


def _flags(node: Node, block_id: tuple[int, int, int] | None = None) -> NDArray[np.uint16]:
    time, row, col = block_id or (0, 0, 0)
    return lay_quality(node.groups[time].scenes, _window(node, row, col), harmony=node.harmony).flags[None]
