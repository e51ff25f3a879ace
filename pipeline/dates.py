"""Which dates an input of a model takes: roles, resolved over whole scenes or anchored cells, never per chunk.

A role is written in a model's declaration: ``target`` (the date that is fused), ``before`` and ``after`` (the nearest on
either side), ``within:10`` (all within 10 days of it, itself included), ``clearest:3`` or ``clearest:3:30`` (the three with
the least cloud, within 30 days).

What metadata tell (dates, cloud cover of a scene) is resolved from them alone. How clear a place was, only pixels tell:
``clearness`` looks at them once, cell by cell of a grid anchored to the CRS, so that the choice depends neither on chunks nor
on the area that was asked for.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from math import ceil

from pipeline.errors import Refused
from pipeline.lattice import Box, Lattice
from pipeline.scene import Group, Scene

CELL = 6000
"""Edge in metres, at least, of the cells in which the clearest dates are chosen."""

KINDS = ("target", "before", "after", "within", "clearest")


@dataclass(frozen=True)
class Role:
    """Which images an input takes, relative to the target day."""

    kind: str
    """One of ``KINDS``."""
    count: int | None = 1
    """How many images it gives, missing ones without a value; ``None`` for however many there are."""
    days: int | None = None
    """How far from the target day, at most."""


def role(text: str) -> Role:
    """The role that a declaration writes; raises ``Refused`` where it is none."""
    kind, *numbers = text.split(":")
    try:
        values = [int(number) for number in numbers]
    except ValueError:
        values = [-1]
    if kind in ("target", "before", "after") and not values:
        return Role(kind)
    if kind == "within" and len(values) == 1 and values[0] >= 0:
        return Role(kind, None, values[0])
    if kind == "clearest" and len(values) in (1, 2) and min(values) > 0:
        return Role(kind, values[0], values[1] if len(values) == 2 else None)
    raise Refused(
        f"'{text}' names no dates; write target, before, after, within:DAYS, clearest:COUNT or clearest:COUNT:DAYS."
    )


@dataclass(frozen=True)
class Clearness:
    """How clear each image is in each cell: what the choice of the clearest dates is prepared from."""

    cell: int
    """Edge of a cell in steps of the lattice; cells lie on multiples of it."""
    shares: dict[tuple[str, int, int], float] = field(default_factory=dict)
    """(Image, column and row of the cell) to the share of the cell that is measured and free of clouds, from 0 to 1."""

    def of(self, image: Group, col: int, row: int) -> float:
        """How clear an image is in a cell: as prepared, else what its metadata say."""
        return self.shares.get((name(image), col, row), 1 - image.cloud_cover / 100)


@dataclass(frozen=True)
class Choice:
    """The images that an input takes in one place."""

    box: Box | None
    """Where, in steps; everywhere where ``None``."""
    images: tuple[Group | None, ...]
    """In order of time; ``None`` for one that there is none for."""


def name(image: Group) -> str:
    """What tells an image from all others: its scenes and how they were processed."""
    return "+".join(sorted(f"{scene.id}@{scene.revision}" for scene in image.scenes))


def resolve(
    wanted: Role, day: date, images: Sequence[Group], clear: dict[str, float] | None = None
) -> tuple[Group | None, ...]:
    """The images of a role, in order of time.

    Parameters
    ----------
    wanted
        The role.
    day
        The target day.
    images
        Of one sensor, oldest first.
    clear
        Image (``name``) to how clear it is, 0 to 1; what its metadata say where it is not among them.
    """
    near = [g for g in images if wanted.days is None or abs((g.day - day).days) <= wanted.days]
    if wanted.kind == "target":
        found = [g for g in near if g.day == day][:1]
    elif wanted.kind == "before":
        found = [g for g in near if g.day < day][-1:]
    elif wanted.kind == "after":
        found = [g for g in near if g.day > day][:1]
    elif wanted.kind == "within":
        return tuple(near)
    else:
        known = clear or {}
        order = sorted(
            near, key=lambda g: (-known.get(name(g), 1 - g.cloud_cover / 100), abs((g.day - day).days), g.day)
        )
        found = sorted(order[: wanted.count], key=lambda g: (g.day, g.acquired))
    return (*found, *([None] * ((wanted.count or 0) - len(found))))


def choices(
    wanted: Role, day: date, images: Sequence[Group], window: Box, clearness: Clearness | None
) -> Iterator[Choice]:
    """What an input takes over a window: one choice, or one for each cell where the clearest are chosen by pixels."""
    if wanted.kind != "clearest" or clearness is None:
        yield Choice(None, resolve(wanted, day, images))
        return
    for col, row, box in cells(window, clearness.cell):
        known = {name(image): clearness.of(image, col, row) for image in images}
        part = box.intersection(window)
        if part:
            yield Choice(part, resolve(wanted, day, images, known))


def cells(window: Box, cell: int) -> Iterator[tuple[int, int, Box]]:
    """Columns, rows and boxes of the cells that a window touches."""
    around = window.outward(cell)
    for top in range(around.top, around.bottom, cell):
        for left in range(around.left, around.right, cell):
            yield left // cell, top // cell, Box(left, top, left + cell, top + cell)


def cell_steps(lattice: Lattice) -> int:
    """Edge of a cell in steps."""
    return ceil(CELL / lattice.step)


def trimmed(choice: Choice, near: Callable[[tuple[Scene, ...]], Iterable[Scene]]) -> Choice:
    """A choice with just those of each image's scenes that ``near`` gives back, so that a task carries no others."""
    images = tuple(replace(image, scenes=tuple(near(image.scenes))) if image else None for image in choice.images)
    return replace(choice, images=images)
