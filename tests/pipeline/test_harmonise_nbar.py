"""NBAR: kernels against values worked out by hand, the c-factor, angles of scenes."""

import json
from datetime import UTC, datetime
from math import pi, sqrt
from pathlib import Path

import numpy as np
import pystac
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dialects import to_scene
from pipeline.errors import Refused
from pipeline.harmonise.nbar import (
    PARAMETERS,
    Angles,
    angles_of,
    factor,
    geometric,
    modelled,
    nbar,
    volumetric,
)
from pipeline.scene import Scene

ZENITH = st.floats(0, 80)
AZIMUTH = st.floats(-720, 720)


def scene(sensor: str = "sentinel-2", **properties: object) -> Scene:
    when = datetime(2024, 6, 1, tzinfo=UTC)
    return Scene("A", sensor, "L2A", when, (14, 52, 15, 53), "EPSG:32633", None, {}, 0.0, properties=properties)


# At the hot spot (sun and view in one direction, θ from the vertical) the angle between them is 0 and shadows are hidden:
# vol = (π/2) / (2 cos θ) - π/4 = π/4 (sec θ - 1), geo = sec θ - 2 sec θ + sec² θ = sec θ (sec θ - 1).
@pytest.mark.parametrize(("zenith", "secant"), [(0, 1.0), (45, sqrt(2)), (60, 2.0)])
def test_kernels_at_the_hot_spot(zenith: float, secant: float):
    assert volumetric(zenith, zenith, 0) == pytest.approx(pi / 4 * (secant - 1), abs=1e-9)
    assert geometric(zenith, zenith, 0) == pytest.approx(secant * (secant - 1), abs=1e-6)


def test_kernels_from_nadir_with_the_sun_at_60_degrees():
    # ξ = 60°: vol = ((π/2 - π/3) / 2 + √3/2) / (1/2 + 1) - π/4 = (0.2617994 + 0.8660254) / 1.5 - 0.7853982 = -0.0335150
    assert volumetric(60, 0, 0) == pytest.approx(-0.0335150, abs=1e-6)
    # D = tan 60° = √3, 2 √3 / (2 + 1) > 1, so no overlap: geo = -(2 + 1) + (1 + 1/2) * 2 / 2 = -1.5
    assert geometric(60, 0, 0) == pytest.approx(-1.5, abs=1e-9)


def test_the_geometric_kernel_where_shadows_overlap():
    # Sun at 30°, nadir: sec = 1.1547005, D = tan 30° = 0.5773503, cos t = 1.1547005 / 2.1547005 = 0.5358984, t = 1.0052249,
    # sin t = 0.8442825, O = (1.0052249 - 0.8442825 * 0.5358984) * 2.1547005 / π = 0.3791278;
    # geo = 0.3791278 - 2.1547005 + (1 + 0.8660254) * 1.1547005 / 2 = -0.6982224
    assert geometric(30, 0, 0) == pytest.approx(-0.6982224, abs=1e-6)


@given(ZENITH, ZENITH, AZIMUTH)
def test_kernels_are_reciprocal_and_even_in_azimuth(sun: float, view: float, azimuth: float):
    for kernel in (volumetric, geometric):
        assert kernel(sun, view, azimuth) == pytest.approx(kernel(view, sun, azimuth), abs=1e-6)
        assert kernel(sun, view, azimuth) == pytest.approx(kernel(sun, view, -azimuth), abs=1e-6)
        assert kernel(sun, view, azimuth) == pytest.approx(kernel(sun, view, azimuth + 360), abs=1e-5)
        assert np.isfinite(kernel(sun, view, azimuth))


@given(ZENITH, AZIMUTH, AZIMUTH)
def test_at_nadir_azimuth_does_not_matter(sun: float, one: float, other: float):
    assert volumetric(sun, 0, one) == pytest.approx(volumetric(sun, 0, other), abs=1e-9)
    assert geometric(sun, 0, one) == pytest.approx(geometric(sun, 0, other), abs=1e-6)


