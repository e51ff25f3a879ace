"""Zones laid together: places, order, and the same warping as files get."""

from dataclasses import fields
from datetime import date
from fractions import Fraction

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer
from rasterio.enums import Resampling

from pipeline.lattice import Box, Lattice, Layout
from pipeline.ledger import Ledger
from pipeline.record import Failure
from pipeline.warp import Target, onto
from pipeline.zones import Held, Pixels, Source, Zone, _named, _own, ordered, support, zone_number

EAST = Lattice("EPSG:32633", Fraction(10), Fraction(60))
WEST = Lattice("EPSG:32632", Fraction(10), Fraction(60))


def test_a_zone_warps_as_a_file_with_its_pixels_does(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.integers(1, 60000, (180, 240)).astype(np.uint16)
    values[40:50, 100:120] = 0
    box = Box(4900, -96650, 4940, -96620)  # 40 x 30 steps of 6 pixels
    left, _, _, top = EAST.bounds(box)
    with rasterio.open(
        tmp_path / "zone.tif", "w", driver="GTiff", width=240, height=180, count=1, dtype="uint16", crs=EAST.crs,
        transform=Affine(10, 0, left, 0, -10, top),
    ) as file:  # fmt: skip
        file.write(values, 1)
    x, y = 704400.0, 5798400.0  # inside, in the other zone
    target = Target(WEST.crs, x, y, 10.0, (60, 60))
    pixels = Pixels(EAST, (box.top * 6, box.left * 6), values, 0)
    for resampling in (Resampling.cubic, Resampling.nearest):
        with rasterio.open(tmp_path / "zone.tif") as file:
            expected, way = onto(file, target, np.uint16(0), resampling, nodata=0)
        got, also = onto(pixels, target, np.uint16(0), resampling, nodata=0)
        assert way == also == "warped"
        assert (expected > 0).mean() > 0.9, "the target lies off the file, so that nothing is compared"
        np.testing.assert_array_equal(got, expected)


def test_pixels_of_a_part_keep_their_place_and_end_in_the_fill():
    values = np.arange(1, 13, dtype=np.uint16).reshape(3, 4)
    pixels = Pixels(EAST, (-10, 5), values, 0)
    np.testing.assert_array_equal(pixels.part(-10, 5, -7, 9), values)
    np.testing.assert_array_equal(pixels.part(-9, 8, -6, 10), [[8, 0], [12, 0], [0, 0]])
    assert not pixels.part(50, 50, 52, 52).any()


@pytest.mark.parametrize(
    ("crs", "number"), [("EPSG:32633", 33), ("EPSG:32701", 1), ("EPSG:3035", 0), ("EPSG:32661", 0)]
)
def test_numbers_of_zones(crs, number):
    assert zone_number(crs) == number


def test_a_pixel_is_its_own_zones_by_its_longitude():
    # 12 degrees east is 295,451 m in zone 33 and 704,549 m in zone 32 at 52.3 degrees north (northing 5,798,645 m)
    box = EAST.box((294900, 5798400, 296100, 5799000))
    own = _own(EAST, box, ["EPSG:32632", "EPSG:32633"])
    columns = np.flatnonzero(np.diff((own == 1).all(axis=0).astype(int)))
    assert own[0, 0] == 0
    assert own[-1, -1] == 1
    assert len(columns) == 1
    left = EAST.bounds(box)[0]
    assert abs(left + 10 * (columns[0] + 1) - 295451) < 30
    away = EAST.box((400020, 5798400, 400620, 5799000))
    assert (_own(EAST, away, ["EPSG:32632", "EPSG:32633"]) == 1).all()
    assert (_own(EAST, away, ["EPSG:32632"]) == -1).all()


def test_order_is_that_of_codes_whoever_comes_first():
    zones = [Zone("EPSG:32633", "b"), Zone("EPSG:32632", "a")]
    assert [zone.where for zone in ordered(zones)] == ["a", "b"]


def test_what_a_box_is_made_of_reaches_further_in_another_zone_and_not_in_its_own():
    box = EAST.box((294900, 5798400, 296100, 5799000))
    assert support(EAST, box, EAST) == box
    left, bottom, right, top = WEST.bounds(support(EAST, box, WEST))
    corners = Transformer.from_crs(EAST.crs, WEST.crs).transform(
        [294900, 294900, 296100, 296100], [5798400, 5799000, 5798400, 5799000]
    )
    kernel = 20  # metres: two pixels on each side that cubic convolution looks at
    assert left <= min(corners[0]) - kernel
    assert right >= max(corners[0]) + kernel
    assert bottom <= min(corners[1]) - kernel
    assert top >= max(corners[1]) + kernel


def test_a_window_names_the_chunks_below_it_and_those_that_are_not_there(tmp_path):
    layout = Layout.over(EAST, Box(0, 0, 25, 10), 10)
    day, there = date(2024, 6, 1), Source("a", (), "", ())
    held = Held(layout, frozenset([day]), Ledger(tmp_path))
    sources = {Box(0, 0, 10, 10): there}
    assert held.under(day, Box(5, 2, 12, 4), sources) == {Box(0, 0, 10, 10): there, Box(10, 0, 20, 10): None}
    assert held.under(day, Box(20, 0, 25, 3), sources) == {Box(20, 0, 25, 10): None}
    assert held.under(date(2024, 6, 6), Box(5, 2, 12, 4), sources) == {}


def test_a_file_that_was_missed_changes_the_name_of_what_it_was_made_of():
    missed = Failure(*("a" for _ in fields(Failure)))
    box = Box(0, 0, 10, 10)
    whole, failed = ({box: Source("a", (), "", failures)} for failures in ((), (missed,)))
    assert _named(whole) == [[0, 0, 10, 10, "a"]]
    assert _named(failed) != _named(whole)
