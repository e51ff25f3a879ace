"""Lazy cubes: scenes on the pixels of a GeoBox, assembled by stackstac; nothing is read until something is computed.

stackstac is given everything it would otherwise guess (CRS, bounds, resolution; no snapping, no rescaling) and a reader
of our own. Each item reaches it with every band, absent ones under an address that reads as nodata, and with the bounds
of the window: it would silently drop what the metadata places elsewhere, and metadata can be wrong.
"""

from collections.abc import Sequence
from datetime import UTC
from functools import partial

import numpy as np
import rioxarray  # noqa: F401  (the .rio accessor)
import stackstac
import xarray as xr
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

from pipeline.lattice import Layout
from pipeline.radiometry import Coding, coding, reflectance
from pipeline.reader import ABSENT, BandReader, Journal
from pipeline.scene import Scene
from pipeline.sensors import Sensor, sensor


def read(
    scenes: Sequence[Scene], geobox: GeoBox, bands: Sequence[str], journal: Journal | None = None, chunk: int = -1
) -> xr.DataArray:
    """Digital numbers of scenes on the pixels of ``geobox``: lazy, (time, band, y, x), one time a scene, in their order.

    Parameters
    ----------
    scenes
        At least one scene.
    geobox
        The pixels wanted; north up, square, in a CRS with an EPSG code.
    bands
        Names of the sensor's bands, or its classification (which is then resampled by mode, never averaged).
    journal
        Where failures go; without one a file that cannot be read raises ``OSError`` when computed.
    chunk
        Edge of the dask chunks in pixels; -1 for one chunk a band.
    """
    table = sensor(scenes[0].sensor)
    classes = table.classification is not None and list(bands) == [table.classification.name]
    dtype = np.dtype("uint8" if classes else "uint16")
    bounds = tuple(geobox.boundingbox.bbox)
    epsg = _epsg(geobox)
    cube = stackstac.stack(
        [_plain_item(scene, bands, epsg, bounds) for scene in scenes],
        assets=list(bands),
        epsg=epsg,
        bounds=bounds,
        resolution=geobox.resolution.x,
        snap_bounds=False,
        resampling=Resampling.mode if classes else Resampling.bilinear,
        chunksize=(1, 1, chunk, chunk),
        dtype=dtype,
        fill_value=dtype.type(table.nodata),
        rescale=False,
        sortby_date=False,
        xy_coords="center",
        properties=False,
        band_coords=False,
        reader=partial(BandReader, journal=journal),
    )
    if cube.shape[-2:] != geobox.shape:
        raise AssertionError(f"stackstac made {cube.shape[-2:]} pixels of a window of {geobox.shape}")
    return cube.drop_vars([name for name in cube.coords if cube.coords[name].dtype == object and name != "band"])


def _epsg(geobox: GeoBox) -> int:
    if geobox.crs is None or geobox.crs.epsg is None:
        raise ValueError(f"a cube needs a CRS with an EPSG code, not {geobox.crs}")
    return int(geobox.crs.epsg)


def _plain_item(scene: Scene, bands: Sequence[str], epsg: int, bounds: tuple[float, ...]) -> dict:
    return {
        "id": scene.id,
        "properties": {
            "datetime": scene.acquired.astimezone(UTC).isoformat(),
            "proj:epsg": epsg,
            "proj:bbox": list(bounds),
        },
        "bbox": list(scene.bbox),
        "assets": {b: {"href": address(scene, b), "type": "image/tiff"} for b in bands},
    }


def address(scene: Scene, band: str) -> str:
    """Where a band of a scene is read from; one that stands for its absence where the item does not list it."""
    return scene.hrefs.get(band, f"{ABSENT}{scene.id}/{band}")


def assemble(scenes: Sequence[Scene], layout: Layout, bands: Sequence[str]) -> xr.DataTree:
    """The lazy tree over a layout: one node per native resolution, each (time, band, y, x) in reflectance.

    Dask chunks are the cores of the layout. Nothing is read until it is computed; a file that cannot be read raises then.
    """
    table = sensor(scenes[0].sensor)
    nodes = {}
    for resolution in sorted({table.band(b).resolution for b in bands}):
        names = [b for b in bands if table.band(b).resolution == resolution]
        geobox = layout.lattice.geobox(layout.frame, resolution)
        numbers = read(scenes, geobox, names, chunk=layout.core * layout.lattice.pixels(resolution))
        nodes[f"/{table.name}/{resolution}m"] = _decoded(numbers, scenes, table, geobox)
    return xr.DataTree.from_dict(nodes)


def _decoded(numbers: xr.DataArray, scenes: Sequence[Scene], table: Sensor, geobox: GeoBox) -> xr.Dataset:
    """Reflectance of a lazy stack, each scene by its own coding, with coordinates that say what it is."""
    codings: list[Coding] = [coding(scene) for scene in scenes]
    parts = [
        xr.apply_ufunc(partial(reflectance, how=how), numbers.isel(time=[i]), dask="parallelized", output_dtypes=["f4"])
        for i, how in enumerate(codings)
    ]
    values = xr.concat(parts, dim="time", join="exact")
    names = [str(b) for b in numbers.band.values]
    values = values.assign_coords(
        id=("time", np.array([s.id for s in scenes], dtype=str)),
        cloud_cover=("time", [s.cloud_cover for s in scenes]),
        wavelength=("band", [table.band(b).center for b in names]),
    )
    values.attrs = {"units": "1", "long_name": f"{table.quantity}, {scenes[0].level}", "grid_mapping": "spatial_ref"}
    return values.to_dataset(name=table.quantity).rio.write_crs(_epsg(geobox))
