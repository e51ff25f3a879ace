"""Whole-pixel geometry: the lattice that all grids of a job share, and how an area is cut into chunks.

The grids of a job (10, 20 and 60 m for Sentinel-2) share a common *step*, the length after which they all meet. Boxes
are counted in whole steps from the anchor, the origin of the CRS unless told otherwise, so that every window starts on a
pixel of every grid, and any two areas that overlap see the same pixels. Rows grow southwards.

Nothing here reads, resamples or rounds a coordinate twice.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor, gcd, lcm

from affine import Affine
from odc.geo.geobox import GeoBox

from pipeline.errors import Refused

# A corner that lies within this share of a step of the lattice is taken to lie on it: coordinates come as decimals.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Box:
    """A rectangle in whole steps, half open: rows ``top`` to ``bottom``, columns ``left`` to ``right``."""

    left: int
    """First column."""
    top: int
    """First row."""
    right: int
    """Column after the last."""
    bottom: int
    """Row after the last."""

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    def pad(self, steps: int) -> "Box":
        """The box with ``steps`` more on every side."""
        return Box(self.left - steps, self.top - steps, self.right + steps, self.bottom + steps)

    def union(self, other: "Box") -> "Box":
        """The smallest box that holds both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def intersection(self, other: "Box") -> "Box | None":
        """What both hold, ``None`` where they do not overlap."""
        box = Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )
        return box if box.width > 0 and box.height > 0 else None

    def holds(self, other: "Box") -> bool:
        """Whether ``other`` lies wholly inside."""
        return self.union(other) == self

    def outward(self, multiple: int) -> "Box":
        """The box rounded outward to multiples of ``multiple`` steps, counted from the anchor."""
        return Box(
            floor(self.left / multiple) * multiple,
            floor(self.top / multiple) * multiple,
            ceil(self.right / multiple) * multiple,
            ceil(self.bottom / multiple) * multiple,
        )


@dataclass(frozen=True)
class Lattice:
    """The step that the grids of a job share, in one CRS."""

    crs: str
    """The CRS, such as ``EPSG:32633``; its unit is the metre."""
    resolution: Fraction
    """Ground sampling distance of the output in metres."""
    step: Fraction
    """Length of a step in metres: a whole multiple of every resolution of the job."""
    anchor: tuple[Fraction, Fraction] = (Fraction(0), Fraction(0))
    """Easting and northing of a corner where all grids meet."""

    @staticmethod
    def common_step(resolutions: Iterable[Fraction | int]) -> Fraction:
        """The least common multiple of ground sampling distances, in metres.

        >>> Lattice.common_step([10, 20, 60])
        Fraction(60, 1)
        >>> Lattice.common_step([3, 10])
        Fraction(30, 1)
        """
        parts = [Fraction(r) for r in resolutions]
        return Fraction(lcm(*(p.numerator for p in parts)), gcd(*(p.denominator for p in parts)))

    def pixels(self, resolution: Fraction | int | None = None) -> int:
        """Pixels in a step of the grid with this resolution (the output's by default); whole, or ``ValueError``."""
        count = self.step / Fraction(resolution if resolution is not None else self.resolution)
        if count.denominator != 1:
            raise ValueError(f"a grid of {resolution} m does not fit a step of {self.step} m")
        return count.numerator

    def box(self, bounds: tuple[float, float, float, float]) -> Box:
        """Bounds (left, bottom, right, top; metres) rounded outward to whole steps."""
        left, bottom, right, top = bounds
        (ax, ay), step = self.anchor, float(self.step)
        return Box(
            floor((left - float(ax)) / step + ROUNDING),
            floor((float(ay) - top) / step + ROUNDING),
            ceil((right - float(ax)) / step - ROUNDING),
            ceil((float(ay) - bottom) / step - ROUNDING),
        )

    def bounds(self, box: Box) -> tuple[float, float, float, float]:
        """Left, bottom, right, top of a box in metres."""
        (ax, ay), step = self.anchor, self.step
        corners = (ax + box.left * step, ay - box.bottom * step, ax + box.right * step, ay - box.top * step)
        return (float(corners[0]), float(corners[1]), float(corners[2]), float(corners[3]))

    def geobox(self, box: Box, resolution: Fraction | int | None = None) -> GeoBox:
        """The pixel grid that covers ``box`` at a resolution (the output's by default)."""
        res = Fraction(resolution if resolution is not None else self.resolution)
        n = self.pixels(res)
        left, _, _, top = self.bounds(box)
        transform = Affine(float(res), 0.0, left, 0.0, -float(res), top)
        return GeoBox((box.height * n, box.width * n), transform, self.crs)

    def steps_for(self, pixels: int) -> int:
        """Whole steps that hold ``pixels`` of the output: a halo rounded outward on every grid at once."""
        return ceil(Fraction(pixels) * self.resolution / self.step)

    def chunk_steps(self, pixels: int, align: int = 1) -> int:
        """A chunk's edge in steps; raises ``Refused`` with the nearest edge that fits when it is off the lattice."""
        unit = lcm(self.pixels(), align)
        if pixels <= 0 or pixels % unit:
            fits = max(unit, round(pixels / unit) * unit)
            raise Refused(
                f"chunk: {pixels} is off the lattice, whose steps are {unit} pixels ({float(unit * self.resolution):g} m); "
                f"the nearest that fits is {fits}."
            )
        return pixels // self.pixels()


