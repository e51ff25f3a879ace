"""Real files of every sensor, read through the cube and independently of it: values, places, flags, units."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import radians, sin
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.warp import transform_bounds

from pipeline.catalog import Query, find
from pipeline.flags import Flag
from pipeline.lattice import Lattice, Layout
from pipeline.mosaic import lay, lay_quality
from pipeline.reader import Journal
from pipeline.scene import Asset, Scene
from pipeline.sensors import MODIS, PLANET_FUSION, SENTINEL2
from pipeline.tree import tree_of

ALWAYS = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))


def layout(crs, resolution, step, bounds, chunk, anchor=(0, 0)):
    """A layout over bounds in metres, its chunks of so many steps."""
    at = (Fraction(anchor[0]), Fraction(anchor[1]))
    lattice = Lattice(crs, Fraction(resolution), Fraction(step), at)
    return Layout.over(lattice, lattice.box(bounds), chunk)


def computed(array):
    return array.compute(scheduler="synchronous").values


def collection(path, items):
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return str(path)


def item(name, when, bbox, assets, **properties):
    """The least that an item must say."""
    west, south, east, north = bbox
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "bbox": list(bbox),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"datetime": when.isoformat()} | properties,
        "links": [],
        "assets": {key: {"href": href} for key, href in assets.items()},
    }


def by_hand(name, sensor, level, when, box, assets, **fields):
    """A scene of files that come without an item; ``box`` in degrees."""
    return Scene(name, sensor, level, when, box, None, None, assets, 0.0, **fields)


def degrees(path):
    """West, south, east, north of a file."""
    with rasterio.open(path) as file:
        return transform_bounds(file.crs, "EPSG:4326", *file.bounds)


def sampled(image, cols, rows, cubic):
    """Cubic convolution (Keys 1981, a = -1/2) or bilinear interpolation at columns and rows from the image's corner."""
    total = np.zeros(cols.shape)
    left, top = np.floor(cols - 0.5).astype(int), np.floor(rows - 0.5).astype(int)

    def weight(distance):
        d = np.abs(distance)
        if not cubic:
            return np.clip(1 - d, 0, None)
        near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
        return np.where(d <= 1, near, np.where(d < 2, far, 0))

    for j in range(-1, 3):
        for i in range(-1, 3):
            share = weight(cols - 0.5 - (left + i)) * weight(rows - 0.5 - (top + j))
            inside = (top + j >= 0) & (top + j < image.shape[0]) & (left + i >= 0) & (left + i < image.shape[1])
            pixel = image[np.clip(top + j, 0, image.shape[0] - 1), np.clip(left + i, 0, image.shape[1] - 1)]
            total += np.where(share == 0, 0, share * np.where(inside, pixel, np.nan))
    return total


def places(geobox, file):
    """Columns and rows, from a file's corner, of the centres of a GeoBox's pixels."""
    x, y = np.meshgrid(geobox.coords["x"].values, geobox.coords["y"].values)
    return ~file.transform @ Transformer.from_crs(geobox.crs, file.crs, always_xy=True).transform(x, y)


