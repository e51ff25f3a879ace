"""Five sensors over three months of the simulated Earth as one lazy tree: what it says of itself, and its pixels."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.windows import from_bounds

import pipeline.access
from pipeline.catalog import Query, find_all
from pipeline.errors import Refused
from pipeline.region import layout_over
from pipeline.scene import Asset
from pipeline.sensors import LANDSAT, MODIS, SENTINEL2, sensor
from pipeline.sensors.modis import PIXEL, SINUSOIDAL
from pipeline.simulated.archive import simulate_campaign
from pipeline.simulated.grids import projected
from pipeline.simulated.look import truth
from pipeline.simulated.streams import FIVE, Campaign
from pipeline.tree import assemble, tree_of

CAMPAIGN = Campaign(date(2024, 4, 1), date(2024, 6, 30), size=120)
LAND = CAMPAIGN.world.bounds  # 1200 m: left 399960, bottom 5798760, right 401160, top 5799960

# The step that 3, 10, 20, 30, 60 and 500 m share is their least common multiple, 1500 m: 2² from 20, 3 from 3, 5³ from 500.
# The land reaches over 400500 = 267 * 1500 and 5799000 = 3866 * 1500, so the tree covers two by two steps.
FRAME = (399000.0, 5797500.0, 402000.0, 5800500.0)

NODES = {
    # name: bands, images by hand. Sentinel-1 passes every 12 days, counted from 3 June and from 6 June: 3 June is day 155, so
    # 4 April (95) to 27 June (179) are 8, and 7 April to 30 June 8 more. Sentinel-2 every 5 days from 1 June: 2 April (93) to
    # 26 June (178), 18. Landsat 8 from 4 June, 9 from 12 June, every 16 days: 6 each. MODIS every 8 days from day 97 (6 April)
    # to 177: 11. PlanetScope every 3 days from 2 April to 28 June: 30.
    "sentinel-1/10m": (("VV", "VH"), 16),
    "sentinel-2/10m": (("B02", "B03", "B04", "B08"), 18),
    "sentinel-2/20m": (("B05", "B06", "B07", "B8A", "B11", "B12"), 18),
    "sentinel-2/60m": (("B01", "B09"), 18),
    "landsat/30m": (("coastal", "blue", "green", "red", "nir08", "swir16", "swir22"), 12),
    "modis/500m": (("B01", "B02", "B03", "B04", "B05", "B06", "B07"), 11),
    "planetscope/3m": (("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir"), 30),
}
FLAGGED = [name for name in NODES if not name.startswith("sentinel-1")]


@pytest.fixture(scope="session")
def catalog(tmp_path_factory):
    """Where the campaign's catalog is; its files are not to be changed."""
    return simulate_campaign(tmp_path_factory.mktemp("five-sensors"), CAMPAIGN)


@pytest.fixture(scope="session")
def query(catalog):
    bbox = projected(LAND, "EPSG:32633", "EPSG:4326")
    return Query(str(catalog), SENTINEL2, datetime(2024, 4, 1, tzinfo=UTC), datetime(2024, 7, 1, tzinfo=UTC), bbox)


@pytest.fixture(scope="session")
def tree(query):
    return assemble(query, FIVE, chunk=1500)


@pytest.fixture
def sealed(monkeypatch):
    """No file of pixels can be opened."""

    def refuse(*args, **kwargs):
        raise AssertionError("a pixel was read")

    monkeypatch.setattr(rasterio, "open", refuse)
    monkeypatch.setattr(pipeline.access, "_open", refuse)


def quantity(dataset):
    """The variable of a node that is not its flags."""
    (name,) = set(dataset.data_vars) - {"flags"}
    return dataset[name]


def computed(lazy):
    return lazy.compute(scheduler="synchronous").values


def clearest(dataset):
    """Index of the image with the least cloud, the first of several."""
    return int(dataset.cloud_cover.argmin("time")) if "cloud_cover" in dataset.coords else 0


def pixels_of(dataset):
    """The grid of a node, from its coordinates."""
    size = float(dataset.x[1] - dataset.x[0])
    corner = Affine(size, 0, float(dataset.x[0]) - size / 2, 0, -size, float(dataset.y[0]) + size / 2)
    return GeoBox((dataset.sizes["y"], dataset.sizes["x"]), corner, "EPSG:32633")


def day_of(dataset, time):
    return dataset.time.values[time].astype("datetime64[D]").astype(date)


