"""The training loop of one group of bands: deterministic, resumable, with a history that can be plotted."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.models.gates import channel_gates, fix_gates, set_pooled
from pipeline.models.sharpener import Sharpener
from pipeline.training.patches import Batch, Patches

WARM = 0.05
"""Share of the steps over which the rate rises from zero."""

GATE_BATCHES = 16
"""Batches that fixed gates are averaged over."""


@dataclass(frozen=True)
class Settings:
    """How a network is taught."""

    steps: int
    """Batches."""
    batch: int = 8
    """Patches in a batch."""
    patch: int = 60
    """Edge of a patch in pixels of the label."""
    rate: float = 5e-4
    """Highest learning rate of Adam; it rises, then falls to zero along a cosine."""
    seed: int = 0
    """Decides the first weights, the patches and their order."""
    epoch: int = 200
    """Steps between two validations, each a line of the history."""
    patience: int = 0
    """Epochs without a better validation after which it ends; 0 never ends early."""
    gates: float = 0.6
    """Share of the steps after which global gates are fixed, so that the rest learns with them as they will be; 0 fixes
    them before the first, and more than 1 never."""

    @property
    def pixels(self) -> int:
        """Pixels of the label seen in all steps."""
        return self.steps * self.batch * self.patch**2


@dataclass(frozen=True)
class Progress:
    """A line of the history."""

    step: int
    """Steps done."""
    loss: float
    """Mean absolute error over the epoch's batches, reflectance."""
    validation: float
    """Mean absolute error over the held-out patches, reflectance; NaN where there are none."""
    rate: float
    """Learning rate."""


def train(
    network: Sharpener,
    group: str,
    taught: Patches,
    checked: Patches,
    settings: Settings,
    folder: Path | None = None,
    told: Callable[[Progress | int], None] | None = None,
    about: str = "",
) -> list[Progress]:
    """Teach the network of a group in place (L1 loss, Adam), and leave it with the best weights that validation saw.

    Without held-out patches the last weights are kept. With a ``folder`` every epoch is saved there, and a call with the same
    settings and the same ``about`` (what else decides the weights) goes on from it to the same weights as if it had not
    been stopped. ``told`` hears of every step (its number) and of every epoch.
    """
    run = _Run(network, group, settings, folder, about)
    run.resume()
    while run.step < settings.steps and not run.ended:
        losses = []
        for step in range(run.step, min(run.step + settings.epoch, settings.steps)):
            if step == round(settings.steps * settings.gates) and channel_gates(network.networks[group]):
                _fix(network, group, taught, settings)
                run.forget_best()
            losses.append(run.advance(step, taught.draw(settings.batch, np.random.default_rng([settings.seed, step]))))
            if told:
                told(step + 1)
        progress = Progress(run.step, float(np.mean(losses)), error(network, group, checked), run.rate(run.step - 1))
        run.conclude_epoch(progress)
        if told:
            told(progress)
    run.restore_best()
    if settings.gates <= 1 and any(gate.pooled for gate in channel_gates(network.networks[group])):
        _fix(network, group, taught, settings)  # it ended before its gates were fixed
    return run.history


def error(network: Sharpener, group: str, patches: Patches, batch: int = 8) -> float:
    """Mean absolute error over patches, reflectance; NaN where there are none."""
    device = next(network.parameters()).device
    total = 0.0
    network.eval()
    with torch.inference_mode():
        for first in range(0, len(patches), batch):
            inputs, label = _tensors(patches.cut(range(first, min(first + batch, len(patches)))), device)
            total += float((network.estimate(group, inputs) - label).abs().mean()) * len(label)
    return total / len(patches) if len(patches) else math.nan