def test_sentinel_2_over_two_tiles_and_five_dates(real_data):
    """The items say 10 m where the files have 120 m, whose grids in the two tiles lie half a pixel apart."""
    folder = real_data / "s2-l2a-120m-multidate"
    scenes = find(Query(str(folder / "catalog.json"), SENTINEL2, *ALWAYS))
    assert len(scenes) == 10
    # the tiles overlap from 5090220 to 5100000; the grid of 60 m holds both
    bounds = (540000.0, 5087040.0, 546000.0, 5103000.0)
    tree = tree_of(scenes, layout("EPSG:32633", 10, 60, bounds, 140), ["B04"])
    node = tree["sentinel-2/10m"]
    days = ["2023-08-10", "2023-08-13", "2023-08-15", "2023-08-18", "2023-08-20"]
    assert [str(t)[:10] for t in node.time.values] == days
    both = 0
    for day in days:
        clouds = {}
        for one in (folder / "sentinel-2-l2a").glob(f"*{day.replace('-', '')}*"):
            said = json.loads((one / f"{one.name}.json").read_text())
            clouds[one] = said["properties"]["eo:cloud_cover"]
        ordered = sorted(clouds, key=clouds.get)  # least cloudy first
        for band in ("B04", "SCL"):
            laid = np.zeros((1596, 600), int)
            for one in ordered:
                with rasterio.open(one / f"{band}.tif") as file:
                    rows = (file.bounds.top - bounds[3] + 10 * (np.arange(1596) + 0.5)) // 120
                    cols = (bounds[0] - file.bounds.left + 10 * (np.arange(600) + 0.5)) // 120
                    numbers = np.pad(file.read(1), 1)  # 0 beyond the file
                here = numbers[np.clip(rows + 1, 0, 916).astype(int)][:, np.clip(cols + 1, 0, 916).astype(int)]
                both += (here > 0).sum() / here.size
                laid = np.where(laid == 0, here, laid)
            if band == "SCL":
                flags = computed(node.flags.sel(time=day))[0]
                for codes, flag in (
                    ((8, 9), Flag.CLOUD),
                    ((3,), Flag.SHADOW),
                    ((10,), Flag.CIRRUS),
                    ((6,), Flag.WATER),
                ):
                    np.testing.assert_array_equal((flags & flag) > 0, np.isin(laid, codes))
            else:
                expected = np.where(laid == 0, np.nan, laid / 10000)  # the offset was applied to these files
                found = computed(node.reflectance.sel(time=day, band=band))[0]
                np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)
    assert both > 10 * 1.3, "the area lies in both tiles"


def test_sentinel_2_of_one_tile_on_its_own_pixels(real_data):
    folder = real_data / "s2-l2a-120m-multidate"
    (scene,) = find(Query(str(folder / "catalog.json"), SENTINEL2, *ALWAYS, scenes=("S2A_33TWM_20230815_0_L2A",)))
    with rasterio.open(folder / "sentinel-2-l2a" / scene.id / "B08.tif") as file:
        grid, numbers = GeoBox(file.shape, file.transform, str(file.crs)), file.read(1)
    journal = Journal()
    found = lay([scene], grid, ["B08"], journal).values[0]
    np.testing.assert_allclose(found, np.where(numbers == 0, np.nan, numbers / 10000), rtol=0, atol=1e-7)
    assert list(journal.outcomes.values()) == ["native"]


def test_planet_fusion_across_its_tile_border(real_data, tmp_path):
    """Seven days, 3 m; the bands are stored blue, green, red, near infrared although the items list red first."""
    folder = Path(shutil.copytree(real_data / "planet-fusion-daily", tmp_path / "planet"))
    items = []
    for path in sorted((folder / "stac" / "SR").rglob("33N-*PF-SR-*.json")):
        said = json.loads(path.read_text())
        said["assets"]["bands"]["href"] = said["properties"]["path"].removeprefix("../../../../../")
        items.append(said | {"links": []})
    scenes = find(Query(collection(folder / "items.json", items), PLANET_FUSION, *ALWAYS))
    assert len(scenes) == 14
    bounds = (575781.0, 5368128.0, 576165.0, 5368320.0)
    node = tree_of(scenes, layout("EPSG:32633", 3, 3, bounds, 64))["planet-fusion/3m"]
    days = [f"2020-08-{day:02d}" for day in range(8, 15)]
    assert [str(t)[:10] for t in node.time.values] == days
    assert list(node.band.values) == ["blue", "green", "red", "nir"]
    expected = []
    for day in days:
        tiles = [folder / "UTM-24000" / "33N" / tile / "PF-SR" / f"{day}.tif" for tile in ("23E-223N", "24E-223N")]
        sides = []
        for path in tiles:
            with rasterio.open(path) as file:
                sides.append(file.read())
        expected.append(np.concatenate(sides, axis=2) / 10000)  # the second begins where the first ends, at 576000
    expected = np.stack(expected)  # (time, band, y, x)
    found = computed(node.reflectance)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)
    red, nir = (float(node.reflectance.sel(band=band).mean()) for band in ("red", "nir"))
    assert (nir - red) / (nir + red) > 0.6, "fields in August"