# --- what the tree says of itself ---


def test_three_months_of_five_sensors_are_assembled_without_a_pixel(query, sealed):
    tree = assemble(query, FIVE)
    assert {node.path.strip("/") for node in tree.leaves} == set(NODES)
    with pytest.raises(AssertionError, match="a pixel was read"):
        computed(tree["landsat/30m"].reflectance[0, 0])


def test_the_tree_says_what_it_is(tree):
    assert tree.attrs == {
        "title": "landsat, planetscope, sentinel-2, sentinel-1, modis on one reference grid",  # as they first pass
        "crs": "EPSG:32633",
        "step": "1500 m",
        "days": "2024-04-01 to 2024-06-30",
    }


@pytest.mark.parametrize("name", NODES)
def test_a_node_has_its_bands_images_and_place(name, tree):
    dataset = tree[name].to_dataset()
    bands, images = NODES[name]
    resolution = int(name.split("/")[1].removesuffix("m"))
    values = quantity(dataset)
    assert values.dims == ("time", "band", "y", "x")
    assert values.dtype == np.float32
    assert values.shape == (images, len(bands), 3000 // resolution, 3000 // resolution)
    assert tuple(dataset.band.values) == bands
    left, bottom, right, top = FRAME
    half = resolution / 2
    np.testing.assert_array_equal(dataset.x, np.arange(left + half, right, resolution))
    np.testing.assert_array_equal(dataset.y, np.arange(top - half, bottom, -resolution))
    assert dataset.rio.crs.to_epsg() == 32633
    assert (np.diff(dataset.time.values) > np.timedelta64(0)).all()
    assert values.name == ("gamma_nought" if name.startswith("sentinel-1") else "reflectance")
    assert ("flags" in dataset) == (name in FLAGGED)
    # dask: one image and one band a chunk, cores that begin on the step
    edge = 1500 // resolution
    assert values.chunks == ((1,) * images, (1,) * len(bands), (edge, edge), (edge, edge))
    if "flags" in dataset:
        assert dataset.flags.dims == ("time", "y", "x")
        assert dataset.flags.chunks == ((1,) * images, (edge, edge), (edge, edge))


def test_coordinates_say_who_saw_what(tree):
    optical = tree["landsat/30m"].to_dataset()
    assert str(optical.id[0].values) == "LC08_L2SP_193023_20240401_02_SIM"
    assert list(optical.platform.values) == ["landsat-8", "landsat-9"] * 6
    assert dict(zip(optical.band.values, optical.wavelength.values, strict=True))["red"] == 655
    assert float(optical.cloud_cover.min()) == 0
    assert float(optical.cloud_cover.max()) > 50
    assert str(optical.time[0].values)[:19] == "2024-04-01T10:02:12"
    assert "track" not in optical.coords


def test_radar_is_kept_by_pass(tree):
    radar = tree["sentinel-1/10m"].to_dataset()
    orbits = [str(track).split("-")[0].split("/")[0] for track in radar.track.values]
    assert orbits == ["095", "146"] * 8  # descending in the morning, ascending three days later
    assert len(set(radar.track.values)) == 16, "each has a datatake of its own"
    assert {"wavelength", "cloud_cover"}.isdisjoint(radar.coords)


def test_an_eight_day_image_stands_in_the_middle_of_its_days(tree):
    # 6 April 0 h to 13 April 23:59:59 have their middle at the end of 9 April.
    assert str(tree["modis/500m"].time[0].values)[:16] == "2024-04-09T23:59"


def test_a_query_that_nothing_answers_is_refused(query):
    before = replace(query, start=query.start - timedelta(days=99), end=query.start - timedelta(days=90))
    with pytest.raises(Refused, match="no scene of landsat, modis answers the query; widen its bbox or its time"):
        assemble(before, ["landsat", "modis"])


# --- pixels that need no resampling: those of the files ---


def straight(catalog, dataset, time, pattern, number=1):
    """Digital numbers of a file over the node's area, read with nothing but rasterio; 0 beyond its edges."""
    (path,) = catalog.parent.glob(pattern.format(id=str(dataset.id[time].values)))
    with rasterio.open(path) as file:
        window = from_bounds(*FRAME, file.transform)
        return file.read(number, window=window, boundless=True, fill_value=0)


def reflectance(numbers, offset=0.0):
    return np.where(numbers == 0, np.nan, numbers * 1e-4 + offset).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "band", "file"),
    [
        ("sentinel-2/10m", "B04", "sentinel-2-l2a/{id}/B04.tif"),
        ("sentinel-2/20m", "B11", "sentinel-2-l2a/{id}/B11.tif"),
        ("sentinel-2/60m", "B09", "sentinel-2-l2a/{id}/B09.tif"),
        ("planetscope/3m", "red", "PSScene/{id}/ortho_analytic_8b_sr.tif"),
        ("sentinel-1/10m", "VH", "sentinel-1-rtc/{id}/VH.tif"),
    ],
)
def test_native_pixels_are_the_files_to_the_last_bit(name, band, file, tree, catalog):
    dataset = tree[name].to_dataset()
    number = 1 + list(dataset.band.values).index(band) if name.startswith("planetscope") else 1
    time = dataset.sizes["time"] - 1
    numbers = straight(catalog, dataset, time, file, number)
    if name.startswith("sentinel-1"):
        expected = np.where(numbers > 1e-4, numbers, np.float32(np.nan))  # weaker than -40 dB is border noise
    else:
        expected = reflectance(numbers, offset=-0.1 if name.startswith("sentinel-2") else 0.0)
    found = computed(quantity(dataset).isel(time=time).sel(band=band))
    np.testing.assert_array_equal(found, expected)
    assert np.isfinite(found).mean() == pytest.approx(0.16, abs=1e-3)  # 1200² of 3000² m, but for border noise