@dataclass(frozen=True)
class Chunk:
    """One piece of work: a core, at its place in the grid of cores."""

    row: int
    """Row in the grid of cores."""
    col: int
    """Column in the grid of cores."""
    core: Box
    """What the chunk writes, in steps; at the edges of the area it may be partial."""

    def window(self, halo: int) -> Box:
        """What the chunk reads: the core and ``halo`` steps around it."""
        return self.core.pad(halo)


@dataclass(frozen=True)
class Layout:
    """How an area is cut into cores.

    Everything that can reach a pixel's value is anchored to the CRS; where cores are cut cannot, so they are laid from
    the corner of the area and the arrays of a store cover exactly that area. (A regular Zarr grid cannot begin with a
    partial chunk: cores cut from the origin of the CRS would pad every array with nodata on two sides.)
    """

    lattice: Lattice
    """The lattice the area lies on."""
    area: Box
    """What was asked for."""
    frame: Box
    """What the arrays cover: the area, and after growing to the north or west the rest of the first cores."""
    core: int
    """Edge of a whole core in steps."""

    @classmethod
    def over(cls, lattice: Lattice, area: Box, core: int) -> "Layout":
        """The layout of a new store over ``area``."""
        return cls(lattice, area, area, core)

    @property
    def rows(self) -> int:
        """Rows of cores."""
        return ceil(self.frame.height / self.core)

    @property
    def cols(self) -> int:
        """Columns of cores."""
        return ceil(self.frame.width / self.core)

    @property
    def core_pixels(self) -> int:
        """Edge of a whole core in pixels of the output."""
        return self.core * self.lattice.pixels()

    @property
    def geobox(self) -> GeoBox:
        """The pixel grid of the arrays."""
        return self.lattice.geobox(self.frame)

    def slot(self, row: int, col: int) -> Box:
        """The place of a core in the frame, whether or not the area fills it."""
        left, top = self.frame.left + col * self.core, self.frame.top + row * self.core
        return Box(left, top, min(left + self.core, self.frame.right), min(top + self.core, self.frame.bottom))

    def chunks(self) -> Iterator[Chunk]:
        """Every chunk, row by row."""
        for row in range(self.rows):
            for col in range(self.cols):
                core = self.slot(row, col).intersection(self.area)
                if core:
                    yield Chunk(row, col, core)

    def cuts(self, box: Box) -> bool:
        """Whether a box is one of the cores."""
        row, col = self.place(box)
        return 0 <= row < self.rows and 0 <= col < self.cols and self.slot(row, col).intersection(self.area) == box

    def place(self, box: Box) -> tuple[int, int]:
        """Row and column of the core that the upper left corner of a box lies in."""
        return (box.top - self.frame.top) // self.core, (box.left - self.frame.left) // self.core

    def pixels_of(self, box: Box) -> tuple[slice, slice]:
        """Rows and columns of the arrays that ``box`` covers."""
        n = self.lattice.pixels()
        top, left = (box.top - self.frame.top) * n, (box.left - self.frame.left) * n
        return slice(top, top + box.height * n), slice(left, left + box.width * n)

    def grown(self, area: Box) -> "Layout":
        """The layout over a larger area that keeps every core where it is on the ground."""
        whole = self.area.union(area)
        left = self.frame.left - ceil((self.frame.left - whole.left) / self.core) * self.core
        top = self.frame.top - ceil((self.frame.top - whole.top) / self.core) * self.core
        left, top = min(left, self.frame.left), min(top, self.frame.top)
        return replace(self, area=whole, frame=Box(left, top, whole.right, whole.bottom))
