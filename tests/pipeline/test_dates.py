"""Which dates an input takes: by role, over whole scenes or anchored cells."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dates import Clearness, Role, choices, name, resolve, role
from pipeline.errors import Refused
from pipeline.lattice import Box
from pipeline.scene import Scene, groups

FIRST = datetime(2024, 6, 1, 10, tzinfo=UTC)


def image(day: int, cloud: float = 0.0):
    """One scene, ``day`` days after 1 June."""
    scene = Scene(
        f"S{day}", "sentinel-2", "L2A", FIRST + timedelta(days=day), (14, 52, 15, 53), "EPSG:32633", None, {}, cloud
    )
    return groups([scene])[0]


SERIES = [image(0, 30), image(5, 80), image(10, 0), image(15, 10), image(20, 20)]
DAY = date(2024, 6, 11)  # the third image


def days(text, clear=None, day=DAY, series=SERIES):
    return [g.day.day if g else None for g in resolve(role(text), day, series, clear)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("target", [11]),
        ("before", [6]),
        ("after", [16]),
        ("within:5", [6, 11, 16]),  # both ends count
        ("within:0", [11]),
        ("clearest:2", [11, 16]),  # 0 and 10 percent of cloud
        ("clearest:3", [11, 16, 21]),  # the third has 20 percent, the first 30
        ("clearest:3:5", [6, 11, 16]),  # no more than three within five days
        ("clearest:6", [1, 6, 11, 16, 21, None]),  # one that there is none of
    ],
)
def test_roles(text, expected):
    assert days(text) == expected


def test_a_role_without_an_image_gives_none():
    assert days("before", day=date(2024, 6, 1)) == [None]
    assert days("after", day=date(2024, 6, 21)) == [None]
    assert days("target", day=date(2024, 6, 2)) == [None]
    assert days("within:1", day=date(2024, 7, 20)) == []


def test_of_equally_clear_dates_the_nearest_is_taken_then_the_earlier():
    series = [image(0), image(8), image(12), image(30)]
    assert days("clearest:1", series=series) == [9], "8 and 12 days are both two days off"
    assert days("clearest:3", series=series) == [1, 9, 13]


@pytest.mark.parametrize(
    "text", ["", "nearest", "within", "within:x", "within:-1", "clearest", "clearest:0", "clearest:1:2:3", "target:1"]
)
def test_other_words_are_refused(text):
    with pytest.raises(Refused, match="names no dates"):
        role(text)


def test_what_pixels_said_goes_before_the_clouds_of_the_whole_scene():
    known = {name(SERIES[2]): 0.1, name(SERIES[1]): 0.95}
    assert days("clearest:1", known) == [6]


def test_the_clearest_are_chosen_cell_by_cell_whatever_the_window():
    # cells of 10 steps: in the western one the second image is clear, in the eastern one the fourth
    clearness = Clearness(
        10, {(name(g), col, 0): float(g is SERIES[1 if col == 0 else 3]) for g in SERIES for col in (0, 1)}
    )
    wanted = Role("clearest", 1)
    whole = list(choices(wanted, DAY, SERIES, Box(0, 0, 20, 10), clearness))
    assert [(c.box, c.images[0].day.day) for c in whole] == [(Box(0, 0, 10, 10), 6), (Box(10, 0, 20, 10), 16)]
    part = list(choices(wanted, DAY, SERIES, Box(7, 3, 12, 5), clearness))
    assert [(c.box, c.images[0].day.day) for c in part] == [(Box(7, 3, 10, 5), 6), (Box(10, 3, 12, 5), 16)]


@given(st.lists(st.integers(0, 60), unique=True, min_size=1), st.integers(0, 60), st.integers(1, 5), st.integers(0, 30))
def test_every_role_gives_images_in_order_within_its_reach(offsets, target, count, reach):
    series = [image(day, cloud=(day * 37) % 100) for day in sorted(offsets)]
    day = (FIRST + timedelta(days=target)).date()
    for text in ("before", "after", "target", f"within:{reach}", f"clearest:{count}:{max(reach, 1)}"):
        wanted = role(text)
        found = resolve(wanted, day, series)
        real = [g for g in found if g]
        assert real == sorted(real, key=lambda g: g.day)
        assert len({g.day for g in real}) == len(real)
        if wanted.count is not None:
            assert len(found) == wanted.count
        if wanted.days is not None:
            assert all(abs((g.day - day).days) <= wanted.days for g in real)