@pytest.mark.parametrize(("sun", "view"), [(90, 0), (95, 0), (-1, 0), (30, 90), (np.nan, 0)])
def test_below_the_horizon_there_is_no_value(sun: float, view: float):
    assert np.isnan(volumetric(sun, view, 0))
    assert np.isnan(geometric(sun, view, 0))


def test_isotropic_reflectance_is_that_of_sun_and_view_at_the_zenith():
    for common, parameters in PARAMETERS.items():
        assert modelled(common, Angles(0, 0, 0, 0)) == pytest.approx(parameters.isotropic, abs=1e-9)


def test_red_edge_parameters_lie_between_red_and_near_infrared_by_one_share():
    # Roy et al. 2017 interpolate by wavelength: one share of the way for all three parameters of a band.
    red, nir = np.array(PARAMETERS["red"]), np.array(PARAMETERS["nir"])
    for common in ("rededge1", "rededge2", "rededge3"):
        shares = (np.array(PARAMETERS[common]) - red) / (nir - red)
        assert np.ptp(shares) < 0.01
        assert 0 < shares.mean() < 1


def test_the_factor_of_red_at_the_hot_spot_by_hand():
    # Sun and view at 45° in one direction: vol = 0.3253226, geo = 0.5857864 (as above): R = 0.1690 + 0.0574 * 0.3253226 +
    # 0.0227 * 0.5857864 = 0.2009709. From nadir: vol = (π/4 cos 45° + sin 45°) / (1 + cos 45°) - π/4 = -0.0458620;
    # geo = 0.1002876 - 2.4142136 + 1.2071068 = -1.1068192: R = 0.1690 - 0.0026325 - 0.0251248 = 0.1412427.
    assert factor("red", Angles(45, 130, 45, 130)) == pytest.approx(0.1412427 / 0.2009709, rel=1e-6)


def test_seen_from_nadir_under_its_own_sun_nothing_changes():
    values = np.random.default_rng(0).random((5, 4), np.float32)
    np.testing.assert_array_equal(nbar(values, "nir", Angles(37, 150, 0, 0)), values)


def test_the_sun_of_the_result_can_be_chosen():
    # From nadir under the sun at 60° (vol -0.0335150, geo -1.5: R = 0.1690 - 0.0019238 - 0.03405 = 0.1330262) to the zenith
    # (R = 0.1690).
    made = nbar(np.float32([[0.2]]), "red", Angles(60, 150, 0, 0), sun_zenith=0)
    assert made[0, 0] == pytest.approx(0.2 * 0.1690 / 0.1330262, rel=1e-5)
    assert made.dtype == np.float32


@given(ZENITH, st.floats(0, 12), AZIMUTH, st.sampled_from(sorted(PARAMETERS)))
def test_what_the_model_gives_is_brought_to_what_it_gives_at_nadir(
    sun: float, view: float, azimuth: float, common: str
):
    angles = Angles(sun, 0.0, view, azimuth)
    seen = np.full((1, 1), modelled(common, angles), np.float32)
    assert nbar(seen, common, angles)[0, 0] == pytest.approx(float(modelled(common, Angles(sun, 0, 0, 0))), rel=1e-5)


def test_angles_may_differ_by_pixel_and_a_missing_one_is_a_missing_pixel():
    values = np.full((2, 2), 0.2, np.float32)
    values[1, 1] = np.nan
    views = np.array([[0.0, 5.0], [np.nan, 10.0]])
    made = nbar(values, "red", Angles(40, 150, views, 280.0))
    assert np.isnan(made).tolist() == [[False, False], [True, True]]
    assert made[0, 0] == np.float32(0.2)
    assert made[0, 1] == nbar(values[:1, 1:], "red", Angles(40, 150, 5.0, 280.0))[0, 0]


