"""Co-registration: shifts that are known, found to a fraction of a pixel; nothing found where there is nothing."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from pipeline.harmonise.coregister import Peak, Shift, agreed, anchored, peak, shift

SIZE, FINE, EDGE = 256, 8, 20
"""Pixels of an image; parts of a pixel that land is drawn in; pixels of land around an image."""


@cache
def spectrum(seed: int) -> np.ndarray:
    """Spectrum of a band-limited random image whose detail fades with frequency as that of land does."""
    white = np.fft.fft2(np.random.default_rng(seed).normal(size=(SIZE, SIZE)))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE)))
    return np.where((frequency > 0) & (frequency < 0.45), white / np.maximum(frequency, 1 / SIZE) ** 1.5, 0)


def waves(rows: float, cols: float, seed: int = 1) -> np.ndarray:
    """The random image, moved down and right by turning its phases: exact for any fraction of a pixel."""
    y, x = np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE), indexing="ij")
    moved = np.fft.ifft2(spectrum(seed) * np.exp(-2j * np.pi * (y * rows + x * cols))).real
    return (0.2 + 0.05 * moved / moved.std()).astype(np.float32)


@cache
def land(change: float = 0.0) -> np.ndarray:
    """Parcels of random outline, each of one reflectance, in eighths of a pixel; a share of them changed."""
    rng, edge = np.random.default_rng(3), (SIZE + 2 * EDGE) * FINE
    seeds = rng.uniform(0, edge, ((SIZE // 16) ** 2, 2))
    values, others = rng.uniform(0.03, 0.4, (2, len(seeds)))
    values[: int(change * len(seeds))] = others[: int(change * len(seeds))]
    places = np.stack(np.meshgrid(np.arange(0, edge, 2), np.arange(0, edge, 2), indexing="ij"), -1)
    half = values[cKDTree(seeds).query(places.reshape(-1, 2))[1]].reshape(edge // 2, edge // 2)
    return gaussian_filter(half.repeat(2, 0).repeat(2, 1).astype(np.float32), FINE / 2)


def seen(rows: int, cols: int, noise: int, change: float = 0.0) -> np.ndarray:
    """The parcels moved down and right by eighths of a pixel, blurred and averaged to pixels, with noise of 0.005."""
    top, left = EDGE * FINE - rows, EDGE * FINE - cols
    cut = land(change)[top : top + SIZE * FINE, left : left + SIZE * FINE]
    grain = np.random.default_rng(noise).normal(0, 0.005, (SIZE, SIZE))
    return (cut.reshape(SIZE, FINE, SIZE, FINE).mean((1, 3)) + grain).astype(np.float32)


def clouded(image: np.ndarray, seed: int, share: float = 0.3, size: float = 10) -> np.ndarray:
    """An image with a share of it masked by clouds."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=image.shape), size)
    return np.where(field > np.quantile(field, 1 - share), np.nan, image).astype(np.float32)


def off(found: Shift | None, rows: float, cols: float) -> float:
    """How far a shift lies from the truth, along the worse axis."""
    assert found is not None
    return max(abs(found.rows - rows), abs(found.cols - cols))


@pytest.mark.parametrize(("rows", "cols"), [(0.0, 0.0), (0.3, -0.7), (-0.5, 0.5), (2.37, -4.61), (-11.2, 7.9)])
def test_a_known_shift_is_found(rows: float, cols: float):
    found = shift(waves(rows, cols), waves(0, 0))
    assert off(found, rows, cols) < 0.005
    assert found.confidence > 0.99
    assert found.cells == 9  # starts at 0, 64 and 128 of 256 along each axis


def test_a_whole_pixel_is_a_whole_pixel_and_down_and_right_are_positive():
    reference = waves(0, 0)
    moved = np.roll(reference, (3, 2), (0, 1))
    assert moved[13, 12] == reference[10, 10]
    assert off(shift(moved, reference), 3, 2) < 1e-3


# In eighths: a shift of (3, -5) is (0.375, -0.625) pixels.
@pytest.mark.parametrize(("rows", "cols"), [(0, 0), (3, -5), (4, 4), (19, -37), (90, 63)])
def test_simulated_land_with_noise_and_clouds(rows: int, cols: int):
    image, reference = seen(rows, cols, 1), seen(0, 0, 2)
    assert off(shift(image, reference), rows / 8, cols / 8) < 0.02
    assert off(shift(clouded(image, 3), reference), rows / 8, cols / 8) < 0.05
    both = shift(clouded(image, 3), clouded(reference, 4))
    assert off(both, rows / 8, cols / 8) < 0.05


