"""A store as cloud-optimised GeoTIFFs, for GDAL and QGIS: one file of reflectance and one of flags a day."""

import tempfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import zarr
from rasterio.windows import Window

from pipeline.store import Store

BLOCK = 512
"""Edge of the files' internal blocks, pixels."""


def export(store: Store, out: Path, told: Callable[[Path], None] | None = None) -> list[Path]:
    """Write every day of a store; memory stays that of a row of chunks. Gives the files written."""
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for day in store.contents.days:
        for name in ("reflectance", "flags"):
            target = out / f"{day.isoformat()}-{name}.tif"
            with tempfile.TemporaryDirectory(dir=out) as folder:
                draft = Path(folder) / "draft.tif"
                _plain(store, day, name, draft)
                rasterio.shutil.copy(
                    draft, target, driver="COG", compress="DEFLATE", predictor="YES", blocksize=BLOCK, bigtiff="IF_SAFER",
                    overview_resampling="nearest" if name == "flags" else "average",
                )  # fmt: skip
            written.append(target)
            if told:
                told(target)
    return written


def _plain(store: Store, day: date, name: str, path: Path) -> None:
    """One array of one day as a tiled GeoTIFF, strip by strip."""
    contents, array, time = store.contents, store.array(name), store.contents.days.index(day)
    rows, cols = contents.layout.pixels_of(contents.layout.area)
    bands = len(contents.bands) if name == "reflectance" else 1
    with rasterio.open(path, "w", **_profile(store, array, bands)) as target:
        for window, strip in _strips(array, time, rows, cols, contents.layout.core_pixels):
            target.write(strip, window=window)
        if name == "reflectance":
            target.descriptions = contents.bands
            if contents.encoding.dtype != "float32":
                target.scales = (contents.encoding.scale,) * bands
                target.offsets = (contents.encoding.offset,) * bands
        target.update_tags(day=day.isoformat(), software=f"fusecube {contents.software}", run=contents.run)


def _profile(store: Store, array: zarr.Array, bands: int) -> dict[str, Any]:
    layout, coding = store.contents.layout, store.contents.encoding
    grid = layout.lattice.geobox(layout.area)
    nodata = coding.fill if bands > 1 or array.ndim == 4 else None
    return {
        "driver": "GTiff",
        "dtype": str(array.dtype),
        "count": bands,
        "height": grid.shape[0],
        "width": grid.shape[1],
        "crs": str(grid.crs),
        "transform": grid.affine,
        "nodata": nodata,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "bigtiff": "IF_SAFER",
    }


def _strips(array: zarr.Array, time: int, rows: slice, cols: slice, height: int) -> Iterator[tuple[Window, np.ndarray]]:
    for top in range(rows.start, rows.stop, height):
        part = slice(top, min(top + height, rows.stop))
        values = np.asarray(array[time, ..., part, cols])
        strip = values if values.ndim == 3 else values[None]
        yield Window(0, top - rows.start, strip.shape[2], strip.shape[1]), strip
