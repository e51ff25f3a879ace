"""Scenes on the pixels of a GeoBox, assembled by stackstac: lazy, nothing is read until something is computed.

stackstac is given everything it would otherwise guess (CRS, bounds, resolution; no snapping, no rescaling) and a reader
of our own. Each item reaches it with every band, absent ones under an address that reads as nodata, and with the bounds
of the window: it would silently drop what the metadata places elsewhere, and metadata can be wrong.
"""

from collections.abc import Sequence
from datetime import UTC
from functools import partial
from math import inf

import numpy as np
import rioxarray  # noqa: F401  (the .rio accessor)
import stackstac
import xarray as xr
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

from pipeline.radiometry import POWER, as_read, coding, power
from pipeline.reader import ABSENT, BandReader, Journal
from pipeline.scene import Asset, Scene
from pipeline.sensors import Coding, Quality, sensor
from pipeline.warp import PLAIN, Numbers


def read(
    scenes: Sequence[Scene], geobox: GeoBox, bands: Sequence[str], journal: Journal | None = None, chunk: int = -1
) -> xr.DataArray:
    """Digital numbers of scenes on the pixels of ``geobox``: lazy, (time, band, y, x), one time a scene, in their order.

    Backscatter comes as power, whichever way it is kept (``pipeline.radiometry.as_read``).

    Parameters
    ----------
    scenes
        At least one scene; all of one sensor, level and coding of nodata.
    geobox
        The pixels wanted; north up, square, in a CRS with an EPSG code.
    bands
        Names of the sensor's bands, or one of its quality layers (whose codes are then chosen, never averaged).
    journal
        Where failures go; without one a file that cannot be read raises ``OSError`` when computed.
    chunk
        Edge of the dask chunks in pixels; -1 for one chunk a band.
    """
    layers = {layer.name: layer for layer in sensor(scenes[0].sensor).quality}
    if bands[0] in layers:
        layer = layers[bands[0]]
        dtype, nodata, resampling = _type(layer, scenes[0].assets.get(layer.name)), float(layer.nodata), Resampling.mode
        numbers = PLAIN
    else:
        how = as_read(scenes[0], bands[0])
        dtype, nodata = np.dtype(how.dtype), float("nan") if how.nodata is None else how.nodata
        resampling = Resampling.bilinear if dtype.kind == "f" else Resampling.cubic
        numbers = _numbers(scenes, bands, how)
    bounds = tuple(geobox.boundingbox.bbox)
    epsg = _epsg(geobox)
    cube = stackstac.stack(
        [_plain_item(scene, bands, epsg, bounds) for scene in scenes],
        assets=list(bands),
        epsg=epsg,
        bounds=bounds,
        resolution=geobox.resolution.x,
        snap_bounds=False,
        resampling=resampling,
        chunksize=(1, 1, chunk, chunk),
        dtype=dtype,
        fill_value=dtype.type(nodata),
        rescale=False,
        sortby_date=False,
        xy_coords="center",
        properties=False,
        band_coords=False,
        reader=partial(BandReader, journal=journal, numbers=numbers),
    )
    if cube.shape[-2:] != geobox.shape:
        raise AssertionError(f"stackstac made {cube.shape[-2:]} pixels of a window of {geobox.shape}")
    return cube.drop_vars([name for name in cube.coords if cube.coords[name].dtype == object and name != "band"])


def _numbers(scenes: Sequence[Scene], bands: Sequence[str], how: Coding) -> Numbers:
    """What the numbers of files mean whose coding is ``how`` once they are read."""
    return Numbers(
        low=-inf if how.low is None else how.low,
        high=inf if how.high is None else how.high,
        saturated=how.saturated,
        decode=partial(power, how=coding(scenes[0], bands[0])) if how is POWER else None,
        declared=any(s.assets[b].nodata is None for s in scenes for b in bands if b in s.assets),
    )


def _type(layer: Quality, asset: Asset | None) -> np.dtype:
    """Type of a quality layer's codes: as the item states it, where that holds the layer's own nodata."""
    stated = np.dtype((asset.dtype if asset else None) or layer.dtype)
    fits = stated.kind in "iu" and np.can_cast(np.min_scalar_type(layer.nodata), stated)
    return stated if fits else np.dtype(layer.dtype)


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
    asset = scene.assets.get(band)
    return asset.address if asset else f"{ABSENT}{scene.id}/{band}"
