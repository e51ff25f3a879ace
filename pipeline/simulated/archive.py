"""The simulated land as an archive: cloud-optimised GeoTIFFs and a static STAC catalog, a collection a product."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pystac
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.io import DatasetWriter
from rasterio.shutil import copy
from rasterio.windows import Window

from pipeline.simulated.grids import coarser, pieces, projected
from pipeline.simulated.items import UDM2, Account, File, describe, name_of
from pipeline.simulated.streams import EPOCH, TILE, Campaign, Pass, Stream
from pipeline.simulated.views import observe
from pipeline.simulated.world import CRS, changes_geojson

__all__ = ["TILE", "simulate", "simulate_campaign", "write_cog"]

PIECE = 1020
"""Edge in pixels of the pieces that scenes are made and written in; memory follows it, not the size of the land."""

CODES: dict[str, float | None] = {
    "SCL": 0,
    "qa_pixel": 1,
    "qa_radsat": None,
    "state": 65535,
    "day_of_year": 65535,
    "ortho_udm2": None,
}
"""Layers of codes, which are never averaged, and their code for a pixel that was not measured."""


def simulate(
    out: Path,
    size: int = 600,
    dates: int = 2,
    clouds: float = 0.06,
    seed: int = 1,
    levels: Sequence[str] = ("L1C", "L2A"),
    told: Callable[[str], None] | None = None,
) -> Path:
    """Write an archive of Sentinel-2 alone and give the path of its ``catalog.json``.

    Parameters
    ----------
    out
        Folder to write into.
    size
        Edge of the scene in 10 m pixels, a multiple of 6.
    dates
        Acquisitions, five days apart; the first, on 1 June 2024, is clear.
    clouds
        Share of the later ones under clouds, about.
    seed
        The same seed gives the same land, clouds and noise.
    levels
        Processing levels to write.
    told
        Called with the id of each scene that is written.
    """
    last = EPOCH + timedelta(days=5 * (dates - 1))
    campaign = Campaign(EPOCH, last, size, ("sentinel-2",), tuple(levels), seed, clouds, spread=0.0, clear=(EPOCH,))
    return simulate_campaign(out, campaign, told)


def simulate_campaign(out: Path, campaign: Campaign, told: Callable[[str], None] | None = None) -> Path:
    """Write an archive of everything that a campaign sees and give the path of its ``catalog.json``.

    Beside it, ``changes.geojson`` says what is built where and when. Files have the same pixels on every run.

    Parameters
    ----------
    out
        Folder to write into.
    told
        Called with the id of each scene that is written.
    """
    catalog = pystac.Catalog("simulated-earth", "A simulated Earth with known truth, made by fusecube")
    collections = {stream.collection: _collection(stream, campaign) for stream in campaign.streams}
    catalog.add_children(collections.values())
    for passed in campaign.passes():
        item = describe(_written(out.resolve() / passed.stream.collection, passed, campaign))
        collections[passed.stream.collection].add_item(item)
        if told:
            told(item.id)
    catalog.normalize_hrefs(str(out.resolve()))
    catalog.make_all_asset_hrefs_relative()
    catalog.save(pystac.CatalogType.SELF_CONTAINED)
    (out / "changes.geojson").write_text(json.dumps(changes_geojson(campaign.world), indent=1))
    return out / "catalog.json"


def _collection(stream: Stream, campaign: Campaign) -> pystac.Collection:
    place = pystac.SpatialExtent([list(projected(campaign.world.bounds, CRS, "EPSG:4326"))])
    first = datetime.combine(campaign.start, datetime.min.time(), UTC)
    last = datetime.combine(campaign.end + timedelta(days=stream.days), datetime.min.time(), UTC)
    extent = pystac.Extent(place, pystac.TemporalExtent([[first, last]]))
    return pystac.Collection(stream.collection, f"Simulated {stream.sensor.name} {stream.level}", extent)


def _written(folder: Path, passed: Pass, campaign: Campaign) -> Account:
    """Write the files of an acquisition, piece by piece."""
    world, stream = campaign.world, passed.stream
    grid = stream.grid(world)
    folder = folder / name_of(passed, grid)
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, File] = {}
    cloudy = 0
    with ExitStack() as stack:
        targets: dict[str, DatasetWriter] = {}
        for rows, cols in pieces(grid, PIECE):
            view = observe(passed, world, campaign.weather, campaign.seed, grid[rows, cols])
            cloudy += view.cloudy
            for name, planes in view.layers.items():
                ratio = (rows.stop - rows.start) // planes.shape[1]
                if name not in targets:
                    files[name] = File(folder / f"{name}.tif", coarser(grid, ratio), str(planes.dtype))
                    layer = Layer(
                        files[name], len(planes), _nodata(stream, name), _overviews(name), _names(stream, name)
                    )
                    targets[name] = stack.enter_context(_cog(layer))
                at = (slice(s.start // ratio, s.stop // ratio) for s in (rows, cols))
                targets[name].write(planes, window=Window.from_slices(*at))
    percent = round(100 * cloudy / (grid.shape[0] * grid.shape[1]), 2)
    told = (
        f"simulated, seed {campaign.seed}, {campaign.size} px, clouds {campaign.clouds:g}, spread {campaign.spread:g}"
    )
    return Account(passed, world, grid, files, percent, told)


def _nodata(stream: Stream, name: str) -> float | None:
    """Number of a pixel that was not measured in a layer's file."""
    return None if name == "truth" else CODES.get(name, stream.coding.nodata)


