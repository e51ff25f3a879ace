"""Inputs of several sensors and dates, from a model's declaration to its tensors: the right scenes, whatever the chunks."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from fractions import Fraction

import numpy as np
import pytest
import rasterio
import torch

from pipeline.catalog import Query, find_all
from pipeline.clearness import prepare_clearness
from pipeline.dates import Clearness
from pipeline.device import Equipment, Runner
from pipeline.encoding import ENCODINGS
from pipeline.errors import Refused
from pipeline.flags import Flag
from pipeline.fuse import fuse_chunk
from pipeline.job import Job, key, targets, tasks
from pipeline.lattice import Box, Lattice, Layout
from pipeline.models.declaration import FusionModel, Input, Output
from pipeline.scene import groups
from pipeline.sensors import LANDSAT, SENTINEL1, SENTINEL2
from pipeline.simulated.archive import simulate_campaign
from pipeline.simulated.streams import Campaign

NAMES = ("sentinel-1", "sentinel-2", "landsat")
CAMPAIGN = Campaign(date(2024, 5, 12), date(2024, 6, 16), size=300, sensors=NAMES, seed=5, clouds=0.5, spread=0)
# Sentinel-2 passes every 5 days from 1 June; Sentinel-1 every 12 from 3 and from 6 June; Landsat 8 every 16 from 4 June, 9 from
# 12 June (pipeline.simulated.streams).
OPTICAL = [date(2024, 5, 12), date(2024, 5, 17), date(2024, 5, 22), date(2024, 5, 27)]
OPTICAL += [date(2024, 6, 1), date(2024, 6, 6), date(2024, 6, 11), date(2024, 6, 16)]
RADAR = [date(2024, 5, 13), date(2024, 5, 22), date(2024, 5, 25), date(2024, 6, 3), date(2024, 6, 6), date(2024, 6, 15)]
OLI = [date(2024, 5, 19), date(2024, 5, 27), date(2024, 6, 4), date(2024, 6, 12)]  # Landsat 8, 9, 8, 9

FILL = {band.name: band.fill for table in (SENTINEL1, SENTINEL2, LANDSAT) for band in table.bands}


class Shown(torch.nn.Module):
    """Gives what it is given, coarser pixels repeated; of the dates within some days their number and their mean."""

    def forward(self, now, swir, radar, clear, around):
        """[(B, C_i, H / ratio_i, W / ratio_i)] to (B, 8, H, W)."""
        fine = [
            x.repeat_interleave(n, 2).repeat_interleave(n, 3) for x, n in ((now, 1), (swir, 2), (radar, 1), (clear, 3))
        ]
        count = torch.full_like(now, around.shape[1])
        return torch.cat([*fine, count, around.mean(1, keepdim=True)], 1)


MODEL = FusionModel(
    name="shown",
    version=1,
    inputs=(
        Input("sentinel-2", ("B04",), 10),
        Input("sentinel-2", ("B11",), 20),
        Input("sentinel-1", ("VV", "VH"), 10, influence=5, dates="before"),
        Input("landsat", ("red",), 30, dates="clearest:2"),
        Input("sentinel-2", ("B08",), 10, dates="within:10"),
    ),
    output=Output(("B04", "B11", "VV", "VH", "first", "second", "count", "mean"), 10),
    module="tests:Shown",
    halo=10,
    tile=60,
)
WHOLE = Box(6666, -96666, 6716, -96616)  # the land: 399960 and 5799960 over 60, 50 steps of 60 m each way


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return simulate_campaign(tmp_path_factory.mktemp("dates"), CAMPAIGN)


@pytest.fixture(scope="module")
def scenes(catalog):
    start, end = datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 7, 1, tzinfo=UTC)
    return find_all(Query(str(catalog), SENTINEL2, start, end), [SENTINEL1, SENTINEL2, LANDSAT])


@pytest.fixture(scope="module")
def clearness(scenes):
    lattice = job().layout.lattice
    images = [image for image in groups(scenes) if image.sensor == "landsat"]
    return prepare_clearness(images, lattice, WHOLE.pad(1), 30)


def job(chunk=120, area=WHOLE, model=MODEL, **fields):
    lattice = Lattice("EPSG:32633", Fraction(10), Lattice.common_step(model.step_resolutions))
    layout = Layout.over(lattice, area, lattice.chunk_steps(chunk))
    return Job("test", model, layout, "L2A", ENCODINGS["float32"], **fields)


def taken(task, index):
    """Days of the images that an input takes, cell by cell."""
    return [[image.day if image else None for image in choice.images] for choice in task.given[index]]


def shown():
    return Runner(Shown(), MODEL, Equipment())


def first(wanted, scenes, day):
    return next(task for task in tasks(wanted, scenes) if task.day == day)


def laid(wanted, scenes, day):
    """The result of a day, all chunks of it side by side, (bands, rows, cols)."""
    n, layout = wanted.layout.lattice.pixels(), wanted.layout
    out = np.full((8, *layout.geobox.shape), np.nan, np.float32)
    for task in tasks(wanted, scenes):
        if task.day == day:
            core = task.chunk.core
            assert core.width <= layout.core
            out[:, *layout.pixels_of(core)] = fuse_chunk(wanted, task, shown()).numbers
    assert out.shape[1] == layout.area.height * n
    return out


# --- which scenes ---


def test_the_simulated_passes_are_those_counted_by_hand(scenes):
    images = groups(scenes)
    for name, expected in (("sentinel-2", OPTICAL), ("sentinel-1", RADAR), ("landsat", OLI)):
        assert [image.day for image in images if image.sensor == name] == expected


def test_days_with_the_target_are_fused(scenes):
    assert targets(job(), scenes) == OPTICAL
    both = replace(MODEL, inputs=(*MODEL.inputs, Input("sentinel-1", ("VV",), 10)))
    assert targets(job(model=both), scenes) == [date(2024, 5, 22), date(2024, 6, 6)], "where radar and optics meet"


@pytest.mark.parametrize(
    ("day", "before", "around"),
    [
        (0, None, OPTICAL[:3]),  # nothing before 13 May; 12, 17 and 22 May are within ten days
        (2, RADAR[0], OPTICAL[:5]),  # on 22 May radar passes as well: that is not before
        (4, RADAR[2], OPTICAL[2:7]),
        (7, RADAR[5], OPTICAL[5:]),
    ],
)
def test_each_input_takes_its_dates(day, before, around, scenes):
    task = first(job(), scenes, OPTICAL[day])
    assert taken(task, 0) == taken(task, 1) == [[OPTICAL[day]]]
    assert taken(task, 2) == [[before]]
    assert taken(task, 4) == [around]
    (clear,) = taken(task, 3)
    cover = {scene.solar_day: scene.cloud_cover for scene in scenes if scene.sensor == "landsat"}
    assert clear == sorted(sorted(cover, key=lambda d: cover[d])[:2]), "as the scenes' cloud cover has them"
    used = {scene.solar_day for scene in task.scenes}
    assert used == {OPTICAL[day], *around, *clear} | ({before} if before else set())


def test_a_grid_of_10_m_holds_30_m_in_steps_of_60_m(scenes):
    wanted = job()
    assert wanted.layout.lattice.step == 60
    assert wanted.layout.lattice.pixels(30) == 2
    MODEL.check(wanted.layout.lattice, scenes)


def test_a_model_whose_input_nobody_took_is_refused(scenes):
    lattice = job().layout.lattice
    with pytest.raises(Refused, match="needs band VV of sentinel-1, which none of its 0 scenes has"):
        MODEL.check(lattice, [scene for scene in scenes if scene.sensor != "sentinel-1"])
    nowhere = replace(MODEL, inputs=(replace(MODEL.inputs[0], dates="clearest:1"), MODEL.inputs[2]))
    with pytest.raises(Refused, match="takes no input of the target date, so there is no day to fuse"):
        nowhere.check(lattice, scenes)
    unknown = replace(MODEL, inputs=(MODEL.inputs[0], replace(MODEL.inputs[2], dates="nearest")))
    with pytest.raises(Refused, match="'nearest' names no dates; write target, before"):
        unknown.check(lattice, scenes)


# --- what the model is given ---


def band(catalog, pattern):
    (path,) = catalog.parent.glob(pattern)
    with rasterio.open(path) as file:
        return file.read(1)


def test_values_are_those_of_the_files(scenes, catalog):
    wanted, day = job(), date(2024, 6, 1)
    found = laid(wanted, scenes, day)
    red = (band(catalog, "sentinel-2-l2a/*20240601*/B04.tif") * 1e-4 - 0.1).astype(np.float32)
    np.testing.assert_array_equal(found[0], red)
    swir = (band(catalog, "sentinel-2-l2a/*20240601*/B11.tif") * 1e-4 - 0.1).astype(np.float32)
    np.testing.assert_array_equal(found[1], swir.repeat(2, 0).repeat(2, 1))
    for index, name in ((2, "VV"), (3, "VH")):
        power = band(catalog, f"sentinel-1-rtc/*20240525T*/{name}.tif")
        np.testing.assert_array_equal(found[index], np.where(power > 1e-4, power, np.float32(FILL[name])))
    assert (found[6] == 5).all()
    planes = [band(catalog, f"sentinel-2-l2a/*{day:%Y%m%d}*/B08.tif") * 1e-4 - 0.1 for day in OPTICAL[2:7]]
    np.testing.assert_allclose(found[7], np.mean(planes, axis=0), rtol=0, atol=1e-6)
    # Landsat, half a pixel off, is interpolated: between the least and greatest of its neighbours, and no pixel twice in a row
    dates = [day for (clear,) in [taken(first(wanted, scenes, day), 3)] for day in clear]
    for index, when in enumerate(dates):
        numbers = band(catalog, f"landsat-c2-l2/*_{when:%Y%m%d}_*/red.tif") * 2.75e-5 - 0.2
        # pixel (r, c) of 30 m begins half a pixel north-west of file pixels (r, c) .. (r + 1, c + 1): their mean, about
        around = np.stack([numbers[:100, :100], numbers[1:101, :100], numbers[:100, 1:101], numbers[1:101, 1:101]])
        given = found[4 + index][::3, ::3]
        inner = (slice(2, -2), slice(2, -2))
        error = (given - around.mean(axis=0))[inner]
        spread = around.mean(axis=0)[inner].std()
        assert error.std() < 0.2 * spread
        np.testing.assert_array_equal(found[4 + index], given.repeat(3, 0).repeat(3, 1))


def test_a_date_that_there_is_none_of_is_filled(scenes):
    wanted = job(chunk=300)
    task = first(wanted, scenes, OPTICAL[0])
    fused = fuse_chunk(wanted, task, shown())
    assert (fused.numbers[2] == np.float32(FILL["VV"])).all()
    assert (fused.numbers[3] == np.float32(FILL["VH"])).all()
    assert ((fused.flags & Flag.INFLUENCED) > 0).all(), "its influence reaches all pixels"
    assert not [scene for scene in fused.record.scenes if scene.startswith("S1")]
    # the target itself was measured, so that it has its values
    assert np.isfinite(fused.numbers[0]).all()
    full = fuse_chunk(wanted, first(wanted, scenes, OPTICAL[4]), shown())
    assert not (full.flags & Flag.INFLUENCED).all()


def test_more_dates_than_there_are_give_gaps_at_the_end(scenes):
    inputs = (*MODEL.inputs[:3], replace(MODEL.inputs[3], dates="clearest:2:3"), MODEL.inputs[4])
    wanted = job(chunk=300, model=replace(MODEL, inputs=inputs))
    task = first(wanted, scenes, date(2024, 6, 1))  # of Landsat only 4 June lies within three days
    assert taken(task, 3) == [[date(2024, 6, 4), None]]
    fused = fuse_chunk(wanted, task, shown())
    assert fused.numbers[4].std() > 0.01
    assert (fused.numbers[5] == np.float32(FILL["red"])).all()


def test_the_record_names_what_was_read_and_what_could_not_be(scenes, tmp_path):
    lost = next(scene for scene in scenes if scene.sensor == "sentinel-1" and scene.solar_day == RADAR[2])
    assets = {**lost.assets, "VH": replace(lost.assets["VH"], address=str(tmp_path / "gone.tif"))}
    changed = [replace(scene, assets=assets) if scene is lost else scene for scene in scenes]
    wanted = job(chunk=300)
    fused = fuse_chunk(wanted, first(wanted, changed, OPTICAL[4]), shown())
    assert [(f.scene, f.band, f.reason) for f in fused.record.failures] == [(lost.id, "VH", "the file is missing")]
    assert fused.record.readings["B04"] == ("native",)
    assert fused.record.readings["sentinel-1 VV"] == ("native",)
    assert fused.record.readings["landsat red"] == ("warped",)
    assert len(fused.record.scenes) == 1 + 4 + 1 + 2  # the day, four around it, a pass of radar, two of Landsat
    assert (fused.numbers[3] == np.float32(FILL["VH"])).all()
    assert fused.numbers[2].std() > 0
    assert str(tmp_path) not in fused.record.to_json()
    assert json.loads(fused.record.to_json())["day"] == "2024-06-01"


# --- keys ---


def keys(wanted, scenes):
    return {(task.day, task.chunk.core): key(wanted, task) for task in tasks(wanted, scenes)}


def test_a_source_that_changes_changes_the_keys_of_the_days_that_take_it(scenes):
    wanted = job(chunk=300)
    before = keys(wanted, scenes)
    radar = next(scene for scene in scenes if scene.sensor == "sentinel-1" and scene.solar_day == RADAR[0])
    again = replace(radar, properties={**radar.properties, "updated": "2025-01-01T00:00:00Z"})
    after = keys(wanted, [again if scene is radar else scene for scene in scenes])
    # 13 May is the last pass before 17 and 22 May, and of no other day
    assert {day for day, _ in before if before[day, WHOLE] != after[day, WHOLE]} == {OPTICAL[1], OPTICAL[2]}
    optical = next(scene for scene in scenes if scene.sensor == "sentinel-2" and scene.solar_day == OPTICAL[0])
    other = replace(optical, properties={**optical.properties, "updated": "2025-01-01T00:00:00Z"})
    after = keys(wanted, [other if scene is optical else scene for scene in scenes])
    assert {day for day, _ in before if before[day, WHOLE] != after[day, WHOLE]} == set(OPTICAL[:3])
    assert keys(wanted, list(reversed(scenes))) == before, "their order does not matter"


def test_a_scene_less_takes_the_next(scenes):
    wanted = job(chunk=300)
    task = first(wanted, scenes, OPTICAL[4])
    without = [scene for scene in scenes if not (scene.sensor == "sentinel-1" and scene.solar_day == RADAR[2])]
    other = first(wanted, without, OPTICAL[4])
    assert (taken(task, 2), taken(other, 2)) == ([[RADAR[2]]], [[RADAR[1]]])
    assert key(wanted, task) != key(wanted, other)


# --- the clearest dates, by pixels ---

EAST = 402000 // 6000
"""Column of the eastern cell: 402000 m lies 204 pixels of 10 m from the land's western edge."""


