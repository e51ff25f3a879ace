"""A small Earth with known truth: the same on every look, through the seasons, for every sensor and grid."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from pipeline.degrade import degrade
from pipeline.errors import Refused
from pipeline.sensors import LANDSAT, MODIS, PLANETSCOPE, SENTINEL1, SENTINEL2
from pipeline.sensors.modis import PIXEL, SINUSOIDAL
from pipeline.simulated.chance import drawn, noise
from pipeline.simulated.grids import covering, finer, positions, projected
from pipeline.simulated.ground import abundances, ground
from pipeline.simulated.look import shares_of, truth
from pipeline.simulated.seasons import CALENDARS, COVERS, shares, snow_line
from pipeline.simulated.spectra import BACKSCATTER, CURVES, ENDMEMBERS, KNOTS, backscatter, signatures, through
from pipeline.simulated.weather import Sky, Weather, sun
from pipeline.simulated.world import CRS, World, changes_geojson, landscape

LEFT, TOP, SIZE = 399960.0, 5799960.0, 1800.0
WORLD = World(LEFT, TOP, SIZE, seed=1, period=(date(2024, 4, 1), date(2024, 6, 30)))
JUNE = date(2024, 6, 1)
OPTICAL = ((SENTINEL2, "B04"), (LANDSAT, "red"), (MODIS, "B01"), (PLANETSCOPE, "red"))


def grid(resolution, rows, cols, row=0, col=0):
    """A window of the grid that begins in the land's corner."""
    corner = Affine(resolution, 0, LEFT + col * resolution, 0, -resolution, TOP - row * resolution)
    return GeoBox((rows, cols), corner, CRS)


def sinusoidal(multiple=1):
    return covering(projected(WORLD.bounds, CRS, SINUSOIDAL), SINUSOIDAL, PIXEL, 0, multiple)


def share(name, geobox, day=JUNE, world=WORLD, spacing=6.0):
    """Share of one endmember in the pixels of a grid."""
    only = np.array([[float(e == name) for e in ENDMEMBERS]], np.float32)
    return shares_of(world, only, day, geobox, spacing)[0]


def ndvi(day, world=WORLD, geobox=None):
    red, nir = truth(world, SENTINEL2, ["B04", "B08"], day, geobox or grid(10, 180, 180))
    return (nir - red) / (nir + red)


# --- chance ---


def test_noise_is_anchored_to_the_ground():
    x, y = LEFT + 10 * np.arange(200.0), TOP - 10 * np.arange(150.0)
    whole = noise(x, y, 140, seed=5)
    assert whole.min() >= 0
    assert whole.max() <= 1
    np.testing.assert_array_equal(noise(x[77:130], y[31:90], 140, seed=5), whole[31:90, 77:130])
    assert np.abs(np.diff(whole, axis=1)).max() < 1.5 * 10 / 140 + 1e-6  # the blend is nowhere steeper than 1.5
    np.testing.assert_allclose(noise(*np.meshgrid(x, y), 140, seed=5), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 15.0])
def test_draws_of_a_window_are_those_of_the_whole(offset):
    whole = GeoBox((300, 290), Affine(30, 0, 399960 + offset, 0, -30, 5799960 + offset), CRS)
    assert positions(whole, CRS)[0][0] == 399960 + offset + 15

    def normal(rng, shape):
        return rng.standard_normal(shape, np.float32)

    values = drawn(whole, 7, normal)
    np.testing.assert_array_equal(drawn(whole[31:250, 140:290], 7, normal), values[31:250, 140:290])
    assert (drawn(whole, 8, normal) != values).all()
    assert abs(values.mean()) < 4 / np.sqrt(values.size)
    assert values.std() == pytest.approx(1, abs=0.01)
    assert np.unique(values).size > 0.99 * values.size  # no square of it is repeated


# --- spectra ---


