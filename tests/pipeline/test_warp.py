"""A file on another grid: positions proved by ramps, windows against the whole, nodata, means, classes."""

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.warp import transform

from pipeline.warp import Target, onto

SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
"""MODIS's grid (MODIS Land tile calculator: a sphere of 6371007.181 m); it has no EPSG code."""

ZONE33, ZONE32, DEGREES = "EPSG:32633", "EPSG:32632", "EPSG:4326"
LEFT, TOP = 399960.0, 5799960.0
NAN = np.float64(np.nan)


class File:
    """A raster in memory."""

    def __init__(self, pixels, grid, crs=ZONE33, nodata=None):
        planes = pixels if pixels.ndim == 3 else pixels[None]
        count, height, width = planes.shape
        self.memory = MemoryFile()
        profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": planes.dtype}
        with self.memory.open(**profile, transform=grid, crs=crs, nodata=nodata) as file:
            file.write(planes)

    def on(self, target, fill=NAN, resampling=Resampling.cubic, nodata=None, index=1):
        with self.memory.open() as source:
            return onto(source, target, fill, resampling, nodata=nodata, index=index)


def north_up(resolution, left=LEFT, top=TOP):
    return Affine(resolution, 0, left, 0, -resolution, top)


def ramps(grid, crs, shape=(500, 500)):
    """Every pixel's own column and row, so that what is read says from where."""
    rows, cols = np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5
    return File(np.stack([cols, rows]), grid, crs)


def places(target, grid, crs):
    """Columns and rows in the file of the centres of the target's pixels, each transformed on its own."""
    rows, cols = np.mgrid[0 : target.shape[0], 0 : target.shape[1]] + 0.5
    xs, ys = target.left + cols * target.resolution, target.top - rows * target.resolution
    xs, ys = transform(CRS.from_user_input(target.crs), CRS.from_user_input(crs), xs.ravel(), ys.ravel())
    return (np.reshape(part, target.shape) for part in ~grid * (np.array(xs), np.array(ys)))


def around(target, crs, across, down, turned=0.0):
    """A grid of another CRS whose 250th pixel lies in the middle of the target."""
    half = target.shape[1] / 2 * target.resolution
    (x,), (y,) = transform(
        CRS.from_user_input(target.crs), CRS.from_user_input(crs), [target.left + half], [target.top - half]
    )
    scaled = Affine.rotation(turned) @ Affine.scale(across, -down) if turned else Affine.scale(across, -down)
    return Affine.translation(x, y) @ scaled @ Affine.translation(-250.3, -249.8)


TEN = Target(ZONE33, LEFT, TOP, 10.0, (300, 300))

CASES = {
    "half a pixel": (TEN, ZONE33, 10, 10, 0),
    "zone to zone": (TEN, ZONE32, 10, 10, 0),
    "sinusoidal": (TEN, SINUSOIDAL, 10, 10, 0),
    "degrees": (TEN, DEGREES, 1.4e-4, 0.9e-4, 0),
    "turned": (TEN, ZONE33, 10, 10, 25),
    "MODIS onto fine pixels": (TEN, SINUSOIDAL, 463.3127, 463.3127, 0),
    "MODIS onto 500 m": (Target(ZONE33, LEFT, TOP, 500.0, (300, 300)), SINUSOIDAL, 463.3127, 463.3127, 0),
    "3 m onto 10 m": (Target(ZONE33, LEFT, TOP, 10.0, (130, 130)), ZONE33, 3, 3, 0),
    "3 m onto 10 m of the next zone": (Target(ZONE33, LEFT, TOP, 10.0, (130, 130)), ZONE32, 3, 3, 0),
    "30 m onto 500 m": (Target(ZONE33, LEFT, TOP, 500.0, (25, 25)), ZONE32, 30, 30, 0),
    "degrees onto the pole's grid": (Target("EPSG:3413", -2e6, -1e6, 1000.0, (200, 200)), DEGREES, 0.02, 0.01, 0),
    "zone onto sinusoidal": (Target(SINUSOIDAL, 926625.0, 5815500.0, 463.3127165, (20, 20)), ZONE33, 30, 30, 0),
}


