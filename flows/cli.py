"""The command line. Commands say what they do, refuse in one sentence (code 2), and end with 1 where something was missed.

Imports that take long stand in the commands that need them, so that ``fusecube --help`` and a run with nothing left to do
answer at once.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from pipeline import __version__
from pipeline.errors import Refused, StoreFull

if TYPE_CHECKING:
    from flows.prepare import Prepared
    from pipeline.job import Job
    from pipeline.plan import Plan
    from pipeline.store import Store

app = typer.Typer(
    name="fusecube",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Satellite archives to fused, analysis-ready datacubes.\n\n"
    "**First look:** `fusecube demo`. **Own area:** `fusecube init sharpen > my.yaml`, edit it, then "
    "`fusecube search my.yaml`, `fusecube plan my.yaml`, `fusecube run my.yaml`.\n\n"
    "Exit codes: 0 all done; 1 some chunks or files failed (each is named); 2 refused before anything was written.",
)
out = Console()
err = Console(stderr=True)

SpecFile = Annotated[
    Path, typer.Argument(help="Run specification, YAML; `fusecube init sharpen` writes one.", metavar="SPEC")
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="Replace an entry: `--set chunk=600 --set cluster.workers=1`.")
]
StorePath = Annotated[Path, typer.Argument(help="Zarr store that a run wrote.", metavar="STORE")]


def main() -> None:
    """The entry point: refusals become one sentence and code 2."""
    try:
        app()
    except Refused as error:
        complain(f"fusecube: {error}")
        sys.exit(2)
    except StoreFull as error:
        complain(f"fusecube: {error.strerror}; nothing is lost: free some and run again.")
        sys.exit(1)
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        complain(f"fusecube: {error.strerror or error}{place}")
        sys.exit(1)
    except KeyboardInterrupt:
        complain("fusecube: stopped; run again to go on.")
        sys.exit(1)


def say(text: str) -> None:
    """A line as it is: nothing wrapped, coloured or taken for markup."""
    out.print(text, soft_wrap=True, highlight=False, markup=False)


def complain(text: str) -> None:
    """A line of what went wrong."""
    err.print(text, style="red", soft_wrap=True, highlight=False, markup=False)


@contextmanager
def _wait(text: str) -> Iterator[None]:
    """A spinner for what may take more than a moment."""
    with err.status(text):
        yield


def _version(wanted: bool) -> None:
    if wanted:
        say(f"fusecube {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""


@app.command()
def demo(
    to: Annotated[Path, typer.Option("--out", help="Folder for everything that the demonstration makes.")] = Path(
        "runs/demo"
    ),
    size: Annotated[int, typer.Option(help="Edge of the simulated scene in 10 m pixels, a multiple of 6.")] = 600,
) -> None:
    """Simulate a scene, sharpen it, and leave a Zarr store, a report and a picture: nothing to configure."""
    from flows.spec import validate
    from pipeline.simulated.archive import TILE

    catalog = _simulate(to / "archive", size, dates=2, clouds=0.06, seed=1)
    raw = {
        "flow": "sharpen",
        "catalog": str(catalog),
        "area": {"tile": TILE},
        "time": "2024-06",
        "adapt": 200,
        "chunk": 600,
        "out": str(to / "demo.zarr"),
    }
    _finish(_run(_prepare_spec(validate(raw))))


@app.command()
def simulate(
    to: Annotated[Path, typer.Argument(help="Folder to write COGs and catalog.json into.", metavar="OUT")],
    size: Annotated[int, typer.Option(help="Edge of the scene in 10 m pixels, a multiple of 6.")] = 600,
    dates: Annotated[int, typer.Option(min=1, help="Acquisitions, five days apart; the first is clear.")] = 2,
    clouds: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the later ones under clouds.")] = 0.06,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same land.")] = 1,
) -> None:
    """Write a simulated Sentinel-2 archive with known truth: L1C and L2A, COGs, a STAC catalog."""
    catalog = _simulate(to, size, dates, clouds, seed)
    say(f"catalog: {catalog}")


def _simulate(to: Path, size: int, dates: int, clouds: float, seed: int) -> Path:
    from pipeline.simulated.archive import simulate as write

    if size <= 0 or size % 6:
        raise Refused(
            f"--size {size} is not a multiple of 6 pixels (60 m); the nearest is {max(6, round(size / 6) * 6)}."
        )
    with _bar("simulating", dates * 2) as advance:
        return write(to, size, dates, clouds, seed, told=lambda _: advance())


@app.command()
def init(
    flow_name: Annotated[str, typer.Argument(help="Name of the flow (sharpen), or train, evaluate.", metavar="FLOW")],
) -> None:
    """Print a commented specification to start from: `fusecube init sharpen > my.yaml`."""
    from flows import evaluate as trials
    from flows import teach
    from flows.prepare import flow

    kinds = {"train": teach.EXAMPLE, "evaluate": trials.EXAMPLE}
    print((kinds.get(flow_name) or flow(flow_name).EXAMPLE).format(name="my.yaml"), end="")


@app.command()
def search(spec: SpecFile, change: Changes = None) -> None:
    """List the scenes that a specification would use."""
    prepared = _prepare(spec, change)
    table = Table("day", "scene", "level", "cloud", "bands", "CRS", title=f"scenes: {len(prepared.scenes)}")
    for scene in prepared.scenes:
        cloud = f"{scene.cloud_cover:.1f} %"
        table.add_row(str(scene.solar_day), scene.id, scene.level, cloud, str(len(scene.hrefs)), f"EPSG:{scene.epsg}")
    out.print(table)


@app.command()
def plan(spec: SpecFile, change: Changes = None) -> None:
    """Say what a run would do and cost, before a byte of pixels is read."""
    import psutil

    from flows.adapting import missing
    from flows.road import planned

    prepared = _prepare(spec, change)
    job, work = planned(prepared)
    layout = job.layout
    workers = prepared.spec.cluster.workers or _cores()
    low, high = (seconds / workers for seconds in work.seconds)
    height, width = layout.geobox.shape
    table = Table(show_header=False, title=f"plan of {spec.name}: {job.flow} with {job.model.name}")
    table.add_row("area", f"{width} x {height} px at {float(layout.lattice.resolution):g} m in {layout.lattice.crs}")
    table.add_row("scenes", f"{work.scenes} on {work.days} days, level {job.level}")
    table.add_row(
        "chunks",
        f"{len(work.todo)} to do, {work.done} done; {layout.core_pixels} px, halo {job.halo * layout.lattice.pixels()} px",
    )
    table.add_row(
        "to read",
        f"{_size(work.read_bytes)} decoded for {_size(work.needed_bytes)} needed (x {work.amplification:.1f})",
    )
    table.add_row("requests", f"about {work.requests}, were the files remote in blocks of 1024 px")
    table.add_row("to write", f"{_size(work.written_bytes)} before compression")
    table.add_row("memory", f"about {_size(work.worker_bytes)} a worker, {workers} workers")
    free = psutil.virtual_memory().available
    if workers * work.worker_bytes > free:
        table.add_row(
            "", f"[red]more than the {_size(free)} that are free: make chunk: smaller, or cluster.workers fewer"
        )
    days = missing(job, prepared.scenes)
    if days:
        table.add_row(
            "to adapt", f"{job.adapt} steps for each group of bands on {_many(len(days), 'day')}, before the rest"
        )
    table.add_row("time", f"{_duration(low)} to {_duration(high)}, and some seconds to start")
    out.print(table)


@app.command()
def run(spec: SpecFile, change: Changes = None) -> None:
    """Run a specification, or go on where it stopped."""
    _finish(_run(_prepare(spec, change)))


@app.command()
def train(
    spec: Annotated[
        Path, typer.Argument(help="Training specification; `fusecube init train` writes one.", metavar="SPEC")
    ],
    change: Changes = None,
) -> None:
    """Teach a network by Wald's protocol, or go on where it stopped; leaves weights, their card and a history."""
    from flows import teach

    wanted = teach.load(spec, tuple(change or ()))
    model = teach.declared(wanted)
    with _wait("searching"):
        found = [(source, scene) for source in wanted.sources for scene in teach.scenes(source)]
    with _bar("reading scenes", len(found)) as advance:
        windows = teach.read(model, wanted, found, advance)
    say(f"{len(windows)} windows of {len(found)} scenes; {wanted.network}, {sum(wanted.steps.values())} steps")
    done: dict[str, int] = {}
    with _bar("teaching", sum(wanted.steps.values())) as advance:

        def told(group: str, event: object) -> None:
            if not isinstance(event, int):
                say(f"{group} step {event.step}: loss {event.loss:.5f}, held out {event.validation:.5f}")  # type: ignore[attr-defined]
                return
            for _ in range(event - done.get(group, 0)):  # a resumed training starts further on
                advance()
            done[group] = event

        taught = teach.teach(wanted, model, windows, told)
    for name, place in (("weights", taught.file), ("history", taught.history)):
        say(f"{name}: {place}")


