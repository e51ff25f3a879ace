"""Jobs over a whole scene for the benchmarks, with their empty stores."""

from dataclasses import dataclass
from pathlib import Path

from scenes import scene_id

from flows.prepare import prepare
from flows.road import opened, planned
from flows.spec import validate
from pipeline.job import Job
from pipeline.plan import Plan
from pipeline.store import Store


@dataclass(frozen=True)
class Made:
    """A job that is ready to run."""

    job: Job
    """What is to be done."""
    plan: Plan
    """Its chunks and its price."""
    store: Store
    """Where it goes; empty."""


def made(catalog: Path, out: Path, **changes: object) -> Made:
    """The job of a specification over the one scene of a catalog; ``changes`` are its other keys."""
    raw = {"flow": "sharpen", "catalog": str(catalog), "area": {"scene": scene_id(catalog)}, "time": "2000/2030"}
    prepared = prepare(validate(raw | {"out": str(out)} | changes))
    job, plan = planned(prepared)
    return Made(job, plan, opened(prepared, job, plan))
