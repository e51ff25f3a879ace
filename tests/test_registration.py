"""Harmonisation in a run: scenes that lie beside their place are found and put right; platforms and views made comparable."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from affine import Affine
from conftest import specification

import pipeline.registration
from flows.prepare import prepare
from flows.registering import unregistered
from flows.road import planned
from flows.running import _register
from flows.spec import validate
from pipeline.errors import Refused
from pipeline.harmonise.nbar import Angles, factor
from pipeline.harmonise.places import references
from pipeline.registration import register
from pipeline.simulated.archive import simulate
from pipeline.summary import current, digest

FIRST, SECOND = "S2A_33UVT_20240601_SIM_L2A", "S2A_33UVT_20240606_SIM_L2A"
EAST, NORTH = 4.0, 3.0
"""Metres by which the second scene's files say that it lies beside where it is."""
BANDS = ["B02", "B04"]


@pytest.fixture(scope="module")
def steady(tmp_path_factory):
    """An archive of two days in their places; not to be changed."""
    folder = tmp_path_factory.mktemp("steady")
    simulate(folder, size=300, dates=2, clouds=0.1, seed=3, levels=("L2A",))
    return folder


@pytest.fixture(scope="module")
def moved(steady, tmp_path_factory):
    """The same, the files of the second day moved; not to be changed."""
    folder = shutil.copytree(steady, tmp_path_factory.mktemp("moved") / "archive")
    for path in (folder / "sentinel-2-l2a" / SECOND).glob("*.tif"):
        with rasterio.open(path) as file:
            pixels, profile = file.read(), file.profile
        profile |= {"driver": "GTiff", "transform": Affine.translation(EAST, NORTH) * profile["transform"]}
        with rasterio.open(path, "w", **profile) as file:
            file.write(pixels)
    return folder


def wanted(archive, out, step="off", **changes):
    base = {"time": "2024-06", "bands": BANDS, "encoding": "float32", "harmonise": {"coregister": step}}
    return specification(archive, out, **(base | changes))


def second(store):
    """Reflectance of the second day, (bands, rows, cols), without the margin that moves in and out of the scene."""
    return store.array("reflectance")[1][:, 30:-30, 30:-30]