def _overviews(name: str) -> str | None:
    """How overviews of a layer are made."""
    if name == "truth":
        return None
    return "NEAREST" if name in CODES else "AVERAGE"


def _names(stream: Stream, name: str) -> tuple[str, ...]:
    """Names of the planes of a layer's file."""
    if name == "ortho_udm2":
        return UDM2
    return tuple(band.name for band in stream.bands) if name in ("truth", "ortho_analytic_8b_sr", "bands") else ()


@dataclass(frozen=True)
class Layer:
    """A file to be written."""

    file: File
    """Where, on which pixels, of which type."""
    count: int
    """Planes."""
    nodata: float | None
    """Number of a pixel that was not measured."""
    overviews: str | None
    """How overviews are resampled, ``None`` for none."""
    names: tuple[str, ...] = ()
    """Names of its planes."""


@contextmanager
def _cog(layer: Layer) -> Iterator[DatasetWriter]:
    """A file to write windows into, which becomes a cloud-optimised GeoTIFF with blocks of 256 pixels once it is whole."""
    path, grid = layer.file.path, layer.file.grid
    part = path.with_suffix(".part.tif")
    rows, cols = grid.shape
    crs, place = str(grid.crs), grid.affine
    with rasterio.open(
        part, "w", driver="GTiff", width=cols, height=rows, count=layer.count, dtype=layer.file.dtype, crs=crs,
        transform=place, nodata=layer.nodata, bigtiff="if_safer",
    ) as target:  # fmt: skip
        for index, text in enumerate(layer.names, start=1):
            target.set_band_description(index, text)
        yield target
    copy(
        part, path, driver="COG", compress="DEFLATE", level=1, predictor="YES", blocksize=256,
        **({"overview_resampling": layer.overviews} if layer.overviews else {"overviews": "NONE"}),
    )  # fmt: skip
    part.unlink()


def write_cog(
    path: Path, planes: NDArray, grid: GeoBox, nodata: float | None = None, descriptions: Sequence[str] = ()
) -> None:
    """Write (bands, rows, cols) as a cloud-optimised GeoTIFF with blocks of 256 pixels."""
    file = File(path, grid, str(planes.dtype))
    with _cog(Layer(file, len(planes), nodata, "AVERAGE", tuple(descriptions))) as target:
        target.write(planes)
