"""Teaching a network the very scene that it will sharpen, which Wald's protocol allows: it needs nothing but the scene.

The windows are the scene's own choice (``windows.places``), never that of the area asked for, so two areas over the same
scenes are sharpened alike.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil

import numpy as np
import torch

from pipeline.device import fastest
from pipeline.harmonise.steps import AS_MEASURED, Harmony
from pipeline.lattice import Lattice
from pipeline.models.declaration import FusionModel
from pipeline.models.registry import build
from pipeline.models.sharpener import Sharpener
from pipeline.scene import Scene
from pipeline.training.loop import Progress, Settings, error, train
from pipeline.training.patches import split
from pipeline.training.wald import pair
from pipeline.training.windows import Window, windows

WINDOWS = 9
"""Windows read of a day's scenes, together."""

LEAST = 96**2
"""Fewest pixels of the label from which a network is adapted: a network learns less than it forgets from fewer."""

PATCH = 48
"""Edge of a patch in pixels of the label: small, so that small scenes have many."""

RATE = 5e-4
"""Highest learning rate."""

FRESH_RATE = 1e-3
"""Highest learning rate of a network without weights."""

EPOCHS = 6
"""Times that held-out patches are looked at."""


@dataclass(frozen=True)
class Lesson:
    """What adapting one group of bands came to."""

    steps: int
    """Steps taught."""
    pixels: int
    """Pixels of the label seen."""
    before: float | None
    """Mean absolute error over held-out patches with the weights as they were; ``None`` where the scene had none to
    spare."""
    after: float | None
    """The same with the adapted weights."""
    kept: str = ""
    """Why the weights were left as they were; empty where they were adapted."""


def read_windows(
    model: FusionModel, scenes: Sequence[Scene], lattice: Lattice, harmony: Harmony = AS_MEASURED
) -> list[Window]:
    """The windows of a day's scenes to learn from, none of scenes whose metadata does not state their extent in the CRS.

    Raises ``OSError``, naming it, when a file cannot be read.
    """
    share = ceil(WINDOWS / len(scenes))
    every = (window for scene in scenes for window in windows(model, scene, lattice, share, harmony))
    return list(islice(every, WINDOWS))


def adapt(
    model: FusionModel,
    found: Iterable[Window],
    steps: int,
    told: Callable[[Progress | int], None] | None = None,
    seed: int = 0,
) -> tuple[Sharpener, dict[str, Lesson]]:
    """A model's networks, each taught the windows for ``steps`` steps, and what that came to by group of bands.

    A group for which the windows hold too little, or whose held-out patches got worse, is left as it was. A model without
    weights is taught from scratch.
    """
    torch.manual_seed(seed)
    network = build(model).to(fastest())
    if not isinstance(network, Sharpener):
        raise TypeError(f"'{model.name}' has nothing to adapt")
    read = list(found)
    fresh = not model.weights
    gates = 2.0 if model.option("gates") == "pooled" else 0.6 if fresh else 0.0
    settings = Settings(steps, patch=PATCH, rate=FRESH_RATE if fresh else RATE, seed=seed, gates=gates)
    settings = replace(settings, epoch=max(1, steps // EPOCHS))
    lessons = {name: _teach(network, name, model, read, settings, told) for name in network.networks}
    return network, lessons


def _teach(
    network: Sharpener,
    group: str,
    model: FusionModel,
    read: Sequence[Window],
    settings: Settings,
    told: Callable[[Progress | int], None] | None,
) -> Lesson:
    """Teach one group of bands in place."""
    measured = sum(int(np.isfinite(w.inputs[network.groups[group]][0]).sum()) for w in read)
    if measured < LEAST:
        why = f"too small or too cloudy: {measured} clear pixels at {group} to learn from, fewer than {LEAST}"
        return Lesson(0, 0, None, None, why if read else f"{why}; no window, or its extent is not stated in this CRS")
    taught, checked = split([pair(model, window.inputs, network.groups[group]) for window in read], PATCH)
    if not len(taught):
        return Lesson(0, 0, None, None, f"too small or too cloudy: no patch of {PATCH} px at {group} is without a gap")
    as_it_was = {name: t.clone() for name, t in network.networks[group].state_dict().items()}
    before = error(network, group, checked) if len(checked) else None
    train(network, group, taught, checked, settings, told=told)
    after = error(network, group, checked) if len(checked) else None
    diverged = not all(torch.isfinite(p).all() for p in network.networks[group].parameters())
    if diverged or (before is not None and after is not None and not after < before):
        network.networks[group].load_state_dict(as_it_was)
        why = "teaching diverged" if diverged else "held-out patches did not get better"
        return Lesson(settings.steps, settings.pixels, before, None if diverged else after, why)
    return Lesson(settings.steps, settings.pixels, before, after)
