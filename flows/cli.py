"""The command line. Commands say what they do, refuse in one sentence (code 2), and end with 1 where something was missed.

Imports that take long stand in the commands that need them, so that ``fusecube --help`` and a run with nothing left to do
answer at once.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows import networks, stores
from flows.terminal import Changes, bar, complain, out, say, wait
from pipeline import __version__
from pipeline.errors import Refused, StoreFull

if TYPE_CHECKING:
    from flows.prepare import Prepared

app = typer.Typer(
    name="fusecube",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Satellite archives to fused, analysis-ready datacubes.\n\n"
    "**First look:** `fusecube demo`. **Own area:** `fusecube init sharpen > my.yaml`, edit it, then "
    "`fusecube search my.yaml`, `fusecube plan my.yaml`, `fusecube run my.yaml`.\n\n"
    "Exit codes: 0 all done; 1 some chunks or files failed (each is named); 2 refused before anything was written; "
    "130 stopped by Ctrl-C.",
)

SpecFile = Annotated[
    Path, typer.Argument(help="Run specification, YAML; `fusecube init sharpen` writes one.", metavar="SPEC")
]

Redo = Annotated[
    str | None,
    typer.Option(
        help='Compute chunks again where this holds of their metrics: `--redo "valid_fraction < 0.5"`, '
        "`mean[B02] > 0.3 and day >= '2024-06-01'`.",
        metavar="CONDITION",
    ),
]


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
    except Exception as error:
        if "obstore" not in sys.modules:  # what reaches buckets is loaded only where there is one
            raise
        from pipeline import objects

        if not isinstance(error, objects.BaseError):
            raise
        complain(f"fusecube: {objects.named(error, 'the store')}")
        sys.exit(1)


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
    from flows.running import carry_out
    from flows.spec import validate
    from pipeline.simulated.archive import TILE

    _whole_steps(size)
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
    carry_out(_prepare_spec(validate(raw)))


@app.command()
def simulate(
    to: Annotated[Path, typer.Argument(help="Folder to write COGs and catalog.json into.", metavar="OUT")],
    size: Annotated[int, typer.Option(help="Edge of the scene in 10 m pixels, a multiple of 6.")] = 600,
    dates: Annotated[int, typer.Option(min=1, help="Acquisitions, five days apart; the first is clear.")] = 2,
    clouds: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the later ones under clouds.")] = 0.06,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same land.")] = 1,
    sensors: Annotated[
        str | None,
        typer.Option(help="Let these watch from --start to --end, each on its own days; with commas between, or all."),
    ] = None,
    start: Annotated[str | None, typer.Option(help="First day of --sensors; by default 2024-04-01.")] = None,
    end: Annotated[str | None, typer.Option(help="Last day of --sensors; by default 2024-06-30.")] = None,
) -> None:
    """Write a simulated archive with known truth: COGs and a STAC catalog.

    Sentinel-2 (L1C and L2A) on a few dates; or, with --sensors, any of sentinel-1, sentinel-2, landsat, modis, planetscope and
    planet-fusion over months, in the words of the catalogs that serve them.
    """
    if (start or end) and not sensors:
        raise Refused(
            "--start and --end are the days of --sensors; name some, or --sensors all, or give --dates instead."
        )
    _whole_steps(size)
    catalog = (
        _campaign(to, size, clouds, seed, (sensors, start or "2024-04-01", end or "2024-06-30"))
        if sensors
        else _simulate(to, size, dates, clouds, seed)
    )
    say(f"catalog: {catalog}")


def _campaign(to: Path, size: int, clouds: float, seed: int, watched: tuple[str, str, str]) -> Path:
    from flows.spec import period
    from pipeline.simulated.archive import simulate_campaign
    from pipeline.simulated.streams import FIVE, Campaign

    names, start, end = watched
    try:
        first, last = period(f"{start}/{end}")
    except ValueError as error:
        raise Refused(f"--start, --end: {error}") from None
    chosen = FIVE if names == "all" else tuple(name.strip() for name in names.split(","))
    campaign = Campaign(first.date(), last.date(), size, chosen, seed=seed, clouds=clouds)
    with bar("simulating", len(campaign.passes())) as advance:
        return simulate_campaign(to, campaign, told=lambda _: advance())


def _whole_steps(size: int) -> None:
    if size <= 0 or size % 6:
        raise Refused(
            f"--size {size} is not a multiple of 6 pixels (60 m); the nearest is {max(6, round(size / 6) * 6)}."
        )


def _simulate(to: Path, size: int, dates: int, clouds: float, seed: int) -> Path:
    from pipeline.simulated.archive import simulate as write

    with bar("simulating", dates * 2) as advance:
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
def search(
    spec: SpecFile,
    change: Changes = None,
    sensors: Annotated[
        str | None, typer.Option(help="Other sensors to look for beside the flow's, with commas between; or all.")
    ] = None,
    picture: Annotated[Path | None, typer.Option("--map", help="Draw the footprints into this PNG.")] = None,
) -> None:
    """List the scenes that a specification would use: date, sensor, clouds, share of the area, what is missing."""
    from flows.area import outline
    from flows.finding import draw_map, ground, named, pictured, rows, table
    from flows.prepare import beside

    others, drawn = named(sensors or ""), pictured(picture) if picture else None
    prepared = _prepare(spec, change)
    with wait("searching"):
        more = beside(prepared.spec, prepared.scenes, others)
    shape = outline(prepared.spec.area)
    area = shape.geom if shape is not None else ground(prepared.scenes)
    found = rows([*prepared.scenes, *more.scenes], area)
    out.print(table(found))
    for warning in dict.fromkeys((*prepared.warnings, *(f"not used: {reason}" for reason in more.refused))):
        complain(warning)
    if drawn:
        say(f"map: {draw_map(found, area, drawn)}")


@app.command()
def plan(spec: SpecFile, change: Changes = None, redo: Redo = None) -> None:
    """Say what a run would do and cost, before a byte of pixels is read."""
    from flows.planning import show
    from flows.running import foreseen

    prepared = _prepare(spec, change)
    chosen = foreseen(prepared, redo) if redo else None
    show(prepared, spec.name)
    if chosen:
        say(chosen)


@app.command()
def run(
    spec: SpecFile,
    change: Changes = None,
    redo: Redo = None,
    patient: Annotated[
        bool, typer.Option("--wait", help="Wait where another run is at work on the store, instead of ending.")
    ] = False,
    log: Annotated[
        Path | None, typer.Option(help="File for the log, JSON lines; by default beside a store in a folder.")
    ] = None,
) -> None:
    """Run a specification, or go on where it stopped."""
    from flows.running import Manner, carry_out

    carry_out(_prepare(spec, change), Manner(patient, redo, log))


def _prepare(path: Path, change: list[str] | None) -> "Prepared":
    from flows.spec import load

    return _prepare_spec(load(path, tuple(change or ())))


def _prepare_spec(spec) -> "Prepared":  # type: ignore[no-untyped-def]
    from flows.prepare import prepare

    with wait("searching"):
        return prepare(spec)


for command in (stores.status, stores.report, stores.digest, stores.export, networks.train, networks.evaluate):
    app.command()(command)


if __name__ == "__main__":
    main()
