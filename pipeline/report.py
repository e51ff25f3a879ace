"""The page a person looks at: one self-contained HTML file about a store."""

import base64
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jinja2
import numpy as np
import yaml

from pipeline.models.weights import Card, lessons, read_card
from pipeline.picture import best_day, png, quick_look
from pipeline.record import Record
from pipeline.store import WEIGHTS, Store
from pipeline.summary import Totals, current

RAMP = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""Five stops of the viridis colour map (Smith and van der Walt 2015), even for eyes that see fewer colours."""

CELL = 150
"""Edge of a map in the page, CSS pixels."""


@dataclass(frozen=True)
class Cell:
    """One chunk in a map."""

    x: float
    """Left edge, CSS pixels."""
    y: float
    """Upper edge."""
    width: float
    """Width."""
    height: float
    """Height."""
    colour: str
    """Fill."""
    title: str
    """What the pointer shows."""


@dataclass(frozen=True)
class Map:
    """One metric of all chunks of a day."""

    day: date
    """The day."""
    name: str
    """The metric."""
    low: str
    """Label of the darkest colour."""
    high: str
    """Label of the lightest."""
    cells: tuple[Cell, ...]
    """The chunks."""
    width: float
    """Width of the map, CSS pixels."""
    height: float
    """Height of it."""


METRICS = {
    "valid pixels": (lambda r: r.valid / r.pixels, "{:.0%}"),
    "clouds": (lambda r: r.flags.get("CLOUD", 0) / r.pixels, "{:.0%}"),
    "consistency RMSE": (lambda r: _worst(r), "{:.4f}"),
    "seconds": (lambda r: sum(r.seconds.values()), "{:.2f}"),
}


def _worst(record: Record) -> float:
    """The largest RMSE of any band against its measurement."""
    return max((pair.rmse for pair in record.consistency.values() if pair.n), default=float("nan"))


def write_report(store: Store, path: Path) -> Path:
    """Write the page about a store."""
    records = current(store)
    page = (
        _environment()
        .get_template("report.html")
        .render(
            title=Path(store.objects.name).stem,
            contents=store.contents,
            model=store.contents.identity["model"],
            specification=yaml.safe_dump(dict(store.contents.specification), sort_keys=False, allow_unicode=True),
            totals=Totals.of(records),
            expected=sum(1 for _ in store.contents.layout.chunks()) * len(store.contents.days),
            maps=[m for day in store.contents.days for m in _maps(store, [r for r in records if r.day == day], day)],
            days=_days(store, records),
            bands=_bands(store, records),
            readings=_readings(records),
            weights=_weights(store, records),
            preview=_preview(store),
            look=_data_uri(_look(store)),
            area=_area(store),
            ergas=Totals.of(records).ergas(_inputs(store), int(store.contents.layout.lattice.resolution)),
            native=[
                band
                for bands, coarse in _inputs(store)
                if coarse == store.contents.layout.lattice.resolution
                for band in bands
            ],
            troubles=store.ledger.troubles(),
            disk=sum(entry.size for entry in store.objects.entries("")),
        )
    )
    path.write_text(page, encoding="utf-8")
    return path


def _environment() -> jinja2.Environment:
    loader = jinja2.FunctionLoader(lambda name: (files("pipeline") / "templates" / name).read_text(encoding="utf-8"))
    return jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )


def _look(store: Store) -> bytes:
    return png(np.moveaxis(np.asarray(quick_look(store, best_day(store))), -1, 0))


def _data_uri(image: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(image).decode()


def _preview(store: Store) -> dict[str, str] | None:
    """The detail before and after, enlarged, where the store has one."""
    if "preview" not in store.group:
        return None
    return {
        name: _data_uri(png(np.asarray(store.array(f"preview/{name}")[:]), times=4)) for name in ("before", "after")
    }


def _maps(store: Store, records: list[Record], day: date) -> list[Map]:
    if not records:
        return []
    frame = store.contents.layout.frame
    scale = CELL / max(frame.width, frame.height)
    found = []
    for name, (measure, form) in METRICS.items():
        values = {r.box: measure(r) for r in records}
        known = [v for v in values.values() if isfinite(v)]
        if not known:
            continue
        low, high = min(known), max(known)
        cells = tuple(
            Cell(
                x=(box.left - frame.left) * scale,
                y=(box.top - frame.top) * scale,
                width=box.width * scale,
                height=box.height * scale,
                colour=_colour((value - low) / (high - low) if high > low else 0.5) if isfinite(value) else "#ddd",
                title=f"({box.left}, {box.top}): {form.format(value)}",
            )
            for box, value in values.items()
        )
        found.append(
            Map(day, name, form.format(low), form.format(high), cells, frame.width * scale, frame.height * scale)
        )
    return found


def _colour(share: float) -> str:
    """A colour of the ramp for 0 to 1."""
    place = share * (len(RAMP) - 1)
    index = min(int(place), len(RAMP) - 2)
    mixed = (a + (b - a) * (place - index) for a, b in zip(RAMP[index], RAMP[index + 1], strict=True))
    return "#" + "".join(f"{round(v):02x}" for v in mixed)


def _days(store: Store, records: list[Record]) -> list[dict[str, Any]]:
    rows = []
    for day in store.contents.days:
        mine = [r for r in records if r.day == day]
        total = Totals.of(mine)
        share = {
            name: total.flags.get(name, 0) / total.pixels if total.pixels else 0.0
            for name in ("NODATA", "CLOUD", "SHADOW", "SNOW")
        }
        rows.append({"day": day, "chunks": len(mine), "scenes": _placed(mine), "share": share})
    return rows


def _placed(records: list[Record]) -> list[str]:
    """Scenes of a day, each with where it lies beside its reference if that was looked at."""
    shifts = {scene: found for r in records for scene, found in r.shifts.items()}
    told = []
    for scene in sorted({scene for r in records for scene in r.scenes}):
        east, south, confidence = shifts.get(scene, (0.0, 0.0, 0.0))
        told.append(f"{scene} ({east:+.1f} m east, {south:+.1f} m south of its reference)" if confidence else scene)
    return told


def _bands(store: Store, records: list[Record]) -> list[dict[str, Any]]:
    total = Totals.of(records)
    rows = []
    for band in store.contents.bands:
        pair, before = total.consistency.get(band), total.before.get(band)
        compared = {"pair": pair if pair and pair.n else None, "before": before if before and before.n else None}
        rows.append({"name": band, "sums": total.bands.get(band)} | compared)
    return rows


def _cards(store: Store) -> list[Card]:
    """The cards of the weights that a store holds."""
    keys = sorted(entry.key for entry in store.objects.entries(WEIGHTS) if entry.key.endswith(".json"))
    with TemporaryDirectory() as folder:
        files = [Path(folder) / Path(key).name for key in keys]
        for key, file in zip(keys, files, strict=True):
            file.write_bytes(store.objects.get(key) or b"")
        return [read_card(file) for file in files]


def _weights(store: Store, records: list[Record]) -> list[dict[str, Any]]:
    """The weights of every day, and what adapting them came to where they were."""
    cards = _cards(store)
    rows = []
    for day in store.contents.days:
        used = sorted({r.weights for r in records if r.day == day and r.weights})
        told = [lessons(card) for card in cards if card.sha256 in used and set(card.scenes) & _scenes(records, day)]
        if used:
            rows.append({"day": day, "hash": ", ".join(w[:12] for w in used), "told": "; ".join(dict.fromkeys(told))})
    return rows


def _scenes(records: list[Record], day: date) -> set[str]:
    return {scene for r in records if r.day == day for scene in r.scenes}


def _readings(records: list[Record]) -> dict[str, list[str]]:
    """Ways in which pixels came, each with the bands that came so."""
    ways: dict[str, set[str]] = {}
    for record in records:
        for band, outcomes in record.readings.items():
            for outcome in outcomes:
                ways.setdefault(outcome, set()).add(band)
    return {way: sorted(bands) for way, bands in sorted(ways.items())}


def _inputs(store: Store) -> list[tuple[list[str], int]]:
    """Bands and resolution of what the model was given."""
    return [(bands, resolution) for _, bands, resolution, _ in store.contents.identity["inputs"]]


def _area(store: Store) -> dict[str, Any]:
    layout = store.contents.layout
    left, bottom, right, top = layout.lattice.bounds(layout.area)
    grid = layout.lattice.geobox(layout.area)
    return {
        "crs": layout.lattice.crs,
        "bounds": f"{left:.0f}, {bottom:.0f}, {right:.0f}, {top:.0f}",
        "pixels": f"{grid.shape[1]} × {grid.shape[0]}",
        "resolution": f"{float(layout.lattice.resolution):g} m",
        "km2": (right - left) * (top - bottom) / 1e6,
    }
