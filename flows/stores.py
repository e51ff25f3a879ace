"""Commands on a store that a run wrote."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from flows.terminal import bar, complain, out, say, wait
from pipeline.errors import Refused

if TYPE_CHECKING:
    from pipeline.store import Store

StorePath = Annotated[Path, typer.Argument(help="Zarr store that a run wrote.", metavar="STORE")]


def status(store: StorePath) -> None:
    """Say what of a store is done, and what failed and why. Ends with 1 where anything is missing."""
    from pipeline.summary import Totals, current

    opened = open_store(store)
    records = current(opened)
    expected = sum(1 for _ in opened.contents.layout.chunks()) * len(opened.contents.days)
    table = Table("day", "chunks done", "valid", "cloud", "files not read", "weights", title=store.name)
    for day in opened.contents.days:
        total = Totals.of(r for r in records if r.day == day)
        valid = 1 - total.flags.get("NODATA", 0) / total.pixels if total.pixels else 0.0
        cloud = total.flags.get("CLOUD", 0) / total.pixels if total.pixels else 0.0
        chunks = f"{total.chunks} / {expected // len(opened.contents.days)}"
        weights = ", ".join(sorted({r.weights[:12] for r in records if r.day == day}))
        table.add_row(str(day), chunks, f"{valid:.1%}", f"{cloud:.1%}", str(len(total.failures)), weights or "none")
    out.print(table)
    failures = sorted({(f.scene, f.band, f.reason) for r in records for f in r.failures})
    troubles = opened.ledger.troubles()
    for scene, band, reason in failures:
        say(f"not read: {scene} {band}: {reason}")
    for place, reason in troubles.items():
        say(f"failed: chunk {place}: {reason}")
    if len(records) < expected:
        say(f"{expected - len(records)} of {expected} chunks are not done; run the specification again.")
    if failures or troubles or len(records) < expected:
        raise typer.Exit(1)


def report(
    store: StorePath,
    to: Annotated[Path | None, typer.Option("--out", help="HTML file; by default beside the store.")] = None,
) -> None:
    """Write the page about a store: one self-contained HTML file."""
    from pipeline.report import write_report

    opened = open_store(store)
    with wait("writing the report"):
        page = write_report(opened, to or store.with_suffix(".html"))
    say(f"report: {page}")


def digest(store: StorePath) -> None:
    """Print what makes two results the same: a hash of pixels, flags and band sums, whatever the chunks and workers."""
    from pipeline.summary import digest as compute

    opened = open_store(store)
    warn_unfinished(opened)
    with wait("reading the store"):
        found = compute(opened)
    print(found)


def export(
    store: StorePath,
    to: Annotated[Path, typer.Argument(help="Folder for the files.", metavar="OUT")],
) -> None:
    """Write a store as cloud-optimised GeoTIFFs for GDAL and QGIS, one of reflectance and one of flags a day."""
    from pipeline.export import export as write

    opened = open_store(store)
    warn_unfinished(opened)
    with bar("exporting", 2 * len(opened.contents.days)) as advance:
        files = write(opened, to, told=lambda _: advance())
    for path in files:
        say(str(path))


def open_store(path: Path) -> "Store":
    from pipeline.store import Store

    if not Store.exists(path):
        raise Refused(f"there is no store at {path}; 'fusecube run SPEC' makes one.")
    return Store(path)


def warn_unfinished(store: "Store") -> None:
    """Say so where not every chunk of a store is done: its pixels are nodata."""
    from pipeline.summary import current

    expected = sum(1 for _ in store.contents.layout.chunks()) * len(store.contents.days)
    absent = expected - len(current(store))
    if absent:
        complain(f"{absent} of {expected} chunks are not done; they are nodata here.")