def test_a_bands_response_is_the_mean_over_its_width():
    # B01 sees 432.5 to 453.5 nm. Soil: 0.06 at 400, 0.08 at 450, 0.10 at 500, straight between; so 0.0772 at 443
    assert through(443, 21)[ENDMEMBERS.index("soil")] == pytest.approx(0.06 + 0.02 * 43 / 50, abs=1e-6)
    assert {len(curve) for curve in CURVES.values()} == {KNOTS.size}


def test_a_radar_sees_power_that_grows_with_what_grows():
    assert set(BACKSCATTER) == set(ENDMEMBERS)
    vv, vh = backscatter("VV"), backscatter("VH")
    assert vv[ENDMEMBERS.index("water")] == pytest.approx(10**-2.1)  # -21 dB
    assert (vv > 2 * vh).all()
    at = ENDMEMBERS.index
    assert vh[at("soil")] < vh[at("crop")] < vh[at("forest")]
    assert vh[at("crop")] / vh[at("soil")] > vv[at("crop")] / vv[at("soil")]  # volume shows in the cross-polarised band
    np.testing.assert_array_equal(signatures(SENTINEL1.bands)[2:], [vv, vh])  # HH as VV, HV as VH


# --- land ---


def test_the_same_seed_gives_the_same_land_and_another_another():
    worlds = (World(LEFT, TOP, SIZE, seed) for seed in (3, 3, 4))
    first, again, other = (abundances(world, grid(10, 60, 60), JUNE) for world in worlds)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=0).mean() > 0.5


@pytest.mark.parametrize(("resolution", "day"), [(1.5, JUNE), (10, JUNE), (10, date(2024, 1, 25))])
def test_any_window_is_that_part_of_the_whole(resolution, day):
    whole = abundances(WORLD, grid(resolution, 120, 120), day)
    assert whole.shape == (len(ENDMEMBERS), 120, 120)
    assert (whole >= -1e-6).all()
    np.testing.assert_allclose(whole.sum(axis=0), 1, rtol=0, atol=1e-5)
    for row, col, rows, cols in ((0, 0, 40, 50), (37, 11, 30, 60), (100, 90, 20, 30), (7, 119, 1, 1)):
        window = abundances(WORLD, grid(resolution, rows, cols, row, col), day)
        np.testing.assert_array_equal(window, whole[:, row : row + rows, col : col + cols])


@pytest.mark.parametrize("kind", sorted(COVERS))
def test_what_the_land_is_made_of_is_whole_on_every_day(kind):
    for day in range(0, 366, 7):
        parts = shares(kind, 0.8, 5.5, -2.0, date(2024, 1, 1) + timedelta(days=day))
        assert len(parts) == len(ENDMEMBERS)
        assert sum(parts) == pytest.approx(1)
        assert min(parts) >= -1e-12


def test_a_year_ends_as_the_next_begins():
    for name, rows in CALENDARS.items():
        assert rows[0][1:] == rows[-1][1:], name
        assert all(early[0] < late[0] for early, late in pairwise(rows)), name
        assert all(green + dry <= 1 for _, green, dry in rows), name


# --- through the year ---


def test_crops_green_up_ripen_and_are_harvested_each_parcel_in_its_own_time():
    land = ground(WORLD, grid(10, 180, 180))
    kinds = np.array([feature.kind for feature, change in land.things])
    days = [date(2024, 3, 1) + timedelta(days=7 * k) for k in range(32)]
    greens = np.stack([ndvi(day) for day in days])
    peaks = {}
    for kind in ("cereal", "maize"):
        curve = greens[:, (kinds == kind)[land.label]].mean(axis=1)
        top = int(curve.argmax())
        peaks[kind] = days[top]
        assert curve[top] - curve[0] > 0.2, kind
        assert curve[top] - curve[-1] > 0.2, kind
        assert np.diff(curve[: top + 1]).min() > -0.05, kind  # it rises, and then it falls
    # calendars: cereals are all green from day 135 to 163, in late May, maize on day 240, in late August
    assert date(2024, 5, 5) < peaks["cereal"] < date(2024, 6, 20)
    assert date(2024, 7, 25) < peaks["maize"] < date(2024, 9, 10)
    shifts = {feature.shift for feature in landscape(WORLD).fields}
    assert len(shifts) == len(landscape(WORLD).fields)
    assert max(shifts) - min(shifts) > 10