def test_clearness_is_the_share_of_clear_pixels_of_whole_cells(clearness, scenes, catalog):
    assert clearness.cell == 100  # steps of 60 m in 6000 m
    for scene in (scene for scene in scenes if scene.sensor == "landsat"):
        with rasterio.open(scene.assets["QA_PIXEL"].address) as file:
            codes, left = file.read(1), file.bounds.left
        hidden = (codes & 0b11100) > 0  # bits 2, 3 and 4: cirrus, cloud, shadow
        (name,) = {name for name, *_ in clearness.shares if name.startswith(scene.id)}
        # the pixels of the cell are the file's moved by half of one, so that a border's column or row may count or not
        border = round((402000 - left) / 30)
        for col, part in ((EAST - 1, hidden[:, :border]), (EAST, hidden[:, border:])):
            expected = (~part).sum() / 200**2  # a cell of 6000 m has 200 x 200 pixels, most of them beyond the land
            assert clearness.shares[name, col, -967] == pytest.approx(expected, abs=3 * 101 / 200**2)


def test_the_choice_is_the_cells_whatever_the_chunk(scenes, clearness):
    day = OPTICAL[4]
    pixels = {}
    for chunk in (120, 300):
        wanted = job(chunk=chunk, clearness=clearness)
        given = [choice for task in tasks(wanted, scenes) if task.day == day for choice in task.given[3]]
        sides = {side: set() for side in ("west", "east")}
        for choice in given:
            sides["west" if choice.box.right <= 6700 else "east"].add(tuple(image.day for image in choice.images))
        best = {col: sorted(clearness.shares, key=lambda k: -clearness.shares[k]) for col in (EAST - 1, EAST)}
        for side, col in (("west", EAST - 1), ("east", EAST)):
            order = [name for name, at, row in best[col] if (at, row) == (col, -967)][:2]
            days = {scene.id: scene.solar_day for scene in scenes}
            assert sides[side] == {tuple(sorted(days[name.partition("@")[0]] for name in order))}
        assert sides["west"] != sides["east"], "the sides were not equally clear"
        pixels[chunk] = laid(wanted, scenes, day)
    np.testing.assert_array_equal(pixels[120], pixels[300])
    plain = laid(job(chunk=300), scenes, day)
    assert (plain[4:6] != pixels[300][4:6]).any(), "cloud cover of whole scenes chooses others"


