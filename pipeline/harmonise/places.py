"""Where scenes were found to lie: what the co-registration check keeps of each, and what it is measured against."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.scene import Scene
from pipeline.sensors import Band, sensor


@dataclass(frozen=True)
class Registration:
    """Where a scene's ground lies beside its reference's."""

    scene: str
    """Item id of the scene."""
    reference: str
    """Item id of the reference."""
    east: float
    """Metres by which its ground lies too far east."""
    south: float
    """Metres by which it lies too far south."""
    confidence: float
    """How far the cells agree, 0 to 1; 0 where no shift can be claimed."""
    cells: int
    """How many cells agree."""


def compared(scene: Scene) -> Band | None:
    """The band whose images are compared: red; ``None`` for a sensor without it, such as a radar."""
    return next((b for b in sensor(scene.sensor).bands if b.common == "red" and b.name in scene.assets), None)


def references(scenes: Iterable[Scene]) -> dict[str, Scene]:
    """The reference of each scene, by its id: of its sensor and tile the least cloudy, then the oldest."""
    tiles: dict[tuple[str, str, str | None], list[Scene]] = {}
    for scene in scenes:
        tiles.setdefault((scene.sensor, scene.tile, scene.crs), []).append(scene)
    best = {key: min(group, key=lambda s: (s.cloud_cover, s.acquired, s.id)) for key, group in tiles.items()}
    return {scene.id: best[key] for key, group in tiles.items() for scene in group}


def shifts(found: Sequence[Registration]) -> tuple[tuple[str, float, float], ...]:
    """What ``pipeline.harmonise.steps.Harmony`` needs to put scenes right: those that a shift can be claimed for."""
    return tuple((r.scene, r.east, r.south) for r in found if r.cells and (r.east or r.south))
