"""How five sensors see the simulated land: noise, speckle, clouds, atmosphere, digital numbers, quality layers."""

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from pipeline.degrade import degrade
from pipeline.flags import Flag, flagged
from pipeline.radiometry import OFFSET
from pipeline.simulated.look import truth
from pipeline.simulated.marks import Marks, marks, qa_pixel, scl, state, udm2
from pipeline.simulated.optical import factor
from pipeline.simulated.streams import FIVE, STREAMS, Campaign, Pass
from pipeline.simulated.views import observe
from pipeline.simulated.weather import Sky, Weather

CAMPAIGN = Campaign(date(2024, 5, 20), date(2024, 6, 10), size=120, seed=1)
WORLD = CAMPAIGN.world
STREAM = {(stream.sensor.name, stream.level): stream for stream in STREAMS}
DAY = datetime(2024, 6, 1, 10, 10, 31, tzinfo=UTC)
CLEAR, CLOUDY = Weather(1, 0.0), Weather(3, 0.4, spread=0)
NAMES = ("vegetation", "soil", "water", "snow", "metal")
"""Groups of ``Marks.cover``."""


def view(key, weather=CLEAR, window=None, moment=DAY, seed=1):
    stream = STREAM[key]
    grid = stream.grid(WORLD)
    grid = grid[window] if window else grid
    return observe(Pass(stream, stream.tracks[0], moment), WORLD, weather, seed, grid)


def decoded(key, seen, band):
    """Quantity of a band's digital numbers, (rows, cols)."""
    stream = STREAM[key]
    if key[0].startswith("planet"):
        (name,) = {"ortho_analytic_8b_sr", "bands"} & set(seen.layers)
        numbers = seen.layers[name][stream.bands.index(band)]
    else:
        (numbers,) = seen.layers[band.name]
    assert str(numbers.dtype) == stream.coding.dtype
    assert (numbers != stream.coding.nodata).all()
    return numbers.astype(np.float64) * stream.coding.scale + stream.coding.offset


def marked(opacity=0.0, shade=0.0, cover="soil"):
    """One pixel."""
    values = (np.array([[opacity]], np.float32), np.array([[shade]], np.float32))
    return Marks(*values, np.array([[NAMES.index(cover)]], np.uint8))


# --- digital numbers ---


@pytest.mark.parametrize(
    ("key", "ratio_at_012"),
    [
        (("sentinel-2", "L2A"), 150),
        (("landsat", "L2"), 240),
        (("modis", "MOD09GA"), 100),
        (("planetscope", "SR"), 40),
        (("planet-fusion", "SR"), 80),
    ],
    ids=str,
)
def test_digital_numbers_are_the_truth_within_noise(key, ratio_at_012):
    stream, seen = STREAM[key], view(key)
    assert seen.cloudy == 0
    assert stream.noise == pytest.approx(0.12 / ratio_at_012)  # signal to noise at a reflectance of 0.12
    for band in stream.bands:
        found = decoded(key, seen, band)
        ratio = factor(stream, band)
        grid = stream.grid(WORLD)
        own = grid if ratio == 1 else grid.zoom_out(ratio)
        expected = truth(WORLD, stream.sensor, [band.name], DAY.date(), own)[0]
        error = found - expected
        spread = np.hypot(stream.noise, stream.coding.scale / np.sqrt(12))  # noise, and rounding to a digital number
        dark = expected < 4 * stream.noise + max(0, stream.coding.offset)  # what would be negative may be cut off
        error = error[~dark]
        assert np.abs(error).max() < 6 * spread
        assert error.std() == pytest.approx(spread, rel=0.1 + 3 / np.sqrt(error.size))
        assert abs(error.mean()) < 5 * spread / np.sqrt(error.size)


