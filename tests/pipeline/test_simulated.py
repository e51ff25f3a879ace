"""A small Earth with known truth: the same on every look, and consistent between resolutions."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import numpy as np
import pytest

from pipeline.degrade import SUPPORT, degrade
from pipeline.lattice import Box, Lattice
from pipeline.radiometry import OFFSET, decode
from pipeline.sensors import SENTINEL2, Coding
from pipeline.simulated.archive import simulate
from pipeline.simulated.sentinel2 import NOISE, observe, render
from pipeline.simulated.spectra import CURVES, ENDMEMBERS, KNOTS, through
from pipeline.simulated.world import World, noise

LEFT, TOP, SIZE = 399960.0, 5799960.0, 1200.0
LATTICE = Lattice("EPSG:32633", Fraction(10), Fraction(60))
AREA = Box(6666, -96666, 6686, -96646)
"""The world's own 20 x 20 steps: 399960 / 60 = 6666, 5799960 / 60 = 96666."""
DAY = datetime(2024, 6, 1, tzinfo=UTC)
BAND = {band.name: index for index, band in enumerate(SENTINEL2.bands)}


@pytest.fixture(scope="module")
def scenery():
    return render(World(LEFT, TOP, SIZE, seed=1), LATTICE, AREA)


@pytest.fixture(scope="module")
def clear(scenery):
    return observe(scenery, "L2A", DAY, clouds=0, seed=1)


def test_the_same_seed_gives_the_same_land_and_another_another():
    first, again, other = (World(LEFT, TOP, SIZE, s).abundances(LEFT, TOP, 10, (60, 60)) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=0).mean() > 0.5


@pytest.mark.parametrize("resolution", [5, 10])
def test_any_window_is_that_part_of_the_whole(resolution):
    world = World(LEFT, TOP, SIZE, seed=1)
    whole = world.abundances(LEFT, TOP, resolution, (120, 120))
    assert whole.shape == (len(ENDMEMBERS), 120, 120)
    assert (whole >= 0).all()
    np.testing.assert_allclose(whole.sum(axis=0), 1, rtol=0, atol=1e-6)
    for row, col, rows, cols in ((0, 0, 40, 50), (37, 11, 30, 60), (100, 90, 20, 30), (7, 119, 1, 1)):
        window = world.abundances(LEFT + col * resolution, TOP - row * resolution, resolution, (rows, cols))
        np.testing.assert_array_equal(window, whole[:, row : row + rows, col : col + cols])


def test_noise_is_anchored_to_the_ground():
    x, y = LEFT + 10 * np.arange(200.0), TOP - 10 * np.arange(150.0)
    whole = noise(x, y, 140, seed=5)
    assert whole.min() >= 0
    assert whole.max() <= 1
    np.testing.assert_array_equal(noise(x[77:130], y[31:90], 140, seed=5), whole[31:90, 77:130])
    assert np.abs(np.diff(whole, axis=1)).max() < 1.5 * 10 / 140 + 1e-6  # the blend is nowhere steeper than 1.5


def test_a_bands_response_is_the_mean_over_its_width():
    # B01 sees 432.5 to 453.5 nm. Soil: 0.06 at 400, 0.08 at 450, 0.10 at 500, straight between; so 0.0772 at 443
    assert through(443, 21)[ENDMEMBERS.index("soil")] == pytest.approx(0.06 + 0.02 * 43 / 50, abs=1e-6)
    assert {len(curve) for curve in CURVES.values()} == {KNOTS.size}


def test_coarse_bands_are_the_degraded_truth(clear):
    for name in ("B05", "B11", "B12", "B01", "B09"):
        band = SENTINEL2.band(name)
        ratio = band.resolution // 10
        expected = degrade(clear.truth[BAND[name]][None].astype(np.float64), [band.mtf], ratio)[0]
        assert clear.numbers[name].shape == expected.shape == (120 // ratio, 120 // ratio)
        inner = (slice(SUPPORT, -SUPPORT),) * 2
        error = (clear.numbers[name] * 1e-4 + OFFSET - expected)[inner]
        assert np.abs(error).max() < 6 * NOISE + 0.5e-4
        assert error.std() == pytest.approx(NOISE, rel=0.3)
        assert abs(error.mean()) < 6 * NOISE / np.sqrt(error.size)


def test_digital_numbers_carry_the_offset(clear):
    for name in ("B02", "B08"):
        truth, numbers = clear.truth[BAND[name]], clear.numbers[name]
        assert numbers.dtype == np.uint16
        assert np.abs(numbers - (truth * 10000.0 + 1000)).max() <= 6 * NOISE * 10000 + 0.5
        seen = decode(numbers, Coding(1e-4, OFFSET, 0, 65535))
        assert np.abs(seen - truth).max() < 6 * NOISE + 0.5e-4


def test_top_of_atmosphere_is_the_surface_through_the_air(scenery, clear):
    above = observe(scenery, "L1C", DAY, clouds=0, seed=1)
    assert "SCL" in clear.numbers
    assert "SCL" not in above.numbers
    # B01 at 443 nm: 0.11 scattered, 0.97 - 0.12 let through; B09: 0.11 (443 / 945)^3.5 = 0.00775, and 0.45 for vapour
    for name, path, transmission in (("B01", 0.11, 0.85), ("B09", 0.00775, 0.45)):
        surface, top = clear.truth[BAND[name]], above.truth[BAND[name]]
        np.testing.assert_allclose(top, path + transmission * surface, rtol=0, atol=1e-5)
        change = above.numbers[name].astype(int) - clear.numbers[name]
        assert change.mean() == pytest.approx(10000 * (top - surface).mean(), abs=30)


def test_a_view_follows_from_seed_and_day(scenery, clear):
    again, later = observe(scenery, "L2A", DAY, 0, 1), observe(scenery, "L2A", DAY + timedelta(days=5), 0, 1)
    np.testing.assert_array_equal(again.truth, clear.truth)
    np.testing.assert_array_equal(later.truth, clear.truth)
    for name, numbers in clear.numbers.items():
        np.testing.assert_array_equal(again.numbers[name], numbers)
        assert name == "SCL" or (later.numbers[name] != numbers).any()


def test_clouds_are_bright_classified_and_counted(scenery, clear):
    cloudy = observe(scenery, "L2A", DAY, clouds=0.2, seed=1)
    assert clear.cloud_cover == 0
    assert not np.isin(clear.numbers["SCL"], (3, 8, 9, 10)).any()
    thick = cloudy.numbers["SCL"].repeat(2, axis=0).repeat(2, axis=1) == 9
    assert thick.any()
    blue = BAND["B02"]
    assert cloudy.truth[blue][thick].mean() > clear.truth[blue][thick].mean() + 0.3
    marked = np.isin(cloudy.numbers["SCL"], (8, 9)).mean() * 100
    assert 0 < cloudy.cloud_cover == pytest.approx(marked, abs=2)


@pytest.mark.parametrize("size", [0, -6, 100])
def test_a_scene_that_is_not_whole_60_m_pixels_is_an_error(tmp_path, size):
    with pytest.raises(ValueError, match="not a multiple of 6"):
        simulate(tmp_path, size=size)
