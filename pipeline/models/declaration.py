"""What a model says of itself, as data, and the handshake that holds it against the cube before anything runs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import lcm
from pathlib import Path
from typing import Any

from pipeline.dates import role
from pipeline.errors import Refused
from pipeline.lattice import Lattice
from pipeline.scene import Scene
from pipeline.sensors import sensor


@dataclass(frozen=True)
class Input:
    """One tensor that a model is given, (dates * bands, rows, cols) of the sensor's quantity, oldest date first."""

    sensor: str
    """Name of the sensor."""
    bands: tuple[str, ...]
    """Its bands, in the tensor's order."""
    resolution: int
    """Ground sampling distance of the tensor in metres."""
    influence: int = 0
    """How far, in pixels of the output, a filled pixel of this input changes what the model gives."""
    dates: str = "target"
    """Which dates (``pipeline.dates``): ``target`` is the one that is being fused; or before, after, within:DAYS,
    clearest:COUNT, clearest:COUNT:DAYS. A date that there is none of is filled."""


@dataclass(frozen=True)
class Output:
    """The tensor that a model gives, (bands, rows, cols)."""

    bands: tuple[str, ...]
    """Names, in the tensor's order."""
    resolution: int
    """Ground sampling distance in metres."""
    quantity: str = "reflectance"
    """Physical quantity."""


@dataclass(frozen=True)
class FusionModel:
    """A model's declaration."""

    name: str
    """Name in specifications."""
    version: int
    """Raised whenever the same input would give other pixels."""
    inputs: tuple[Input, ...]
    """What it is given, in this order."""
    output: Output
    """What it gives."""
    module: str
    """Where the ``torch.nn.Module`` is, ``package.module:Class``; it is built with this declaration."""
    halo: int = 0
    """Pixels of the output around a pixel that its value depends on, on each side, windows being whole coarse pixels."""
    align: int = 1
    """Windows start on multiples of this many pixels of the output, counted from the lattice's anchor."""
    tile: int = 300
    """Edge in output pixels of what is computed at once; for a model with global context, its context tile."""
    global_context: bool = False
    """Whether it pools over its whole input, so that its output depends on the context tile. Windows then hold the tiles
    beside the core as well: ``halo`` counts one, and ``align`` is the tile."""
    blend: int = 0
    """Pixels on either side of the border of two context tiles over which they are blended."""
    prepares: tuple[str, ...] = ()
    """What it wants computed once per scene before chunks run."""
    options: tuple[tuple[str, Any], ...] = ()
    """Arguments that change what it computes, such as width or seed."""
    weights: str = ""
    """Hash of the trained weights; empty for a model that has none."""
    weights_file: Path = Path()
    """Where these weights are on this machine; no part of what the model is."""
    cost: float = 0.0
    """Million multiply-adds a pixel of the output, its share of every tile's halo included; 0 without a network."""
    sources: tuple[str, ...] = field(default=())
    """Papers it implements."""

    def option(self, name: str) -> Any:
        """The value of an option."""
        return dict(self.options)[name]

    @property
    def reach(self) -> int:
        """Pixels of the output around a tile that the tile needs."""
        return self.halo - (self.tile if self.global_context else 0)

    @property
    def step_resolutions(self) -> tuple[int, ...]:
        """Every resolution that windows must fit."""
        return (*(i.resolution for i in self.inputs), self.output.resolution)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the pixels it gives, as plain values."""
        return {
            "name": self.name,
            "version": self.version,
            "weights": self.weights,
            "options": json.loads(json.dumps(dict(self.options))),
            "context": [self.tile, self.blend] if self.global_context else None,
        }

    @property
    def target(self) -> int:
        """The first input of the target date: its quality layers give the flags, its scenes name the days."""
        return next(index for index, wanted in enumerate(self.inputs) if wanted.dates == "target")

    def gives_back(self, wanted: "Input") -> bool:
        """Whether an input's bands, where the output has them too, are the same bands measured: same sensor, target date."""
        return wanted.dates == "target" and wanted.sensor == self.inputs[self.target].sensor

    def check(self, lattice: Lattice, scenes: Sequence[Scene]) -> None:
        """The handshake: raises ``Refused`` where the lattice or the scenes cannot give what the model declares."""
        for wanted in self.inputs:
            role(wanted.dates)
        if all(wanted.dates != "target" for wanted in self.inputs):
            raise Refused(f"model '{self.name}' takes no input of the target date, so there is no day to fuse.")
        for wanted in self.inputs:
            self._check_input(wanted, lattice, scenes)
        if self.prepares:
            raise Refused(f"model '{self.name}' wants {', '.join(self.prepares)} prepared, which no flow does.")
        if self.output.resolution != lattice.resolution:
            raise Refused(
                f"model '{self.name}' gives {self.output.resolution} m, the grid asks for {float(lattice.resolution):g} m; "
                f"set grid.resolution to {self.output.resolution}."
            )
        unit = lcm(lattice.pixels(), self.align)
        if self.tile % unit:
            raise Refused(
                f"model '{self.name}' declares tiles of {self.tile} px, which is off the lattice ({unit} px)."
            )

    def _check_input(self, wanted: Input, lattice: Lattice, scenes: Sequence[Scene]) -> None:
        table = sensor(wanted.sensor)
        for name in wanted.bands:
            table.band(name)
            mine = [scene for scene in scenes if scene.sensor == table.name]
            if not any(name in scene.assets for scene in mine):
                have = sorted({band for scene in mine for band in scene.assets})
                raise Refused(
                    f"model '{self.name}' needs band {name} of {table.name}, which none of its {len(mine)} scenes has "
                    f"(they have {', '.join(have) or 'none'}); choose with bands: [...]."
                )
        if wanted.resolution % self.output.resolution:
            raise Refused(
                f"model '{self.name}' cannot bring {wanted.resolution} m ({', '.join(wanted.bands)}) to "
                f"{self.output.resolution} m, which is no whole part of it; choose grid.resolution among its divisors, "
                "or fewer bands."
            )
        if (lattice.step / wanted.resolution).denominator != 1:
            raise Refused(
                f"model '{self.name}' takes {wanted.resolution} m, which does not fit steps of {float(lattice.step):g} m."
            )
