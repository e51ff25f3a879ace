"""What a run would do, from metadata alone: no pixel is read, and no list of chunks is kept."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np

from pipeline.job import Job, Names, Task, tasks
from pipeline.needs import Meter, Needs
from pipeline.scene import Scene


class Keys:
    """A set of keys, eight bytes each."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        numbers = np.sort(np.fromiter((int(key, 16) for key in keys), np.uint64))
        self._sorted = array("Q", numbers.tobytes())

    def __contains__(self, key: str) -> bool:
        number = int(key, 16)
        place = bisect_left(self._sorted, number)
        return place < len(self._sorted) and self._sorted[place] == number

    def __len__(self) -> int:
        return len(self._sorted)


@dataclass(frozen=True)
class Todo:
    """The tasks of a job that are still to be done; made anew, one after the other, whenever they are gone through."""

    job: Job
    """The job."""
    scenes: tuple[Scene, ...]
    """Its scenes."""
    finished: Keys = field(default_factory=Keys, compare=False)
    """Keys of what is done."""
    count: int = 0
    """How many tasks there are."""
    days: tuple[date, ...] = ()
    """Days with at least one."""

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Task]:
        """Day by day, neighbours together, each with its scenes."""
        return (task for task, done in _judged(self.job, self.scenes, self.finished) if not done)


@dataclass(frozen=True)
class Plan:
    """The work, and what it asks for."""

    todo: Todo
    """Tasks to run."""
    done: int
    """Tasks that the ledger holds already."""
    days: int
    """Days, done or not."""
    scenes: int
    """Scenes that touch at least one window."""
    needs: Needs
    """What the tasks to run ask for."""
    files: int
    """Files that they open."""


def plan(job: Job, scenes: Sequence[Scene], done: Iterable[str] = ()) -> Plan:
    """The plan of a job, leaving out the work whose keys are done."""
    meter, days = Meter(job), dict[date, bool]()
    todo = Todo(job, tuple(scenes), Keys(done))
    every = count = 0
    for task, over in _judged(job, scenes, todo.finished):
        every += 1
        count += not over
        days[task.day] = days.get(task.day, False) or not over
        meter.add(task, not over)
    left = tuple(day for day, some in days.items() if some)
    return Plan(
        todo=replace(todo, count=count, days=left),
        done=every - count,
        days=len(days),
        scenes=len(meter.scenes),
        needs=meter.needs,
        files=meter.files,
    )


def _judged(job: Job, scenes: Iterable[Scene], finished: Keys) -> Iterator[tuple[Task, bool]]:
    """Every task of a job, and whether it is done."""
    names = Names(job)
    for task in tasks(job, scenes):
        yield task, bool(finished) and names.key(task) in finished
