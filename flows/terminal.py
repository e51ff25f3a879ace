"""What every command shares: lines to the terminal, progress, and how numbers read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

out = Console()
err = Console(stderr=True)

Changes = Annotated[
    list[str] | None, typer.Option("--set", help="Replace an entry: `--set chunk=600 --set cluster.workers=1`.")
]


def say(text: str) -> None:
    """A line as it is: nothing wrapped, coloured or taken for markup."""
    out.print(text, soft_wrap=True, highlight=False, markup=False)


def complain(text: str) -> None:
    """A line of what went wrong."""
    err.print(text, style="red", soft_wrap=True, highlight=False, markup=False)


@contextmanager
def wait(text: str) -> Iterator[None]:
    """A spinner for what may take more than a moment."""
    with err.status(text):
        yield


@contextmanager
def bar(text: str, total: int) -> Iterator:
    """A progress bar with rate and time left; gives the function that advances it by one."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as progress:
        task = progress.add_task(text, total=total, rate="")

        def advance() -> None:
            progress.advance(task)
            speed = progress.tasks[0].speed
            progress.update(task, rate=f"{speed:.2f}/s" if speed else "")

        yield advance


def size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def many(count: int, thing: str) -> str:
    return f"{count} {thing}{'s' if count != 1 else ''}"
