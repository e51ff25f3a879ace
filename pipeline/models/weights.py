"""Trained weights: safetensors in half precision, each with a card that says what they are and what they saw.

A card is JSON beside the file. It holds the file's hash, which is what a specification, a chunk's name and a store know the
weights by. Nothing here imports torch before tensors are asked for.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import Refused
from pipeline.models.architectures import check_options

if TYPE_CHECKING:
    from torch import Tensor

SHIPPED = Path(__file__).parents[1] / "weights"
"""Weights that come with the package, ``<network>.safetensors``."""


@dataclass(frozen=True)
class Card:
    """What weights are."""

    network: str
    """Name of the architecture."""
    sensor: str
    """Sensor whose bands it takes."""
    sha256: str
    """Hash of the file."""
    levels: tuple[str, ...]
    """Processing levels it was taught on."""
    scenes: tuple[str, ...]
    """Ids of the items it was taught on."""
    training: Mapping[str, Any]
    """How: protocol, steps, pixels seen, seed, by group of bands."""
    scores: Mapping[str, Any] = field(default_factory=dict)
    """What it came to on its validation areas, by group of bands."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the architecture it was built with, such as its width."""
    parent: str = ""
    """Hash of the weights that teaching began from; empty where from scratch."""
    software: str = ""
    """Version of fusecube."""
    licence: str = ""
    """Under what they may be used, and what must be said of their sources."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups of bands with a network in the file, such as ``20m``."""
        return tuple(self.training)


def card_path(file: Path) -> Path:
    """Where the card of a weights file is."""
    return file.with_suffix(".json")


def read_card(file: Path) -> Card:
    """The card of a weights file; raises ``Refused`` where there is none or it cannot be used."""
    if not file.suffix or not (file.is_file() or card_path(file).is_file()):
        raise Refused(f"there are no weights at {file}; 'fusecube train' makes some.")
    try:
        said = card_path(file).read_bytes()
    except OSError:
        raise Refused(
            f"{file.name} has no card ({card_path(file).name}) beside it; copy both, or train again."
        ) from None
    return card_of(said, card_path(file).name)


def card_of(said: bytes, name: str) -> Card:
    """The card that JSON is; raises ``Refused``, calling it by its name, where it is none that can be used."""
    try:
        raw = json.loads(said)
        card = Card(**raw | {"levels": tuple(raw["levels"]), "scenes": tuple(raw["scenes"])})
        check_options(card.network, dict(card.options))
        for group in card.training.values():
            dict(group)
        return card
    except Refused:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{name} is no card of weights ({error}); copy it again with its weights.") from None


@cache
def shipped(network: str) -> Path | None:
    """The weights file that comes with the package for an architecture, ``None`` where there is none."""
    file = SHIPPED / f"{network}.safetensors"
    return file if file.exists() else None


def save(file: Path, tensors: "Mapping[str, Tensor]", card: Card) -> Card:
    """Write tensors in half precision, then their card with the hash; each appears whole or not at all."""
    import torch
    from safetensors.torch import save as to_bytes

    half = {name: t.detach().cpu().to(torch.float16).contiguous() for name, t in tensors.items()}
    for name, tensor in half.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} is not finite in half precision")
    data = to_bytes(half, metadata={"network": card.network})
    _write(file, data)
    return write_card(file, replace(card, sha256=hashlib.sha256(data).hexdigest()))


def write_card(file: Path, card: Card) -> Card:
    """Write the card of a weights file."""
    _write(card_path(file), (json.dumps(asdict(card), indent=1) + "\n").encode())
    return card


def _write(path: Path, content: bytes) -> None:
    """A file that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".draft")
    draft.write_bytes(content)
    draft.replace(path)


def load(file: Path, expected: str) -> "dict[str, Tensor]":
    """The tensors of a file, in 32 bits; raises ``Refused`` where its bytes are not those with the ``expected`` hash."""
    import torch
    from safetensors.torch import load as from_bytes

    return {name: tensor.to(torch.float32) for name, tensor in from_bytes(checked(file, expected)).items()}


def checked(file: Path, expected: str) -> bytes:
    """The bytes of a file; raises ``Refused`` where they are not those with the ``expected`` hash."""
    place = here(file)
    if not place.is_file():
        raise Refused(f"the weights {file.name} are not on this machine; copy the file to where it is on yours.")
    data = place.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise Refused(
            f"the weights {file.name} have changed: their hash is {found[:12]}…, expected {expected[:12]}…; "
            "put the right file back, or train again."
        )
    return data


def here(file: Path) -> Path:
    """Where a weights file is on this machine: as said, or in the package, which may lie elsewhere than where it was said."""
    shipped = SHIPPED / file.name
    return shipped if not file.is_file() and shipped.is_file() else file


def lessons(card: Card) -> str:
    """What adapting weights to scenes came to, in one line."""
    parts = []
    for group, lesson in card.training.items():
        if lesson["kept"]:
            parts.append(f"{group} as they were ({lesson['kept']})")
        elif lesson["before"] is None:
            parts.append(f"{group} adapted in {lesson['steps']} steps")
        else:
            share = 1 - lesson["after"] / lesson["before"]
            parts.append(f"{group} adapted in {lesson['steps']} steps, error on held-out patches down by {share:.0%}")
    return "; ".join(parts)