def test_flags_are_the_scene_classification(tree, catalog):
    dataset = tree["sentinel-2/20m"].to_dataset()
    time = 4  # 60 % under clouds
    codes = straight(catalog, dataset, time, "sentinel-2-l2a/{id}/SCL.tif")
    meaning = {
        1: 8,
        3: 64,
        6: 256,
        8: 16,
        9: 16,
        10: 32,
        11: 128,
    }  # saturated, shadow, water, cloud, cloud, cirrus, snow
    expected = np.zeros(codes.shape, np.uint16)
    for code, flag in meaning.items():
        expected[codes == code] = flag
    found = computed(dataset.flags[time])
    np.testing.assert_array_equal(found, expected)
    assert {16, 64} <= set(np.unique(found))
    # finer pixels repeat those of the layer
    fine = computed(tree["sentinel-2/10m"].flags[time])
    np.testing.assert_array_equal(fine, expected.repeat(2, axis=0).repeat(2, axis=1))


# --- pixels that are resampled: in their place to a thousandth ---


def ramps(path, crs, corner, count, first, dtype):
    """A file of two bands that hold how far east and how far south a pixel's centre lies, a thousand numbers a pixel."""
    across = (first + 1000 * np.arange(count) + 500).astype(dtype)
    planes = np.stack(np.broadcast_arrays(across[None], across[:, None]))
    shape = {"count": 2, "height": count, "width": count}
    with rasterio.open(path, "w", driver="GTiff", dtype=dtype, crs=crs, transform=corner, **shape) as file:
        file.write(planes)
    return str(path)


RAMPS = {
    # sensor, its bands, CRS, edge of a pixel, pixels, first number, type, scale, offset; corners near the land's
    "half a pixel off": (LANDSAT, ("red", "green"), "EPSG:32633", 30.0, 30, 8000, "uint16", 2.75e-5, -0.2),
    "from the next zone": (LANDSAT, ("red", "green"), "EPSG:32632", 30.0, 30, 8000, "uint16", 2.75e-5, -0.2),
    "sinusoidal": (MODIS, ("B01", "B02"), SINUSOIDAL, PIXEL, 15, 100, "int16", 1e-4, 0.0),
}