@pytest.mark.parametrize("resampling", [Resampling.cubic, Resampling.bilinear], ids=lambda r: r.name)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_ramps_are_where_they_are_to_a_thousandth_of_a_pixel(case, resampling):
    target, crs, across, down, turned = case
    grid = around(target, crs, across, down, turned)
    file = ramps(grid, crs)
    cols, rows = places(target, grid, crs)
    margin = 4 + max(np.abs(np.gradient(cols)[1]).max(), np.abs(np.gradient(rows)[0]).max())
    inner = (abs(cols - 250) < 250 - margin) & (abs(rows - 250) < 250 - margin)
    assert inner.mean() > 0.3
    (found_cols, how), (found_rows, _) = (file.on(target, resampling=resampling, index=i) for i in (1, 2))
    assert how == "warped"
    unit = np.sqrt(abs(np.linalg.det([[np.gradient(f)[k].mean() for k in (0, 1)] for f in (cols, rows)])))
    assert np.hypot(found_cols - cols, found_rows - rows)[inner].max() / unit < 1e-3


@pytest.mark.parametrize("name", ["half a pixel", "zone to zone", "sinusoidal", "3 m onto 10 m of the next zone"])
@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_windows_are_parts_of_the_whole(name, dtype, data):
    target, crs, across, down, turned = CASES[name]
    file = File(noise(dtype), around(target, crs, across, down, turned), crs, nodata=0)
    fill = np.asarray(0, dtype)
    whole, _ = file.on(target, fill, nodata=0)
    assert (whole != 0).mean() > 0.5
    rows, cols = target.shape
    row, col = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, cols - 1))
    shape = data.draw(st.integers(1, rows - row)), data.draw(st.integers(1, cols - col))
    res = target.resolution
    part, _ = file.on(Target(target.crs, target.left + col * res, target.top - row * res, res, shape), fill, nodata=0)
    # to the last bit; sums over boxes begin where the window does, which may turn the last bit of a float32, 6e-8
    last_bit = 1.2e-7 if dtype == "float32" and name.startswith("3 m") else 0
    np.testing.assert_allclose(part, whole[row : row + shape[0], col : col + shape[1]], rtol=last_bit)


def noise(dtype, shape=(500, 500), seed=0):
    """Numbers between 1000 and 3000, a tenth of them nodata (0)."""
    chance = np.random.default_rng(seed)
    return np.where(chance.random(shape) < 0.1, 0, chance.integers(1000, 3000, shape)).astype(dtype)


@settings(max_examples=40, deadline=None)
@given(
    times=st.integers(1, 7),
    offset=st.tuples(st.integers(-30, 90), st.integers(-30, 90)),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_whole_ratios_are_slices_means_and_repeats_of_the_file(times, offset, shape):
    pixels = noise("uint16", (80, 70))
    padded = np.pad(pixels, 400)
    (row, col), (rows, cols) = offset, shape
    top, left = 400 + row, 400 + col

    fine = File(pixels, north_up(10.0))
    part, how = fine.on(Target(ZONE33, LEFT + col * 10, TOP - row * 10, 10.0 * times, shape), np.uint16(0), nodata=0)
    assert how == ("native" if times == 1 else "averaged")
    below = padded[top : top + rows * times, left : left + cols * times].reshape(rows, times, cols, times)
    count = np.maximum((below > 0).sum(axis=(1, 3)), 1)
    # sums of at most 49 numbers below 3000 are exact in 32 bits; the quotient is rounded to the nearest whole number
    expected = np.rint((below.sum(axis=(1, 3), dtype=float) / count).astype(np.float32))
    np.testing.assert_array_equal(part, expected)

    coarse = File(pixels, north_up(10.0 * times))
    part, how = coarse.on(Target(ZONE33, LEFT + col * 10, TOP - row * 10, 10.0, shape), np.uint16(0), nodata=0)
    assert how == ("native" if times == 1 else "repeated")
    at_rows, at_cols = (row + np.arange(rows)) // times, (col + np.arange(cols)) // times
    np.testing.assert_array_equal(part, padded[400 + at_rows][:, 400 + at_cols])


@pytest.mark.parametrize("resampling", [Resampling.cubic, Resampling.bilinear], ids=lambda r: r.name)
@pytest.mark.parametrize("name", ["half a pixel", "zone to zone", "3 m onto 10 m of the next zone"])
@pytest.mark.parametrize(("dtype", "nodata"), [("uint16", 0), ("int16", -9999), ("float32", np.nan), ("uint8", 255)])
def test_nodata_never_enters_a_value(name, dtype, nodata, resampling):
    target, crs, across, down, turned = CASES[name]
    pixels = np.full((500, 500), 100, dtype)
    pixels[np.random.default_rng(3).random(pixels.shape) < 0.2] = nodata
    pixels[200:300, 200:300] = nodata
    fill = np.asarray(nodata, dtype)
    found, _ = File(pixels, around(target, crs, across, down, turned), crs).on(target, fill, resampling, nodata)
    empty = np.isnan(found) if np.isnan(fill) else found == fill
    # whatever the weights, those of valid pixels alone add up to one: 100 stays 100 (in float32 to a rounding)
    np.testing.assert_allclose(found[~empty], 100, rtol=1e-6)
    cols, rows = places(target, around(target, crs, across, down, turned), crs)
    middle = (abs(cols - 250) < 45) & (abs(rows - 250) < 45)
    assert middle.any()
    assert empty[middle].all(), "a hole stays a hole"
    assert not empty.all()


def test_only_positions_whose_own_pixel_is_nodata_are_empty():
    pixels = np.full((500, 500), 100.0)
    pixels[::7, ::5] = -1
    grid = around(TEN, ZONE32, 10, 10)
    found, _ = File(pixels, grid, ZONE32).on(TEN, NAN, nodata=-1)
    cols, rows = (np.floor(part).astype(int) for part in places(TEN, grid, ZONE32))
    np.testing.assert_array_equal(np.isnan(found), (rows % 7 == 0) & (cols % 5 == 0))


def test_the_callers_nodata_counts_not_the_files():
    pixels = np.full((50, 50), 7, np.int16)
    pixels[10, 10] = -5
    file = File(pixels, north_up(10.0), nodata=7)
    found, how = file.on(Target(ZONE33, LEFT, TOP, 10.0, (50, 50)), np.int16(-9999), nodata=-5)
    assert how == "native"
    assert found[10, 10] == -9999
    assert (np.delete(found.ravel(), 510) == 7).all()
    found, _ = file.on(Target(ZONE33, LEFT, TOP, 10.0, (50, 60)), np.float32(np.nan), nodata=70000)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, :50], pixels)
    assert np.isnan(found[:, 50:]).all()