def test_the_river_stays():
    wet = share("water", grid(10, 180, 180)) > 0.99
    assert wet.any()
    for day in (date(2024, 1, 25), date(2024, 4, 1), date(2024, 9, 1)):
        np.testing.assert_array_equal(share("water", grid(10, 180, 180), day) > 0.99, wet)


def test_snow_lies_on_heights_alone_and_in_the_cold_season():
    window, day = grid(30, 200, 200), date(2024, 1, 25)
    white, heights = share("snow", window, day), WORLD.heights(*positions(window, CRS))
    line = snow_line(WORLD.seed, day)
    assert 250 < line < 450  # 350 m late in January, give or take the weather's 100 m
    # half a pixel, 15 m, of a slope of 1.5 * (620 / 3000 + 120 / 900) is 7.7 m of height
    assert white[heights < line - 8].max() == 0
    # all of it but under forest (half stays), on asphalt (half) and on water (none)
    assert np.median(white[heights > line + 88]) > 0.9
    assert 0.1 < (white > 0.5).mean() < 0.9
    assert share("snow", window, date(2024, 7, 20)).max() == 0
    blue = truth(WORLD, SENTINEL2, ["B02"], day, grid(10, 600, 600))[0]
    assert blue.reshape(200, 3, 200, 3).mean(axis=(1, 3))[white > 0.95].min() > 0.8


def test_what_is_built_is_in_the_truth_from_its_day_on():
    changes = [change for change in WORLD.changes() if change.kind == "hall"]
    assert changes
    change = changes[0]
    first, last = WORLD.period
    assert first <= change.built <= last
    assert change.cleared == change.built - timedelta(days=21)
    left, bottom, right, top = change.shape.bounds
    window = covering((left - 60, bottom - 60, right + 60, top + 60), CRS, 3)
    metal, soil = (
        np.stack([share(name, window, change.cleared + timedelta(days=k)) for k in (-1, 0, 20, 21)])
        for name in ("metal", "soil")
    )
    inside = shapely.contains_xy(change.shape, *np.meshgrid(*positions(window, CRS)))
    assert metal[:3, inside].max() == 0
    assert soil[1:3, inside].min() == 1
    assert metal[3, inside].min() == 1
    assert metal[3, ~inside].max() == 0
    # the same land on the same day, where everything is built a day later
    later = World(LEFT, TOP, SIZE, 1, (first + timedelta(days=1), last + timedelta(days=1)))
    yard = WORLD.changes()[WORLD.changes().index(change) - 1].shape.area
    for table, name in OPTICAL:
        around = (left - 1200, bottom - 1200, right + 1200, top + 1200)
        view = covering(projected(around, CRS, SINUSOIDAL), SINUSOIDAL, PIXEL) if table is MODIS else window
        before, after = (truth(world, table, [name], change.built, view)[0] for world in (later, WORLD))
        # in red light metal reflects 0.49, soil about 0.20, a yard of four fifths asphalt 0.8 * 0.12 + 0.2 * 0.20 = 0.136;
        # what a pixel's blur takes from the change is given to its neighbours
        expected = change.shape.area * (0.49 - 0.20) + (yard - change.shape.area) * (0.136 - 0.20)
        seen = (after - before).sum() * view.affine.a**2
        assert seen == pytest.approx(expected, rel=0.15), table.name


def test_changes_are_told_as_geojson():
    told = changes_geojson(WORLD)
    assert told["type"] == "FeatureCollection"
    assert len(told["features"]) == len(WORLD.changes())
    there = Transformer.from_crs("EPSG:4326", CRS, always_xy=True).transform
    for feature, change in zip(told["features"], WORLD.changes(), strict=True):
        shape = shapely.transform(shapely.geometry.shape(feature["geometry"]), there, interleaved=False)
        assert shape.symmetric_difference(change.shape).area < 0.01 * change.shape.area
        assert feature["properties"] == {
            "kind": change.kind,
            "cleared": str(change.cleared),
            "built": str(change.built),
        }


