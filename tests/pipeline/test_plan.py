"""Plans: what is left to do, counted and gone through without a list, and keys that name the work."""

import tracemalloc
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dates import Clearness, choices, role
from pipeline.encoding import encoding
from pipeline.harmonise.steps import Harmony
from pipeline.job import SQUARE, Job, Names, fingerprint, key, tasks
from pipeline.lattice import Lattice, Layout
from pipeline.models.registry import bicubic
from pipeline.plan import Keys, plan
from pipeline.scene import Asset, Scene, groups, touching
from pipeline.sensors import SENTINEL2

LEFT, TOP = 399960.0, 5799960.0
LATTICE = Lattice("EPSG:32633", Fraction(10), Fraction(60))
FIRST = datetime(2024, 6, 1, 10, tzinfo=UTC)


def scene(name: str, left: float, top: float, edge: float, day: int = 0) -> Scene:
    """A square whose corner lies so many metres east and south of the region's, on a day of June."""
    extent = (LEFT + left, TOP - top - edge, LEFT + left + edge, TOP - top)
    middle = LATTICE.geobox(LATTICE.box(extent)).extent.to_crs("EPSG:4326").centroid.coords[0]
    assets = {"B04": Asset(f"{name}.tif"), "SCL": Asset(f"{name}-scl.tif")}
    when = FIRST + timedelta(days=day)
    return Scene(
        name, "sentinel-2", "L2A", when, (*middle, *middle), "EPSG:32633", extent, assets, 0.0, "sentinel-2a", name
    )


def job_of(cores: int, **changes: object) -> Job:
    """Square region of so many cores of 300 m on a side."""
    box = LATTICE.box((LEFT, TOP - cores * 300, LEFT + cores * 300, TOP))
    made = Job("sharpen", bicubic(SENTINEL2, ("B04",), 10), Layout.over(LATTICE, box, 5), "L2A", encoding("uint16"))
    return replace(made, **changes)


def test_what_is_left_is_counted_and_gone_through_again_and_again():
    job, scenes = job_of(3), [scene("A", 0, 0, 900), scene("B", 0, 0, 900, day=1)]
    every = list(tasks(job, scenes))
    held = [every[0], every[4], *every[9:]]  # two of the first day's nine, all of the second's
    work = plan(job, scenes, (key(job, task) for task in held))
    assert (len(work.todo), work.done, work.days, work.scenes) == (7, 11, 2, 2)
    assert work.todo.days == (date(2024, 6, 1),)
    wanted = [task.name for task in every[:9] if task not in held]
    assert [task.name for task in work.todo] == [task.name for task in work.todo] == wanted
    assert work.needs.chunks == 7
    assert work.files == 2, "of the one scene with chunks to do, its band and its classification"
    assert bool(work.todo)
    assert not plan(job, scenes, (key(job, task) for task in every)).todo


