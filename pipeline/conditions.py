"""Conditions on what a chunk has to say of itself, such as ``valid_fraction < 0.5 and day >= "2024-06-01"``.

A small language, read with Python's own parser and checked word by word before anything is looked at: nothing of it is ever
run as code.
"""

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from math import nan
from typing import Any

from pipeline.errors import Refused, nearest
from pipeline.metrics import BandSums, PairSums
from pipeline.record import Record

LONGEST = 300
"""Characters of a condition: far more than one needs, far fewer than would exhaust the parser."""

WHOLE: Mapping[str, Callable[[Record], float]] = {
    "valid_fraction": lambda r: r.valid / r.pixels,
    "cloud_fraction": lambda r: r.flags.get("CLOUD", 0) / r.pixels,
    "seconds": lambda r: sum(r.seconds.values()),
    "peak_memory": lambda r: r.peak_memory,
    "failures": lambda r: len(r.failures),
    "pixels": lambda r: r.pixels,
}
"""What is known of a chunk as one number."""

EACH: Mapping[str, Callable[[Record, str], float]] = {
    "mean": lambda r, band: r.bands.get(band, BandSums()).mean,
    "std": lambda r, band: r.bands.get(band, BandSums()).std,
    "consistency_rmse": lambda r, band: r.consistency.get(band, PairSums()).rmse,
    "consistency_bias": lambda r, band: r.consistency.get(band, PairSums()).bias,
    "consistency_correlation": lambda r, band: r.consistency.get(band, PairSums()).correlation,
    "rmse_before_projection": lambda r, band: r.before.get(band, PairSums()).rmse,
}
"""What is known of each band, NaN where it is not."""

DAY = "day"
"""The solar day of a chunk, compared as text such as "2024-06-01"."""

COMPARISONS: Mapping[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
ARITHMETIC: Mapping[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: a / b if b else nan,
}
SIGNS: Mapping[type, Callable[[float], float]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}


@dataclass(frozen=True)
class Part:
    """A part of a condition that has been checked."""

    kind: str
    """What it comes to: ``number``, ``day`` or ``truth``."""
    value: Callable[[Record], Any]
    """What it comes to for a chunk."""


@dataclass(frozen=True)
class Condition:
    """A condition on a chunk."""

    text: str
    """As it was written."""
    part: Part
    """As it is worked out."""

    def holds(self, record: Record) -> bool:
        """Whether it holds for a chunk; no comparison with what is not known (NaN) does."""
        return bool(self.part.value(record))


def condition(text: str, bands: Iterable[str]) -> Condition:
    """The condition that is written so, on chunks with these bands.

    Known are the names of ``WHOLE``, ``day``, and those of ``EACH`` with a band in brackets; comparisons, ``and``, ``or``,
    ``not``, ``+ - * /`` and parentheses. Raises ``Refused`` for anything else.
    """
    if len(text) > LONGEST:
        raise Refused(f"the condition has {len(text)} characters; at most {LONGEST} are read.")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _refusal(text, "it is no condition") from None
    part = _Reader(text, tuple(bands)).read(tree)
    if part.kind != "truth":
        raise _refusal(text, "it is not something that holds or does not: compare it with a number or a day")
    return Condition(text, part)


def _refusal(text: str, reason: str) -> Refused:
    return Refused(f'{text!r}: {reason}; write such as "valid_fraction < 0.5" or "mean[B02] > 0.3 and seconds > 60".')


@dataclass(frozen=True)
class _Reader:
    """Turns a parsed text into parts; whatever is not named here is refused."""

    text: str
    bands: tuple[str, ...]

    def read(self, node: ast.expr) -> Part:
        match node:
            case ast.BoolOp(op=op, values=values):
                return self._joined(all if isinstance(op, ast.And) else any, values)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self._of("truth", operand)
                return Part("truth", lambda r: not inner(r))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in SIGNS:
                sign, number = SIGNS[type(op)], self._of("number", operand)
                return Part("number", lambda r: sign(number(r)))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                work, a, b = ARITHMETIC[type(op)], self._of("number", left), self._of("number", right)
                return Part("number", lambda r: work(a(r), b(r)))
            case ast.Compare(left=left, ops=ops, comparators=others):
                return self._compared([left, *others], ops)
            case ast.Constant(value=value):
                return self._constant(value)
            case ast.Name(id=name):
                return self._named(name)
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Name(id=band) | ast.Constant(value=str(band))):
                return self._of_band(name, band)
        raise _refusal(self.text, f"{ast.unparse(node)!r} cannot be part of a condition")

    def _of(self, kind: str, node: ast.expr) -> Callable[[Record], Any]:
        """The value of a part that has to be of a kind."""
        part = self.read(node)
        if part.kind != kind:
            raise _refusal(self.text, f"{ast.unparse(node)!r} is a {part.kind} where a {kind} belongs")
        return part.value

    def _joined(self, every: Callable[[Iterable[bool]], bool], nodes: list[ast.expr]) -> Part:
        parts = [self._of("truth", node) for node in nodes]
        return Part("truth", lambda r: every(part(r) for part in parts))

    def _compared(self, nodes: list[ast.expr], ops: list[ast.cmpop]) -> Part:
        kind = self.read(nodes[0]).kind
        if kind == "truth":
            raise _refusal(self.text, f"{ast.unparse(nodes[0])!r} cannot be compared")
        sides = [self._of(kind, node) for node in nodes]
        for op in ops:
            if type(op) not in COMPARISONS:
                raise _refusal(self.text, "only < <= > >= == and != compare")
        tests = [_known(COMPARISONS[type(op)]) for op in ops]

        def holds(record: Record) -> bool:
            values = [side(record) for side in sides]
            return all(test(a, b) for test, a, b in zip(tests, values, values[1:], strict=False))

        return Part("truth", holds)

    def _constant(self, value: object) -> Part:
        if isinstance(value, str):
            try:
                day = date.fromisoformat(value).isoformat()
            except ValueError:
                raise _refusal(self.text, f"{value!r} is no day such as '2024-06-01'") from None
            return Part("day", lambda r: day)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _refusal(self.text, f"{value!r} is no number")
        number = float(value)
        return Part("number", lambda r: number)

    def _named(self, name: str) -> Part:
        if name == DAY:
            return Part("day", lambda r: r.day.isoformat())
        if name in WHOLE:
            return Part("number", WHOLE[name])
        if name in EACH:
            raise _refusal(self.text, f"{name} is known band by band: write {name}[{self.bands[0]}]")
        raise Refused(
            f"there is no metric '{name}': {nearest(name, [*WHOLE, DAY, *(f'{each}[band]' for each in EACH)])}."
        )

    def _of_band(self, name: str, band: str) -> Part:
        if name in WHOLE or name == DAY:
            raise _refusal(self.text, f"{name} is known of the whole chunk, not band by band")
        if name not in EACH:
            raise Refused(f"there is no metric '{name}' of a band: {nearest(name, EACH)}.")
        if band not in self.bands:
            raise Refused(f"{name}[{band}]: the store has no band '{band}': {nearest(band, self.bands)}.")
        metric = EACH[name]
        return Part("number", lambda r: metric(r, band))


def _known(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """A comparison that does not hold where a side is NaN."""
    return lambda a, b: a == a and b == b and compare(a, b)  # NaN alone differs from itself
