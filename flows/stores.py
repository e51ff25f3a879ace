"""Commands on a store that a run wrote, in a folder or a bucket."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from flows.terminal import bar, complain, duration, out, say, sentence, wait
from pipeline.errors import Refused

if TYPE_CHECKING:
    from pipeline.objects import Objects
    from pipeline.standing import Standing
    from pipeline.store import Store

StorePath = Annotated[str, typer.Argument(help="Zarr store that a run wrote: a folder or s3://….", metavar="STORE")]


def status(
    store: StorePath,
    for_machines: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Say what of a store is done, what failed and why, and how far a run on it has come. Ends with 1 where anything is
    missing."""
    from flows.regions import zones_of
    from pipeline.standing import standing

    opened = open_store(store)
    found = standing(opened)
    zones = [standing(zone) for zone in zones_of(opened)]
    if for_machines:
        plain = found.plain() | ({"zones": [zone.plain() for zone in zones]} if zones else {})
        print(json.dumps(plain, indent=1))
    else:
        for one in (*zones, found):
            _tell(one)
    if not all(one.complete for one in (*zones, found)):
        raise typer.Exit(1)


def _tell(found: "Standing") -> None:
    """The standing of a store for people."""
    table = Table("day", "chunks done", "valid", "cloud", "files not read", "weights", title=found.store)
    for day in found.days:
        shares = ("" if share is None else f"{share:.1%}" for share in (day.valid, day.cloud))
        weights = ", ".join(known[:12] for known in day.weights) or "none"
        table.add_row(str(day.day), f"{day.done} / {found.chunks}", *shares, str(day.missed), weights)
    out.print(table)
    for scene, band, reason in found.missed:
        say(f"not read: {scene} {band}: {reason}")
    for place, reason in found.troubles.items():
        say(f"failed: chunk {place}: {reason}")
    absent = f"{found.expected - found.done} of {found.expected} chunks are not done"
    run, here = found.progress, found.holder
    if found.running and here:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(here.since))
        heard = duration(max(0.0, time.time() - here.heard))
        say(f"a run is on since {since} (process {here.process} on {here.host}, heard of {heard} ago)")
        if run:
            say(f"{run.stage}: {sentence(run)}")
    elif found.done < found.expected:
        how = "; the last run stopped without an end" if found.stopped else ""
        say(f"{absent}{how}; run the specification again.")


def report(
    store: StorePath,
    to: Annotated[Path | None, typer.Option("--out", help="HTML file; by default beside the store.")] = None,
) -> None:
    """Write the page about a store: one self-contained HTML file."""
    from pipeline.report import write_report

    opened = open_store(store)
    with wait("writing the report"):
        if to:
            shown = str(write_report(opened, to))
        else:
            with file_beside(opened.objects, ".html") as (path, shown):
                write_report(opened, path)
    say(f"report: {shown}")


@contextmanager
def file_beside(objects: "Objects", suffix: str) -> Iterator[tuple[Path, str]]:
    """A file to write that ends up beside a store, and how it is called there: ``a.html`` beside ``a.zarr``."""
    if objects.folder is not None:
        path = objects.folder.with_suffix(suffix)
        yield path, str(path)
        return
    from pipeline.objects import Objects

    parent, _, name = objects.where.rpartition("/")
    name = Path(name).with_suffix(suffix).name
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        yield path, f"{parent}/{name}"
        Objects.at(parent).put(name, path.read_bytes())


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


def open_store(where: str | Path) -> "Store":
    from pipeline.store import GROWING, Store

    if not Store.exists(where):
        raise Refused(f"there is no store at {where}; 'fusecube run SPEC' makes one.")
    store = Store(where)
    if store.objects.exists(GROWING):
        raise Refused(
            f"{where} is being grown, or its run was killed over it; run its specification again, which ends it."
        )
    return store


def warn_unfinished(store: "Store") -> None:
    """Say so where not every chunk of a store, or of a zone of a region, is done: its pixels are nodata."""
    from flows.regions import zones_of
    from pipeline.summary import count

    for one in (store, *zones_of(store)):
        expected = sum(1 for _ in one.contents.layout.chunks()) * len(one.contents.days)
        absent = expected - count(one)
        if absent:
            where = "" if one is store else f" of {one.where}"
            complain(f"{absent} of {expected} chunks{where} are not done; they are nodata here.")