@app.command()
def evaluate(
    spec: Annotated[Path, typer.Argument(help="Evaluation; `fusecube init evaluate` writes one.", metavar="SPEC")],
    change: Changes = None,
) -> None:
    """Hold methods against one another on scenes: tables, residual pictures, power spectra."""
    from flows import evaluate as trials
    from flows import tables, teach
    from pipeline.figures import residuals, spectra
    from pipeline.training.windows import lattice_of, windows

    wanted = trials.load(spec, tuple(change or ()))
    models = [trials.declared(method) for method in wanted.methods]
    with _wait("searching"):
        found = [(source, scene) for source in wanted.sources for scene in teach.scenes(source)]
    done: list[trials.Trial] = []
    with _bar("trying", len(found) * trials.count(wanted)) as advance:
        for source, scene in found:
            pictures: dict[str, list[trials.Picture]] = {}
            read = list(windows(models[0], scene, lattice_of(models[0], scene), source.windows))
            if not read:
                complain(f"{scene.id}: no window of it is measured and clear; left out.")
                continue
            for trial, picture in trials.evaluate(wanted, scene, read, advance):
                done.append(trial)
                if picture:
                    pictures.setdefault(picture.group, []).append(picture)
            wanted.out.mkdir(parents=True, exist_ok=True)
            for group, shown in pictures.items():
                title = f"{scene.id}, bands of {group}, one scale down"
                estimates, reference = {p.method: p.estimate for p in shown}, shown[0].reference
                spacing = float(group.removesuffix("m"))
                residuals(wanted.out / f"residual-{scene.id}-{group}.png", title, estimates, reference)
                spectra(wanted.out / f"spectrum-{scene.id}-{group}.png", title, estimates, reference, spacing)
            tables.write(wanted.out, done)
    if not done:
        raise Refused("no scene has a window that is measured and clear; name others with sources:.")
    print((wanted.out / "tables.md").read_text(encoding="utf-8"))
    say(f"tables and pictures: {wanted.out}")


