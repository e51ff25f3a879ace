"""Scenes of any size for the benchmarks: one scene repeated, mirrored, on a larger grid."""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pystac
import rasterio
from shapely.geometry import box, mapping

from pipeline.lattice import Box, Lattice
from pipeline.sensors import SENTINEL2
from pipeline.simulated.archive import simulate, write_cog


def tiled(folder: Path, size: int) -> Path:
    """A catalog with one Sentinel-2 scene of ``size`` x ``size`` pixels of 10 m; gives the path of its catalog.json."""
    source = _source(folder)
    item = source.clone()
    item.clear_links()
    lattice = Lattice("EPSG:32633", Fraction(10), Fraction(60))
    corner = lattice.box((399960.0, 5799960.0, 399960.0, 5799960.0))
    area = Box(corner.left, corner.top, corner.left + size // 6, corner.top + size // 6)
    for band in SENTINEL2.bands:
        asset = item.assets[band.common]
        with rasterio.open(source.assets[band.common].get_absolute_href()) as file:
            pixels = file.read(1)
        length = size * 10 // band.resolution
        times = -(-length // pixels.shape[0])
        mirrored = np.pad(pixels, ((0, pixels.shape[0] * (times - 1)),) * 2, mode="symmetric")[:length, :length]
        grid = lattice.geobox(area, band.resolution)
        path = folder / f"{size}-{band.name}.tif"
        write_cog(path, mirrored[None], grid, nodata=0)
        asset.href = str(path)
        asset.extra_fields |= {"proj:shape": list(grid.shape), "proj:transform": list(grid.affine[:6])}
    item.assets = {band.common: item.assets[band.common] for band in SENTINEL2.bands}
    item.bbox = [13.0, 52.0, 14.5, 53.0]
    item.geometry = mapping(box(*item.bbox))
    item.collection_id = "sentinel-2-l1c"
    path = folder / f"{size}.json"
    pystac.ItemCollection([item]).save_object(str(path))
    return path


def _source(folder: Path) -> pystac.Item:
    root = os.environ.get("FUSECUBE_REAL_DATA")
    if root:
        return pystac.Item.from_file(str(Path(root) / "s2-native-stac/sentinel-2-l1c/T33UUB/T33UUB.json"))
    catalog = pystac.Catalog.from_file(str(simulate(folder / "simulated", size=600, dates=1, levels=["L1C"])))
    return next(iter(catalog.get_items(recursive=True)))


def scene_id(catalog: Path) -> str:
    """Id of the one scene of such a catalog."""
    return next(iter(pystac.ItemCollection.from_file(str(catalog)))).id