def landsat8(folder):
    """The scene, and the numbers of its metadata file."""
    said = {}
    for line in (folder / "l8_MTL.txt").read_text().splitlines():
        name, _, value = line.partition("=")
        said[name.strip()] = value.strip().strip('"')
    files = {"coastal": 1, "blue": 2, "green": 3, "red": 4, "nir08": 5, "swir16": 6, "swir22": 7, "pan": 8, "cirrus": 9}
    assets = {band: Asset(str(folder / f"l8_B{number}.tif")) for band, number in files.items()}
    scene = by_hand(
        said["LANDSAT_SCENE_ID"],
        "landsat",
        "L1-PRE",
        datetime.fromisoformat(f"{said['DATE_ACQUIRED']}T{said['SCENE_CENTER_TIME'][:8]}+00:00"),
        degrees(folder / "l8_B8.tif"),
        assets | {"BQA": Asset(str(folder / "l8_BQA.tif"))},
        platform="landsat-8",
        properties={"view:sun_elevation": float(said["SUN_ELEVATION"])},
    )
    return scene, files, said


def test_landsat_8_level_1_with_its_half_pixel(real_data):
    """Its 30 m grid begins at half pixels of the CRS, and that of the panchromatic band at half pixels of that."""
    folder = real_data / "landsat8-l1-020039"
    scene, files, said = landsat8(folder)
    bounds = (452475.0, 3390555.0, 471285.0, 3408645.0)
    tree = tree_of([scene], layout("EPSG:32616", 30, 30, bounds, 200, anchor=(15, 15)))
    coarse, fine = tree["landsat/30m"], tree["landsat/15m"]
    height = sin(radians(64.74360932))
    assert said["SUN_ELEVATION"] == "64.74360932"
    for band in ("coastal", "red", "nir08", "swir22", "cirrus"):
        with rasterio.open(folder / f"l8_B{files[band]}.tif") as file:
            assert coarse.to_dataset().rio.transform()[:6] == file.transform[:6]
            numbers = file.read(1).astype(float)
        gain, bias = (float(said[f"REFLECTANCE_{part}_BAND_{files[band]}"]) for part in ("MULT", "ADD"))
        found = computed(coarse.reflectance.sel(band=band).isel(time=0))
        np.testing.assert_allclose(found, (gain * numbers + bias) / height, rtol=0, atol=2e-7)
    with rasterio.open(folder / "l8_BQA.tif") as file:
        codes = file.read(1)
    flags = computed(coarse.flags.isel(time=0))
    # the codes that the file has, spelled out: pairs of bits 15-14 cloud, 13-12 cirrus, 11-10 snow, 5-4 water
    for flag, shift in ((Flag.CLOUD, 14), (Flag.CIRRUS, 12), (Flag.SNOW, 10), (Flag.WATER, 4)):
        likely = np.isin((codes // 2**shift) % 4, (2, 3))
        np.testing.assert_array_equal((flags & flag) > 0, likely)
        assert likely.any()
    # a pixel of the 15 m grid lies in the middle of four of the file's: cubic convolution weighs -1, 9, 9, -1 sixteenths
    with rasterio.open(folder / "l8_B8.tif") as file:
        pan = file.read(1).astype(float)
    across = (-pan[:, :-3] + 9 * pan[:, 1:-2] + 9 * pan[:, 2:-1] - pan[:, 3:]) / 16
    both = (-across[:-3] + 9 * across[1:-2] + 9 * across[2:-1] - across[3:]) / 16
    found = computed(fine.reflectance.isel(time=0, band=0))
    # the file has one line more than the grid above, and begins one column before it: its first whole 4 x 4 belongs to (1, 1)
    expected = (2e-5 * both - 0.1) / height
    np.testing.assert_allclose(found[1 : 1 + 1204, 1 : 1 + 1251], expected, rtol=0, atol=0.51 * 2e-5 / height)


def test_sentinel_1_and_2_on_one_grid(real_data):
    """Amplitudes as 16 bits without a sign, kept in a type that has one, and reflectance with its classes."""
    folder = real_data / "s1-s2-timeseries-openeo"
    box = (5.05, 51.2, 5.08, 51.23)

    def scenes(name, sensor, level, variables, **fields):
        path = folder / name
        with h5py.File(path) as file:
            days = file["t"][:]
        made = []
        for index, day in enumerate(days, start=1):
            when = datetime(1990, 1, 1, 6, tzinfo=UTC) + timedelta(days=int(day))
            assets = {
                band: Asset(f"{path}#layer={variable}:{index}", **said) for band, (variable, said) in variables.items()
            }
            made.append(by_hand(f"{name}-{index}", sensor, level, when, box, assets, track=str(index), **fields))
        return made

    amplitude = {"scale": 10 ** (-83 / 20), "unit": "amplitude", "dtype": "uint16"}
    radar = scenes(
        "cdse_sentinel1_grd.nc",
        "sentinel-1",
        "GEO",
        {band: (f"S1-SIGMA0-{band}", amplitude) for band in ("VV", "VH")},
    )
    applied = {"earthsearch:boa_offset_applied": True}
    optical = scenes(
        "cdse_sentinel2_l2a.nc",
        "sentinel-2",
        "L2A",
        {name: (f"S2-L2A-{name}", {"dtype": "uint16"}) for name in ("B04", "B08", "SCL")},
        properties=applied,
    )
    bounds = (643260.0, 5675820.0, 643900.0, 5676480.0)
    tree = tree_of([*radar, *optical], layout("EPSG:32631", 10, 20, bounds, 33))
    first, second = tree["sentinel-1/10m"], tree["sentinel-2/10m"]
    np.testing.assert_array_equal(first.x, second.x)
    with h5py.File(folder / "cdse_sentinel1_grd.nc") as file:
        np.testing.assert_array_equal(first.x, file["x"][:])
        np.testing.assert_array_equal(first.y, file["y"][:])
        for band in ("VV", "VH"):
            numbers = file[f"S1-SIGMA0-{band}"][:].view(np.uint16).astype(float)
            with np.errstate(divide="ignore"):
                db = 20 * np.log10(numbers) - 83
            found = computed(first.sigma_nought.sel(band=band))
            np.testing.assert_array_equal(np.isnan(found), db <= -40)
            np.testing.assert_allclose(10 * np.log10(found[db > -40]), db[db > -40], rtol=0, atol=1e-4)
            assert (numbers > 32767).any(), "with a sign they would be negative"
    with h5py.File(folder / "cdse_sentinel2_l2a.nc") as file:
        for band in ("B04", "B08"):
            numbers = file[f"S2-L2A-{band}"][:].view(np.uint16)
            expected = np.where(numbers == 0, np.nan, numbers / 10000)
            np.testing.assert_allclose(computed(second.reflectance.sel(band=band)), expected, rtol=0, atol=4e-7)
        classes = file["S2-L2A-SCL"][:]
    flags = computed(second.flags)
    for codes, flag in (((8, 9), Flag.CLOUD), ((3,), Flag.SHADOW), ((10,), Flag.CIRRUS), ((11,), Flag.SNOW)):
        np.testing.assert_array_equal((flags & flag) > 0, np.isin(classes, codes))
    assert (flags & Flag.CLOUD > 0).mean() > 0.5, "a cloudy month"


def test_modis_ndvi_of_a_year_from_its_sinusoidal_grid(real_data, tmp_path):
    folder = Path(shutil.copytree(real_data / "modis-mod13q1-sinop", tmp_path / "modis"))
    paths = sorted(folder.glob("*.jp2"))
    days = [path.stem[-10:] for path in paths]
    items = [
        item(
            f"MOD13Q1.{day}",
            datetime.fromisoformat(f"{day}T12:00:00+00:00"),
            degrees(path),
            {"NDVI": path.name},
            platform="terra",
        )
        for day, path in zip(days, paths, strict=True)
    ]
    scenes = find(Query(collection(folder / "items.json", items), MODIS, *ALWAYS))
    assert [(scene.sensor, scene.level, scene.platform) for scene in scenes] == [("modis", "MOD13Q1", "terra")] * 12
    # around 11.6 S, 55.6 W: pixels of 100 m, finer than the file's 231.7 m, so that they lie between its pixels
    grid = GeoBox((300, 480), Affine(100, 0, 640000, 0, -100, 8720000), "EPSG:32721")
    checked = bled = 0
    for scene, path in zip(scenes, paths, strict=True):
        journal = Journal()
        found = lay([scene], grid, ["NDVI"], journal).values[0]
        assert list(journal.outcomes.values()) == ["warped"]
        with rasterio.open(path) as file:
            cols, rows = places(grid, file)
            numbers = file.read(1).astype(float)
        # fill is -3000, blurred by lossy compression, and valid is -2000 to 10000
        numbers[(numbers < -2000) | (numbers > 10000)] = np.nan
        expected = sampled(numbers, cols, rows, cubic=True)
        whole = ~np.isnan(expected) & (expected > -1999) & (expected < 9999)
        np.testing.assert_allclose(found[whole], expected[whole] / 10000, rtol=0, atol=0.6e-4)
        checked += whole.sum()
        # a pixel is there where the one of the file that its centre lies in is, and nodata beside it does not bleed into it
        around = np.pad(numbers, 2, constant_values=np.nan)
        row, col = (np.clip(np.floor(at).astype(int) + 2, 0, size + 3) for at, size in ((rows, 147), (cols, 255)))
        np.testing.assert_array_equal(np.isnan(found), np.isnan(around[row, col]))
        block = [around[np.clip(row + j, 0, 150), np.clip(col + i, 0, 258)] for j in (-1, 0, 1) for i in (-1, 0, 1)]
        near = ~whole & ~np.isnan(found)
        assert (found[near] * 10000 > np.fmin.reduce(block)[near] - 1).all()
        bled += near.sum()
    assert checked > 12 * 90000
    assert bled > 1000


def test_landsat_and_modis_come_in_the_same_units_on_one_grid(real_data):
    """Landsat as reflectance x 10000, MODIS as 0 to 1, both as floats on a sinusoidal grid of 29.9 x 30 m."""
    folder = real_data / "landsat-modis-kranj"
    names = {"blue": "B03", "green": "B04", "red": "B01", "nir08": "B02", "swir16": "B06", "swir22": "B07"}
    landsat = folder / "landsat" / "unfilled" / "2020068_191-28_kranj.tif"
    modis = folder / "modis" / "filled" / "2020068_18-04_kranj.tif"
    when = datetime(2020, 1, 1, 10, tzinfo=UTC) + timedelta(days=67)

    def assets(path, bands, scale):
        coded = {"scale": scale, "dtype": "float32", "nodata": -3.4e38}
        return {band: Asset(f"{path}#layer={n}", **coded) for n, band in enumerate(bands, start=1)}

    fine = by_hand("LC08_2020068", "landsat", "L2", when, degrees(landsat), assets(landsat, names, 1e-4))
    coarse = by_hand("MOD09GA.2020068", "modis", "MOD09GA", when, degrees(modis), assets(modis, names.values(), 1.0))
    with rasterio.open(landsat) as file:
        middle = Transformer.from_crs(file.crs, "EPSG:32633", always_xy=True).transform(
            (file.bounds.left + file.bounds.right) / 2, (file.bounds.bottom + file.bounds.top) / 2
        )
    corner = (round(middle[0] / 30) * 30 - 600, round(middle[1] / 30) * 30 + 600)
    grid = GeoBox((40, 40), Affine(30, 0, corner[0], 0, -30, corner[1]), "EPSG:32633")
    found = lay([fine], grid, list(names)).values, lay([coarse], grid, list(names.values())).values
    for values, path, scale in zip(found, (landsat, modis), (1e-4, 1.0), strict=True):
        with rasterio.open(path) as file:
            cols, rows = places(grid, file)
            for band, plane in enumerate(values, start=1):
                numbers = file.read(band).astype(float)
                numbers[numbers < -1e30] = np.nan
                expected = sampled(numbers, cols, rows, cubic=False) * scale
                whole = ~np.isnan(expected)
                np.testing.assert_allclose(plane[whole], expected[whole], rtol=0, atol=2e-5)
                assert whole.mean() > 0.6
                own = numbers[np.clip(rows.astype(int), 0, 43), np.clip(cols.astype(int), 0, 44)]
                assert np.isnan(plane[np.isnan(own)]).all(), "nodata stays nodata"
                assert np.nanmin(plane) > 0, "and bleeds into nothing"
    seen = ~np.isnan(found[0]).any(axis=0)
    for band, (one, other) in enumerate(zip(*found, strict=True)):
        ratio = one[seen].mean() / other[seen].mean()
        assert 0.5 < ratio < 2, f"band {band}: both are reflectances of the same ground"


def test_geocoded_sentinel_1_in_decibels_off_any_lattice(real_data):
    (path,) = (real_data / "sentinel1-geocoded").glob("*.tif")
    scene = by_hand(
        path.stem, "sentinel-1", "GEO", datetime(2015, 3, 9, 17, 30, 17, tzinfo=UTC), degrees(path),
        {"VV": Asset(str(path), unit="dB", nodata=-99)},
    )  # fmt: skip
    with rasterio.open(path) as file:
        grid, db = GeoBox(file.shape, file.transform, "EPSG:32631"), file.read(1).astype(float)
    journal = Journal()
    found = lay([scene], grid, ["VV"], journal).values[0]
    assert list(journal.outcomes.values()) == ["native"]
    np.testing.assert_array_equal(np.isnan(found), db == -99)
    np.testing.assert_allclose(10 * np.log10(found[db > -99]), db[db > -99], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("place", "epsg"), [("282D_485L_3_3", 32722), ("637U_59R_1_3", 32632)])
def test_terrain_corrected_sentinel_1_of_two_layers(real_data, place, epsg):
    path = real_data / "s1-s2-terramesh" / "S1RTC" / f"{place}.tif"
    coded = {"unit": "dB", "dtype": "float64"}
    assets = {band: Asset(f"{path}#layer={n}", **coded) for n, band in enumerate(("VV", "VH"), start=1)}
    scene = by_hand(place, "sentinel-1", "RTC", datetime(2020, 1, 1, tzinfo=UTC), degrees(path), assets)
    with rasterio.open(path) as file:
        grid, db = GeoBox(file.shape, file.transform, f"EPSG:{epsg}"), file.read()
    found = lay([scene], grid, ["VV", "VH"]).values
    land = db > -40
    assert land.mean() > 0.9
    np.testing.assert_array_equal(np.isnan(found), ~land)
    np.testing.assert_allclose(10 * np.log10(found[land]), db[land], rtol=0, atol=1e-4)


def test_quality_of_a_real_landsat_scene_is_that_of_its_pixels(real_data):
    """On a grid of 60 m the class of most of four pixels; where a scene has none there is none."""
    scene, _, _ = landsat8(real_data / "landsat8-l1-020039")
    grid = GeoBox((100, 100), Affine(60, 0, 452475 - 3000, 0, -60, 3408645), "EPSG:32616")
    quality = lay_quality([scene], grid)
    np.testing.assert_array_equal(quality.measured[:, 50:], True)
    np.testing.assert_array_equal(quality.measured[:, :49], False)
    assert not quality.flags[:, :49].any()