@app.command()
def status(store: StorePath) -> None:
    """Say what of a store is done, and what failed and why. Ends with 1 where anything is missing."""
    from pipeline.summary import Totals, current

    opened = _open(store)
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


@app.command()
def report(
    store: StorePath,
    to: Annotated[Path | None, typer.Option("--out", help="HTML file; by default beside the store.")] = None,
) -> None:
    """Write the page about a store: one self-contained HTML file."""
    from pipeline.report import write_report

    opened = _open(store)
    with _wait("writing the report"):
        page = write_report(opened, to or store.with_suffix(".html"))
    say(f"report: {page}")


@app.command()
def digest(store: StorePath) -> None:
    """Print what makes two results the same: a hash of pixels, flags and band sums, whatever the chunks and workers."""
    from pipeline.summary import digest as compute

    opened = _open(store)
    _warn_unfinished(opened)
    with _wait("reading the store"):
        found = compute(opened)
    print(found)


@app.command()
def export(
    store: StorePath,
    to: Annotated[Path, typer.Argument(help="Folder for the files.", metavar="OUT")],
) -> None:
    """Write a store as cloud-optimised GeoTIFFs for GDAL and QGIS, one of reflectance and one of flags a day."""
    from pipeline.export import export as write

    opened = _open(store)
    _warn_unfinished(opened)
    with _bar("exporting", 2 * len(opened.contents.days)) as advance:
        files = write(opened, to, told=lambda _: advance())
    for path in files:
        say(str(path))