def test_measured_numbers_never_become_nodata_by_rounding_nor_leave_their_dtype():
    pixels = np.ones((100, 100), np.uint8)
    pixels[:, ::2] = 255
    found, _ = File(pixels, north_up(10.0, LEFT - 5)).on(Target(ZONE33, LEFT + 203, TOP, 10.0, (40, 40)), np.uint8(0))
    assert found.min() >= 1
    edge = np.where(np.arange(100) < 50, 1, 255).astype(np.uint8) * np.ones((100, 1), np.uint8)
    file = File(edge, north_up(10.0, LEFT - 5))
    found, _ = file.on(Target(ZONE33, LEFT, TOP - 5, 10.0, (40, 90)), np.uint8(0), nodata=0)
    # half a pixel off, the edge is (-1 + 9 * 1 + 9 * 1 - 255) / 16 = -14.9 on its dark side, which is 1 next to the fill 0,
    # and (-1 + 9 * 255 + 9 * 255 - 255) / 16 = 270.9 on its bright one
    assert set(np.unique(found)) == {1, 128, 255}


def test_kernels_are_the_documented_ones():
    # halfway between pixels: Keys' weights are (-1, 9, 9, -1) / 16, linear ones (1, 1) / 2
    pixels = np.zeros((40, 40))
    pixels[:, 20] = 16.0
    file, target = File(pixels, north_up(10.0)), Target(ZONE33, LEFT + 5, TOP, 10.0, (20, 39))
    keys, _ = file.on(target)
    np.testing.assert_allclose(keys[10, 17:23], [0, -1, 9, 9, -1, 0], atol=1e-12)
    linear, _ = file.on(target, resampling=Resampling.bilinear)
    np.testing.assert_allclose(linear[10, 17:23], [0, 0, 8, 8, 0, 0], atol=1e-12)
    near, _ = file.on(Target(ZONE33, LEFT + 2, TOP, 10.0, (20, 39)), resampling=Resampling.nearest)
    np.testing.assert_array_equal(near, pixels[:20, :39])
    with pytest.raises(ValueError, match="resampling is one of"):
        file.on(target, resampling=Resampling.lanczos)


