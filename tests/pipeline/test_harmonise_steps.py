"""Steps of harmonisation on the bands of a scene: which bands they need, what they change, where they look."""

from datetime import UTC, datetime

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from pipeline.errors import Refused
from pipeline.harmonise.bandpass import bandpass
from pipeline.harmonise.places import Registration, references, shifts
from pipeline.harmonise.steps import AS_MEASURED, Harmony
from pipeline.scene import Asset, Scene

ANGLES = {
    "view:sun_elevation": 50.0,
    "view:sun_azimuth": 150.0,
    "view:incidence_angle": 8.0,
    "view:azimuth": 100.0,
}


def scene(name="S2B", sensor="sentinel-2", level="L2A", platform="sentinel-2b", clouds=0.0, **fields):
    when = datetime(2024, 6, 1, 10, tzinfo=UTC)
    assets = {band: Asset(f"{band}.tif") for band in ("B02", "B03", "B04", "B8A")}
    place = {"bbox": (14, 52, 15, 53), "crs": "EPSG:32633", "extent": None, "tile": "33UVT"}
    return Scene(name, sensor, level, when, assets=assets, cloud_cover=clouds, platform=platform, **(place | fields))


def planes(**values):
    return {band: np.full((2, 2), value, np.float32) for band, value in values.items()}


@pytest.mark.parametrize("pixel", [10.0, 20.0])
def test_a_scene_is_read_where_its_ground_lies(pixel):
    # ground that lies 2.5 m too far west and 5 m too far south is read 2.5 m further west, 5 m further south
    grid = GeoBox((6, 6), Affine(pixel, 0, 399960, 0, -pixel, 5800020), "EPSG:32633")
    moved = Harmony(shifts=(("other", 9.0, 9.0), ("S2B", -2.5, 5.0))).place(scene(), grid)
    assert tuple(moved.affine)[:6] == (pixel, 0, 399957.5, 0, -pixel, 5800015)
    assert moved.shape == grid.shape
    assert AS_MEASURED.place(scene(), grid) == grid


def test_no_step_changes_nothing():
    values = planes(B04=0.1)
    assert AS_MEASURED.needs(scene(), ["B04"]) == ("B04",)
    assert AS_MEASURED.applied(scene(), ["B04"], values)[0] is values["B04"]


def test_bands_as_another_platform_sees_them():
    as_2a = Harmony(platform="sentinel-2a")
    values = planes(B04=0.1)
    (found,) = as_2a.applied(scene(), ["B04"], values)
    np.testing.assert_array_equal(found, bandpass(values, "B04", "sentinel-2b", "sentinel-2a"))
    assert found[0, 0] != np.float32(0.1)
    own = scene(platform="sentinel-2a")
    assert as_2a.applied(own, ["B04"], values)[0] is values["B04"], "its own bands stay"
    # Landsat has no red edge, so that band stays
    values = planes(B05=0.2)
    assert Harmony(platform="landsat-8").applied(scene(), ["B05"], values)[0] is values["B05"]


def test_the_top_of_the_atmosphere_is_refused():
    for step in (Harmony(nbar=True), Harmony(platform="landsat-8")):
        with pytest.raises(Refused, match="S2B is L1C, at the top of the atmosphere"):
            step.check(scene(level="L1C"), ["B04"])


def test_radar_temperatures_and_what_its_maker_harmonised_are_left_alone():
    values = planes(B04=0.1, VV=0.1, lwir11=300.0, red=0.1)
    everything = Harmony(nbar=True, platform="sentinel-2a")
    landsat = scene(sensor="landsat", level="L2", platform="landsat-9")
    fusion = scene(sensor="planet-fusion", level="SR", platform="")
    for seen, band in ((landsat, "lwir11"), (fusion, "red")):
        everything.check(seen, [band])
        assert everything.applied(seen, [band], {band: values[band]})[0] is values[band]
    radar = scene(sensor="sentinel-1", level="RTC", platform="sentinel-1a")
    everything.check(radar, ["VV"])
    assert everything.applied(radar, ["VV"], values)[0] is values["VV"]


def test_nbar_needs_angles_and_parameters():
    seen = scene(properties=ANGLES)
    Harmony(nbar=True).check(seen, ["B04", "B8A"])
    with pytest.raises(Refused, match="S2B does not state its"):
        Harmony(nbar=True).check(scene(), ["B04"])
    with pytest.raises(
        Refused, match=r"no BRDF parameters for B01, B09 of sentinel-2; leave them out with bands: \[B04\]"
    ):
        Harmony(nbar=True).check(seen, ["B01", "B04", "B09"])
    # seen with the sun 50 degrees off behind the sensor, land is a little brighter than from above
    (red,) = Harmony(nbar=True).applied(seen, ["B04"], planes(B04=0.1))
    assert 0.09 < red[0, 0] < 0.1


def test_an_unknown_platform_is_refused():
    with pytest.raises(Refused, match="sentinel-2x"):
        Harmony(platform="landsat-8").needs(scene(platform="sentinel-2x"), ["B04"])


def test_the_reference_is_the_clearest_of_a_tile_then_the_oldest():
    clear, cloudy, other = scene("A", clouds=1), scene("B", clouds=30), scene("C", clouds=5, tile="33UUT")
    found = references([cloudy, clear, other])
    assert {name: reference.id for name, reference in found.items()} == {"A": "A", "B": "A", "C": "C"}


def test_only_shifts_that_can_be_claimed_are_put_right():
    found = [Registration("A", "R", 2.0, -1.0, 0.8, 12), Registration("B", "R", 0.0, 0.0, 0.0, 0)]
    assert shifts(found) == (("A", 2.0, -1.0),)
