"""What a run tells as it happens, chunk by chunk."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from pipeline.lattice import Box
from pipeline.record import Failure, Record


@dataclass(frozen=True)
class Begun:
    """A strip that a worker has taken up."""

    strip: str
    """Name of its first task."""


@dataclass(frozen=True)
class Done:
    """A chunk that is finished."""

    task: str
    """Its name."""
    key: str
    """Name of its work (``job.key``)."""
    day: date
    """Solar day."""
    box: Box
    """Core, in steps of the lattice."""
    pixels: int
    """Pixels of the core."""
    valid: int
    """Pixels with a value in at least one band."""
    held: bool
    """Whether the ledger held it already, so that nothing was computed."""
    failures: tuple[Failure, ...]
    """Files that could not be read: nodata in this chunk."""
    seconds: Mapping[str, float]
    """Wall time of each stage."""
    turn: float
    """Seconds since its worker finished the chunk before."""
    peak_memory: int
    """Largest resident memory of the worker's process so far, bytes."""
    worker: str
    """Address of the worker."""

    @classmethod
    def of(cls, task: str, record: Record, worker: str = "") -> "Done":
        """What a record tells of a chunk that was just computed."""
        return cls(
            task=task,
            key=record.key,
            day=record.day,
            box=record.box,
            pixels=record.pixels,
            valid=record.valid,
            held=False,
            failures=record.failures,
            seconds=record.seconds,
            turn=record.turn,
            peak_memory=record.peak_memory,
            worker=worker,
        )


@dataclass(frozen=True)
class Trouble:
    """A chunk that could not be finished."""

    task: str
    """Its name."""
    reason: str
    """Why, in one line."""
