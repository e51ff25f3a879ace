"""Real Sentinel-2 pixels through the road: untouched where they were measured, in their place, with their flags."""

import numpy as np
import pytest
import rasterio
import xarray as xr
import yaml
from conftest import ALL_BANDS, fusecube
from rasterio.windows import from_bounds

from pipeline.flags import Flag
from pipeline.summary import current, digest

TEN = ("B02", "B03", "B04", "B08")


def real(real_data, name: str, out, **changes) -> dict:
    base = {"flow": "sharpen", "catalog": str(real_data / name / "catalog.json"), "out": str(out), "chunk": 300}
    return base | changes


@pytest.mark.parametrize(
    ("scene", "time", "epsg", "size"),
    [("T33UUB", "2017-05-01/2017-06-01", 32633, 600), ("thailand", "2020-02-23", 32648, 1062)],
)
def test_whole_scene(real_data, tmp_path, scene, time, epsg, size):
    path = tmp_path / "spec.yaml"
    out = tmp_path / "scene.zarr"
    raw = real(real_data, "s2-native-stac", out, area={"scene": scene}, time=time, adapt=20)
    path.write_text(yaml.safe_dump(raw))
    ran = fusecube("run", path)
    assert ran.returncode == 0, ran.stderr
    cube = xr.open_zarr(out)
    assert cube.reflectance.shape == (1, 12, size, size)
    assert tuple(cube.band.values) == ALL_BANDS
    assert cube.rio.crs.to_epsg() == epsg
    for band in TEN:
        with rasterio.open(real_data / "s2-native-stac" / scene / f"{band}.tif") as file:
            assert tuple(cube.reflectance.rio.transform())[:6] == tuple(file.transform)[:6]
            numbers = file.read(1).astype(int)
        stored = cube.reflectance.sel(band=band).isel(time=0).values
        valid = numbers > 0
        np.testing.assert_array_equal(np.rint(stored[valid] * 10000).astype(int), numbers[valid])
        np.testing.assert_allclose(stored[valid], numbers[valid] / 10000, rtol=0, atol=2e-15)
        assert np.isnan(stored[~valid]).all()
    exported = fusecube("export", out, tmp_path / "cogs")
    assert exported.returncode == 0, exported.stderr
    day = str(cube.time.values[0])[:10]
    with rasterio.open(tmp_path / "cogs" / f"{day}-reflectance.tif") as file:
        assert file.crs.to_epsg() == epsg
        assert tuple(file.transform)[:6] == tuple(cube.reflectance.rio.transform())[:6]
        values = file.read() * file.scales[0] + file.offsets[0]
        np.testing.assert_allclose(values, cube.reflectance.isel(time=0).fillna(-0.1).values, rtol=0, atol=1e-12)


def test_bicubic_is_nearer_to_the_coarse_bands_than_repeated_pixels_at_reduced_scale(real_data, tmp_path, go):
    """The baseline behaves like one: consistency with the measurement is high, and not perfect."""
    raw = real(
        real_data, "s2-native-stac", tmp_path / "a.zarr", area={"scene": "T33UUB"}, time="2017-05", model="bicubic"
    )
    store, _ = go(raw)
    for record in current(store):
        assert record.consistency["B11"].correlation > 0.99
        assert 0 < record.consistency["B11"].rmse < 0.02


def test_files_whose_header_differs_from_the_item_are_read_as_they_are(real_data, tmp_path, go):
    """Items that say 10 m, files of 120 m whose corner lies half a pixel off the CRS's own 120 m grid."""
    grid = {"resolution": 120, "anchor": [60, 0]}
    raw = real(real_data, "s2-l2a-120m-multidate", tmp_path / "a.zarr", area={"tile": "33TWL"}, time="2023-08")
    store, result = go(raw | {"grid": grid, "bands": list(TEN), "model": "identity"})
    assert result.complete
    cube = xr.open_zarr(store.path)
    assert cube.reflectance.shape == (5, 4, 915, 915)
    days = [str(day)[:10] for day in cube.time.values]
    assert days == ["2023-08-10", "2023-08-13", "2023-08-15", "2023-08-18", "2023-08-20"]
    folder = real_data / "s2-l2a-120m-multidate" / "sentinel-2-l2a"
    for day, name in zip(days, ("S2B", "S2B", "S2A", "S2A", "S2B"), strict=True):
        item = folder / f"{name}_33TWL_{day.replace('-', '')}_0_L2A"
        for band in TEN:
            with rasterio.open(item / f"{band}.tif") as file:
                assert tuple(cube.reflectance.rio.transform())[:6] == tuple(file.transform)[:6]
                numbers = file.read(1).astype(int)
            stored = cube.reflectance.sel(band=band, time=day).fillna(0).values
            np.testing.assert_array_equal(np.rint(stored * 10000).astype(int), numbers)
        with rasterio.open(item / "SCL.tif") as file:
            codes = file.read(1)
        flags = cube.flags.sel(time=day).values
        np.testing.assert_array_equal((flags & Flag.CLOUD) > 0, (codes == 8) | (codes == 9))
    assert all(ways == ("native",) for record in current(store) for ways in record.readings.values())


def test_two_tiles_of_one_day_become_one_mosaic(real_data, tmp_path, go):
    """On 60 m both tiles nest, so every pixel is one of the files': that of the less cloudy scene where both have it."""
    area = {"bbox": [15.2, 45.85, 15.5, 46.15]}
    raw = real(real_data, "s2-l2a-120m-multidate", tmp_path / "a.zarr", area=area, time="2023-08-15", chunk=120)
    store, result = go(raw | {"grid": {"resolution": 60}, "bands": list(TEN), "model": "identity"})
    assert result.complete
    cube = xr.open_zarr(store.path).isel(time=0)
    left, bottom, right, top = store.contents.layout.lattice.bounds(store.contents.layout.area)
    folder = real_data / "s2-l2a-120m-multidate" / "sentinel-2-l2a"
    expected = np.zeros((cube.sizes["y"], cube.sizes["x"]), int)
    # cloud cover: 33TWL 0.20399, 33TWM 0.207328
    for name in ("S2A_33TWL_20230815_0_L2A", "S2A_33TWM_20230815_0_L2A"):
        with rasterio.open(folder / name / "B04.tif") as file:
            fine = file.read(1).repeat(2, axis=0).repeat(2, axis=1).astype(int)
            window = from_bounds(left, bottom, right, top, file.transform)
        row, col = round(window.row_off * 2), round(window.col_off * 2)
        for y in range(expected.shape[0]):
            source = y + row
            if 0 <= source < fine.shape[0]:
                line = fine[source, col : col + expected.shape[1]]
                expected[y] = np.where(expected[y] == 0, line, expected[y])
    found = np.rint(cube.reflectance.sel(band="B04").fillna(0).values * 10000).astype(int)
    np.testing.assert_array_equal(found, expected)
    assert (expected > 0).mean() > 0.95


@pytest.mark.parametrize("model", ["identity", "bicubic"])
def test_digest_on_real_pixels_is_that_of_any_chunk_size(real_data, tmp_path, go, model):
    area = {"bbox": [13.54, 52.29, 13.6, 52.33]}
    digests = set()
    for chunk in (120, 300, 600):
        out = tmp_path / f"{chunk}.zarr"
        raw = real(real_data, "s2-native-stac", out, area=area, time="2017-05", chunk=chunk, model=model)
        digests.add(digest(go(raw)[0]))
    assert len(digests) == 1
