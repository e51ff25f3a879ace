"""The co-registration check of a run: each scene beside a reference of its tile, looked at once and kept in the store."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace

from pipeline.harmonise.places import Registration, references, shifts
from pipeline.job import Job, fingerprint
from pipeline.scene import Scene
from pipeline.store import REGISTRATION, Store, store_errors

VERSION = 1
"""Raised whenever the same scenes would be found to lie elsewhere."""


def with_registrations(job: Job, scenes: tuple[Scene, ...], store: Store) -> Job:
    """The job with what a store knows of where its scenes lie."""
    if job.coregister == "off":
        return job
    kept = store.objects.each(_key(scene, reference) for scene, reference in _pairs(scenes))
    found = [Registration(**json.loads(said)) for _, said in kept if said]
    harmony = replace(job.harmony, shifts=shifts(found) if job.harmony.corrects else ())
    return replace(job, registrations=tuple(found), harmony=harmony)


def unregistered(job: Job, scenes: tuple[Scene, ...]) -> list[tuple[Scene, Scene]]:
    """Scenes that are still to be compared, each with its reference."""
    known = {found.scene for found in job.registrations}
    return [] if job.coregister == "off" else [pair for pair in _pairs(scenes) if pair[0].id not in known]


def register_all(pairs: list[tuple[Scene, Scene]], store: Store, told: Callable[[Registration], None]) -> None:
    """Compare scenes with their references and keep what is found.

    Where a file cannot be read nothing is known, so that nothing is kept: the next run tries again.
    """
    from pipeline.registration import register

    for scene, reference in pairs:
        try:
            found = register(scene, reference)
        except OSError:
            continue
        with store_errors():
            store.objects.put(_key(scene, reference), json.dumps(asdict(found)).encode())
        told(found)


def _pairs(scenes: tuple[Scene, ...]) -> list[tuple[Scene, Scene]]:
    """Each scene and its reference, references themselves left out."""
    best = references(scenes)
    return [(scene, best[scene.id]) for scene in scenes if best[scene.id].id != scene.id]


def _key(scene: Scene, reference: Scene) -> str:
    name = fingerprint([VERSION, *([s.id, s.revision] for s in (scene, reference))])
    return f"{REGISTRATION}/{name}.json"