def test_a_larger_area_has_the_same_pixels(scenes, clearness):
    day, part = OPTICAL[4], Box(6690, -96650, 6716, -96630)
    inner = job(chunk=120, area=part)
    looked = prepare_clearness(
        [image for image in groups(scenes) if image.sensor == "landsat"], inner.layout.lattice, part.pad(1), 30
    )
    assert looked.shares == clearness.shares, "whole cells are looked at"
    small = laid(replace(inner, clearness=looked), scenes, day)
    whole = laid(job(chunk=300, clearness=clearness), scenes, day)
    rows, cols = job().layout.pixels_of(part)
    np.testing.assert_array_equal(small, whole[:, rows, cols])


def test_clearness_that_chooses_others_changes_the_keys(scenes, clearness):
    wanted = job(chunk=300, clearness=clearness)
    turned = replace(clearness, shares={where: 1 - share for where, share in clearness.shares.items()})
    before, after = keys(wanted, scenes), keys(replace(wanted, clearness=turned), scenes)
    assert all(before[name] != after[name] for name in before)


def test_a_quality_layer_that_cannot_be_read_is_not_clear(scenes, tmp_path):
    seen = next(scene for scene in scenes if scene.sensor == "landsat")
    assets = {**seen.assets, "QA_PIXEL": replace(seen.assets["QA_PIXEL"], address=str(tmp_path / "gone.tif"))}
    looked = prepare_clearness(groups([replace(seen, assets=assets)]), job().layout.lattice, WHOLE, 30)
    assert set(looked.shares.values()) == {0.0}


def test_nothing_prepared_is_what_the_metadata_say(scenes):
    image = next(image for image in groups(scenes) if image.sensor == "landsat")
    assert Clearness(100).of(image, EAST, -967) == 1 - image.cloud_cover / 100
    assert prepare_clearness([], job().layout.lattice, WHOLE, 30).shares == {}