def test_coarse_bands_are_the_degraded_truth():
    seen = view(("sentinel-2", "L2A"))
    (names,) = {tuple(band.name for band in STREAM["sentinel-2", "L2A"].bands)}
    for name, mtf, ratio in (("B05", 0.38, 2), ("B11", 0.22, 2), ("B09", 0.26, 6)):
        fine = seen.layers["truth"][names.index(name)]
        assert fine.shape == (120, 120)
        expected = degrade(fine[None].astype(np.float64), [mtf], ratio)[0]
        (numbers,) = seen.layers[name]
        assert numbers.shape == (120 // ratio, 120 // ratio)
        inner = ~np.isnan(expected)
        error = numbers[inner] * 1e-4 + OFFSET - expected[inner]
        assert np.abs(error).max() < 6 * 0.0008 + 0.5e-4
        assert abs(error.mean()) < 6 * 0.0008 / np.sqrt(error.size)


def test_top_of_atmosphere_is_the_surface_through_the_air():
    surface, above = view(("sentinel-2", "L2A")), view(("sentinel-2", "L1C"))
    assert "SCL" in surface.layers
    assert "SCL" not in above.layers
    names = [band.name for band in STREAM["sentinel-2", "L2A"].bands]
    # B01 at 443 nm: 0.11 scattered, 0.97 - 0.12 let through; B09: 0.11 (443 / 945)^3.5 = 0.00775, and 0.45 for vapour
    for name, path, transmission in (("B01", 0.11, 0.85), ("B09", 0.00775, 0.45)):
        below, top = (seen.layers["truth"][names.index(name)] for seen in (surface, above))
        np.testing.assert_allclose(top, path + transmission * below, rtol=0, atol=1e-5)
        change = above.layers[name].astype(int) - surface.layers[name]
        assert change.mean() == pytest.approx(10000 * (top - below).mean(), abs=30)


WINDOWS = {
    "sentinel-1": (slice(20, 90), slice(7, 100)),
    "sentinel-2": (slice(24, 90), slice(6, 102)),
    "landsat": (slice(10, 30), slice(5, 41)),
    "modis": (slice(0, 2), slice(2, 4)),
    "planetscope": (slice(100, 390), slice(131, 400)),
    "planet-fusion": (slice(100, 390), slice(131, 400)),
}


@pytest.mark.parametrize("key", list(STREAM), ids=str)
def test_a_window_of_a_view_is_that_of_the_whole(key):
    rows, cols = WINDOWS[key[0]]
    whole, part = view(key, CLOUDY), view(key, CLOUDY, (rows, cols))
    assert set(part.layers) == set(whole.layers)
    full = STREAM[key].grid(WORLD).shape[0]
    for name, planes in part.layers.items():
        ratio = full // whole.layers[name].shape[1]
        at = (slice(s.start // ratio, s.stop // ratio) for s in (rows, cols))
        expected = whole.layers[name][:, *at]
        if key[0] == "modis":  # its points lie a few nanometres elsewhere, which a digital number may show
            np.testing.assert_allclose(planes.astype(int), expected.astype(int), rtol=0, atol=1)
        else:
            np.testing.assert_array_equal(planes, expected)


@pytest.mark.parametrize("key", [("sentinel-1", "RTC"), ("landsat", "L2")], ids=str)
def test_a_view_follows_from_seed_and_day(key):
    first, again, other = view(key, CLOUDY), view(key, CLOUDY), view(key, CLOUDY, seed=2)
    later = view(key, CLOUDY, moment=DAY.replace(day=2))
    band = STREAM[key].bands[0].name
    np.testing.assert_array_equal(first.layers[band], again.layers[band])
    assert (first.layers[band] != other.layers[band]).mean() > 0.5
    assert (first.layers[band] != later.layers[band]).mean() > 0.5


# --- radar ---


def test_speckle_multiplies_by_a_gamma_of_mean_1_and_4_4_looks():
    stream, seen = STREAM["sentinel-1", "RTC"], view(("sentinel-1", "RTC"), CLOUDY)
    power = truth(WORLD, stream.sensor, ["VV", "VH"], DAY.date(), stream.grid(WORLD))
    ratios = []
    for index, name in enumerate(("VV", "VH")):
        (values,) = seen.layers[name]
        assert values.dtype == np.float32
        assert (values > 0).all()
        ratio = values / power[index]
        ratios.append(ratio)
        n = ratio.size
        # variance 1 / 4.4; that of a sample variance: (fourth central moment - variance^2) / n, with 3 / L^2 + 6 / L^3
        assert ratio.mean() == pytest.approx(1, abs=4 * np.sqrt(1 / 4.4 / n))
        spread = np.sqrt((3 / 4.4**2 + 6 / 4.4**3 - 1 / 4.4**2) / n)
        assert ratio.var() == pytest.approx(1 / 4.4, abs=4 * spread)
        assert 1 / ratio.var() == pytest.approx(4.4, rel=0.1)  # the equivalent number of looks
        neighbours = np.corrcoef(ratio[:, 1:].ravel(), ratio[:, :-1].ravel())[0, 1]
        assert abs(neighbours) < 4 / np.sqrt(n)
    assert abs(np.corrcoef(ratios[0].ravel(), ratios[1].ravel())[0, 1]) < 4 / np.sqrt(ratios[0].size)


def test_fused_days_have_no_clouds():
    key = ("planet-fusion", "SR")
    np.testing.assert_array_equal(view(key, CLOUDY).layers["bands"], view(key, CLEAR).layers["bands"])


def test_a_radar_sees_through_clouds():
    key = ("sentinel-1", "RTC")
    np.testing.assert_array_equal(view(key, CLOUDY).layers["VV"], view(key, CLEAR).layers["VV"])


# --- clouds and quality layers ---


@pytest.mark.parametrize(("key", "band"), [(("sentinel-2", "L2A"), "B02"), (("landsat", "L2"), "blue")], ids=str)
def test_clouds_are_bright_and_shadows_dark(key, band):
    stream, sky = STREAM[key], Sky(WORLD, CLOUDY, DAY)
    grid = stream.grid(WORLD)
    plane = next(b for b in stream.bands if b.name == band)
    clear, cloudy = (decoded(key, view(key, weather), plane) for weather in (CLEAR, CLOUDY))
    opacity, shade = sky.opacity(grid), sky.shadow(grid)
    assert 0.2 < (opacity > 0).mean() < 0.6
    assert cloudy[opacity == 1].min() > 0.7  # 0.75 at 400 nm falls to 0.72 at 900 nm
    dark = (shade == 1) & (opacity == 0)
    assert dark.any()
    np.testing.assert_allclose(cloudy[dark].mean(), 0.4 * clear[dark].mean(), atol=0.002)  # shadow takes 0.6
    free = (shade == 0) & (opacity == 0)
    assert np.abs(cloudy - clear)[free].max() < 1e-9
    assert view(key, CLOUDY).cloudy == int((opacity > 0.3).sum())


def test_quality_layers_mark_the_clouds():
    weather = CLOUDY
    for key, layer, meaning in (
        (("sentinel-2", "L2A"), "SCL", "scl"),
        (("landsat", "L2"), "qa_pixel", "qa_pixel"),
        (("modis", "MOD09GA"), "state", "state"),
    ):
        (codes,) = view(key, weather).layers[layer]
        grid = STREAM[key].grid(WORLD)
        own = grid if codes.shape == grid.shape else grid.zoom_out(2)
        opacity = Sky(WORLD, weather, DAY).opacity(own)
        flags = flagged(codes, meaning)
        np.testing.assert_array_equal(flags & Flag.CLOUD > 0, opacity > 0.3, err_msg=layer)
        assert (flags & Flag.SHADOW > 0).any() or layer == "state"
    layers = view(("planetscope", "SR"), weather).layers["ortho_udm2"]
    opacity = Sky(WORLD, weather, DAY).opacity(STREAM["planetscope", "SR"].grid(WORLD))
    np.testing.assert_array_equal(layers[5] == 1, opacity > 0.3)
    assert (layers[:6].sum(axis=0) == 1).all()  # clear, snow, shadow, haze, haze, cloud: one of them holds


@pytest.mark.parametrize(
    ("pixel", "code"),
    [
        # LSDS-1619, table 6-3, its own examples: clear, water, snow, cloud, shadow; and dilated cloud of medium confidence
        (marked(), 21824),
        (marked(cover="water"), 21952),
        (marked(cover="snow"), 30048),
        (marked(opacity=0.9), 22280),
        (marked(shade=0.9), 23888),
        (marked(opacity=0.1), 2 + (2 << 8) + (1 << 10) + (1 << 12) + (1 << 14)),
    ],
)
def test_qa_pixel_has_the_codes_of_the_product_guide(pixel, code):
    assert qa_pixel(pixel)[0, 0] == code


def test_classes_and_states_of_single_pixels():
    pixels = [
        marked(0.9),
        marked(0.5),
        marked(0.1),
        marked(0, 0.9),
        marked(cover="water"),
        marked(cover="snow"),
        marked(),
    ]
    assert [int(scl(pixel)[0, 0]) for pixel in pixels] == [9, 8, 10, 3, 6, 11, 5]
    assert int(scl(marked(cover="vegetation"))[0, 0]) == 4
    # low aerosol (bit 6) and land (1 in bits 3 to 5): 64 + 8; water is 3 there
    expected = [72 + 1 + 1024, 72 + 2 + 1024, 72 + 8192, 72 + 4, 64 + 24, 72 + 4096 + 32768, 72]
    assert [int(state(pixel)[0, 0]) for pixel in pixels] == expected
    layers = [udm2(pixel)[:, 0, 0].tolist() for pixel in (marked(), marked(0.9), marked(0.2), marked(0.1))]
    assert layers[0] == [1, 0, 0, 0, 0, 0, 95, 0]
    assert layers[1] == [0, 0, 0, 0, 0, 1, 95, 2]
    assert layers[2] == [0, 0, 0, 0, 1, 0, 60, 0]
    assert layers[3] == [0, 0, 0, 1, 0, 0, 60, 0]


def test_marks_know_water_and_snow():
    grid = STREAM["landsat", "L2"].grid(WORLD)
    summer, winter = (marks(Sky(WORLD, CLEAR, DAY.replace(month=m, day=20)), grid) for m in (7, 1))
    assert summer.water.any()
    assert not summer.snow.any()
    assert winter.snow.any()
    assert not (winter.snow & summer.water).any()


def test_eight_days_are_made_into_the_clearest_of_each_pixel():
    key = ("modis", "MOD09A1")
    weather = Weather(5, 0.55)
    moment = datetime(2024, 5, 24, 10, 40, tzinfo=UTC)  # day 145 = 18 * 8 + 1
    stream = STREAM[key]
    seen = view(key, weather, moment=moment)
    grid = stream.grid(WORLD)
    skies = [Sky(WORLD, weather, day) for day in Pass(stream, stream.tracks[0], moment).moments]
    assert len(skies) == 8
    opacities = np.stack([sky.opacity(grid) + 0.3 * sky.shadow(grid) for sky in skies])
    assert opacities.max() > 0.9
    np.testing.assert_array_equal(seen.layers["day_of_year"][0], 145 + opacities.argmin(axis=0))
    red = decoded(key, seen, stream.bands[0])
    chosen = seen.layers["day_of_year"][0] - 145
    checked = 0
    for index in np.unique(chosen):
        here = (chosen == index) & (opacities[index] == 0)
        true = truth(WORLD, stream.sensor, ["B01"], skies[index].moment.date(), grid)[0]
        assert np.abs(red - true)[here].max(initial=0) < 6 * stream.noise
        checked += here.sum()
    assert checked > 10


# --- passes ---


def test_who_passes_when():
    long = Campaign(date(2024, 4, 1), date(2024, 6, 30), levels=(*(s.level for s in STREAMS),))
    days = {}
    for passed in long.passes():
        days.setdefault((passed.stream.sensor.name, passed.stream.level), []).append(passed)
    assert {name for name, _ in days} == set(FIVE)
    counts = {level: len(found) for (_, level), found in days.items()}
    # 1 April is 61 days before 1 June, 30 June 29 after. Every 5 days: -60 to 25. Radar, every 12: -58 to 26, -55 to 29.
    # Landsat, every 16: -61 to 19, -53 to 27. Images of 8 days that begin on days 97 to 177 of the year. Doves: -60 to 27
    expected = {"L2A": 18, "L1C": 18, "RTC": 8 + 8, "L2": 6 + 6, "MOD09A1": 11, "MOD09GA": 91, "SR": 30}
    assert counts == expected
    assert date(2024, 6, 1) in {passed.moment.date() for passed in days["sentinel-2", "L2A"]}
    radar = {(p.track.orbit, p.track.state) for p in days["sentinel-1", "RTC"]}
    assert radar == {(95, "descending"), (146, "ascending")}
    for found in days.values():
        per_track = {}
        for passed in found:
            per_track.setdefault(passed.track, []).append(passed.moment)
        for track, moments in per_track.items():
            gaps = {(b - a).days for a, b in zip(moments, moments[1:], strict=False)}
            assert gaps <= {max(track.every, found[0].stream.days)}


def test_the_last_eight_days_end_with_the_year():
    stream = STREAM["modis", "MOD09A1"]
    last = Pass(stream, stream.tracks[0], datetime(2024, 12, 26, 10, 40, tzinfo=UTC))  # day 361 of 366
    assert len(last.moments) == 6
    assert len(replace(last, moment=datetime(2024, 12, 18, tzinfo=UTC)).moments) == 8