def test_means_of_pixels_that_do_not_lie_on_the_files_conserve_what_is_there():
    pixels = np.zeros((120, 120))
    pixels[40:44, 50:57] = 9.0
    found, how = File(pixels, north_up(3.0)).on(Target(ZONE33, LEFT, TOP, 10.0, (36, 36)))
    assert how == "warped"
    # 28 pixels of 9 m2 at 9 are 2268; means of 100 m2 each must add up to the same
    assert found.sum() * 100 == pytest.approx(28 * 9 * 9, rel=1e-9)
    spread, _ = File(pixels, north_up(10.0, LEFT - 5)).on(Target(ZONE33, LEFT, TOP, 30.0, (30, 30)))
    assert spread.sum() * 900 == pytest.approx(28 * 100 * 9, rel=1e-9)


def test_classes_are_taken_or_counted_and_never_mixed():
    codes = np.random.default_rng(1).choice(np.array([1, 64, 200], np.uint8), (500, 500))
    for name in ("half a pixel", "zone to zone", "MODIS onto fine pixels", "3 m onto 10 m of the next zone"):
        target, crs, across, down, turned = CASES[name]
        file = File(codes, around(target, crs, across, down, turned), crs)
        found, _ = file.on(target, np.uint8(0), Resampling.mode, nodata=0)
        assert set(np.unique(found)) <= {0, 1, 64, 200}
        if "onto 10" not in name:
            cols, rows = (np.floor(part).astype(int) for part in places(target, around(target, crs, across, down), crs))
            inside = (cols >= 0) & (cols < 500) & (rows >= 0) & (rows < 500)
            np.testing.assert_array_equal(found[inside], codes[rows[inside], cols[inside]])


