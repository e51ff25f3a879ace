"""What every command shares: lines to the terminal, progress, and how numbers read."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from pipeline.watch import Progress as RunProgress

out = Console()
err = Console(stderr=True)

LINE_EVERY = 10.0
"""Seconds after which a run says again how far it has come, where its output is no terminal."""

LINE_SHARE = 0.05
"""Share of the chunks after which it does so sooner."""

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


def following(text: str, now: "Callable[[], RunProgress]") -> AbstractContextManager[Callable[[], None]]:
    """Tells how far a run has come; gives what is called whenever it has come further.

    A bar on a terminal, else a line now and then: a bar in a file is noise.
    """
    return _bar_of(text, now) if err.is_terminal else _lines_of(text, now)


@contextmanager
def _bar_of(text: str, now: "Callable[[], RunProgress]") -> Iterator[Callable[[], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[told]}"),
    )
    with Progress(*columns, console=err) as progress:
        task = progress.add_task(text, total=now().total, told="")

        def tell() -> None:
            run = now()
            progress.update(task, completed=run.finished, told=", ".join(particulars(run)))

        yield tell


@contextmanager
def _lines_of(text: str, now: "Callable[[], RunProgress]") -> Iterator[Callable[[], None]]:
    last, said = time.monotonic(), 0

    def tell() -> None:
        nonlocal last, said
        run = now()
        if time.monotonic() - last < LINE_EVERY and run.finished - said < LINE_SHARE * run.total:
            return
        last, said = time.monotonic(), run.finished
        err.print(f"{text}: {sentence(run)}", soft_wrap=True, highlight=False, markup=False)

    yield tell


def sentence(run: "RunProgress") -> str:
    """How far a run has come, in one line."""
    return ", ".join([f"{run.finished} of {many(run.total, 'chunk')}", *particulars(run)])


def particulars(run: "RunProgress") -> list[str]:
    """Rate, time left, failures and the slowest stage of a run, each in a few words."""
    words = [f"{run.rate:.3g} a second"] if run.rate else []
    if run.left:
        words.append(f"{duration(run.left)} left")
    words.append(f"{run.troubles} failed")
    if run.missed:
        words.append(f"{many(run.missed, 'file')} not read")
    if run.slowest:
        words.append("slowest {} ({:.0%})".format(*run.slowest))
    return words


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
