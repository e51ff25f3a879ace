"""The prepare stage of a run: each day's weights, adapted to its scenes once and kept in the store.

A day is taught on all of its scenes that the area touches, whatever part of them that is. A weights file is named by the day
and by everything that decides it, so a run that goes on finds it, and a chunk's name holds its hash. A day that cannot be
adapted to keeps a card that says why, and is sharpened with the weights as they are.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipeline import __version__
from pipeline.job import Job, by_day, fingerprint
from pipeline.models.weights import Card, card_of, card_path, read_card, save, write_card
from pipeline.scene import Scene
from pipeline.store import WEIGHTS, Store

if TYPE_CHECKING:
    from pipeline.training.loop import Progress
    from pipeline.training.windows import Window

VERSION = 1
"""Raised whenever the same scenes would give other weights."""


def with_known(job: Job, scenes: tuple[Scene, ...], store: Store) -> Job:
    """The job with the weights of every day that a store holds them for."""
    if not job.adapt:
        return job
    known = []
    for day, group in by_day(scenes).items():
        key = weights_key(job, day, group)
        found = store.objects.get(card_key(key))
        if found is not None:
            card = card_of(found, card_key(key))
            kept = card.sha256 == job.model.weights
            known.append((day, card.sha256, job.model.weights_file if kept else store.place(key, card.sha256)))
    return replace(job, adapted=tuple(known))


def missing(job: Job, scenes: tuple[Scene, ...]) -> dict[date, list[Scene]]:
    """Days whose weights are still to be adapted, with their scenes in the order in which they are laid down."""
    known = {day for day, _, _ in job.adapted}
    return {day: group for day, group in by_day(scenes).items() if day not in known} if job.adapt else {}


def weights_key(job: Job, day: date, scenes: list[Scene]) -> str:
    """Key of a day's weights in a store, whether or not they are there."""
    sources = [[scene.id, scene.revision] for scene in scenes]
    harmony = asdict(job.harmony)
    name = fingerprint([VERSION, job.model.identity, job.adapt, job.layout.lattice.crs, harmony, sources])
    return f"{WEIGHTS}/{day}-{name}.safetensors"


def card_key(key: str) -> str:
    """Key of the card of weights."""
    return card_path(Path(key)).as_posix()


def read_day(job: Job, scenes: list[Scene]) -> "list[Window]":
    """The windows of a day's scenes to learn from; raises ``OSError``, naming it, where a file cannot be read."""
    from pipeline.training.adaptation import read_windows

    return read_windows(job.model, scenes, job.layout.lattice, job.harmony)


def adapt_day(
    job: Job,
    day: date,
    scenes: list[Scene],
    found: "list[Window]",
    store: Store,
    told: "Callable[[Progress | int], None] | None" = None,
) -> Card:
    """Adapt the weights to a day's scenes and keep them in the store, the card last; it says what came of it."""
    from pipeline.training.adaptation import adapt

    key = weights_key(job, day, scenes)
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
    with TemporaryDirectory() as folder:
        file = Path(folder) / Path(key).name
        if all(lesson.kept for lesson in lessons.values()):
            card = write_card(file, card)
        else:
            card = save(file, network.state_dict(), card)
            store.objects.put(key, file.read_bytes())
        store.objects.put(card_key(key), card_path(file).read_bytes())
    return card
