"""What a store holds is what was measured, in its place, and other programs find it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  (finds the CRS)
import xarray as xr
from conftest import ALL_BANDS, fusecube, specification

from pipeline.flags import Flag
from pipeline.store import Store


@pytest.fixture(scope="module")
def made(archive, client, tmp_path_factory):
    from flows.prepare import prepare
    from flows.road import execute, planned
    from flows.spec import validate

    prepared = prepare(validate(specification(archive, tmp_path_factory.mktemp("made") / "made.zarr", time="2024-06")))
    execute(client, prepared, *planned(prepared))
    return Store(prepared.spec.out)


def native(archive: Path, day: str, band: str) -> rasterio.DatasetReader:
    name = f"S2A_33UVT_{day}_SIM_L2A"
    return rasterio.open(archive / "sentinel-2-l2a" / name / f"{band}.tif")


def test_opens_with_xarray_and_rioxarray_as_it_lies_on_the_ground(made, archive):
    cube = xr.open_zarr(made.path)
    assert cube.reflectance.dims == ("time", "band", "y", "x")
    assert cube.reflectance.shape == (2, 12, 600, 600)
    assert [str(b) for b in cube.band.values] == list(ALL_BANDS)
    assert cube.rio.crs.to_epsg() == 32633
    with native(archive, "20240601", "B02") as file:
        assert tuple(cube.reflectance.rio.transform())[:6] == tuple(file.transform)[:6]


def test_ten_metre_bands_are_the_input_to_the_digit(made, archive):
    cube = xr.open_zarr(made.path)
    for band in ("B02", "B03", "B04", "B08"):
        with native(archive, "20240601", band) as file:
            numbers = file.read(1).astype(int)
        stored = cube.reflectance.sel(band=band, time="2024-06-01").values
        np.testing.assert_array_equal(
            np.rint(stored * 10000).astype(int), numbers - 1000
        )  # baseline 05.10: offset -1000
        np.testing.assert_allclose(stored, (numbers - 1000) / 10000, rtol=0, atol=1e-15)


def test_flags_follow_the_scene_classification(made, archive):
    with native(archive, "20240606", "SCL") as file:
        codes = file.read(1).repeat(2, axis=0).repeat(2, axis=1)
    flags = made.array("flags")[1]
    np.testing.assert_array_equal((flags & Flag.CLOUD) > 0, (codes == 8) | (codes == 9))
    np.testing.assert_array_equal((flags & Flag.WATER) > 0, codes == 6)
    assert ((codes == 8) | (codes == 9)).any()


def test_metrics_lie_beside_the_pixels(made):
    metrics = xr.open_zarr(made.path, group="metrics")
    assert metrics.valid_fraction.dims == ("time", "chunk_y", "chunk_x")
    assert (metrics.valid_fraction == 1).all()
    assert metrics.consistency_rmse.shape == (2, 2, 2, 12)
    assert np.isfinite(metrics.consistency_rmse.sel(band=["B05", "B11", "B01"], time="2024-06-06")).all()
    assert np.isnan(metrics.consistency_rmse.sel(band="B02")).all()


def test_attributes_hold_no_path_and_no_secret(archive, tmp_path, go):
    store, _ = go(specification(archive, tmp_path / "a.zarr"))
    everything = "".join(path.read_text() for path in store.path.rglob("*.json"))
    assert str(archive) not in everything
    assert str(tmp_path) not in everything
    kept = json.loads((store.path / "zarr.json").read_text())["attributes"]["fusecube"]
    assert kept["specification"]["model"] == "bicubic"
    assert kept["scenes"] == ["S2A_33UVT_20240601_SIM_L2A"]


def test_negative_reflectance_survives(own_archive, tmp_path, go):
    _edit(own_archive, "B04", lambda pixels: _filled(pixels, slice(30, 36), 600))
    store, _ = go(specification(own_archive, tmp_path / "a.zarr"))
    red = xr.open_zarr(store.path).reflectance.sel(band="B04").isel(time=0)
    np.testing.assert_allclose(red[30:36, 30:36], -0.04, atol=1e-12)  # (600 - 1000) / 10000


@pytest.mark.parametrize(
    ("model", "band", "radius"), [("bicubic", "B11", 4), ("bicubic", "B09", 12), ("identity", "B11", 0)]
)
def test_nodata_changes_no_valid_pixel_beyond_its_influence(own_archive, archive, tmp_path, go, model, band, radius):
    whole, _ = go(specification(archive, tmp_path / "whole.zarr", model=model))
    _edit(own_archive, band, lambda pixels: _filled(pixels, slice(10, 13), 0))
    holed, _ = go(specification(own_archive, tmp_path / "holed.zarr", model=model))
    times = 2 if band == "B11" else 6
    hole = slice(10 * times, 13 * times)
    index = ALL_BANDS.index(band)
    before, after = whole.array("reflectance")[0], holed.array("reflectance")[0]
    assert (after[index, hole, hole] == 0).all(), "the hole itself is nodata"
    assert (np.delete(after, index, axis=0) == np.delete(before, index, axis=0)).all(), "other bands are untouched"
    changed = after[index] != before[index]
    reach = slice(hole.start - radius, hole.stop + radius)
    changed[reach, reach] = False
    assert not changed.any()
    flags = holed.array("flags")[0]
    assert ((flags[hole, hole] & Flag.PARTIAL) > 0).all()
    ring = np.zeros(flags.shape, bool)
    ring[reach, reach] = True
    ring[hole, hole] = False
    np.testing.assert_array_equal(((flags & Flag.INFLUENCED) > 0)[24:-24, 24:-24], ring[24:-24, 24:-24])


def test_masked_flags_and_polygons_become_nodata(archive, tmp_path, go):
    polygon = {"type": "Polygon", "coordinates": [[[13.55, 52.3], [13.6, 52.3], [13.57, 52.33], [13.55, 52.3]]]}
    (tmp_path / "area.geojson").write_text(json.dumps(polygon))
    area = {"geojson": str(tmp_path / "area.geojson")}
    raw = specification(archive, tmp_path / "a.zarr", time="2024-06-06", mask=["cloud"], area=area)
    store, _ = go(raw)
    flags, pixels = store.array("flags")[0], store.array("reflectance")[0]
    outside = (flags & Flag.OUTSIDE) > 0
    assert 0.4 < outside.mean() < 0.6  # a triangle fills half of its box
    assert (pixels[:, outside] == 0).all()
    masked = (flags & Flag.MASKED) > 0
    np.testing.assert_array_equal(masked, (flags & Flag.CLOUD) > 0)
    assert (pixels[:, masked] == 0).all()
    assert (pixels[:, ~outside & ~masked] > 0).all()


def test_float32_keeps_nan(own_archive, tmp_path, go):
    _edit(own_archive, "B04", lambda pixels: _filled(pixels, slice(0, 5), 0))
    store, _ = go(specification(own_archive, tmp_path / "a.zarr", encoding="float32"))
    red = xr.open_zarr(store.path).reflectance.sel(band="B04").isel(time=0).values
    assert red.dtype == np.float32
    assert np.isnan(red[:5, :5]).all()
    assert np.isfinite(red[5:, 5:]).all()


def test_unaligned_write_is_refused(made):
    chunk = next(iter(made.contents.layout.chunks()))
    shifted = replace(chunk, core=replace(chunk.core, left=chunk.core.left + 1, right=chunk.core.right + 1))
    with pytest.raises(ValueError, match="would race with its neighbours"):
        made.write(shifted, made.contents.days[0], np.zeros((12, 300, 300), "uint16"), np.zeros((300, 300), "uint16"))


def test_export_gives_cogs_with_the_same_values_and_place(made, tmp_path):
    found = fusecube("export", made.path, tmp_path / "cogs")
    assert found.returncode == 0, found.stderr
    with rasterio.open(tmp_path / "cogs" / "2024-06-01-reflectance.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.descriptions == ALL_BANDS
        assert file.crs.to_epsg() == 32633
        assert tuple(file.transform)[:6] == tuple(made.contents.layout.geobox.affine)[:6]
        np.testing.assert_array_equal(file.read(), made.array("reflectance")[0])
        assert (file.scales[0], file.offsets[0], file.nodata) == (1e-4, -0.1, 0)
    with rasterio.open(tmp_path / "cogs" / "2024-06-06-flags.tif") as file:
        np.testing.assert_array_equal(file.read(1), made.array("flags")[1])


def _filled(pixels: np.ndarray, where: slice, value: int) -> np.ndarray:
    pixels[where, where] = value
    return pixels


def _edit(archive: Path, band: str, change) -> None:
    """Rewrite a file of the first day."""
    path = archive / "sentinel-2-l2a" / "S2A_33UVT_20240601_SIM_L2A" / f"{band}.tif"
    with rasterio.open(path) as file:
        pixels, profile = file.read(1), file.profile
    path.unlink()
    with rasterio.open(path, "w", **(profile | {"driver": "GTiff"})) as file:
        file.write(change(pixels), 1)


def test_saturated_pixels_are_flagged(own_archive, tmp_path, go):
    _edit(own_archive, "B11", lambda pixels: _filled(pixels, slice(20, 22), 65535))
    store, _ = go(specification(own_archive, tmp_path / "a.zarr", mask=["saturated"]))
    flags = store.array("flags")[0]
    assert ((flags[40:44, 40:44] & Flag.SATURATED) > 0).all()
    assert (store.array("reflectance")[0][:, 40:44, 40:44] == 0).all()