def test_scattered_clouds():
    assert off(shift(clouded(seen(19, -37, 1), 5, size=4), seen(0, 0, 2)), 19 / 8, -37 / 8) < 0.05


def test_clouds_that_are_not_masked_spoil_their_cells_only():
    image = seen(3, -5, 1)
    image[:120, :120] = 0.8 + np.random.default_rng(0).normal(0, 0.02, (120, 120))
    assert off(shift(image, seen(0, 0, 2)), 0.375, -0.625) < 0.02


def test_change_on_the_ground():
    # A third of the parcels is harvested between the dates.
    found = shift(seen(3, -5, 1, change=0.33), seen(0, 0, 2))
    assert off(found, 0.375, -0.625) < 0.05
    assert found.confidence < shift(seen(3, -5, 1), seen(0, 0, 2)).confidence


def test_gain_and_offset_do_not_matter():
    image, reference = seen(3, -5, 1), seen(0, 0, 2)
    plain, scaled = shift(image, reference), shift(10000 * image + 1000, reference)
    assert off(scaled, plain.rows, plain.cols) < 1e-4


def test_the_other_way_round_is_the_other_way():
    image, reference = clouded(seen(19, -37, 1), 3), seen(0, 0, 2)
    there, back = shift(image, reference), shift(reference, image)
    assert off(back, -there.rows, -there.cols) < 0.02


def noise(seed: int, smooth: float = 0) -> np.ndarray:
    return gaussian_filter(np.random.default_rng(seed).normal(0.05, 0.003, (SIZE, SIZE)), smooth).astype(np.float32)


@pytest.mark.parametrize("smooth", [0, 1])
def test_no_shift_of_noise_or_water(smooth: float):
    for seed in range(3):
        assert shift(noise(seed, smooth), noise(seed + 100, smooth)) is None


def test_a_single_cell_of_noise_says_nothing():
    for seed in range(15):
        one, other = (noise(200 + seed + k, seed % 3 / 2)[:128, :128] for k in (0, 50))
        assert peak(one, other) is None
        assert peak(clouded(one, seed, share=0.5, size=3), other) is None


def test_no_shift_of_flat_ground():
    flat = np.full((SIZE, SIZE), 0.3, np.float32)
    assert shift(flat, flat) is None
    assert shift(flat, seen(0, 0, 1)) is None
    assert shift(np.zeros_like(flat), np.zeros_like(flat)) is None
    assert shift(np.full_like(flat, np.nan), flat) is None


def test_a_mask_that_both_share_is_not_found():
    for seed in range(3):
        hidden = np.isnan(clouded(noise(1), seed, size=3))
        one, other = (np.where(hidden, np.nan, noise(k, 1)) for k in (11, 12))
        assert shift(one, other) is None
    # Nor does it hold moved land in place.
    masked = [np.where(hidden, np.nan, image) for image in (seen(19, -37, 1), seen(0, 0, 2))]
    found = shift(*masked)
    assert found is None or off(found, 19 / 8, -37 / 8) < 0.1


def test_no_shift_of_other_land():
    assert shift(waves(0, 0, seed=1), waves(0, 0, seed=2)) is None


def test_cells_that_contradict_one_another():
    # Each row of cells lies mostly in another third, which is moved by 4, 0 or -4 pixels: no majority.
    torn = np.concatenate((waves(4, 0)[:85], waves(0, 0)[85:171], waves(-4, 0)[171:]))
    assert shift(torn, waves(0, 0)) is None
    assert off(shift(torn, np.roll(torn, 1, 1)), 0, -1) < 0.01


def test_majorities():
    # Medians of four cells at 1 and one at 9, by hand: rows 1, cols 2 of the four; coherences 0.2 to 0.5, mean 0.35.
    near = [Peak(1.0 + 0.1 * k, 2.0, 0.2 + 0.1 * k) for k in range(4)]
    far = Peak(9.0, 2.0, 0.9)
    found = agreed([*near, far, None, None])
    assert found == Shift(pytest.approx(1.15), 2.0, pytest.approx(0.35), 4)
    assert agreed([*near[:2], far]) is None  # two are too few
    assert agreed([*near[:3], *(Peak(5.0 * k, -9.0, 0.5) for k in range(3, 6))]) is None  # half is no majority
    assert agreed([]) is None


