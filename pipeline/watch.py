"""How far a run has come, as data: for a bar, for a log, and for whoever looks at its store from elsewhere.

A run keeps its progress beside the pixels, in the object ``progress.json``, so that nothing but the store is needed to see
it. What is kept is bounded, however many chunks there are, and names no folder of any machine.
"""

import json
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.events import Done, Trouble
from pipeline.record import Failure

if TYPE_CHECKING:
    from pipeline.objects import Objects

NAME = "progress.json"
"""Key of the object."""

EVERY = 5.0
"""Seconds between two of its versions."""

LATEST = 200
"""Chunks over which the rate is taken: enough to be steady, few enough to follow a cluster that grows or shrinks."""


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    run: str
    """Id of the run."""
    stage: str
    """What it is at, such as ``fusing``."""
    ended: bool
    """Whether that has ended, whatever came of it."""
    began: str
    """When its first chunk was begun, ISO 8601, UTC."""
    told: str
    """When this was said."""
    total: int
    """Chunks that it has to do."""
    before: int
    """Chunks that were done before it began."""
    computed: int
    """Chunks that it computed."""
    held: int
    """Chunks of its own that turned out to be done already."""
    troubles: int
    """Chunks that could not be finished."""
    missed: int
    """Files that could not be read."""
    pixels: int
    """Pixels of the chunks that it computed."""
    valid: int
    """Those with a value in at least one band."""
    rate: float
    """Chunks a second, over the latest of them; 0 before the first."""
    left: float | None
    """Seconds to the end at that rate; ``None`` where it is not known."""
    stages: dict[str, float]
    """Seconds of all workers, by stage."""
    workers: int
    """Workers that have finished a chunk of it."""
    peak_memory: int
    """Largest resident memory of any worker, bytes."""

    @property
    def finished(self) -> int:
        """Chunks that are no longer to do, whatever became of them."""
        return self.computed + self.held + self.troubles

    @property
    def slowest(self) -> tuple[str, float] | None:
        """The stage that took longest, and its share of all time; ``None`` before any."""
        whole = sum(self.stages.values())
        if not whole:
            return None
        name = max(self.stages, key=lambda stage: self.stages[stage])
        return name, self.stages[name] / whole

    def to_json(self) -> bytes:
        """The progress as one JSON object."""
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def read(cls, objects: "Objects") -> "Progress | None":
        """What the latest run on a store said last; ``None`` where none did, or none of this version."""
        try:
            return cls(**json.loads(objects.get(NAME) or b"{}"))
        except (ValueError, TypeError):
            return None


@dataclass
class Watch:
    """Hears the events of a run, and says how far it has come."""

    run: str
    """Id of the run."""
    stage: str
    """What it is at."""
    total: int
    """Chunks that it has to do."""
    before: int = 0
    """Chunks that were done before."""
    objects: "Objects | None" = None
    """The store's objects, where the progress is kept; ``None`` keeps it nowhere."""
    clock: Callable[[], float] = time.monotonic
    """Seconds that pass."""
    ended: bool = False
    computed: int = 0
    held: int = 0
    troubles: int = 0
    pixels: int = 0
    valid: int = 0
    peak_memory: int = 0
    stages: dict[str, float] = field(default_factory=dict)
    workers: set[str] = field(default_factory=set)
    missed: set[Failure] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.began = _now()
        self._latest = deque([self.clock()], maxlen=LATEST + 1)
        self._kept = -EVERY

    def hear(self, event: Done | Trouble) -> tuple[Failure, ...]:
        """Take in an event; the files that could not be read and were not known before."""
        self._latest.append(self.clock())
        new: tuple[Failure, ...] = ()
        if isinstance(event, Trouble):
            self.troubles += 1
        else:
            new = tuple(failure for failure in event.failures if failure not in self.missed)
            self.missed.update(new)
            self._add(event)
        if self.clock() - self._kept >= EVERY:
            self.keep()
        return new

    def _add(self, event: Done) -> None:
        if event.held:
            self.held += 1
            return
        self.computed += 1
        self.pixels += event.pixels
        self.valid += event.valid
        self.peak_memory = max(self.peak_memory, event.peak_memory)
        self.workers.add(event.worker)
        for stage, seconds in event.seconds.items():
            self.stages[stage] = self.stages.get(stage, 0.0) + seconds

    @property
    def rate(self) -> float:
        """Chunks a second over the latest; it falls while none comes."""
        span = self.clock() - self._latest[0]
        return (len(self._latest) - 1) / span if span > 0 else 0.0

    @property
    def now(self) -> Progress:
        """How far the run has come."""
        rate = self.rate
        ahead = self.total - self.computed - self.held - self.troubles
        left = 0.0 if not ahead else ahead / rate if rate else None
        return Progress(
            run=self.run,
            stage=self.stage,
            ended=self.ended,
            began=self.began,
            told=_now(),
            total=self.total,
            before=self.before,
            computed=self.computed,
            held=self.held,
            troubles=self.troubles,
            missed=len(self.missed),
            pixels=self.pixels,
            valid=self.valid,
            rate=round(rate, 4),
            left=left if left is None else round(left, 1),
            stages={stage: round(seconds, 3) for stage, seconds in sorted(self.stages.items())},
            workers=len(self.workers),
            peak_memory=self.peak_memory,
        )

    def keep(self) -> None:
        """Put the progress into the store. A store that does not take it takes no chunks either, and is told of there."""
        self._kept = self.clock()
        if self.objects is not None:
            with suppress(OSError):
                self.objects.put(NAME, self.now.to_json())

    def end(self) -> None:
        """Say that this has ended."""
        self.ended = True
        self.keep()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