# --- truth ---


@pytest.mark.parametrize(
    ("table", "bands", "whole", "window"),
    [
        (SENTINEL2, ["B02", "B11"], grid(10, 150, 140), (slice(60, 130), slice(33, 140))),
        (SENTINEL2, ["B11"], grid(20, 80, 90), (slice(7, 40), slice(50, 90))),
        (SENTINEL1, ["VV", "VH"], grid(10, 150, 140), (slice(60, 130), slice(33, 140))),
        (LANDSAT, ["red"], covering(WORLD.bounds, CRS, 30, 15), (slice(3, 30), slice(20, 60))),
        (PLANETSCOPE, ["nir"], grid(3, 300, 290), (slice(100, 297), slice(1, 290))),
        (MODIS, ["B02"], sinusoidal(), (slice(2, 5), slice(1, 4))),
    ],
    ids=["S2 10 m", "S2 20 m", "S1", "Landsat", "PlanetScope", "MODIS"],
)
def test_truth_of_a_window_is_that_of_the_whole(table, bands, whole, window):
    values = truth(WORLD, table, bands, JUNE, whole)
    assert values.shape == (len(bands), *whole.shape)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    part = truth(WORLD, table, bands, JUNE, whole[window])
    if table is MODIS:  # its pixels' edge is no finite binary fraction: the points looked at differ by nanometres
        np.testing.assert_allclose(part, values[:, *window], rtol=0, atol=1e-5)
    else:
        np.testing.assert_array_equal(part, values[:, *window])