def test_a_band_without_parameters_is_refused():
    with pytest.raises(Refused, match="no BRDF parameters are published for a band called 'coastal'"):
        nbar(np.zeros((1, 1), np.float32), "coastal", Angles(40, 150, 0, 0))


def test_angles_of_a_scene():
    stated = {
        "view:sun_elevation": 63.5,
        "view:sun_azimuth": 143.0,
        "view:incidence_angle": 10.6,
        "view:azimuth": 288.3,
    }
    assert angles_of(scene(**stated)) == Angles(26.5, 143.0, 10.6, 288.3)
    own = {"s2:mean_solar_zenith": 37.9, "s2:mean_solar_azimuth": 170.1, "view:incidence_angle": 3, "view:azimuth": 100}
    assert angles_of(scene(**own)) == Angles(37.9, 170.1, 3.0, 100.0)


def test_a_landsat_scene_seen_from_nadir_needs_no_azimuth():
    stated = {"view:off_nadir": 0, "view:sun_elevation": 18.8, "view:sun_azimuth": 164.9}
    found = angles_of(scene("landsat", **stated))
    assert found == Angles(pytest.approx(71.2), 164.9, 0.0, 0.0)


def test_off_nadir_is_seen_wider_from_the_round_ground():
    # From 705 km: sin θ = (6371 + 705) / 6371 * sin 15° = 1.1106577 * 0.2588190 = 0.2874593, θ = 16.706°
    stated = {"view:off_nadir": 15, "view:azimuth": 280, "view:sun_elevation": 50, "view:sun_azimuth": 150}
    assert angles_of(scene("landsat", **stated)).view_zenith == pytest.approx(16.706, abs=1e-3)


@pytest.mark.parametrize(
    ("stated", "missing"),
    [
        ({"view:sun_elevation": 63.2, "view:sun_azimuth": 150.3}, "view zenith, view azimuth"),
        ({"view:sun_elevation": 63.2, "view:incidence_angle": 8, "view:azimuth": 100}, "sun azimuth"),
        ({"view:sun_elevation": 63, "view:sun_azimuth": 150, "view:off_nadir": 4}, "view azimuth"),
        ({"view:off_nadir": 0, "view:sun_azimuth": 150, "s2:mean_solar_zenith": "high"}, "sun zenith"),
    ],
)
def test_angles_that_are_not_stated_are_refused_by_name(stated: dict, missing: str):
    with pytest.raises(Refused, match=f"scene A does not state its {missing}, so NBAR cannot be made"):
        angles_of(scene(**stated))


def test_a_night_scene_is_refused():
    stated = {"view:off_nadir": 0, "view:sun_azimuth": 150, "view:sun_elevation": -5}
    with pytest.raises(Refused, match="sun 95 .* leave the scene out"):
        angles_of(scene("landsat", **stated))


def real_scene(file: Path) -> Scene:
    return to_scene(pystac.Item.from_dict(json.loads(file.read_text())), "https://example.com/")


def test_angles_of_real_items(real_data: Path):
    items = real_data / "stac-items"
    # Stated there: sun 63.507 degrees up at 142.988, view 10.585 from the vertical at 288.308.
    found = angles_of(real_scene(items / "sentinel2-stactools" / "S2A_T46RER_20210908T043714_L1C.json"))
    assert found == Angles(*(pytest.approx(angle, abs=1e-3) for angle in (26.493, 142.988, 10.585, 288.308)))
    # Landsat: sun 18.807 degrees up at 164.914, off nadir 0.
    found = angles_of(real_scene(items / "landsat-c2-l2-stactools" / "LC08_L2SP_047027_20201204_02_T1.json"))
    assert found == Angles(*(pytest.approx(angle, abs=1e-3) for angle in (71.193, 164.914, 0, 0)))
    with pytest.raises(Refused, match="does not state its view zenith, view azimuth"):
        angles_of(real_scene(items / "earth-search" / "S2A_32TPS_20230602_0_L2A.json"))