def kept(store):
    """Files of registrations, with when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in (store.path / "registration").iterdir()}


def records(store):
    return {(record.day.day, record.box): record for record in current(store)}


# --- co-registration ---


def test_a_check_puts_the_shift_into_the_records_and_changes_no_pixel(moved, tmp_path, go):
    plain, _ = go(wanted(moved, tmp_path / "off.zarr"))
    checked, result = go(wanted(moved, tmp_path / "check.zarr", "check"))
    assert result.complete
    assert digest(checked) == digest(plain)
    assert all(not record.shifts for record in plain.ledger.records())
    for record in checked.ledger.records():
        assert set(record.shifts) == ({SECOND} if record.day.day == 6 else set()), "the first day is the reference"
        for east, south, confidence in record.shifts.values():
            # a tenth of a pixel of 10 m is a metre; to the north is minus to the south
            assert east == pytest.approx(EAST, abs=1.0)
            assert south == pytest.approx(-NORTH, abs=1.0)
            assert 0.2 < confidence <= 1
    assert len(kept(checked)) == 1


def test_scenes_in_their_places_have_no_shift_worth_the_name(steady):
    one, other = prepare(validate(wanted(steady, steady / "unused.zarr"))).scenes
    found = register(other, one)
    assert (found.scene, found.reference) == (SECOND, FIRST)
    assert max(abs(found.east), abs(found.south)) < 0.5
    assert found.cells >= 3
    assert {scene: best.id for scene, best in references([other, one]).items()} == {FIRST: FIRST, SECOND: FIRST}


def test_a_correction_moves_it_back(steady, moved, tmp_path, go):
    true, _ = go(wanted(steady, tmp_path / "true.zarr"))
    wrong, _ = go(wanted(moved, tmp_path / "off.zarr"))
    right, result = go(wanted(moved, tmp_path / "correct.zarr", "correct"))
    assert (result.complete, result.computed) == (True, 2)
    before, after = (np.sqrt(np.mean((second(store) - second(true)) ** 2)) for store in (wrong, right))
    assert after < before / 4
    np.testing.assert_array_equal(right.array("reflectance")[0], true.array("reflectance")[0])
    # what a metre would still do: the shift is left to less than that
    shift = next(record.shifts[SECOND] for record in right.ledger.records() if record.shifts)
    assert np.hypot(shift[0] - EAST, shift[1] + NORTH) < 1.0


def test_corrected_pixels_do_not_depend_on_the_chunks(moved, tmp_path, go):
    stores = [go(wanted(moved, tmp_path / f"{chunk}.zarr", "correct", chunk=chunk))[0] for chunk in (120, 300)]
    assert digest(stores[0]) == digest(stores[1])
    assert kept(stores[0]).keys() == kept(stores[1]).keys()


def test_nothing_is_compared_or_computed_twice_and_growth_keeps_what_is_known(moved, tmp_path, go, monkeypatch):
    # some 1400 by 2000 m of the land, then 2300 by 2500 m; chunks of 900 m begin at the same corners
    small = wanted(moved, tmp_path / "a.zarr", "correct", area={"bbox": [13.536, 52.318, 13.556, 52.336]}, chunk=90)
    store, first = go(small)
    assert first.computed > 0
    before, known = kept(store), records(store)

    def refuse(*scenes):
        raise AssertionError("scenes were compared again")

    monkeypatch.setattr(pipeline.registration, "register", refuse)
    again, nothing = go(small)
    assert (nothing.computed, nothing.held) == (0, first.computed)
    larger = small | {"area": {"bbox": [13.533, 52.316, 13.566, 52.338]}}
    grown, more = go(larger)
    assert more.computed > 0
    assert more.held > 0
    assert kept(grown) == before
    after = records(grown)
    assert sum(known[name] == after.get(name) for name in known) == more.held
    assert all(set(record.shifts) == {SECOND} for (day, _), record in after.items() if day == 6)


def test_switching_correction_on_is_other_work(moved, tmp_path, go):
    go(wanted(moved, tmp_path / "a.zarr", "check", chunk=300))
    with pytest.raises(Refused, match="holds another specification: it differs in harmonise"):
        go(wanted(moved, tmp_path / "a.zarr", "correct", chunk=300))


def test_the_command_line_says_what_was_found(moved, tmp_path, capsys):
    prepared = prepare(validate(wanted(moved, tmp_path / "a.zarr", "check")))
    job, _, failed = _register(prepared, *planned(prepared))
    said = " ".join(capsys.readouterr().out.split())
    assert f"{SECOND}: +" in said
    assert "m east, -" in said
    assert f"beside {FIRST}" in said
    assert (failed, len(job.registrations)) == ((), 1)


def test_a_file_that_cannot_be_read_is_no_claim_and_the_next_run_tries_again(moved, tmp_path, capsys):
    folder = shutil.copytree(moved, tmp_path / "archive")
    file = folder / "sentinel-2-l2a" / SECOND / "B04.tif"
    hidden = file.rename(tmp_path / "B04.tif")
    raw = wanted(folder, tmp_path / "a.zarr", "correct")
    prepared = prepare(validate(raw))
    job, work, failed = _register(prepared, *planned(prepared))
    assert failed == (f"{SECOND}: not compared with {FIRST}, for a file of theirs could not be read",)
    assert job.registrations == ()
    assert job.harmony.shifts == ()
    hidden.rename(file)
    job, work, failed = _register(prepared, *planned(prepared))
    assert failed == ()
    assert job.registrations[0].cells >= 3
    assert job.harmony.shifts[0][0] == SECOND
    assert unregistered(job, prepared.scenes) == []


def test_no_shift_is_claimed_of_water(steady, tmp_path):
    one, other = prepare(validate(wanted(steady, tmp_path / "a.zarr"))).scenes
    with rasterio.open(other.assets["B04"].address) as file:
        flat, profile = np.full_like(file.read(), 1200), file.profile
    with rasterio.open(tmp_path / "flat.tif", "w", **(profile | {"driver": "GTiff"})) as file:
        file.write(flat)
    assets = {**other.assets, "B04": replace(other.assets["B04"], address=str(tmp_path / "flat.tif"))}
    found = register(replace(other, assets=assets), one)
    assert (found.east, found.south, found.confidence, found.cells) == (0, 0, 0, 0)
    without = {band: asset for band, asset in one.assets.items() if band != "B04"}
    assert register(other, replace(one, assets=without)).cells == 0, "nothing to compare with"
    assert register(replace(other, assets=without), one).cells == 0


# --- platform ---


def test_bands_as_landsat_would_see_them(steady, tmp_path, go):
    raw = wanted(steady, tmp_path / "own.zarr", time="2024-06-01", bands=["B02", "B03", "B04", "B08", "B8A"])
    own, _ = go(raw)
    as_oli, result = go(raw | {"out": str(tmp_path / "oli.zarr"), "harmonise": {"platform": "landsat-8"}})
    assert result.complete
    # Claverie et al. 2018, Sentinel-2A to OLI: slope and offset; B08 is much wider than any band of OLI, and stays
    lines = [(0.9778, -0.0040), (1.0053, -0.0009), (0.9765, 0.0009), (1.0, 0.0), (0.9983, -0.0001)]
    # 20 m bands are adjusted before they are brought to 10 m: both are linear, so that the order does not matter
    for values, found, (slope, offset) in zip(
        own.array("reflectance")[0], as_oli.array("reflectance")[0], lines, strict=True
    ):
        inner = (
            slice(12, -12),
            slice(12, -12),
        )  # beyond the scene, gaps are filled for the interpolation with a constant
        np.testing.assert_allclose(found[inner], slope * values[inner] + offset, rtol=0, atol=2e-6)
    assert as_oli.contents.identity["harmonise"][1] == "landsat-8"


def test_an_unknown_platform_is_refused(steady, tmp_path):
    with pytest.raises(Refused, match="landsat-88"):
        planned(prepare(validate(wanted(steady, tmp_path / "a.zarr", harmonise={"platform": "landsat-88"}))))
    assert not (tmp_path / "a.zarr").exists()


# --- nadir ---


def stated(archive, name, **properties):
    """Let an item state more."""
    for path in archive.rglob(f"{name}.json"):
        content = json.loads(path.read_text())
        content["properties"] |= properties
        path.write_text(json.dumps(content))


def test_nadir_needs_angles_and_says_of_which_scene(steady, tmp_path):
    sentence = (
        f"scene {FIRST} does not state its view zenith, view azimuth, so NBAR cannot be made: .*view:incidence_angle"
    )
    with pytest.raises(Refused, match=sentence):
        planned(prepare(validate(wanted(steady, tmp_path / "a.zarr", harmonise={"nbar": True}))))
    assert not (tmp_path / "a.zarr").exists()


def test_a_band_without_parameters_is_refused(steady, tmp_path):
    folder = shutil.copytree(steady, tmp_path / "archive")
    stated(folder, "S2A_*", **{"view:incidence_angle": 7.0, "view:azimuth": 100.0})
    raw = wanted(folder, tmp_path / "a.zarr", harmonise={"nbar": True}, bands=["B01", "B04"])
    with pytest.raises(Refused, match=r"no BRDF parameters for B01 of sentinel-2; leave them out with bands: \[B04\]"):
        planned(prepare(validate(raw)))


def test_reflectance_as_seen_from_above(steady, tmp_path, go):
    folder = shutil.copytree(steady, tmp_path / "archive")
    stated(folder, FIRST, **{"view:incidence_angle": 7.0, "view:azimuth": 100.0})
    stated(folder, SECOND, **{"view:incidence_angle": 0.0})  # at nadir nothing changes, whatever the azimuth
    own, _ = go(wanted(steady, tmp_path / "own.zarr"))
    nadir, result = go(wanted(folder, tmp_path / "nadir.zarr", harmonise={"nbar": True}))
    assert result.complete
    (path,) = folder.rglob(f"{FIRST}.json")
    said = json.loads(path.read_text())["properties"]
    angles = Angles(90 - said["view:sun_elevation"], said["view:sun_azimuth"], 7.0, 100.0)
    for index, common in enumerate(("blue", "red")):
        c = float(factor(common, angles))
        assert abs(c - 1) > 0.005, "there is something to see"
        values, found = (store.array("reflectance")[0][index] for store in (own, nadir))
        np.testing.assert_allclose(found, c * values, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(own.array("reflectance")[1], nadir.array("reflectance")[1])