def test_truth_at_20_and_60_m_is_that_at_10_m_degraded():
    fine = truth(WORLD, SENTINEL2, ["B05", "B09"], JUNE, grid(10, 120, 120))
    for ratio in (2, 6):
        coarse = truth(WORLD, SENTINEL2, ["B05", "B09"], JUNE, grid(10 * ratio, 120 // ratio, 120 // ratio))
        expected = degrade(fine, [0.38, 0.26], ratio)  # MTF of B05 and B09
        inner = ~np.isnan(expected[0])
        assert inner.sum() == (120 // ratio - 4) ** 2
        np.testing.assert_allclose(coarse[:, inner], expected[:, inner], rtol=0, atol=1e-6)


def test_blur_is_the_mtf_at_nyquist():
    """A stripe pattern does not lie there; a straight edge does: the water's, whose spread gives the Gaussian."""
    soft = truth(WORLD, LANDSAT, ["nir08"], JUNE, grid(30, 60, 60))
    sharp = truth(WORLD, PLANETSCOPE, ["nir"], JUNE, grid(3, 600, 600))
    # 30 m at an MTF of 0.29 is a Gaussian of 30 sqrt(-2 ln 0.29) / pi = 15.0 m; 3 m of 1.5 m: 14.95 m more would do
    expected = degrade(sharp, [0.29], 10)
    inner = ~np.isnan(expected[0])
    # widths 28 and 40 nm around 865 nm see the same to 1e-3, points 1.5 m or 3 m apart to 1e-2 at edges
    difference = (soft - expected)[0, inner[..., :]]
    assert np.abs(difference).mean() < 2e-3
    assert np.abs(difference).max() < 0.03
    assert soft[0][inner].std() < 0.95 * sharp.std()


def test_each_sensor_sees_with_its_own_response():
    window = grid(30, 60, 60)
    values = {table.name: truth(WORLD, table, [name], JUNE, window)[0] for table, name in OPTICAL}
    for name, value in values.items():
        others = [np.abs(value - other).mean() for key, other in values.items() if key != name]
        assert 1e-5 < min(others) <= max(others) < 0.02, name
    broad, narrow = truth(WORLD, SENTINEL2, ["B08", "B8A"], JUNE, grid(10, 60, 60))
    # crop: 842 +- 53 nm reaches down to 789 nm, 0.47 + 0.03 * 9 / 80 = 0.473; 865 +- 10 nm stays at 0.50
    assert (narrow - broad).max() > 0.005


def _wet_area(cells):
    """Share of cells that water covers, by geometry alone."""
    above = landscape(WORLD).above
    last = max(k for k, feature in enumerate(above) if feature.kind == "water")
    water = shapely.union_all([feature.shape for feature in above if feature.kind == "water"])
    dry = shapely.union_all([feature.shape for feature in above[last + 1 :]])
    return shapely.area(shapely.intersection(cells, water.difference(dry))) / shapely.area(cells)


@pytest.mark.parametrize(
    "geobox", [covering(WORLD.bounds, CRS, 30, 15), sinusoidal()], ids=["half pixel", "sinusoidal"]
)
def test_pixels_lie_where_their_grid_says(geobox):
    rows, cols = np.mgrid[: geobox.shape[0], : geobox.shape[1]]
    corners = [geobox.affine @ (cols + dc, rows + dr) for dc, dr in ((0, 0), (1, 0), (1, 1), (0, 1))]
    there = Transformer.from_crs(str(geobox.crs), CRS, always_xy=True).transform
    rings = np.stack([np.stack(there(*corner), axis=-1) for corner in corners], axis=-2)
    expected = _wet_area(shapely.polygons(rings))
    assert expected.max() > 0.1
    found = share("water", geobox, spacing=3.0)
    spacing = geobox.affine.a / 32 if geobox.crs != CRS else 3.0
    # points at this spacing along a bank as long as 1.5 pixels
    assert np.abs(found - expected).max() < 1.5 * spacing / geobox.affine.a
    assert np.abs(found - expected).mean() < 0.01
    if geobox.crs == CRS:
        shifted = share("water", covering(WORLD.bounds, CRS, 30, 0)[:60, :60], spacing=3.0)
        assert np.abs(shifted - expected[:60, :60]).mean() > 3 * np.abs(found - expected).mean()


def test_grids_lie_where_the_products_do():
    landsat = covering(WORLD.bounds, CRS, 30, 15)
    assert {v % 30 for v in (landsat.affine.c, landsat.affine.f)} == {15}  # centres on multiples of 30 m
    # tile h18v03 reaches from 0 to 1111950.5197 m east and from 5 to 6 times that north, 2400 pixels each
    tile = sinusoidal()
    col, row = tile.affine.c / PIXEL, (6 * 1111950.5196666666 - tile.affine.f) / PIXEL
    assert 0 <= col < 2400
    assert 0 <= row < 2400
    assert col == pytest.approx(round(col), abs=1e-6)
    assert row == pytest.approx(round(row), abs=1e-6)


def test_what_there_is_no_truth_of_is_refused():
    with pytest.raises(Refused, match="no truth for landsat lwir11"):
        truth(WORLD, LANDSAT, ["lwir11"], JUNE, grid(30, 4, 4))
    with pytest.raises(Refused, match="no truth for modis NDVI"):
        truth(WORLD, MODIS, ["NDVI"], JUNE, grid(30, 4, 4))
    with pytest.raises(Refused, match="has no band 'B99'"):
        truth(WORLD, SENTINEL2, ["B99"], JUNE, grid(30, 4, 4))
    for place, crs in ((Affine(1e-4, 0, 13.5, 0, -1e-4, 52.3), "EPSG:4326"), (Affine(10, 0, LEFT, 0, -20, TOP), CRS)):
        with pytest.raises(Refused, match="square north-up pixels"):
            truth(WORLD, LANDSAT, ["red"], JUNE, GeoBox((4, 4), place, crs))


# --- weather ---

NOON = datetime(2024, 6, 21, 11, 5, 43, tzinfo=UTC)
CLOUDY = Weather(seed=2, clouds=0.4, spread=0)


def test_the_sun_stands_highest_in_the_south():
    # 13.572 degrees east: noon is at 12 h - 13.572 / 15 h = 11:05:43 UTC; 90 - 52.33 + 23.44 = 61.1 degrees
    elevation, azimuth = sun(WORLD, NOON)
    assert elevation == pytest.approx(61.1, abs=0.2)
    assert azimuth == pytest.approx(180, abs=1)
    assert sun(WORLD, NOON - timedelta(hours=3))[1] < 140
    assert sun(WORLD, NOON + timedelta(hours=3))[1] > 220


def test_every_sensor_sees_the_same_clouds():
    sky = Sky(WORLD, CLOUDY, NOON)
    fine = sky.opacity(finer(grid(30, 60, 60), 10))
    assert 0.2 < (fine > 0).mean() < 0.6
    at_30 = fine.reshape(60, 10, 60, 10).mean(axis=(1, 3))
    np.testing.assert_allclose(sky.opacity(grid(30, 60, 60)), at_30, rtol=0, atol=0.02)
    np.testing.assert_array_equal(
        sky.opacity(grid(10, 50, 60, 100, 20)), sky.opacity(grid(10, 180, 180))[100:150, 20:80]
    )
    coarse = sinusoidal()
    there = Transformer.from_crs(CRS, SINUSOIDAL, always_xy=True).transform
    x, y = there(*np.meshgrid(*positions(finer(grid(30, 60, 60), 10), CRS)))
    cols, rows = (~coarse.affine) @ (x, y)
    for row, col in ((2, 2), (3, 2), (2, 3), (3, 3)):
        inside = (rows // 1 == row) & (cols // 1 == col)
        if inside.sum() > 0.99 * (PIXEL / 3) ** 2:
            assert sky.opacity(coarse)[row, col] == pytest.approx(fine[inside].mean(), abs=0.03)


def test_clouds_drift_and_change_from_day_to_day():
    window = grid(30, 60, 60)
    now = Sky(WORLD, CLOUDY, NOON).opacity(window)
    np.testing.assert_array_equal(Sky(WORLD, CLOUDY, NOON).opacity(window), now)
    soon, tomorrow = (
        Sky(WORLD, CLOUDY, NOON + timedelta(**step)).opacity(window) for step in ({"seconds": 2}, {"days": 1})
    )
    assert 0 < np.abs(soon - now).mean() < 0.1
    assert np.corrcoef(soon.ravel(), now.ravel())[0, 1] > 0.9
    assert abs(np.corrcoef(tomorrow.ravel(), now.ravel())[0, 1]) < 0.6


def test_shadows_fall_away_from_the_sun():
    sky = Sky(WORLD, CLOUDY, NOON)
    # 900 m up at 61.1 degrees: 900 / tan(61.1) = 497 m, northwards at noon
    up = GeoBox((100, 100), Affine(10, 0, LEFT, 0, -10, TOP), CRS)
    below = GeoBox((100, 100), Affine(10, 0, LEFT, 0, -10, TOP + 497), CRS)
    assert np.abs(sky.shadow(below) - sky.opacity(up)).mean() < 0.02
    assert np.abs(sky.shadow(up) - sky.opacity(up)).mean() > 0.1


def test_some_days_are_clear_and_others_overcast():
    weather = Weather(seed=1, clouds=0.4, clear=(JUNE,))
    covers = [weather.cover(JUNE + timedelta(days=k)) for k in range(400)]
    assert covers[0] == 0
    assert np.mean(covers) == pytest.approx(0.4, abs=0.05)
    assert np.mean(np.array(covers) < 0.1) > 0.15
    assert np.mean(np.array(covers) > 0.9) > 0.1
    assert Weather(1, 0.0).cover(JUNE) == 0
    assert {Weather(1, 0.3, spread=0).cover(JUNE + timedelta(days=k)) for k in range(5)} == {0.3}
    assert not Sky(WORLD, weather, datetime(2024, 6, 1, 10, tzinfo=UTC)).opacity(grid(10, 9, 9)).any()
