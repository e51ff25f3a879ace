"""The workers of a cluster that work can be given to, as they come and go."""

import time
from collections.abc import Collection

from distributed import Client

from pipeline.device import Equipment
from pipeline.errors import Refused

LOOK = 5.0
"""Seconds between looks at which workers there are."""


PATIENCE = 600.0
"""Seconds without a worker that could take the work, after which it ends unless it is told otherwise."""


class Staff:
    """The workers that can take a kind of work.

    Parameters
    ----------
    client
        A client of the cluster.
    equipment
        What the work is computed on.
    patience
        Seconds to wait where none is there.
    """

    def __init__(self, client: Client, equipment: Equipment, patience: float = PATIENCE) -> None:
        self.client = client
        self.equipment = equipment
        self.patience = patience
        self.unfit: dict[str, str] = {}
        """Workers that cannot do the work, and why."""
        self.present: frozenset[str] = frozenset()
        """All workers that were there at the last look."""
        self.able: tuple[str, ...] = ()
        """Those of them that can take the work."""
        self.only: tuple[str, ...] = ()
        """The same where others must not be given it; empty where any may."""
        self._plain = False
        self._looked = -LOOK
        self._seen = time.monotonic()

    def look(self, now: bool = False) -> bool:
        """See which workers there are, unless that was a moment ago; whether it was looked.

        Raises ``Refused`` where none that can take the work has been there for too long.
        """
        if not now and time.monotonic() - self._looked < LOOK:
            return False
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        self._looked = time.monotonic()
        self.present = frozenset(workers)
        self._plain = self._plain or any(not about["resources"].get("GPU") for about in workers.values())
        able, restricted = suited(workers, self.equipment, self._plain)
        self.able = tuple(name for name in able if name not in self.unfit)
        self.only = self.able if restricted or self.unfit else ()
        if self.able:
            self._seen = self._looked
        elif self._looked - self._seen > self.patience:
            raise Refused(self._alone())
        return True

    def gone(self, only: Collection[str]) -> bool:
        """Whether work that only some workers may take waits for those that are no more."""
        return bool(only) and self.present.isdisjoint(only)

    def _alone(self) -> str:
        wanted = " and ".join(f"{name}={amount:g}" for name, amount in self.equipment.resources)
        left_out = "".join(f"; worker {name} was left out: {reason}" for name, reason in list(self.unfit.items())[:1])
        return (
            f"no worker that can take the work{f' (with {wanted})' if wanted else ''} has been there for "
            f"{self.patience:g} s{left_out}; what was finished is kept: see why workers end, and run again to go on."
        )


def suited(workers: dict, equipment: Equipment, plain: bool) -> tuple[list[str], bool]:
    """The workers that may be given work, and whether others are there that may not.

    What asks for resources goes where Dask finds them. What asks for none stays away from workers with a GPU, which are kept
    for work that does, where there are or have been workers without one (``plain``).
    """
    wanted = dict(equipment.resources)
    if wanted:
        able = [n for n, w in workers.items() if all(w["resources"].get(r, 0) >= v for r, v in wanted.items())]
        return able, False
    if not plain:
        return list(workers), False
    able = [name for name, about in workers.items() if not about["resources"].get("GPU")]
    return able, len(able) < len(workers)
