"""The prepare stage of a run: each day's weights, adapted to its scenes once and kept in the store.

A day is taught on all of its scenes that the area touches, whatever part of them that is. A weights file is named by the day
and by everything that decides it, so a run that goes on finds it, and a chunk's name holds its hash. A day that cannot be
adapted to keeps a card that says why, and is sharpened with the weights as they are.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import __version__
from pipeline.job import Job, by_day, fingerprint
from pipeline.models.weights import Card, card_path, read_card, save, write_card
from pipeline.scene import Scene
from pipeline.store import WEIGHTS

if TYPE_CHECKING:
    from pipeline.training.loop import Progress
    from pipeline.training.windows import Window

VERSION = 1
"""Raised whenever the same scenes would give other weights."""


def with_known(job: Job, scenes: tuple[Scene, ...], store: Path) -> Job:
    """The job with the weights of every day that a store holds them for."""
    if not job.adapt:
        return job
    known = []
    for day, group in by_day(scenes).items():
        file = weights_file(job, day, group, store)
        if card_path(file).exists():
            card = read_card(file)
            known.append((day, card.sha256, file if file.exists() else job.model.weights_file))
    return replace(job, adapted=tuple(known))


def missing(job: Job, scenes: tuple[Scene, ...]) -> dict[date, list[Scene]]:
    """Days whose weights are still to be adapted, with their scenes in the order in which they are laid down."""
    known = {day for day, _, _ in job.adapted}
    return {day: group for day, group in by_day(scenes).items() if day not in known} if job.adapt else {}


def weights_file(job: Job, day: date, scenes: list[Scene], store: Path) -> Path:
    """Where a day's weights are, whether or not they are there."""
    sources = [[scene.id, scene.revision] for scene in scenes]
    harmony = asdict(job.harmony)
    name = fingerprint([VERSION, job.model.identity, job.adapt, job.layout.lattice.crs, harmony, sources])
    return store / WEIGHTS / f"{day}-{name}.safetensors"


def read_day(job: Job, scenes: list[Scene]) -> "list[Window]":
    """The windows of a day's scenes to learn from; raises ``OSError``, naming it, where a file cannot be read."""
    from pipeline.training.adaptation import read_windows

    return read_windows(job.model, scenes, job.layout.lattice, job.harmony)


def adapt_day(
    job: Job,
    day: date,
    scenes: list[Scene],
    found: "list[Window]",
    store: Path,
    told: "Callable[[Progress | int], None] | None" = None,
) -> Card:
    """Adapt the weights to a day's scenes and keep them in the store; the card says what came of it."""
    from pipeline.training.adaptation import adapt

    file = weights_file(job, day, scenes, store)
    network, lessons = adapt(job.model, found, job.adapt, told)
    parent = read_card(job.model.weights_file)
    training: dict[str, Any] = {group: asdict(lesson) for group, lesson in lessons.items()}
    card = replace(
        parent,
        parent=job.model.weights,
        sha256=job.model.weights,
        levels=(job.level,),
        scenes=tuple(scene.id for scene in scenes),
        training=training,
        scores={},
        software=__version__,
    )
    if all(lesson.kept for lesson in lessons.values()):
        return write_card(file, card)
    return save(file, network.state_dict(), card)
