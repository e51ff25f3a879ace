"""The page a person looks at: one self-contained HTML file about a store."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from math import isfinite, nan
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import yaml

from pipeline.lattice import Box, Layout
from pipeline.models.weights import Card, card_of, lessons
from pipeline.picture import png, quick_look
from pipeline.record import Record
from pipeline.store import WEIGHTS, Store
from pipeline.summary import Totals, current_on

RAMP = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""Five stops of the viridis colour map (Smith and van der Walt 2015), even for eyes that see fewer colours."""

CELL = 150
"""Edge of a map in the page, CSS pixels."""

CELLS = 60
"""Cells along an edge of a map; of more chunks, some share one."""


@dataclass(frozen=True)
class Cell:
    """One chunk in a map, or some neighbours together."""

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
    """One metric of the chunks of a day."""

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


class Seen:
    """What the records of a day have said, of which none is kept."""

    def __init__(self, day: date, layout: Layout) -> None:
        self.day = day
        self.totals = Totals()
        self.scenes: set[str] = set()
        self.shifts: dict[str, tuple[float, float, float]] = {}
        self.weights: set[str] = set()
        self.boxes: dict[tuple[int, int], Box] = {}
        self.values: dict[str, dict[tuple[int, int], list[float]]] = {name: {} for name in METRICS}
        self._layout = layout
        self._times = -(-max(layout.rows, layout.cols) // CELLS)

    def add(self, record: Record) -> None:
        """Count a record in."""
        self.totals.add(record)
        self.scenes |= set(record.scenes)
        self.shifts |= record.shifts
        self.weights |= {record.weights} - {""}
        row, col = self._layout.place(record.box)
        place = row // self._times, col // self._times
        self.boxes[place] = self.boxes.get(place, record.box).union(record.box)
        for name, (measured, _) in METRICS.items():
            value = measured(record)
            known = self.values[name].setdefault(place, [0.0, 0])
            if isfinite(value):
                known[0] += value
                known[1] += 1

    def means(self, name: str) -> dict[tuple[int, int], float]:
        """A metric of every cell, NaN where no chunk of it has one."""
        return {place: total / number if number else nan for place, (total, number) in self.values[name].items()}


def write_report(store: Store, path: Path) -> Path:
    """Write the page about a store; its records are read once, one by one."""
    contents = store.contents
    seen = [Seen(day, contents.layout) for day in contents.days]
    totals, ways = Totals(), dict[str, set[str]]()
    for one in seen:
        for record in current_on(store, one.day):
            one.add(record)
            totals.add(record)
            _note(record, ways)
    best = max(seen, key=lambda one: one.totals.clear).day
    page = (
        _environment()
        .get_template("report.html")
        .render(
            title=Path(store.objects.name).stem,
            contents=contents,
            model=contents.identity["model"],
            specification=yaml.safe_dump(dict(contents.specification), sort_keys=False, allow_unicode=True),
            totals=totals,
            expected=sum(1 for _ in contents.layout.chunks()) * len(contents.days),
            maps=[found for one in seen for found in _maps(contents.layout, one)],
            days=[_day(one) for one in seen],
            bands=_bands(store, totals),
            readings={way: sorted(bands) for way, bands in sorted(ways.items())},
            weights=_weights(store, seen),
            preview=_preview(store),
            look=_data_uri(png(np.moveaxis(np.asarray(quick_look(store, best)), -1, 0))),
            area=_area(store),
            ergas=totals.ergas(_inputs(store), int(contents.layout.lattice.resolution)),
            native=[
                band
                for bands, coarse in _inputs(store)
                if coarse == contents.layout.lattice.resolution
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


def _data_uri(image: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(image).decode()


def _preview(store: Store) -> dict[str, str] | None:
    """The detail before and after, enlarged, where the store has one."""
    if "preview" not in store.group:
        return None
    return {
        name: _data_uri(png(np.asarray(store.array(f"preview/{name}")[:]), times=4)) for name in ("before", "after")
    }


def _maps(layout: Layout, seen: Seen) -> list[Map]:
    scale = CELL / max(layout.frame.width, layout.frame.height)
    found = []
    for name, (_, form) in METRICS.items():
        values = seen.means(name)
        known = [v for v in values.values() if isfinite(v)]
        if not known:
            continue
        low, high = min(known), max(known)
        cells = tuple(
            Cell(
                x=(box.left - layout.frame.left) * scale,
                y=(box.top - layout.frame.top) * scale,
                width=box.width * scale,
                height=box.height * scale,
                colour=_colour((value - low) / (high - low) if high > low else 0.5) if isfinite(value) else "#ddd",
                title=f"({box.left}, {box.top}): {form.format(value)}",
            )
            for box, value in ((seen.boxes[place], value) for place, value in values.items())
        )
        width, height = layout.frame.width * scale, layout.frame.height * scale
        found.append(Map(seen.day, name, form.format(low), form.format(high), cells, width, height))
    return found


def _colour(share: float) -> str:
    """A colour of the ramp for 0 to 1."""
    place = share * (len(RAMP) - 1)
    index = min(int(place), len(RAMP) - 2)
    mixed = (a + (b - a) * (place - index) for a, b in zip(RAMP[index], RAMP[index + 1], strict=True))
    return "#" + "".join(f"{round(v):02x}" for v in mixed)


def _day(seen: Seen) -> dict[str, Any]:
    total = seen.totals
    share = {
        name: total.flags.get(name, 0) / total.pixels if total.pixels else 0.0
        for name in ("NODATA", "CLOUD", "SHADOW", "SNOW")
    }
    return {"day": seen.day, "chunks": total.chunks, "scenes": _placed(seen), "share": share}


def _placed(seen: Seen) -> list[str]:
    """Scenes of a day, each with where it lies beside its reference if that was looked at."""
    told = []
    for scene in sorted(seen.scenes):
        east, south, confidence = seen.shifts.get(scene, (0.0, 0.0, 0.0))
        told.append(f"{scene} ({east:+.1f} m east, {south:+.1f} m south of its reference)" if confidence else scene)
    return told


def _bands(store: Store, total: Totals) -> list[dict[str, Any]]:
    rows = []
    for band in store.contents.bands:
        pair, before = total.consistency.get(band), total.before.get(band)
        compared = {"pair": pair if pair and pair.n else None, "before": before if before and before.n else None}
        rows.append({"name": band, "sums": total.bands.get(band)} | compared)
    return rows


def _cards(store: Store) -> list[Card]:
    """The cards of the weights that a store holds."""
    keys = sorted(entry.key for entry in store.objects.entries(WEIGHTS) if entry.key.endswith(".json"))
    return [card_of(said, key) for key, said in store.objects.each(keys) if said]


def _weights(store: Store, seen: Sequence[Seen]) -> list[dict[str, Any]]:
    """The weights of every day, and what adapting them came to where they were."""
    cards = _cards(store)
    rows = []
    for one in seen:
        used = sorted(one.weights)
        told = [lessons(card) for card in cards if card.sha256 in used and set(card.scenes) & one.scenes]
        if used:
            hashes = ", ".join(w[:12] for w in used)
            rows.append({"day": one.day, "hash": hashes, "told": "; ".join(dict.fromkeys(told))})
    return rows


def _note(record: Record, ways: dict[str, set[str]]) -> None:
    """Note the ways in which pixels came, each with the bands that came so."""
    for band, outcomes in record.readings.items():
        for outcome in outcomes:
            ways.setdefault(outcome, set()).add(band)


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
