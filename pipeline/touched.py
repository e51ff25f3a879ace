"""Which of many scenes each chunk's window touches, found by rows and columns of cores instead of chunk by chunk.

Windows of a row of cores have the same top and bottom, so a scene touches an unbroken range of rows, and an unbroken range of
columns. A region of a million chunks under some hundred scenes takes a few thousand different answers.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

from pipeline.lattice import Box, Layout
from pipeline.scene import Bounds, Scene, footprint

Reach = tuple[int, int]
"""First and one after the last of a range of rows or columns."""


class Touched:
    """Scenes by chunk."""

    def __init__(self, layout: Layout, around: int, scenes: Sequence[Scene]) -> None:
        """Index scenes over the chunks of a layout whose windows take in ``around`` steps on every side."""
        self._layout, self._around = layout, around
        tops, bottoms, lefts, rights = self._sides()
        reaches: list[tuple[int, Reach, Reach]] = []
        for index, scene in enumerate(scenes):
            left, bottom, right, top = footprint(scene, layout.lattice.crs)
            rows = bisect_right(bottoms, -top), bisect_left(tops, -bottom)
            cols = bisect_right(rights, left), bisect_left(lefts, right)
            if rows[0] < rows[1] and cols[0] < cols[1]:
                reaches.append((index, rows, cols))
        self._answers: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._rows = self._table(reaches)

    def at(self, row: int, col: int) -> tuple[int, ...]:
        """Places in the sequence of the scenes that may have pixels in a chunk's window; one tuple for all chunks alike."""
        return self._rows[row][col]

    def _sides(self) -> tuple[list[float], list[float], list[float], list[float]]:
        """Top and bottom of each row's windows, left and right of each column's, in metres; southwards and eastwards."""
        layout, area = self._layout, self._layout.area
        slots = [layout.slot(row, 0) for row in range(layout.rows)]
        rows = [self._bounds(Box(area.left, slot.top, area.right, slot.bottom)) for slot in slots]
        slots = [layout.slot(0, col) for col in range(layout.cols)]
        cols = [self._bounds(Box(slot.left, area.top, slot.right, area.bottom)) for slot in slots]
        return [-b[3] for b in rows], [-b[1] for b in rows], [b[0] for b in cols], [b[2] for b in cols]

    def _bounds(self, cores: Box) -> Bounds:
        inside = cores.intersection(self._layout.area) or cores
        return self._layout.lattice.bounds(inside.pad(self._around))

    def _table(self, reaches: list[tuple[int, Reach, Reach]]) -> list[list[tuple[int, ...]]]:
        """The answer of every chunk, by row and column; rows alike share theirs."""
        table: list[list[tuple[int, ...]]] = []
        for first, last in pairwise(_breaks([rows for _, rows, _ in reaches], self._layout.rows)):
            here = [(index, cols) for index, rows, cols in reaches if rows[0] <= first < rows[1]]
            table += [self._line(here)] * (last - first)
        return table

    def _line(self, here: list[tuple[int, Reach]]) -> list[tuple[int, ...]]:
        line: list[tuple[int, ...]] = []
        for first, last in pairwise(_breaks([cols for _, cols in here], self._layout.cols)):
            found = tuple(index for index, cols in here if cols[0] <= first < cols[1])
            line += [self._answers.setdefault(found, found)] * (last - first)
        return line


def _breaks(reaches: list[Reach], count: int) -> list[int]:
    """Where an answer may change along an axis of ``count`` cores, its two ends included."""
    return sorted({0, count, *(end for reach in reaches for end in reach)})