def test_too_little_to_compare():
    assert peak(clouded(waves(0, 0)[:128, :128], 1, share=0.7), waves(0, 0)[:128, :128]) is None
    assert shift(waves(0, 0)[:100, :100], waves(0, 0)[:100, :100]) is None
    with pytest.raises(ValueError, match="another grid"):
        shift(waves(0, 0), waves(0, 0)[1:])


@given(
    st.tuples(st.integers(0, 600), st.integers(0, 600)),
    st.tuples(st.integers(-999, 999), st.integers(-999, 999)),
    st.tuples(st.integers(0, 300), st.integers(0, 300)),
    st.sampled_from([32, 64, 128]),
)
def test_areas_that_overlap_are_cut_into_the_same_cells(shape, origin, inset, cell):
    def placed(shape, origin):
        cells = anchored(shape, cell, origin, most=10**6)
        assert all(at.stop - at.start == cell for pair in cells for at in pair)
        return {(top.start + origin[0], left.start + origin[1]) for top, left in cells}

    inner = tuple(max(0, size - gap) for size, gap in zip(shape, inset, strict=True))
    corner = tuple(first + gap for first, gap in zip(origin, inset, strict=True))
    whole = {
        (top, left)
        for top, left in placed(shape, origin)
        if top >= corner[0] and left >= corner[1] and all(size >= gap for size, gap in zip(shape, inset, strict=True))
    }
    assert placed(inner, corner) == whole


def test_all_cells_where_they_are_few_and_an_even_choice_where_they_are_many():
    assert len(anchored((320, 256))) == 4 * 3
    # 10,980 pixels: (10980 - 128) // 64 + 1 = 170 starts along each axis, of which
    # every 22nd (sqrt(170² / 64) = 21.25) is kept: 0, 22, .. 154.
    assert len(anchored((10980, 10980))) == 64


def band(path: Path, number: int = 1) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(number).astype(np.float32)


def averaged(image: np.ndarray, n: int) -> np.ndarray:
    rows, cols = (size // n * n for size in image.shape)
    return image[:rows, :cols].reshape(rows // n, n, cols // n, n).mean((1, 3))


def test_grids_that_lie_about_their_corners(real_data: Path):
    """A Major TOM cell whose 20 and 60 m bands begin one and three 10 m pixels beside where their files say.

    By the tile's corner (README of the data): 10 m (362610, 1987090), 20 m (362620, 1987080), 60 m (362640, 1987080).
    20 m lies 10 m to the east and south: its pixels see ground half a pixel early, -0.5 and -0.5. 60 m lies 30 m to the
    east and 10 m to the south: -10/60 rows and -30/60 columns.
    """
    folder = next((real_data / "s2-native-majortom-48que").rglob("B08.tif")).parent
    near, far, fine = band(folder / "B8A.tif"), band(folder / "B09.tif"), band(folder / "B08.tif")
    assert off(shift(near, averaged(fine, 2)), -0.5, -0.5) < 0.02
    assert off(shift(far, averaged(fine, 6), cell=64), -1 / 6, -0.5) < 0.02


# The 20 m grid against the 10 m one, in 10 m pixels (row, column), as found by whole pixels in the README of the data.
@pytest.mark.parametrize(
    ("place", "rows", "cols"), [("282D_485L_3_3", 0, 0), ("609U_541L_3_0", -1, 1), ("637U_59R_1_3", 0, 1)]
)
def test_exports_whose_resolutions_do_not_nest(real_data: Path, place: str, rows: int, cols: int):
    file = real_data / "s1-s2-terramesh" / "S2L2A" / f"{place}.tif"
    found = shift(band(file, 9)[::2, ::2], averaged(band(file, 8), 2), cell=64)
    assert off(found, -rows / 2, -cols / 2) < 0.03


def test_two_dates_of_one_place(real_data: Path):
    """Fields on the Inn in two seasons: every band tells the same shift, within the third of a pixel Sentinel-2 allows."""
    file = real_data / "s2-l2a-two-date-inn" / "s2_two_dates_8band.tif"
    found = [shift(band(file, number + 4), band(file, number)) for number in (1, 2, 3, 4)]
    places = np.array([(each.rows, each.cols) for each in found])
    assert np.abs(places).max() < 0.3
    assert np.ptp(places, axis=0).max() < 0.15
    # A date against itself, half a pixel to the right: known to be (0, 0.5), though interpolated and so smoother.
    first = band(file, 1)
    assert off(shift((first[:, 1:] + first[:, :-1])[:, :-1] / 2, first[:, 1:-1]), 0, 0.5) < 0.01
