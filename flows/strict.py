"""From YAML to a validated specification of any kind, with one sentence a fault that names the key and the remedy."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import Refused, nearest


class Strict(BaseModel):
    """A part of a specification: nothing unknown in it, and nothing changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Kind = TypeVar("Kind", bound=Strict)


def load(kind: type[Kind], path: Path, changes: tuple[str, ...] = ()) -> Kind:
    """Read and validate a specification; raises ``Refused`` with one sentence a fault.

    Parameters
    ----------
    kind
        What it specifies.
    path
        YAML file.
    changes
        ``key=value`` pairs that replace entries, with dots for nested keys (``cluster.workers=1``).
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise Refused(f"{path} is not UTF-8 text; save it as such.") from None
    except OSError:
        raise Refused(f"there is no specification at {path}; 'fusecube init' writes one to start from.") from None
    except yaml.YAMLError as error:
        raise Refused(f"{path} is not YAML: {' '.join(str(error).split())[:200]}.") from None
    if not isinstance(raw, dict):
        raise Refused(f"{path} holds no keys; 'fusecube init' writes a specification to start from.")
    for change in changes:
        _set(raw, change)
    return validate(kind, raw)


def validate(kind: type[Kind], raw: dict[str, Any]) -> Kind:
    """The specification of plain values; raises ``Refused`` with one sentence a fault."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise Refused("; ".join(_fault(kind, dict(fault)) for fault in error.errors()[:5]) + ".") from None


def _set(raw: dict[str, Any], change: str) -> None:
    name, equals, value = change.partition("=")
    if not equals:
        raise Refused(f"--set {change}: write key=value, such as --set chunk=600.")
    *parents, last = name.split(".")
    here = raw
    for parent in parents:
        below = here.get(parent)
        if isinstance(below, list):
            raise Refused(f"--set {change}: {parent} is a list; change it in the file.")
        here[parent] = below if isinstance(below, dict) else ({"kind": below} if isinstance(below, str) else {})
        here = here[parent]
    try:
        here[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise Refused(f"--set {change}: the value is not YAML.") from None


def _fault(kind: type[Strict], fault: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = _part(kind, [part for part in fault["loc"][:-1] if isinstance(part, str)]).model_fields
        return f"unknown key '{place}': {nearest(str(fault['loc'][-1]), known)}"
    if fault["type"] == "missing":
        field = kind.model_fields.get(place)
        return f"key '{place}' is missing: {(field and field.description) or 'see fusecube init'}"
    message = str(fault["msg"]).removeprefix("Value error, ").rstrip(".")
    return f"{place}: {message}" if place else message


def _part(kind: type[Strict], names: list[str]) -> type[BaseModel]:
    """The model of a nested part."""
    for name in names:
        inner = kind.model_fields[name].annotation
        kinds = [inner, *getattr(inner, "__args__", ())]
        kind = next((k for k in kinds if isinstance(k, type) and issubclass(k, Strict)), kind)
    return kind