def test_every_core_comes_once_and_neighbours_together():
    job = job_of(SQUARE + 3)
    places = [(t.chunk.row, t.chunk.col) for t in tasks(job, [scene("A", 0, 0, 10000)])]
    assert sorted(places) == [(row, col) for row in range(SQUARE + 3) for col in range(SQUARE + 3)]
    assert {(row // SQUARE, col // SQUARE) for row, col in places[: SQUARE**2]} == {(0, 0)}
    assert {(t.chunk.row, t.chunk.col): t.chunk for t in tasks(job, [scene("A", 0, 0, 10000)])} == {
        (chunk.row, chunk.col): chunk for chunk in job.layout.chunks()
    }


squares = st.lists(
    st.tuples(st.integers(-30, 40), st.integers(-30, 40), st.integers(1, 50), st.integers(0, 1)), min_size=1, max_size=6
)


@settings(max_examples=30, deadline=None)
@given(squares, st.integers(0, 3), st.tuples(st.integers(0, 4), st.integers(0, 4)))
def test_each_task_carries_just_the_scenes_that_touch_its_window(found, dilate, grown):
    # lengths in units of 60 m, so that borders of scenes and of windows often coincide
    scenes = [scene(f"S{i}", x * 60, y * 60, size * 60, day) for i, (x, y, size, day) in enumerate(found)]
    job = job_of(4, dilate=dilate * 60)
    area = job.layout.area
    more = replace(area, left=area.left - grown[0], top=area.top - grown[1])
    job = replace(job, layout=job.layout.grown(more))  # first cores that the area cuts short
    for task in tasks(job, scenes):
        window = LATTICE.geobox(task.chunk.window(job.around))
        same_day = [s for group in groups(scenes) if group.day == task.day for s in group.scenes]
        assert [s.id for s in task.scenes] == [s.id for s in touching(same_day, window)]


def test_clearest_dates_are_chosen_cell_by_cell_as_for_one_window():
    base = bicubic(SENTINEL2, ("B04",), 10)
    wanted = replace(base.inputs[0], dates="clearest:1")
    scenes = [scene("A", 0, 0, 1500), scene("B", 300, 0, 1500, day=1)]
    images = groups(scenes)
    shares = {("+".join(f"{s.id}@{s.revision}" for s in images[1].scenes), 0, 0): 2.0}
    job = job_of(5, model=replace(base, inputs=(base.inputs[0], wanted)), clearness=Clearness(1, shares))
    for task in islice(tasks(job, scenes), 5):
        window = task.chunk.window(job.around)
        expected = list(choices(role("clearest:1"), task.day, images, window, job.clearness))
        assert [choice.box for choice in task.given[1]] == [choice.box for choice in expected]


def test_the_key_is_a_hash_over_everything_that_decides_a_chunk_written_out_in_full():
    job = job_of(2, harmony=Harmony(corrects=True, shifts=(("A", 1.5, -2.0), ("elsewhere", 1.0, 1.0))))
    one = scene("A", 0, 0, 600)
    task = list(tasks(job, [one]))[1]  # the second of the first row: one core of five steps to the east
    corner = LATTICE.box((LEFT, TOP - 600, LEFT + 600, TOP))
    place = [corner.left + 5, corner.top, corner.left + 10, corner.top + 5]
    sources = [[[None, [[["A", one.revision]]]]]]
    assert key(job, task) == fingerprint([job.identity, "", sources, [["A", 1.5, -2.0]], "2024-06-01", place])


def test_what_changes_a_chunk_changes_its_key_and_nothing_else_does():
    near, far = scene("A", 0, 0, 300), scene("B", 600, 600, 300)
    base = job_of(3)
    first = {task.name: key(base, task) for task in tasks(base, [near, far])}

    def changed(job, scenes):
        names = Names(job)
        return {t.name for t in tasks(job, scenes) if names.key(t) != first[t.name]}

    assert len(set(first.values())) == 9, "every place has a key of its own"
    assert not changed(base, [near, far])
    assert not changed(replace(base, layout=job_of(3).layout), [far, near]), "in whatever order scenes come"
    assert changed(replace(base, mask=("cloud",)), [near, far]) == first.keys()
    touched = {t.name for t in tasks(base, [near, far]) if "A" in {s.id for s in t.scenes}}
    assert 0 < len(touched) < 9
    assert changed(base, [replace(near, processed="2"), far]) == touched
    assert changed(replace(base, harmony=Harmony(shifts=(("A", 1.0, 0.0),))), [near, far]) == touched
    weights = replace(base, model=replace(base.model, weights="other"))
    assert changed(weights, [near, far]) == first.keys()
    adapted = replace(base, adapted=((date(2024, 6, 1), "new", base.model.weights_file),))
    assert changed(adapted, [near, far]) == first.keys()


@given(st.sets(st.integers(0, 2**64 - 1), max_size=20), st.integers(0, 2**64 - 1))
def test_keys_hold_what_they_were_given(numbers, other):
    keys = Keys(f"{number:016x}" for number in numbers)
    assert len(keys) == len(numbers)
    assert all(f"{number:016x}" in keys for number in numbers)
    assert (f"{other:016x}" in keys) == (other in numbers)


@pytest.mark.parametrize("held", [0, 5000])
def test_planning_holds_no_tasks(held):
    job, scenes = job_of(80), [scene(f"S{n}", n % 4 * 6000, n // 4 * 6000, 7000) for n in range(16)]
    small = job_of(10)
    plan(small, scenes)  # whatever is made once
    done = (f"{number:016x}" for number in range(held))
    tracemalloc.start()
    work = plan(job, scenes, done)
    visited = sum(1 for _ in work.todo)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert visited == len(work.todo) == 6400
    # a task is some 300 bytes, all of them 2 MB; an index of places takes 8 bytes a chunk, a key 8 and some while it is sorted
    assert peak < 0.8e6, peak
