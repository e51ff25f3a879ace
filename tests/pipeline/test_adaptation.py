"""The windows of a scene, and adapting to it."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
import rasterio
from teaching import ALL_BANDS, TINY, UP_TO_20, built, native, same, tiny, weights

from pipeline.catalog import Query, find
from pipeline.models.registry import build, with_weights
from pipeline.models.weights import Card, save
from pipeline.scene import Asset
from pipeline.sensors import SENTINEL2
from pipeline.training import adaptation
from pipeline.training.adaptation import LEAST, Lesson, adapt, read_windows
from pipeline.training.loop import Progress, error
from pipeline.training.patches import split
from pipeline.training.wald import pair
from pipeline.training.windows import Window, lattice_of, places, read_window, windows

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def scenes(archive):
    """The two L2A scenes of the simulated archive: a clear one and a cloudy one."""
    start, end = datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 6, 30, tzinfo=UTC)
    return find(Query(str(archive / "catalog.json"), SENTINEL2, start, end, level="L2A"))


@pytest.fixture(scope="module")
def clear(scenes):
    """The one window of the clear scene."""
    model = tiny()
    return model, list(windows(model, scenes[0], lattice_of(model, scenes[0]), 3))


def test_places_are_the_scenes_own_choice(scenes):
    model = tiny(ALL_BANDS)
    lattice = lattice_of(model, scenes[0])
    assert (lattice.crs, lattice.step, lattice.resolution) == ("EPSG:32633", 60, 10)
    left, top = 399960.0, 5799960.0
    large = replace(scenes[0], extent=(left, top - 20_000, left + 19_000, top))
    found = places(large, lattice)
    whole = lattice.box(large.extent)
    # 20 by 19 km: four columns, of which the last is a hundred pixels, too narrow; three rows and one of two kilometres
    assert len(found) == 3 * 4
    assert all(whole.holds(box) for box in found)
    assert {(box.left - whole.left) % 100 for box in found} == {(box.top - whole.top) % 100 for box in found} == {0}
    assert max(box.width for box in found) == max(box.height for box in found) == 100  # of 60 m: 600 pixels
    assert min(box.width for box in found) == 100
    assert min(box.height for box in found) == 34  # what is left of 333.3 steps, rounded outward
    pixels = [(r, c) for b in found for r in range(b.top, b.bottom) for c in range(b.left, b.right)]
    assert len(set(pixels)) == len(pixels)
    assert places(large, lattice) == found  # the same for everyone
    assert places(replace(large, cloud_cover=90.0, assets={}), lattice) == found
    other = places(replace(large, id="another"), lattice)
    assert other != found
    assert sorted(other, key=str) == sorted(found, key=str)
    in_rows = sorted(found, key=lambda b: (b.top, b.left))
    assert found not in (in_rows, sorted(found, key=lambda b: (b.left, b.top)))  # spread over the scene


def test_a_scene_of_unknown_or_foreign_place_has_no_windows(scenes):
    lattice = lattice_of(tiny(), scenes[0])
    assert places(replace(scenes[0], extent=None), lattice) == []
    assert places(replace(scenes[0], crs="EPSG:32632"), lattice) == []


def test_a_window_is_native_reflectance(clear, scenes):
    model, found = clear
    (window,) = found
    assert (window.scene, window.level) == (scenes[0].id, "L2A")
    assert [x.shape for x in window.inputs] == [(4, 600, 600), (6, 300, 300)]
    for wanted, x in zip(model.inputs, window.inputs, strict=True):
        for band, plane in zip(wanted.bands, x, strict=True):
            with rasterio.open(scenes[0].assets[band].address) as file:
                numbers = file.read(1)
            np.testing.assert_allclose(plane, numbers * 1e-4 - 0.1, rtol=0, atol=1e-6)


def test_clouds_and_their_shadows_are_gaps(scenes, monkeypatch):
    model = tiny(ALL_BANDS)
    scene = scenes[1]
    lattice = lattice_of(model, scene)
    (box,) = places(scene, lattice)
    window = read_window(model, scene, lattice, box)
    with rasterio.open(scene.assets["SCL"].address) as file:
        cloudy = np.isin(file.read(1), [3, 8, 9, 10])
    assert 0.05 < cloudy.mean() < 0.5
    expected = cloudy.repeat(2, axis=0).repeat(2, axis=1), cloudy, cloudy.reshape(100, 3, 100, 3).any(axis=(1, 3))
    for x, gaps in zip(window.inputs, expected, strict=True):
        for plane in x:
            np.testing.assert_array_equal(np.isnan(plane), gaps)
    # without a classification nothing is known of clouds
    bare = replace(scene, assets={k: v for k, v in scene.assets.items() if k != "SCL"})
    assert all(np.isfinite(x).all() for x in read_window(model, bare, lattice, box).inputs)
    # it has to be worth it
    share = np.isfinite(window.inputs[-1]).mean()
    assert share < np.isfinite(window.inputs[0]).mean()
    for worth, count in ((share - 0.01, 1), (share + 0.001, 0)):
        monkeypatch.setattr("pipeline.training.windows.WORTH", worth)
        assert len(list(windows(model, scene, lattice, 3))) == count


def test_windows_that_are_not_worth_it_are_passed_over_and_only_so_many_tried(scenes, monkeypatch):
    scene = replace(scenes[0], extent=(399960.0, 5799960.0 - 24_000, 399960.0 + 24_000, 5799960.0))
    model = tiny()
    lattice = lattice_of(model, scene)
    order, tried = places(scene, lattice), []
    assert len(order) == 16
    worth = {}

    def look(model, scene, lattice, box, harmony):
        tried.append(box)
        known = np.ones((1, 10, 10), np.float32)
        known[0, :, : worth.get(len(tried), 0)] = np.nan
        return Window(scene.id, scene.level, (np.ones((1, 10, 10), np.float32), known))

    monkeypatch.setattr("pipeline.training.windows.read_window", look)
    monkeypatch.setattr("pipeline.training.windows.WORTH", 0.8)
    assert len(list(windows(model, scene, lattice, 2))) == 2
    assert tried == order[:2]
    tried.clear()
    worth.update({1: 3, 2: 2, 3: 10})  # columns of ten that are not known
    assert len(list(windows(model, scene, lattice, 2))) == 2
    assert tried == order[:4]
    tried.clear()
    worth.update(dict.fromkeys(range(1, 20), 10))
    assert list(windows(model, scene, lattice, 2)) == []
    assert tried == order[:6]


def test_a_file_that_cannot_be_read_is_named(scenes, tmp_path):
    scene = replace(scenes[0], assets=dict(scenes[0].assets) | {"B05": Asset(str(tmp_path / "gone.tif"))})
    model = tiny()
    with pytest.raises(OSError, match=rf"{scene.id}: .*\(.*gone\.tif|{scene.id}: .*B05"):
        list(windows(model, scene, lattice_of(model, scene), 1))


# Adapting to a scene


def parent(tmp_path, model, seed=0):
    """The model with random weights kept in a file."""
    file = tmp_path / "parent.safetensors"
    network = built(model, seed)
    card = Card("light", "sentinel-2", "", ("L2A",), ("a",), {g: {} for g in network.networks}, options=TINY)
    save(file, network.state_dict(), card)
    return with_weights(model, file)


def test_adapting_lowers_the_error_on_held_out_patches_of_the_scene(clear, tmp_path):
    plain, found = clear
    model = parent(tmp_path, plain)
    heard = []
    network, lessons = adapt(model, found, 24, heard.append)
    ((name, lesson),) = lessons.items()
    assert (name, lesson.steps, lesson.pixels, lesson.kept) == ("20m", 24, 24 * 8 * 48**2, "")
    assert lesson.after < 0.9 * lesson.before
    assert len([p for p in heard if isinstance(p, Progress)]) == 6  # held-out patches are looked at so often
    # these are the errors before and after, on these patches
    _, checked = split([pair(model, w.inputs, 1) for w in found], 48)
    assert error(build(model), "20m", checked) == pytest.approx(lesson.before)
    assert error(network, "20m", checked) == pytest.approx(lesson.after)
    again, _ = adapt(model, found, 24)
    assert same(network, again)


def test_a_model_without_weights_is_taught_from_scratch(clear):
    model, found = clear
    network, lessons = adapt(model, found, 18)
    assert lessons["20m"].after < 0.5 * lessons["20m"].before
    assert lessons["20m"].kept == ""
    assert same(network, adapt(model, found, 18)[0])  # the first weights are drawn from the seed
    assert not same(network, adapt(model, found, 18, seed=1)[0])


def test_a_scene_that_is_too_small_leaves_the_weights_and_says_why(tmp_path):
    model = parent(tmp_path, tiny())
    edge = 190  # 95 pixels of 20 m
    assert 95**2 < LEAST == 96**2
    window = Window("a", "L2A", tuple(native(model, edge)))
    network, lessons = adapt(model, [window], 5)
    why = "too small or too cloudy: 9025 clear pixels at 20m to learn from, fewer than 9216"
    assert lessons == {"20m": Lesson(0, 0, None, None, why)}
    assert same(network, build(model))


def test_a_scene_full_of_gaps_leaves_the_weights_and_says_why(tmp_path):
    model = parent(tmp_path, tiny())
    window = native(model, 240)
    window[1][:, ::20, ::20] = np.nan
    network, lessons = adapt(model, [Window("a", "L2A", tuple(window))], 5)
    assert lessons["20m"].kept == "too small or too cloudy: no patch of 48 px at 20m is without a gap"
    assert same(network, build(model))


def test_a_scene_that_has_no_patch_to_spare_is_adapted_to_unchecked(tmp_path):
    model = parent(tmp_path, tiny())
    network, lessons = adapt(model, [Window("a", "L2A", tuple(native(model, 240)))], 3)
    # 120 pixels of 20 m: a fifth of them is less than a patch of 48
    assert lessons["20m"] == Lesson(3, 3 * 8 * 48**2, None, None)
    assert not same(network, build(model))


def test_a_group_that_got_worse_is_left_as_it_was(clear, tmp_path, monkeypatch):
    plain, found = clear
    model = parent(tmp_path, plain)
    monkeypatch.setattr(adaptation, "RATE", 10.0)
    network, lessons = adapt(model, found, 2)
    lesson = lessons["20m"]
    assert lesson.kept == "held-out patches did not get better"
    assert lesson.steps == 2
    assert lesson.after > lesson.before
    assert same(network, build(model))


def test_groups_are_adapted_each_on_its_own(tmp_path):
    model = parent(tmp_path, tiny(ALL_BANDS))
    window = native(model, 600)  # 300 pixels of 20 m, but 100 of 60 m: enough to be taught, with 6 of 360 m in 16
    network, lessons = adapt(model, [Window("a", "L2A", tuple(window))], 3)
    assert list(lessons) == ["20m", "60m"]
    assert lessons["60m"] == Lesson(3, 3 * 8 * 48**2, None, None)
    assert lessons["20m"].before is not None
    small = [x[:, : 300 * 10 // r, : 300 * 10 // r] for x, r in zip(window, (10, 20, 60), strict=True)]
    network, lessons = adapt(model, [Window("a", "L2A", tuple(small))], 3)
    assert lessons["20m"].kept == ""
    assert lessons["60m"].kept.startswith("too small or too cloudy: 2500 clear pixels at 60m")
    before = build(model)
    assert same(weights(network.networks["60m"]), weights(before.networks["60m"]))
    assert not same(weights(network.networks["20m"]), weights(before.networks["20m"]))


def test_windows_are_shared_out_among_the_scenes_of_a_day(scenes, monkeypatch):
    asked = []

    def found(model, scene, lattice, count, harmony):
        asked.append((scene.id, count))
        return [Window(scene.id, scene.level, ())]

    monkeypatch.setattr(adaptation, "windows", found)
    model = tiny()
    two = list(scenes)
    read = read_windows(model, two, lattice_of(model, two[0]))
    assert [w.scene for w in read] == [s.id for s in two]
    assert asked == [(s.id, 5) for s in two]  # nine together, rounded up


def test_what_has_no_networks_cannot_be_adapted():
    from pipeline.models.registry import bicubic

    with pytest.raises(TypeError, match="'bicubic' has nothing to adapt"):
        adapt(bicubic(SENTINEL2, UP_TO_20, 10), [], 1)