class _Run:
    """What changes while a network is taught."""

    def __init__(
        self, network: Sharpener, group: str, settings: Settings, folder: Path | None = None, about: str = ""
    ) -> None:
        self.network, self.group, self.settings, self.folder, self.about = network, group, settings, folder, about
        self.taught = network.networks[group]
        self.optimizer = torch.optim.Adam(
            [p for p in self.taught.parameters() if p.requires_grad], lr=settings.rate, betas=(0.9, 0.99)
        )
        set_pooled(self.taught, True)
        self.step = 0
        self.history: list[Progress] = []
        self.best: dict[str, Tensor] = {}
        self.least = math.inf
        self.counted = 0  # epochs before this one had other gates, and are not compared

    def forget_best(self) -> None:
        """Compare validations from here on: the gates are others now."""
        self.best, self.least, self.counted = {}, math.inf, len(self.history)

    @property
    def ended(self) -> bool:
        """Whether validation has not improved for long enough."""
        recent = self.history[self.counted :]
        if not recent or math.isnan(recent[-1].validation):
            return False
        best = min(range(len(recent)), key=lambda i: _or_inf(recent[i].validation))
        return 0 < self.settings.patience <= len(recent) - 1 - best

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        warm = max(1, round(self.settings.steps * WARM))
        if step < warm:
            return self.settings.rate * (step + 1) / warm
        share = (step - warm) / max(1, self.settings.steps - warm)
        return self.settings.rate * 0.5 * (1 + math.cos(math.pi * share))

    def advance(self, step: int, batch: Batch) -> float:
        """One step of Adam; the batch's mean absolute error."""
        self.network.train()
        for options in self.optimizer.param_groups:
            options["lr"] = self.rate(step)
        inputs, label = _tensors(batch, next(self.network.parameters()).device)
        loss = (self.network.estimate(self.group, inputs) - label).abs().mean()
        self.optimizer.zero_grad(set_to_none=True)
        (100 * loss).backward()  # reflectance errors are small: keeps gradients in the range of half precision
        torch.nn.utils.clip_grad_norm_(self.taught.parameters(), 10.0)
        self.optimizer.step()
        self.step = step + 1
        return float(loss.detach())

    def conclude_epoch(self, progress: Progress) -> None:
        """Remember the weights where they are the best so far, and save where asked to."""
        self.history.append(progress)
        if _or_inf(progress.validation) < self.least:
            self.least = progress.validation
            self.best = {name: t.detach().clone() for name, t in self.taught.state_dict().items()}
        if self.folder:
            self._save(self.folder)

    def restore_best(self) -> None:
        """Go back to the weights that validation liked best."""
        if self.best:
            self.taught.load_state_dict(self.best)
        self.network.eval()

    def _save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"now.{n}": t for n, t in self.taught.state_dict().items()}
        tensors |= {f"best.{n}": t for n, t in self.best.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        draft = folder / f"{self.group}.draft"
        plain = {
            "step": self.step,
            "settings": asdict(self.settings),
            "about": self.about,
            "counted": self.counted,
            "history": [asdict(p) for p in self.history],
            "pooled": [gate.pooled for gate in channel_gates(self.taught)],
        }
        # state and tensors are one file, so that they cannot come apart
        save_file({n: t.contiguous() for n, t in tensors.items()}, draft, metadata={"state": json.dumps(plain)})
        draft.replace(folder / f"{self.group}.checkpoint.safetensors")
        with (folder / f"{self.group}.history.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(Progress.__dataclass_fields__))
            writer.writeheader()
            writer.writerows(asdict(p) for p in self.history)

    def resume(self) -> None:
        """Go on from what was saved with the same settings, where there is any."""
        file = self.folder / f"{self.group}.checkpoint.safetensors" if self.folder else None
        if file is None or not file.exists():
            return
        plain = _metadata(file)
        if plain["settings"] != asdict(self.settings) or plain["about"] != self.about:
            return
        tensors = load_file(file)
        self.taught.load_state_dict(_under(tensors, "now"))
        self.best = _under(tensors, "best")
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under(tensors, "adam").items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})
        self.step = plain["step"]
        self.history = [Progress(**p) for p in plain["history"]]
        self.counted = plain["counted"]
        self.least = min((_or_inf(p.validation) for p in self.history[self.counted :]), default=math.inf)
        for gate, pooled in zip(channel_gates(self.taught), plain["pooled"], strict=True):
            gate.pooled = pooled


def _fix(network: Sharpener, group: str, taught: Patches, settings: Settings) -> None:
    """Fix the gates of a group to their mean over a sample of its patches."""
    device = next(network.parameters()).device

    def show() -> None:
        for index in range(GATE_BATCHES):
            rng = np.random.default_rng([settings.seed, index, 1])
            network.estimate(group, _tensors(taught.draw(settings.batch, rng), device)[0])

    fix_gates(network.networks[group], show)


def _tensors(batch: Batch, device: torch.device) -> tuple[list[Tensor], Tensor]:
    inputs, label = batch
    return [torch.from_numpy(x).to(device) for x in inputs], torch.from_numpy(label).to(device)


def _metadata(file: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        return json.loads(opened.metadata()["state"])


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix + "."): t for n, t in tensors.items() if n.startswith(prefix + ".")}


def _or_inf(value: float) -> float:
    return math.inf if math.isnan(value) else value
