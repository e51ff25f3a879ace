"""Loading cubes: fusecube beside odc-stac and bare stackstac, on the same items, the same threads and the same windows.

Each figure comes from a process of its own: seconds are the best of several loads after one that warms files and
libraries, memory is the peak of the process beyond what it held once everything was imported. In the cases of another
zone the readers do not do the same work: the last table says how far each misplaces a ramp, and a fourth reader, GDAL's
own warp told to be exact, shows what the libraries' way costs at fusecube's accuracy.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pystac
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

sys.path.insert(0, str(Path(__file__).parents[1]))

BANDS = {"B02": "blue", "B04": "red", "B08": "nir"}
LEFT, TOP, CRS = 399960.0, 5799960.0, "EPSG:32633"
THREADS = 2
READERS = ("fusecube", "odc-stac", "stackstac")
NEXT_ZONE = (816000.0, 5800020.0)
"""A corner in zone 32 that lies in the scenes."""
CASES: dict[str, tuple[str, float, float, int, int]] = {
    "native grid": (CRS, LEFT + 6000, TOP - 6000, 10, 2400),
    "another zone": ("EPSG:32632", *NEXT_ZONE, 10, 1200),
    "another zone, 30 m": ("EPSG:32632", *NEXT_ZONE, 30, 400),
    "half a pixel off": (CRS, LEFT + 6005, TOP - 6005, 10, 1200),
    "one small window": (CRS, LEFT + 12340, TOP - 12340, 10, 96),
    "over HTTP": (CRS, LEFT + 6000, TOP - 6000, 10, 1200),
}
"""CRS, left, top, resolution and edge in pixels of what is loaded."""


def window(case: str) -> GeoBox:
    """The pixels of a case."""
    crs, left, top, resolution, size = CASES[case]
    return GeoBox((size, size), Affine(resolution, 0, left, 0, -resolution, top), crs)


def archive(folder: Path, size: int, dates: int) -> Path:
    """Scenes of smooth land with noise, COGs in blocks of 1024 pixels as the public archives have them."""
    chance = np.random.default_rng(1)
    grid = Affine(10, 0, LEFT, 0, -10, TOP)
    rows, cols = np.mgrid[0:size, 0:size].astype(np.float32)
    land = 1500 + 600 * np.sin(cols / 37) * np.cos(rows / 53)
    items = []
    for date in range(dates):
        item = pystac.Item(
            f"S2A_33UVT_2024060{date + 1}_0_L2A",
            {"type": "Polygon", "coordinates": [[[13, 51], [15, 51], [15, 53], [13, 53], [13, 51]]]},
            [13.0, 51.0, 15.0, 53.0],
            datetime(2024, 6, 1, 10, tzinfo=UTC) + timedelta(days=date),
            {"proj:epsg": 32633, "proj:code": CRS},
            stac_extensions=["https://stac-extensions.github.io/projection/v1.1.0/schema.json"],
        )
        for name in BANDS.values():
            pixels = (land + chance.normal(0, 40, land.shape)).astype(np.uint16)
            add(item, folder / f"{item.id}-{name}.tif", name, pixels, grid)
        items.append(item)
    ramp = items[0].clone()
    ramp.id, ramp.assets = "ramp", {}
    add(ramp, folder / "ramp-blue.tif", "blue", (cols * 10 + 100).clip(0, 65000).astype(np.uint16), grid)
    add(ramp, folder / "ramp-red.tif", "red", (rows * 10 + 100).clip(0, 65000).astype(np.uint16), grid)
    path = folder / "items.json"
    pystac.ItemCollection([*items, ramp]).save_object(str(path))
    return path


def add(item: pystac.Item, path: Path, name: str, pixels: NDArray, grid: Affine) -> None:
    """Write a band and list it."""
    profile = {"driver": "COG", "dtype": "uint16", "count": 1, "nodata": 0, "crs": CRS, "transform": grid}
    profile |= {"compress": "DEFLATE", "predictor": 2, "blocksize": 1024, "resampling": "nearest"}
    with rasterio.open(path, "w", height=pixels.shape[0], width=pixels.shape[1], **profile) as file:
        file.write(pixels, 1)
    fields = {"proj:shape": list(pixels.shape), "proj:transform": list(grid[:6])}
    fields["raster:bands"] = [{"nodata": 0, "data_type": "uint16"}]
    item.add_asset(name, pystac.Asset(str(path), media_type=pystac.MediaType.COG, roles=["data"], extra_fields=fields))


Loader = Callable[[list[pystac.Item], GeoBox, list[str]], NDArray]
"""Items, pixels and names of assets to digital numbers, (time, band, y, x)."""


def fusecube(items: list[pystac.Item], box: GeoBox, names: list[str]) -> NDArray:
    """The reader of this project."""
    from pipeline.cube import read
    from pipeline.scene import Asset, Scene

    bands = [band for band, name in BANDS.items() if name in names]
    scenes = [
        Scene(
            id=item.id,
            sensor="sentinel-2",
            level="L2A",
            acquired=item.datetime,
            bbox=tuple(item.bbox),
            crs=CRS,
            extent=None,
            assets={b: Asset(item.assets[BANDS[b]].href) for b in bands},
            cloud_cover=0.0,
            properties={"s2:processing_baseline": "05.10", "earthsearch:boa_offset_applied": False},
        )
        for item in items
    ]
    return read(scenes, box, bands).compute(scheduler="threads", num_workers=THREADS).values


def odc_stac(items: list[pystac.Item], box: GeoBox, names: list[str]) -> NDArray:
    """odc-stac, with the settings that its manual gives for files in the cloud."""
    import odc.stac

    odc.stac.configure_rio(cloud_defaults=True)
    loaded = odc.stac.load(items, names, geobox=box, chunks={}, resampling="cubic", groupby="id")
    return loaded.to_dataarray("band").transpose("time", "band", ...).compute(num_workers=THREADS).values


def stackstac(items: list[pystac.Item], box: GeoBox, names: list[str]) -> NDArray:
    """stackstac as it is, told its grid."""
    import stackstac as library
    from rasterio.enums import Resampling

    cube = library.stack(
        items,
        names,
        epsg=box.crs.epsg,
        bounds=tuple(box.boundingbox.bbox),
        resolution=box.resolution.x,
        snap_bounds=False,
        chunksize=(1, 1, -1, -1),
        dtype=np.dtype("uint16"),
        fill_value=np.uint16(0),
        rescale=False,
        resampling=Resampling.cubic,
    )
    return cube.compute(scheduler="threads", num_workers=THREADS).values


def exact_gdal(items: list[pystac.Item], box: GeoBox, names: list[str]) -> NDArray:
    """A plain WarpedVRT that transforms every pixel exactly, one thread a file as the others."""
    from concurrent.futures import ThreadPoolExecutor

    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT

    how = {"tolerance": 1e-6, "XSCALE": 1, "YSCALE": 1, "resampling": Resampling.cubic}
    if box.resolution.x > 10:
        how = {"tolerance": 1e-6, "resampling": Resampling.average}

    def one(href: str) -> NDArray:
        height, width = box.shape
        with (
            rasterio.open(href, OVERVIEW_LEVEL="NONE") as source,
            WarpedVRT(source, crs=str(box.crs), transform=box.affine, width=width, height=height, **how) as warped,
        ):
            return warped.read(1)

    hrefs = [item.assets[name].href for item in items for name in names]
    with ThreadPoolExecutor(THREADS) as pool:
        return np.stack(list(pool.map(one, hrefs)))


LOADERS: dict[str, Loader] = {
    "fusecube": fusecube,
    "odc-stac": odc_stac,
    "stackstac": stackstac,
    "GDAL, exact": exact_gdal,
}


def measure(reader: str, case: str, path: str, address: str, repeats: int) -> dict[str, float]:
    """Seconds and mebibytes of a load, in this process."""
    items = [item for item in pystac.ItemCollection.from_file(path) if item.id != "ramp"]
    if case == "over HTTP":
        for item in items:
            for asset in item.assets.values():
                asset.href = f"{address}/{Path(asset.href).name}"
    load, names, box = LOADERS[reader], list(BANDS.values()), window(case)
    if case != "over HTTP":
        load(items[:1], window("one small window"), names[:1])
    held = peak()
    seconds, busy = [], []
    for _ in range(repeats):
        start, cpu = time.perf_counter(), time.process_time()
        numbers = load(items, box, names)
        seconds.append(time.perf_counter() - start)
        busy.append(time.process_time() - cpu)
    if not (numbers > 0).all():
        raise AssertionError(f"{reader} left pixels of {case!r} empty")
    return {"seconds": min(seconds), "cpu": min(busy), "memory": peak() - held, "whole": peak()}


def peak() -> float:
    """Peak memory of this process in mebibytes; not ``ru_maxrss``, which begins with that of the parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def misplaced(path: str) -> dict[str, float]:
    """How far each reader puts a ramp from its place in another zone, in pixels at most."""
    from rasterio.warp import transform

    (ramp,) = (item for item in pystac.ItemCollection.from_file(path) if item.id == "ramp")
    box = window("another zone")
    rows, cols = np.mgrid[0 : box.shape[0], 0 : box.shape[1]] + 0.5
    xs, ys = transform(str(box.crs), CRS, *(part.ravel() for part in box.affine * (cols, rows)))
    at_cols, at_rows = ((np.array(xs) - LEFT) / 10 - 0.5, (TOP - np.array(ys)) / 10 - 0.5)
    result = {}
    for name, load in LOADERS.items():
        found = load([ramp], box, ["blue", "red"]).reshape(2, -1).astype(float)
        # rounding to whole numbers is up to 0.05 px of a ramp of ten a pixel: means over 20 x 20 pixels take it out
        away = [
            (((f - 100) / 10 - at).reshape(60, 20, 60, 20).mean(axis=(1, 3)))
            for f, at in zip(found, (at_cols, at_rows), strict=True)
        ]
        result[name] = float(np.hypot(*away).max())
    return result


