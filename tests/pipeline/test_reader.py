"""How a file's pixels come onto a grid, and what is said where they do not."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.errors import RasterioIOError

from pipeline.reader import explain
from pipeline.warp import Target, onto

FILL = np.uint16(0)


def write(path, pixels, left=399960.0, top=5799960.0, resolution=10.0):
    profile = {"driver": "GTiff", "count": 1, "dtype": pixels.dtype, "crs": "EPSG:32633", "nodata": 0}
    grid = Affine(resolution, 0, left, 0, -resolution, top)
    with rasterio.open(path, "w", height=pixels.shape[0], width=pixels.shape[1], transform=grid, **profile) as file:
        file.write(pixels, 1)
    return path


def get(path, target, resampling=Resampling.bilinear):
    with rasterio.open(path) as source:
        return onto(source, target, FILL, resampling, nodata=0)


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(1000, 3000, (120, 120), dtype=np.uint16)


def test_a_window_of_the_same_grid_is_untouched_and_nodata_beyond_the_edge(tmp_path, noise):
    path = write(tmp_path / "a.tif", noise)
    pixels, outcome = get(path, Target("EPSG:32633", 399960.0 - 20, 5799960.0 + 10, 10.0, (60, 50)))
    assert outcome == "native"
    assert (pixels[0] == 0).all()
    assert (pixels[:, :2] == 0).all()
    np.testing.assert_array_equal(pixels[1:, 2:], noise[:59, :48])


def test_coarser_pixels_are_repeated_in_place(tmp_path, noise):
    path = write(tmp_path / "a.tif", noise, resolution=120.0)
    # 60 m east of the corner: half of a coarse pixel, six columns of ten metres
    pixels, outcome = get(path, Target("EPSG:32633", 399960.0 + 60, 5799960.0, 10.0, (24, 18)))
    assert outcome == "repeated"
    expected = noise.repeat(12, axis=0).repeat(12, axis=1)[:24, 6:24]
    np.testing.assert_array_equal(pixels, expected)


def test_finer_pixels_are_averaged_and_nodata_does_not_weigh(tmp_path, noise):
    noise[0, 0] = 0
    path = write(tmp_path / "a.tif", noise)
    pixels, outcome = get(path, Target("EPSG:32633", 399960.0, 5799960.0, 20.0, (60, 60)))
    assert outcome == "averaged"
    assert pixels[0, 0] == np.rint((int(noise[0, 1]) + int(noise[1, 0]) + int(noise[1, 1])) / 3)


def test_a_foreign_grid_is_warped_in_its_place_whatever_the_window(tmp_path):
    rows, cols = np.mgrid[0:200, 0:200]
    ramp = (1000 + 4 * cols + 2 * rows).astype(np.uint16)
    path = write(tmp_path / "a.tif", ramp, left=399965.0, top=5799955.0)  # half a pixel off
    pixels, outcome = get(path, Target("EPSG:32633", 400260.0, 5799660.0, 10.0, (60, 60)))
    assert outcome == "warped"
    # pixel (0, 0) has its centre at 400265, 5799655: column 29.5 and row 29.5 between pixel centres of the file, so the ramp is
    # 1000 + 4 * 29.5 + 2 * 29.5 = 1177, and goes on by 4 a column and 2 a row
    expected = 1177 + 4 * np.arange(60)[None, :] + 2 * np.arange(60)[:, None]
    np.testing.assert_allclose(pixels, expected, atol=1)
    part, _ = get(path, Target("EPSG:32633", 400360.0, 5799560.0, 10.0, (20, 20)))
    np.testing.assert_array_equal(part, pixels[10:30, 10:30])


def test_warping_to_coarser_pixels_averages(tmp_path, noise):
    path = write(tmp_path / "a.tif", noise, left=399965.0)
    pixels, outcome = get(path, Target("EPSG:32633", 399960.0 + 60, 5799960.0 - 60, 60.0, (16, 16)))
    assert outcome == "warped"
    assert pixels.std() < noise.std() / 4  # 36 pixels each: a sixth


def test_classes_are_never_averaged(tmp_path):
    codes = np.full((120, 120), 4, np.uint8)
    codes[:, ::3] = 9
    pixels, _ = get(
        write(tmp_path / "a.tif", codes), Target("EPSG:32633", 399960.0, 5799960.0, 60.0, (20, 20)), Resampling.mode
    )
    assert set(np.unique(pixels)) == {4}


def test_reasons_name_no_path_and_are_not_taken_for_others():
    address = "/home/me/S2B_33UUB_20240404_0_L2A/B04.tif"
    corrupt = RasterioIOError(f"'{address}' not recognized as being in a supported file format.")
    assert explain(corrupt, address) == "'the file' not recognized as being in a supported file format."
    missing = RasterioIOError(f"{address}: No such file or directory")
    assert explain(missing, address) == "the file is missing"
    assert explain(RasterioIOError("HTTP response code: 404"), "https://example.com/B04.tif") == "the file is missing"
    assert "/home" not in explain(RasterioIOError("/home/you/other.tif, band 1: IReadBlock failed"), address)


def test_a_file_of_reflectance_is_not_taken_for_digital_numbers(tmp_path):
    from types import SimpleNamespace

    from rasterio.windows import Window

    from pipeline.reader import BandReader

    path = write(tmp_path / "a.tif", np.full((20, 20), 0.12, np.float32))
    spec = SimpleNamespace(epsg=32633, transform=Affine(10, 0, 399960.0, 0, -10, 5799960.0))
    reader = BandReader(
        url=str(path), spec=spec, resampling=Resampling.bilinear, dtype=np.dtype("uint16"), fill_value=FILL
    )
    with pytest.raises(OSError, match="holds float32 where uint16 digital numbers are expected"):
        reader.read(Window(0, 0, 10, 10))