def _prepare(path: Path, change: list[str] | None) -> "Prepared":
    from flows.spec import load

    return _prepare_spec(load(path, tuple(change or ())))


def _prepare_spec(spec) -> "Prepared":  # type: ignore[no-untyped-def]
    from flows.prepare import prepare

    with _wait("searching"):
        return prepare(spec)


def _run(prepared: "Prepared") -> tuple["Prepared", bool, bool]:
    """Run with a progress bar; whether the store has changed, and whether all is there."""
    from flows.road import execute, planned
    from pipeline.growth import mend

    for warning in prepared.warnings:
        complain(f"warning: {warning}")

    path = prepared.spec.out
    mend(path)
    job, work = planned(prepared)
    if not work.todo:
        say(f"{path}: all {work.done} chunks are done; nothing to compute.")
        return prepared, _concluded(prepared, job), True
    from cluster.local import local

    job, work = _adapt(prepared, job, work)
    say(f"{len(work.todo)} chunks to do, {work.done} done; {work.scenes} scenes on {work.days} days; into {path}")
    with (
        local(job.model_on(work.todo[0].day), prepared.spec.cluster.workers) as client,
        _bar("fusing", len(work.todo)) as advance,
    ):
        result = execute(client, prepared, job, work, watch=lambda event: advance())
    for line in result.missed:
        complain(f"not read: {line}")
    for line in result.troubles:
        complain(f"failed: {line}")
    if result.full:
        raise StoreFull(28, f"{path}: no space is left; {result.computed + result.held} chunks are kept")
    return prepared, result.computed > 0, result.complete


def _adapt(prepared: "Prepared", job: "Job", work: "Plan") -> tuple["Job", "Plan"]:
    """Teach the network the scenes of every day that its store has no weights for."""
    from flows.adapting import missing
    from flows.road import adapted

    days = missing(job, prepared.scenes)
    if not days:
        return job, work
    groups = sum(1 for wanted in job.model.inputs[1:] if set(wanted.bands) & set(job.model.output.bands))
    with _bar("adapting", len(days) * groups * job.adapt) as advance:
        return adapted(prepared, job, work, lambda event: advance() if isinstance(event, int) else None, say)


def _concluded(prepared: "Prepared", job: "Job") -> bool:
    """Do what a run that was killed after its last chunk left undone; whether there was anything."""
    from flows.road import conclude
    from pipeline.summary import folded

    store = _open(prepared.spec.out)
    if folded(store):
        return False
    conclude(store, prepared, job)
    return True


def _finish(ran: tuple["Prepared", bool, bool]) -> None:
    """Report and picture, where the store has changed, then the exit code."""
    prepared, changed, complete = ran
    path = prepared.spec.out
    if changed:
        with _wait("writing the report"):
            from pipeline.picture import save_picture
            from pipeline.report import write_report

            store = _open(path)
            picture = save_picture(store, path.with_suffix(".png"))
            page = write_report(store, path.with_suffix(".html"))
        for name, place in (("store", path), ("report", page), ("picture", picture)):
            say(f"{name}: {place}")
    if not complete:
        raise typer.Exit(1)


def _open(path: Path) -> "Store":
    from pipeline.store import Store

    if not Store.exists(path):
        raise Refused(f"there is no store at {path}; 'fusecube run SPEC' makes one.")
    return Store(path)


def _warn_unfinished(store: "Store") -> None:
    """Say so where not every chunk of a store is done: its pixels are nodata."""
    from pipeline.summary import current

    expected = sum(1 for _ in store.contents.layout.chunks()) * len(store.contents.days)
    absent = expected - len(current(store))
    if absent:
        complain(f"{absent} of {expected} chunks are not done; they are nodata here.")


@contextmanager
def _bar(text: str, total: int) -> Iterator:
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


def _cores() -> int:
    from dask.system import CPU_COUNT

    return CPU_COUNT


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}{'s' if count != 1 else ''}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    main()