def main() -> None:
    """Print seconds, memory and ratios."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--size", type=int, default=5490, help="edge of the scenes in pixels")
    options.add_argument("--dates", type=int, default=2)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--one", nargs=4, help=argparse.SUPPRESS)  # a measurement, in a process of its own
    given = options.parse_args()
    if given.one:
        print(json.dumps(measure(*given.one, given.repeats)))
        return
    from servers import serve_files

    with tempfile.TemporaryDirectory() as name, serve_files(Path(name)) as files:
        path = archive(Path(name), given.size, given.dates)
        print(f"{given.dates} scenes of {given.size} x {given.size} px, {len(BANDS)} bands, {THREADS} threads")
        for case in CASES:
            readers = (*READERS, "GDAL, exact") if "zone" in case or "half" in case else READERS
            found = {}
            for reader in readers:
                command = [sys.executable, __file__, "--repeats", str(given.repeats), "--one"]
                out = subprocess.run(
                    [*command, reader, case, str(path), files.address],
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=os.environ | {"OMP_NUM_THREADS": "1", "FUSECUBE_ALLOWED_HOSTS": "127.0.0.1"},
                ).stdout
                found[reader] = json.loads(out.splitlines()[-1])
            fastest = {key: min(found[r][key] for r in READERS[1:]) for key in ("seconds", "cpu", "memory", "whole")}
            for reader, figures in found.items():
                ratio = {key: figures[key] / max(fastest[key], 1e-9) for key in fastest}
                print(
                    f"{case:20} {reader:12} {figures['seconds']:7.3f} s ({ratio['seconds']:5.2f})"
                    f"  {figures['cpu']:7.3f} s of CPU ({ratio['cpu']:5.2f})"
                    f"  {figures['memory']:6.0f} MiB more ({ratio['memory']:5.2f})"
                    f"  {figures['whole']:6.0f} MiB in all ({ratio['whole']:5.2f})",
                    flush=True,
                )
        for reader, pixels in misplaced(str(path)).items():
            print(f"another zone, misplaced by at most {pixels:8.5f} px: {reader}")


if __name__ == "__main__":
    main()
