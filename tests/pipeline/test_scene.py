"""Which scenes are one acquisition, which are one image, and in which order they are laid down."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from pipeline.scene import Asset, Scene, groups, mosaic_order, newest, touching

NOON = datetime(2024, 6, 1, 10, 20, 30, tzinfo=UTC)


def scene(name="A", sensor="sentinel-2", level="L2A", after=0.0, clouds=10.0, **fields):
    base = {"bbox": (14.0, 52.0, 15.0, 53.0), "crs": "EPSG:32633", "extent": None, "platform": "sentinel-2a"}
    base |= {"tile": "33UVT"} | fields
    return Scene(name, sensor, level, NOON + timedelta(seconds=after), assets={}, cloud_cover=clouds, **base)


def names(scenes):
    return [one.id for one in scenes]


def test_of_one_acquisition_processed_twice_the_newest_is_kept_in_its_place():
    old, new = scene("A_old", processed="2024-06-01T14:00:00"), scene("A_new", processed="2024-09-01T00:00:00", after=1)
    other = scene("B", tile="33UUT")
    assert names(newest([old, other, new])) == ["A_new", "B"]
    assert names(newest([new, other, old])) == ["A_new", "B"]


def test_a_later_baseline_replaces_where_no_time_of_processing_is_stated():
    old = scene("Z", properties={"s2:processing_baseline": "02.14"})
    new = scene("A", properties={"s2:processing_baseline": "05.00"})
    assert names(newest([old, new])) == ["A"]


@pytest.mark.parametrize(
    "other",
    [
        scene("B", after=7),  # another datastrip of the pass
        scene("B", tile="33UUT"),
        scene("B", platform="sentinel-2b"),
        scene("B", level="L1C"),
        scene("B", track="022"),
        scene("B", after=86400 * 5),
    ],
    ids=["datastrip", "tile", "platform", "level", "orbit", "revisit"],
)
def test_what_is_not_the_same_acquisition_is_kept(other):
    assert names(newest([scene("A"), other])) == ["A", "B"]


def test_datastrips_of_a_pass_are_told_apart_where_items_state_the_time_of_the_datatake():
    def strip(name, begins, processed):
        field = f"S2A_OPER_MSI_L2A_DS_MSFT_{processed}_S{begins}_N05.09"
        return scene(name, processed=processed, properties={"s2:datastrip_id": field})

    north = strip("north", "20240601T102030", "20240601T140000")
    south = strip("south", "20240601T102130", "20240601T150000")
    again = strip("north_again", "20240601T102030", "20240701T000000")
    assert names(newest([north, south])) == ["north", "south"]
    assert names(newest([north, south, again])) == ["north_again", "south"]


def test_slices_of_a_radar_are_kept_and_their_second_processing_is_not():
    radar = {"sensor": "sentinel-1", "level": "RTC", "platform": "sentinel-1a", "tile": "", "track": "005-0378DC"}
    first, second = scene("1", **radar), scene("2", after=25, **radar)
    again = scene("1_again", processed="2024-07", **radar)
    assert names(newest([first, second, again])) == ["1_again", "2"]


def test_frames_of_planetscope_a_second_apart_are_kept():
    dove = {"sensor": "planetscope", "level": "SR", "platform": "101c", "tile": ""}
    assert names(newest([scene("A", **dove), scene("B", after=1, **dove)])) == ["A", "B"]


def test_the_least_cloudy_is_laid_first_then_the_newest_then_by_name():
    made = [scene("C", clouds=20), scene("B", after=5), scene("A", after=9), scene("D", after=9, tile="33UUT")]
    assert names(sorted(made, key=mosaic_order)) == ["A", "D", "B", "C"]


def test_optical_scenes_are_one_image_a_solar_day():
    tiles = [scene("A", clouds=30), scene("B", tile="33UUT", clouds=10, after=14)]
    later = scene("C", after=86400 * 3)
    first, second = groups([later, *tiles])
    assert names(first.scenes) == ["B", "A"]
    assert (first.day, first.acquired, first.cloud_cover) == (date(2024, 6, 1), NOON, 20.0)
    assert names(second.scenes) == ["C"]
    assert second.day == date(2024, 6, 4)


def test_sensors_and_levels_are_images_of_their_own():
    made = groups([scene("A"), scene("B", level="L1C"), scene("C", sensor="landsat", level="L2", platform="landsat-8")])
    assert sorted((g.sensor, g.level) for g in made) == [
        ("landsat", "L2"),
        ("sentinel-2", "L1C"),
        ("sentinel-2", "L2A"),
    ]


def test_radar_scenes_are_one_image_a_pass():
    def slice_of(name, track, after):
        return scene(
            name,
            "sentinel-1",
            "RTC",
            after,
            tile="",
            track=track,
            platform="sentinel-1a",
            bbox=(14.0, 52.0, 17.0, 54.0),
        )

    morning, evening = "168-030352", "146-03035B"
    made = groups(
        [
            slice_of("evening", evening, 11 * 3600),
            slice_of("one", morning, 0),
            slice_of("two", morning, 25),
            slice_of("other orbit", "022-030353", 30),
        ]
    )
    assert [(g.track, names(g.scenes)) for g in made] == [
        (morning, ["two", "one"]),
        ("022-030353", ["other orbit"]),
        (evening, ["evening"]),
    ]


@pytest.mark.parametrize(
    ("bbox", "crs", "utc", "day"),
    [
        # Berlin, 13.5 E: 10:20 UTC is 11:14 there
        ((13, 52, 14, 53), None, "2024-06-01T10:20", "2024-06-01"),
        # New Zealand, 174 E: 22:20 UTC is 9:56 of the next day there
        ((173, -42, 175, -41), None, "2024-06-01T22:20", "2024-06-02"),
        # California, 120 W: 18:40 UTC is 10:40 there
        ((-121, 36, -119, 37), None, "2024-06-01T18:40", "2024-06-01"),
        # Fiji, one pass over zones 60 and 1 at 22:30 UTC: 10:18 in the one, and in the other, 183 E, 10:42, of the 2nd
        ((177, -18, 178, -17), "EPSG:32760", "2024-06-01T22:30", "2024-06-02"),
        ((-179, -18, -178, -17), "EPSG:32701", "2024-06-01T22:30", "2024-06-02"),
        ((179.5, -18, -179.5, -17), None, "2024-06-01T22:30", "2024-06-02"),
        # Alaska, 165 W, east of where days change: 21:50 UTC is 10:50 of the same day
        ((-166, 64, -164, 65), "EPSG:32603", "2024-06-01T21:50", "2024-06-01"),
        # a tile of zone 33 that reaches into zone 32 belongs to the pass of zone 33
        ((11.9, 52, 13.5, 53), "EPSG:32633", "2024-06-01T10:20", "2024-06-01"),
        # polar stereographic, which is no UTM zone: the bbox counts. 20 W: 12:20 UTC is 11:00
        ((-21, 84.5, -19, 85), "EPSG:32661", "2024-06-01T12:20", "2024-06-01"),
    ],
)
def test_solar_day(bbox, crs, utc, day):
    moment = datetime.fromisoformat(utc).replace(tzinfo=UTC)
    made = Scene("A", "sentinel-2", "L2A", moment, bbox, crs, None, {}, 0.0)
    assert made.solar_day == date.fromisoformat(day)


@given(st.floats(-180, 179.9), st.floats(0.01, 2.5), st.integers(0, 364))
def test_a_pass_of_a_sun_synchronous_satellite_falls_on_one_day(west, width, day):
    """At 10:30 local time at its middle, wherever that is but where days change."""
    middle = west + width / 2
    noon = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day, hours=10.5 - middle / 15)
    days = set()
    for left in (west, west + width / 2):
        left = (left + 180) % 360 - 180
        right = (left + width / 2 + 180) % 360 - 180
        days.add(Scene("A", "landsat", "L2", noon, (left, 10, right, 11), None, None, {}, 0.0).solar_day)
    if not (west < -168 < west + width):
        assert len(days) == 1


def test_scenes_of_other_projections_and_zones_touch_a_window_where_they_lie():
    window = GeoBox.from_bbox((495000, 5800000, 505000, 5810000), "EPSG:32633", resolution=10)
    here = {"bbox": (14.9, 52.3, 15.1, 52.5)}
    other = scene("other zone", crs="EPSG:32632", extent=None, **here)
    unknown = scene("no grid stated", crs=None, **here)
    sinusoidal = scene(
        "tile h18v03", crs="+proj=sinu +R=6371007.181 +units=m", extent=(0.0, 5559752.6, 1111950.5, 6671703.1), **here
    )
    away = scene("away", bbox=(20.0, 52.3, 20.1, 52.5))
    assert names(touching([other, unknown, sinusoidal, away], window)) == names([other, unknown, sinusoidal])


def test_scenes_on_either_side_of_the_antimeridian_touch_a_window_across_it():
    # zone 60 reaches over the antimeridian: 180 degrees is at easting 815 km or so at 17.5 S
    window = GeoBox.from_bbox((800000, 8050000, 830000, 8070000), "EPSG:32760", resolution=1000)
    west = scene("west", bbox=(179.0, -18.0, 180.0, -17.0), crs="EPSG:32760")
    east = scene("east", bbox=(-180.0, -18.0, -179.5, -17.0), crs="EPSG:32701")
    across = scene("across", bbox=(179.5, -18.0, -179.5, -17.0), crs=None)
    berlin = scene("Berlin", bbox=(13.0, 52.0, 14.0, 53.0), crs="EPSG:32633")
    assert names(touching([west, east, across, berlin], window)) == ["west", "east", "across"]


def test_radar_scenes_that_state_no_orbit_are_told_apart_by_the_half_of_the_day():
    # at 14.5 degrees east the sun is 58 minutes ahead: 5:20 is a morning's, 17:20 an evening's
    radar = {"sensor": "sentinel-1", "level": "RTC"}
    morning, evening = scene("M", after=-5 * 3600, **radar), scene("E", after=7 * 3600, **radar)
    assert [(g.track, names(g.scenes)) for g in groups([evening, morning])] == [("morning", ["M"]), ("evening", ["E"])]


def test_terra_and_aqua_of_one_day_are_two_images():
    daily = {"sensor": "modis", "level": "MOD09GA"}
    terra, aqua = scene("MOD", platform="terra", **daily), scene("MYD", platform="aqua", after=3 * 3600, **daily)
    assert [(g.track, names(g.scenes)) for g in groups([aqua, terra])] == [("terra", ["MOD"]), ("aqua", ["MYD"])]


def test_what_an_item_states_is_part_of_its_revision_and_where_its_files_are_is_not():
    one = replace(scene(), assets={"B02": Asset("here.tif", scale=1e-4)})
    assert replace(one, assets={"B02": Asset("there.tif", scale=1e-4)}).revision == one.revision
    for changed in (
        replace(one, assets={"B02": Asset("here.tif", scale=2e-4)}),
        replace(one, assets={"B02": Asset("here.tif", scale=1e-4, nodata=7)}),
        replace(one, platform="sentinel-2b"),
        replace(one, properties={"view:azimuth": 100}),
        replace(one, processed="2025"),
    ):
        assert changed.revision != one.revision
