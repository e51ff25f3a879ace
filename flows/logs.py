"""The log of runs: one JSON object a line, so that it is read by machines as it grows.

Every line has ``time`` (ISO 8601, UTC), ``level``, ``event`` and ``run``; a line on a chunk has its ``key``, the name of its
work, which is the name of its record in the ledger too. No line names a folder or a secret.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from flows.terminal import complain
from pipeline.errors import Refused
from pipeline.events import Done, Trouble
from pipeline.record import Failure

OPENING = b'{"time": '
"""How every line begins."""


class Log:
    """Writes the lines of one run; a log that takes no more is told of once, and the run goes on."""

    def __init__(self, file: BinaryIO | None, run: str) -> None:
        self._file = file
        self.run = run
        self.stage = ""
        """What the run is at, named in every line; empty where there is but one thing to be at."""

    def write(self, event: str, level: str = "info", **fields: object) -> None:
        """Append a line, whole and at once."""
        if self._file is None:
            return
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = (
            {"time": moment, "level": level, "event": event, "run": self.run}
            | ({"stage": self.stage} if self.stage else {})
            | fields
        )
        try:
            self._file.write(json.dumps(line, default=str).encode() + b"\n")
        except OSError as error:
            complain(f"warning: the log takes no more lines ({error.strerror}); the run goes on without it")
            self._file = None

    def hear(self, event: Done | Trouble) -> None:
        """Write what became of a chunk."""
        if isinstance(event, Trouble):
            self.write("trouble", "error", task=event.task, reason=event.reason)
            return
        if event.held and not event.worker:
            return  # it was done before, and nobody has looked at it
        box = event.box
        self.write(
            "chunk",
            "warning" if event.failures else "info",
            key=event.key,
            day=event.day,
            box=[box.left, box.top, box.right, box.bottom],
            pixels=event.pixels,
            valid=event.valid,
            held=event.held,
            failures=[asdict(failure) for failure in event.failures],
            seconds=dict(event.seconds),
            turn=round(event.turn, 4),
            peak_memory=event.peak_memory,
            worker=event.worker,
        )

    def missed(self, failures: tuple[Failure, ...]) -> None:
        """Write which files could not be read, as each is first heard of."""
        for failure in failures:
            self.write("missed", "warning", **asdict(failure))


@contextmanager
def logging_to(path: Path | None, run: str) -> Iterator[Log]:
    """A log that goes on in a file, or nowhere. Raises ``Refused`` where the file cannot be written."""
    if path is None:
        yield Log(None, run)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            _cut_half_line(path)
        file = path.open("ab", buffering=0)  # a line is one write: whole in the file, or not there
    except OSError as error:
        raise Refused(f"the log {path} cannot be written: {error.strerror}; name another file with --log.") from None
    with file:
        yield Log(file, run)


def _cut_half_line(path: Path) -> None:
    """Cut what a full disk may have left of a line, so that every line can be read."""
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        at = end
        while at > 0:
            start = max(0, at - 2**16)
            file.seek(start)
            newline = file.read(at - start).rfind(b"\n")
            if newline >= 0:
                at = start + newline + 1
                break
            at = start
        file.seek(at)
        if not OPENING.startswith(file.read(len(OPENING))):
            raise Refused(f"{path} is not a log of fusecube; name another file with --log.")
        file.truncate(at)
