"""Patches of pairs: where training may cut them, where validation does, and how a batch is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipeline.training.wald import Pair

Batch = tuple[list[NDArray[np.float32]], NDArray[np.float32]]
"""Inputs (B, bands, rows, cols) each, and their label."""

APART = 5
"""Of so many pairs too small to be divided, one is held out."""

HELD_OUT = 0.2
"""Share of a pair's columns, on its right, that validation has to itself."""


@dataclass(frozen=True)
class Patches:
    """Places of patches in pairs, in pixels of the coarsest input."""

    pairs: tuple[Pair, ...]
    """What they are cut from."""
    places: NDArray[np.int64]
    """(n, 3): pair, row, column of the upper left corner."""
    size: int
    """Edge of a patch in pixels of the label."""
    ratio: int
    """Ratio of the coarsest input to the label."""

    def __len__(self) -> int:
        return len(self.places)

    def cut(self, which: Sequence[int]) -> Batch:
        """A batch of the patches at some places."""
        patches = [self._one(*map(int, self.places[i])) for i in which]
        inputs = [np.stack(x) for x in zip(*(p[0] for p in patches), strict=True)]
        return inputs, np.stack([p[1] for p in patches])

    def draw(self, count: int, rng: np.random.Generator) -> Batch:
        """A batch of patches anywhere, each turned and mirrored by chance (all eight ways)."""
        inputs, label = self.cut(rng.integers(len(self.places), size=count).tolist())
        ways = rng.integers(8, size=count)
        turned = [np.stack([_turn(x, way) for x, way in zip(array, ways, strict=True)]) for array in (*inputs, label)]
        return turned[:-1], turned[-1]

    def _one(self, index: int, row: int, col: int) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
        pair = self.pairs[index]
        arrays = []
        for x in (*pair.inputs, pair.label):
            factor = x.shape[1] * self.ratio // pair.label.shape[1]  # pixels of this array in one of the coarsest
            top, left, edge = row * factor, col * factor, self.size // self.ratio * factor
            arrays.append(x[:, top : top + edge, left : left + edge])
        return arrays[:-1], arrays[-1]


def _turn(x: NDArray[np.float32], way: int) -> NDArray[np.float32]:
    """One of the eight ways to lay a square."""
    turned = np.rot90(x, way % 4, axes=(1, 2))
    return turned[:, :, ::-1] if way >= 4 else turned


def split(pairs: Sequence[Pair], size: int, held_out: float = HELD_OUT) -> tuple[Patches, Patches]:
    """Patches for training, and for validation, that share no pixel of the label.

    The right part of every pair is held out where it is wide enough for a patch; training keeps to the left of it. Where no
    pair is, and there are enough of them, every ``APART``-th is held out whole. Only patches without a gap count;
    validation's do not overlap one another.
    """
    ratio = pairs[0].label.shape[1] // pairs[0].inputs[-1].shape[1]
    edge = size // ratio
    widest = max(pair.inputs[-1].shape[2] for pair in pairs)
    whole_pairs = round(widest * held_out) < edge and held_out > 0
    taught: list[NDArray[np.int64]] = []
    checked: list[NDArray[np.int64]] = []
    for index, pair in enumerate(pairs):
        whole = _whole(pair, ratio, edge)
        width = pair.inputs[-1].shape[2]
        kept = round(width * held_out)
        border = width - kept if kept >= edge else width
        if whole_pairs and index % APART == APART - 1:
            border = 0
        rows, cols = np.nonzero(whole)
        left = cols + edge <= border
        right = (cols >= border) & (rows % edge == 0) & ((cols - border) % edge == 0)
        for chosen, into in ((left, taught), (right, checked)):
            into.append(np.stack([np.full(chosen.sum(), index), rows[chosen], cols[chosen]], axis=1))
    together = tuple(pairs)
    return (
        Patches(together, np.concatenate(taught), size, ratio),
        Patches(together, np.concatenate(checked), size, ratio),
    )


def _whole(pair: Pair, ratio: int, edge: int) -> NDArray[np.bool_]:
    """Where a patch without a gap may begin, (rows, cols) in pixels of the coarsest input."""
    rows, cols = pair.inputs[-1].shape[1:]
    known = np.ones((rows, cols), bool)
    for x in (*pair.inputs, pair.label):
        times = x.shape[1] // rows
        known &= np.isfinite(x).all(axis=0).reshape(rows, times, cols, times).all(axis=(1, 3))
    if rows < edge or cols < edge:
        return np.zeros((0, 0), bool)
    return np.asarray(sliding_window_view(known, (edge, edge)).all(axis=(2, 3)))
