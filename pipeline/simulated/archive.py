"""The simulated land as an archive: COGs and a static STAC catalog with the asset names of Earth Search v1."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import numpy as np
import pystac
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.warp import transform_bounds

from pipeline.lattice import Box, Lattice
from pipeline.sensors import SENTINEL2
from pipeline.simulated.sentinel2 import View, observe, render
from pipeline.simulated.world import World

CRS, ORIGIN, TILE = "EPSG:32633", (399960.0, 5799960.0), "33UVT"
"""Where the land lies: the upper left corner of a real tile, on multiples of 60 m."""

FIRST_DAY = datetime(2024, 6, 1, 10, 10, 31, tzinfo=UTC)
REVISIT = timedelta(days=5)

EXTENSIONS = [
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
]


def simulate(
    out: Path,
    size: int = 600,
    dates: int = 2,
    clouds: float = 0.06,
    seed: int = 1,
    levels: Sequence[str] = ("L1C", "L2A"),
    told: Callable[[str], None] | None = None,
) -> Path:
    """Write an archive and give the path of its ``catalog.json``.

    Parameters
    ----------
    out
        Folder to write into.
    size
        Edge of the scene in 10 m pixels, a multiple of 6.
    dates
        Acquisitions, five days apart; the first is clear.
    clouds
        Share of the later ones under clouds, about.
    seed
        The same seed gives the same land, clouds and noise.
    levels
        Processing levels to write.
    told
        Called with the id of each scene that is written.
    """
    if size <= 0 or size % 6:
        raise ValueError(f"size {size} is not a multiple of 6 pixels (60 m)")
    lattice = Lattice(CRS, Fraction(10), Fraction(60))
    corner = lattice.box((ORIGIN[0], ORIGIN[1], ORIGIN[0], ORIGIN[1]))
    area = Box(corner.left, corner.top, corner.left + size // 6, corner.top + size // 6)
    world = World(ORIGIN[0], ORIGIN[1], size * 10.0, seed)
    scenery = render(world, lattice, area)
    catalog = pystac.Catalog("simulated-earth", "A simulated Earth with known truth, made by fusecube")
    for level in levels:
        collection = _collection(level)
        catalog.add_child(collection)
        for index in range(dates):
            view = observe(scenery, level, FIRST_DAY + index * REVISIT, clouds if index else 0.0, seed)
            item = _item(out, view, lattice, area)
            item.properties["s2:product_uri"] = f"simulated, seed {seed}, {size} px, clouds {clouds:g}"
            collection.add_item(item)
            if told:
                told(item.id)
    catalog.normalize_hrefs(str(out.resolve()))
    catalog.make_all_asset_hrefs_relative()
    catalog.save(pystac.CatalogType.SELF_CONTAINED)
    return out / "catalog.json"


def _collection(level: str) -> pystac.Collection:
    everywhere = pystac.SpatialExtent([[-180.0, -90.0, 180.0, 90.0]])
    always = pystac.TemporalExtent([[FIRST_DAY, None]])
    name = f"sentinel-2-{level.lower()}"
    return pystac.Collection(name, f"Simulated Sentinel-2 {level}", pystac.Extent(everywhere, always))


def _item(out: Path, view: View, lattice: Lattice, area: Box) -> pystac.Item:
    """Write the files of an acquisition and describe them."""
    name = f"S2A_{TILE}_{view.acquired:%Y%m%d}_SIM_{view.level}"
    folder = out / f"sentinel-2-{view.level.lower()}" / name
    folder.mkdir(parents=True, exist_ok=True)
    west, south, east, north = transform_bounds(lattice.crs, "EPSG:4326", *lattice.bounds(area))
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = pystac.Item(
        id=name,
        geometry={"type": "Polygon", "coordinates": [ring]},
        bbox=[west, south, east, north],
        datetime=view.acquired,
        properties={
            "platform": "sentinel-2a",
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "gsd": 10,
            "eo:cloud_cover": view.cloud_cover,
            "proj:code": lattice.crs,
            "grid:code": f"MGRS-{TILE}",
            "s2:processing_baseline": "05.10",
            "earthsearch:boa_offset_applied": False,
        },
        stac_extensions=EXTENSIONS,
    )
    for band, numbers in view.numbers.items():
        _add(item, folder, band, numbers, lattice, area)
    grid = lattice.geobox(area, 10)
    truth = folder / "truth.tif"
    write_cog(truth, view.truth, grid, descriptions=[b.name for b in SENTINEL2.bands])
    item.add_asset(
        "truth", pystac.Asset(str(truth.resolve()), title="Every band at 10 m, without noise", roles=["reference"])
    )
    return item


def _add(item: pystac.Item, folder: Path, name: str, numbers: NDArray, lattice: Lattice, area: Box) -> None:
    (classes,) = SENTINEL2.product("L2A").quality
    is_class = name == classes.name
    how = SENTINEL2.product("L2A").coding
    band = None if is_class else SENTINEL2.band(name)
    key = band.common if band else "scl"
    resolution = band.resolution if band else classes.resolution
    grid = lattice.geobox(area, resolution)
    path = folder / f"{name}.tif"
    write_cog(path, numbers[None], grid, nodata=0)
    raster = {"nodata": 0, "data_type": str(numbers.dtype), "spatial_resolution": resolution}
    fields: dict = {"gsd": resolution, "proj:shape": list(grid.shape), "proj:transform": list(grid.affine[:6])}
    if band:
        raster |= {"scale": how.scale, "offset": -0.1}
        fields["eo:bands"] = [{"name": name, "common_name": band.common, "center_wavelength": band.center / 1000}]
    item.add_asset(
        key,
        pystac.Asset(
            href=str(path.resolve()),
            media_type=pystac.MediaType.COG,
            roles=["data", "reflectance"],
            extra_fields=fields | {"raster:bands": [raster]},
        ),
    )


def write_cog(
    path: Path, planes: NDArray, grid: GeoBox, nodata: float | None = None, descriptions: Sequence[str] = ()
) -> None:
    """Write (bands, rows, cols) as a cloud-optimised GeoTIFF with blocks of 256 pixels."""
    profile = {
        "driver": "COG",
        "dtype": str(planes.dtype),
        "count": planes.shape[0],
        "height": planes.shape[1],
        "width": planes.shape[2],
        "crs": str(grid.crs),
        "transform": grid.affine,
        "nodata": nodata,
        "compress": "DEFLATE",
        "predictor": 2 if np.issubdtype(planes.dtype, np.integer) else 3,
        "blocksize": 256,
    }
    with rasterio.open(path, "w", **profile) as target:
        target.write(planes)
        for index, text in enumerate(descriptions, start=1):
            target.set_band_description(index, text)