@pytest.mark.parametrize("case", RAMPS)
def test_a_ramp_lies_where_it_should_to_a_thousandth_of_a_pixel(case, query, tmp_path):
    table, bands, crs, size, count, first, dtype, scale, offset = RAMPS[case]
    left, _, _, top = projected(LAND, "EPSG:32633", crs)
    # corners on the sensor's own grid: 15 m off multiples of 30, or on multiples of MODIS's pixel
    shift = 15 if size == 30 else 0
    corner = Affine(size, 0, left // size * size + shift - 4 * size, 0, -size, top // size * size + shift + 4 * size)
    path = ramps(tmp_path / "ramp.tif", crs, corner, count, first, dtype)
    extent = (corner.c, corner.f - count * size, corner.c + count * size, corner.f)
    seen = find_all(query, [table])[0]
    assets = {band: replace(seen.assets[band], address=f"{path}#layer={n}") for n, band in enumerate(bands, 1)}
    moved = replace(seen, crs=crs, extent=extent, bbox=projected(extent, crs, "EPSG:4326"), assets=assets)
    resolution = table.band(bands[0]).resolution
    area = projected(extent, crs, "EPSG:32633")
    dataset = tree_of([moved], layout_over(area, "EPSG:32633", [resolution], 1500))[f"{table.name}/{resolution}m"]

    # by hand: the number of a pixel over 1000 is how many of the file's pixels its centre lies from the corner
    easting, northing = np.meshgrid(dataset.x, dataset.y)
    there = Transformer.from_crs("EPSG:32633", crs, always_xy=True).transform(easting, northing)
    expected = np.stack([(there[0] - corner.c) / size, (corner.f - there[1]) / size])
    found = np.stack([computed(dataset.reflectance.sel(band=band)[0]) for band in bands]).astype(np.float64)
    places = ((found - offset) / scale - first) / 1000
    inner = ((expected > 3) & (expected < count - 3)).all(axis=0)  # the kernel has all of its pixels
    assert inner.sum() > 60
    assert np.isfinite(places[:, inner]).all()
    assert np.abs(places - expected)[:, inner].max() * size / resolution < 1e-3


# --- however it is cut ---


@pytest.fixture(scope="session")
def undivided(query):
    return assemble(query, FIVE, chunk=12000)


@pytest.mark.parametrize("name", NODES)
def test_windows_agree_with_the_whole(name, tree, undivided):
    whole = undivided[name].to_dataset()
    parts = tree[name].to_dataset()
    assert quantity(whole).data.numblocks[2:] == (1, 1)
    assert quantity(parts).data.numblocks[2:] == (2, 2)
    time = clearest(parts) + 1  # any other than the first
    one, other = (computed(quantity(dataset)[time]) for dataset in (whole, parts))
    np.testing.assert_array_equal(np.isnan(one), np.isnan(other))
    assert np.nanmax(np.abs(one - other)) <= 1e-5 * np.ptp(one[np.isfinite(one)])
    if "flags" in whole:
        np.testing.assert_array_equal(computed(whole.flags[time]), computed(parts.flags[time]))


def test_another_order_of_sensors_gives_the_same_pixels(query, tree):
    alone = assemble(
        query, ["modis", "planetscope", "sentinel-2", "landsat", "sentinel-1"], chunk=1500, bands=["nir08"]
    )
    assert {node.path for node in alone.leaves} == {"/landsat/30m"}
    # its step is 30 m, so the area is smaller: the same pixels where both have them
    small, large = computed(alone["landsat/30m"].reflectance[0]), tree["landsat/30m"].reflectance
    same = large.sel(band=["nir08"], x=alone["landsat/30m"].x, y=alone["landsat/30m"].y)[0]
    np.testing.assert_array_equal(small, computed(same))


# --- beside the truth ---

NOISE = {"sentinel-2": 0.12 / 150, "planetscope": 0.12 / 40}
"""Standard deviation of reflectance, from the signal to noise ratio that is simulated at a reflectance of 0.12."""


@pytest.mark.parametrize("name", ["sentinel-2/10m", "sentinel-2/20m", "sentinel-2/60m", "planetscope/3m"])
def test_native_pixels_are_the_truth_within_noise(name, tree):
    dataset = tree[name].to_dataset()
    time = clearest(dataset)
    assert float(dataset.cloud_cover[time]) == 0
    found = computed(quantity(dataset)[time])
    kind = name.split("/")[0]
    expected = truth(CAMPAIGN.world, sensor(kind), NODES[name][0], day_of(dataset, time), pixels_of(dataset))
    error = (found - expected)[np.isfinite(found)]
    assert error.std() == pytest.approx(NOISE[kind], rel=0.05)
    assert abs(error.mean()) < 5 * NOISE[kind] / np.sqrt(error.size)


def test_clouded_pixels_are_flagged_and_the_others_are_the_truth(tree):
    dataset = tree["sentinel-2/10m"].to_dataset()
    time = 5  # 29 % under clouds
    found, flags = computed(dataset.reflectance[time]), computed(dataset.flags[time])
    expected = truth(CAMPAIGN.world, SENTINEL2, NODES["sentinel-2/10m"][0], day_of(dataset, time), pixels_of(dataset))
    error = np.abs(found - expected).max(axis=0)
    land = np.isfinite(error)
    clear = (flags & (16 | 32 | 64)) == 0
    assert 0.02 < clear[land].mean() < 0.8
    # the mask has pixels of 20 m and thresholds, so that a cloud's thin rim is left
    assert np.median(error[land & clear]) < 4 * NOISE["sentinel-2"]
    assert np.median(error[land & ~clear]) > 20 * NOISE["sentinel-2"]


def test_landsat_lies_on_the_truth_after_its_half_pixel(tree):
    dataset = tree["landsat/30m"].to_dataset()
    time = clearest(dataset)
    found, grid = computed(dataset.reflectance[time]), pixels_of(dataset)
    day = day_of(dataset, time)
    bands = NODES["landsat/30m"][0]

    def off(pixels):
        expected = truth(CAMPAIGN.world, LANDSAT, bands, day, pixels)
        inside = np.isfinite(found)
        return np.sqrt(np.mean((found - expected)[inside] ** 2)) / expected[:, inside[0]].std(axis=1).mean()

    here = off(grid)
    assert here < 0.12  # what cubic convolution loses of land that changes from pixel to pixel
    assert all(off(grid.translate_pix(x, y)) > 2.5 * here for x, y in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)))