def test_majorities_ignore_nodata_and_prefer_the_smaller_of_equals():
    block = np.array([[5, 5, 0], [0, 3, 3], [0, 0, 0]], np.uint8)
    found, how = File(block, north_up(10.0)).on(
        Target(ZONE33, LEFT, TOP, 30.0, (1, 2)), np.uint8(9), Resampling.mode, nodata=0
    )
    assert how == "averaged"
    np.testing.assert_array_equal(found, [[3, 9]])
    # a class that happens to be the fill value stays that class, and is not taken for its neighbour
    found, _ = File(block, north_up(10.0)).on(
        Target(ZONE33, LEFT, TOP, 30.0, (1, 1)), np.uint8(3), Resampling.mode, nodata=0
    )
    assert found == 3
    # stripes of 4 and 2 pixels of 3 m: a pixel of 10 m sees more of the broader ones, at every phase but one of two to one
    stripes = np.where(np.arange(300) // 20 % 2, 7, 4).astype(np.uint8) * np.ones((300, 1), np.uint8)
    found, how = File(stripes, north_up(3.0)).on(
        Target(ZONE33, LEFT, TOP, 10.0, (80, 80)), np.uint8(0), Resampling.mode, nodata=0
    )
    assert how == "warped"
    # a stripe is 60 m, six pixels of ten metres: every pixel lies in one
    np.testing.assert_array_equal(found[3], np.where(np.arange(80) // 6 % 2, 7, 4))


def test_decimal_coordinates_do_not_make_a_file_foreign_but_a_drift_does():
    pixels = noise("uint16", (90, 90))
    exact, _ = File(pixels, north_up(10.0)).on(Target(ZONE33, LEFT, TOP, 10.0, (90, 90)), np.uint16(0), nodata=0)
    careless = Affine(
        10.00001, 0, LEFT + 0.004, 0, -10.00001, TOP - 0.003
    )  # 0.004 m and 90 * 1e-5 m: half a thousandth
    found, how = File(pixels, careless).on(Target(ZONE33, LEFT, TOP, 10.0, (90, 90)), np.uint16(0), nodata=0)
    assert how == "native"
    np.testing.assert_array_equal(found, exact)
    drifting = Affine(10.001, 0, LEFT, 0, -10.001, TOP)  # 90 * 1e-3 m: nine thousandths at the far corner
    _, how = File(pixels, drifting).on(Target(ZONE33, LEFT, TOP, 10.0, (90, 90)), np.uint16(0), nodata=0)
    assert how == "warped"


@pytest.mark.parametrize(
    ("crs", "other"),
    [(SINUSOIDAL, CRS.from_proj4(SINUSOIDAL).to_wkt().replace("unknown", "MODIS Sinusoidal")), (ZONE33, "EPSG:25833")],
    ids=[
        "another name",
        "another datum that is taken for the same",
    ],  # WGS 84 and ETRS89, between which nothing is moved
)
def test_one_crs_under_two_names_is_one(crs, other):
    pixels = noise("uint16", (40, 40))
    target = Target(other, LEFT, TOP, 10.0, (40, 40))
    found, how = File(pixels, north_up(10.0), crs).on(target, np.uint16(0), nodata=0)
    assert how == "native"
    np.testing.assert_array_equal(found, pixels)


def test_a_file_that_lies_elsewhere_is_nodata():
    file = File(noise("uint16"), north_up(10.0, LEFT + 500000), ZONE32)
    found, _ = file.on(TEN, np.uint16(0), nodata=0)
    assert (found == 0).all()
    southern = File(noise("uint16"), north_up(10.0, 0.0, -3000000.0), SINUSOIDAL)
    found, _ = southern.on(TEN, np.uint16(0), nodata=0)
    assert (found == 0).all()


@pytest.mark.parametrize("resampling", [Resampling.cubic, Resampling.mode], ids=lambda r: r.name)
def test_the_antimeridian_and_the_pole_are_no_seams(resampling):
    # the whole Earth in degrees, a value that is smooth on it: ten times the height above the equator's plane, plus 100
    rows, cols = np.mgrid[0:720, 0:1440] + 0.5
    height = 100 + 10 * np.sin(np.radians(90 - rows / 4))
    for grid in (Affine(0.25, 0, -180, 0, -0.25, 90), Affine(0.25, 0, 0, 0, -0.25, 90)):
        file = File(height, grid, DEGREES)
        for crs, left, top, res in (("EPSG:32601", 0.0, 4e6, 5000.0), ("EPSG:3413", -7e5, 7e5, 7000.0)):
            target = Target(crs, left, top, res, (200, 200))
            found, _ = file.on(target, resampling=resampling)
            at_rows, at_cols = np.mgrid[0:200, 0:200] + 0.5
            xs, ys = left + at_cols * res, top - at_rows * res
            _, latitude = transform(CRS.from_user_input(crs), CRS.from_user_input(DEGREES), xs.ravel(), ys.ravel())
            expected = 100 + 10 * np.sin(np.radians(np.reshape(latitude, found.shape)))
            assert np.isfinite(found).mean() > 0.99
            np.testing.assert_allclose(found[np.isfinite(found)], expected[np.isfinite(found)], atol=0.03)


def test_only_the_part_that_is_needed_is_read():
    asked = []

    class Watched:
        """The file, and what was asked of it."""

        def __init__(self, source):
            self.source = source

        def __getattr__(self, name):
            return getattr(self.source, name)

        def read(self, index, window):
            asked.append((window.height, window.width))
            return self.source.read(index, window=window)

    file = File(noise("uint16"), around(TEN, ZONE32, 10, 10), ZONE32)
    with file.memory.open() as source:
        onto(Watched(source), Target(ZONE33, LEFT + 1000, TOP - 1000, 10.0, (50, 60)), NAN, Resampling.cubic, nodata=0)
    # 60 pixels turned by the convergence of 4.8 degrees: 60 cos + 50 sin = 64 and 50 cos + 60 sin = 55, four more
    # on each side at most
    assert len(asked) == 1
    assert asked[0][0] <= 55 + 8
    assert asked[0][1] <= 64 + 8


def test_a_window_that_needs_more_than_is_held_is_read_in_parts(monkeypatch):
    file = File(noise("uint16"), around(TEN, ZONE32, 10, 10), ZONE32)
    whole, _ = file.on(TEN, np.uint16(0), nodata=0)
    monkeypatch.setattr("pipeline.warp.HELD", 20000)
    parts, _ = file.on(TEN, np.uint16(0), nodata=0)
    np.testing.assert_array_equal(parts, whole)


def test_a_crs_that_nothing_leads_to_is_an_error_that_names_no_file():
    file = File(noise("uint16"), north_up(10.0), 'LOCAL_CS["bench",UNIT["metre",1]]')
    with pytest.raises(OSError, match="no way is known from the grid's CRS to the file's"):
        file.on(TEN, np.uint16(0), nodata=0)


def test_a_file_that_reaches_past_the_pole_is_read_where_it_is_on_earth():
    """A global grid whose outer rows lie half a pixel beyond the poles; zone 33 at 52 north is none of their business."""
    grid = Affine(0.5, 0, -180.25, 0, -0.5, 90.25)
    file = ramps(grid, DEGREES, (361, 721))
    found, _ = file.on(TEN, resampling=Resampling.nearest)
    cols, _ = places(TEN, grid, DEGREES)
    np.testing.assert_array_equal(found, np.floor(cols) + 0.5)
