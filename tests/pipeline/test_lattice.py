"""Whole-pixel geometry: boxes, grids that share their corners, chunks that tile an area."""

from dataclasses import replace
from fractions import Fraction
from math import gcd

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import Refused
from pipeline.lattice import ROUNDING, Box, Lattice, Layout

FAMILIES = ([10, 20, 60], [3, 10], [Fraction(10, 3), 10, 20], [Fraction(5, 2), Fraction(10, 3)], [10])
"""Resolutions of jobs, the output's first; their steps are 60, 30, 20, 10 and 10 m."""


def lattice_of(resolutions, anchor=(0, 0)):
    ax, ay = anchor
    step = Lattice.common_step(resolutions)
    return Lattice("EPSG:32633", Fraction(resolutions[0]), step, (Fraction(ax), Fraction(ay)))


S2 = lattice_of([10, 20, 60])

anchors = st.tuples(st.fractions(-90, 90, max_denominator=8), st.fractions(-90, 90, max_denominator=8))
lattices = st.builds(lattice_of, st.sampled_from(FAMILIES), anchors)
corners = st.tuples(st.integers(-40, 40), st.integers(-40, 40))
boxes = st.builds(lambda c, w, h: Box(*c, c[0] + w, c[1] + h), corners, st.integers(1, 23), st.integers(1, 23))
ground = st.tuples(st.floats(-1e6, 1e6), st.floats(-1e7, 1e7), st.floats(0.01, 2e4), st.floats(0.01, 2e4)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
quick = settings(max_examples=60, deadline=None)


@pytest.mark.parametrize(("resolutions", "step"), list(zip(FAMILIES, (60, 30, 20, 10, 10), strict=True)))
def test_common_step(resolutions, step):
    assert Lattice.common_step(resolutions) == step


@given(st.lists(st.fractions(Fraction(1, 4), 60, max_denominator=6), min_size=1, max_size=4))
@quick
def test_common_step_is_the_least_that_every_resolution_divides(resolutions):
    counts = [Lattice.common_step(resolutions) / r for r in resolutions]
    assert all(n.denominator == 1 for n in counts)
    assert gcd(*(n.numerator for n in counts)) == 1  # else a part of the step would do


def test_a_grid_that_does_not_fit_the_step_has_no_pixels():
    assert [S2.pixels(r) for r in (10, 20, 60, None)] == [6, 3, 1, 6]
    with pytest.raises(ValueError, match="7 m does not fit"):
        S2.pixels(7)


def test_box_rounds_outward_in_whole_steps():
    # columns: 399970 / 60 = 6666.2, 400100 / 60 = 6668.3; rows grow southwards: -5799950 / 60 = -96665.8,
    # -5799850 / 60 = -96664.2; and back: 6666 x 60 = 399960, 6669 x 60 = 400140, 96664 x 60 = 5799840, 96666 x 60
    box = S2.box((399970, 5799850, 400100, 5799950))
    assert box == Box(6666, -96666, 6669, -96664)
    assert S2.bounds(box) == (399960, 5799840, 400140, 5799960)


def test_box_counts_from_the_anchor():
    # columns: (65 - 5) / 60 = 1, (185 - 5) / 60 = 3; rows: (-5 + 65) / 60 = 1, (-5 + 125) / 60 = 2
    assert lattice_of([10, 20, 60], (5, -5)).box((65, -125, 185, -65)) == Box(1, 1, 3, 2)


@pytest.mark.parametrize("error", [-1e-6, 1e-6])
def test_box_takes_a_corner_off_by_a_decimal_for_the_corner(error):
    assert S2.box((120 + error, 60 + error, 240 + error, 180 + error)) == Box(2, -3, 4, -1)


@given(lattices, ground)
@quick
def test_box_is_the_smallest_that_contains_the_bounds(lattice, bounds):
    left, bottom, right, top = lattice.bounds(lattice.box(bounds))
    slack = ROUNDING * float(lattice.step) + 1e-8
    out = (bounds[0] - left, bounds[1] - bottom, right - bounds[2], top - bounds[3])
    assert all(-slack <= far < float(lattice.step) + slack for far in out)


@given(lattices, boxes)
@quick
def test_bounds_of_a_box_give_the_box(lattice, box):
    assert lattice.box(lattice.bounds(box)) == box


def cells(box):
    return {(row, col) for row in range(box.top, box.bottom) for col in range(box.left, box.right)} if box else set()


@given(boxes, boxes, st.integers(1, 9))
@quick
def test_boxes_as_sets_of_cells(a, b, multiple):
    assert cells(a.intersection(b)) == cells(a) & cells(b)
    assert a.intersection(Box(a.right, b.top, a.right + 1, b.bottom)) is None  # side by side
    assert cells(a.union(b)) >= cells(a) | cells(b)
    assert a.holds(b) == (cells(a) >= cells(b))
    out = a.outward(multiple)
    assert cells(out) >= cells(a)
    assert all(edge % multiple == 0 for edge in (out.left, out.top, out.right, out.bottom))
    assert max(out.width - a.width, out.height - a.height) < 2 * multiple


@given(st.sampled_from(FAMILIES), corners, boxes)
@quick
def test_grids_of_every_resolution_share_corner_and_ground(resolutions, anchor, box):
    lattice = lattice_of(resolutions, anchor)
    left, bottom, right, top = lattice.bounds(box)
    for resolution in resolutions:
        grid = lattice.geobox(box, resolution)
        rows, cols = grid.shape
        assert grid.affine * (0, 0) == (left, top)
        assert grid.affine * (cols, rows) == pytest.approx((right, bottom), abs=1e-6)
        assert (cols * resolution, rows * resolution) == (box.width * lattice.step, box.height * lattice.step)


def test_chunk_off_the_lattice_is_refused_with_the_nearest_that_fits():
    assert S2.chunk_steps(498) == 83  # 83 x 6
    for pixels, align, fits in ((500, 1, 498), (502, 1, 504), (0, 1, 6), (-12, 1, 6), (500, 4, 504), (498, 4, 504)):
        with pytest.raises(Refused, match=f"nearest that fits is {fits}\\."):
            S2.chunk_steps(pixels, align)
    with pytest.raises(Refused, match=r"nearest that fits is 498\."):
        lattice_of([Fraction(10, 3), 20]).chunk_steps(500)  # steps of 20 m are 6 px


def test_halo_is_rounded_outward_to_steps():
    assert [S2.steps_for(pixels) for pixels in (0, 1, 12, 13)] == [0, 1, 2, 3]  # 6 px a step


@given(boxes, st.integers(1, 9))
@quick
def test_chunks_cover_the_area_exactly_once(area, core):
    check_cover(Layout.over(S2, area, core))


@given(boxes, st.integers(1, 9), st.lists(boxes, min_size=1, max_size=3))
@quick
def test_growing_keeps_every_whole_core_in_place(area, core, additions):
    layout = Layout.over(S2, area, core)
    for addition in additions:
        grown = layout.grown(addition)
        assert grown.area == layout.area.union(addition)
        check_cover(grown)
        kept = {c.core for c in grown.chunks()}
        assert {c.core for c in layout.chunks() if (c.core.width, c.core.height) == (core, core)} <= kept
        layout = grown


def test_growing_by_hand():
    # cores of 4 from column 0: 3 more to the west take a whole core, 5 take two; eastwards the frame ends at the area
    layout = Layout.over(S2, Box(0, 0, 10, 4), 4)
    assert layout.slot(0, 2) == Box(8, 0, 10, 4)
    assert layout.grown(Box(-3, 0, 0, 4)) == replace(layout, area=Box(-3, 0, 10, 4), frame=Box(-4, 0, 10, 4))
    assert layout.grown(Box(0, -5, 13, 4)) == replace(layout, area=Box(0, -5, 13, 4), frame=Box(0, -8, 13, 4))


def check_cover(layout):
    """Each pixel of the area lies in one core, each core in its own slot of the array, at its place on the ground."""
    rows, cols = layout.geobox.shape
    seen = np.zeros((rows, cols), int)
    for chunk in layout.chunks():
        where = layout.pixels_of(chunk.core)
        seen[where] += 1
        assert [s.start // layout.core_pixels for s in where] == [chunk.row, chunk.col]
        assert [(s.stop - 1) // layout.core_pixels for s in where] == [chunk.row, chunk.col]
        assert layout.geobox[where].affine == layout.lattice.geobox(chunk.core).affine
        assert chunk.window(2) == chunk.core.pad(2)
    inside = np.zeros_like(seen)
    inside[layout.pixels_of(layout.area)] = 1
    np.testing.assert_array_equal(seen, inside)