def test_modis_lies_on_the_truth(tree, catalog):
    dataset = tree["modis/500m"].to_dataset()
    days = straight_days(catalog, str(dataset.id[0].values))
    assert days == {97}, "without a cloud the first of the eight days is taken: 6 April"
    found = computed(dataset.reflectance[0])
    bands = NODES["modis/500m"][0]
    expected = truth(CAMPAIGN.world, MODIS, bands, date(2024, 4, 6), pixels_of(dataset))
    # two by three pixels of 500 m meet in 400000 to 401000 east, 5798500 to 5800000 north
    inner = (slice(None), slice(1, 4), slice(2, 4))
    assert np.isfinite(found[inner]).all()
    error, spread = (found - expected)[inner], expected[inner].std(axis=(1, 2)).mean()
    assert np.sqrt(np.mean(error**2)) < spread / 2  # the sinusoidal pixels are interpolated
    assert abs(error.mean()) < 0.002


def straight_days(catalog, item):
    with rasterio.open(catalog.parent / "modis-09A1-061" / item / "day_of_year.tif") as file:
        return set(np.unique(file.read(1)).tolist())


def test_backscatter_is_the_truth_under_speckle(tree):
    dataset = tree["sentinel-1/10m"].to_dataset()
    found = computed(dataset.gamma_nought[0])
    expected = truth(CAMPAIGN.world, sensor("sentinel-1"), ("VV", "VH"), day_of(dataset, 0), pixels_of(dataset))
    ratio = (found / expected)[np.isfinite(found)]
    # speckle of 4.4 looks: mean 1, standard deviation 1 / sqrt(4.4) = 0.477; 28800 pixels
    assert ratio.mean() == pytest.approx(1, abs=5 * 0.477 / np.sqrt(28800))
    assert ratio.std() == pytest.approx(0.477, rel=0.05)


# --- images of several scenes ---


def test_scenes_of_a_solar_day_are_one_image(query, tmp_path):
    seen = find_all(query, [SENTINEL2])[1]
    with rasterio.open(seen.assets["B04"].address) as file:
        pixels, profile = file.read(1), file.profile
    halves = []
    for tile, columns in (("33UVT", slice(0, 60)), ("33UUT", slice(60, 120))):
        part = np.zeros_like(pixels)
        part[:, columns] = pixels[:, columns]
        with rasterio.open(tmp_path / f"{tile}.tif", "w", **profile) as file:
            file.write(part, 1)
        asset: Asset = replace(seen.assets["B04"], address=str(tmp_path / f"{tile}.tif"))
        halves.append(replace(seen, id=tile, tile=tile, assets={"B04": asset}))
    layout = layout_over(LAND, "EPSG:32633", [10], 600)
    both = tree_of(halves, layout)["sentinel-2/10m"]
    assert both.sizes["time"] == 1
    assert sorted(str(both.id[0].values).split()) == ["33UUT", "33UVT"]
    whole = tree_of([seen], layout, bands=["B04"])["sentinel-2/10m"]
    np.testing.assert_array_equal(computed(both.reflectance), computed(whole.reflectance))
    assert np.isfinite(computed(both.reflectance)).all()
