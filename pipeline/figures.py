"""Figures of an evaluation: where methods err, and how much detail they have at every scale."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.quality import power_spectrum

COLUMNS = 4
"""Pictures in a row."""


def residuals(path: Path, title: str, estimates: Mapping[str, NDArray], reference: NDArray) -> None:
    """One picture a method, all on one scale: the mean absolute residual over bands, in digital numbers.

    Estimates and reference are (bands, rows, cols) reflectance.
    """
    errors = {name: 1e4 * np.abs(e - reference).mean(axis=0) for name, e in estimates.items()}  # NaN where any band is
    top = float(np.nanpercentile(np.stack(list(errors.values())), 98))
    columns = min(COLUMNS, len(errors))
    rows = -(-len(errors) // columns)
    figure = Figure(figsize=(3.2 * columns + 0.8, 3.5 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (name, error) in zip(axes.flat, errors.items(), strict=False):
        shown = axis.imshow(error, vmin=0, vmax=top, cmap="magma", interpolation="nearest")
        axis.set_title(f"{name}\nmean {np.nanmean(error):.1f}", fontsize=9)
    figure.colorbar(shown, ax=axes, label="absolute residual, digital numbers", shrink=0.8)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def spectra(path: Path, title: str, estimates: Mapping[str, NDArray], reference: NDArray, spacing: float) -> None:
    """Radially averaged power over spatial frequency, mean over bands; ``spacing`` is the pixels' in metres."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    for name, image in {"as measured": reference, **estimates}.items():
        power = np.mean([power_spectrum(np.nan_to_num(band)) for band in image], axis=0)
        frequency = np.arange(len(power)) / (2 * len(power) * spacing) * 1000
        plain = name == "as measured"
        axis.semilogy(
            frequency[1:], power[1:], label=name, color="black" if plain else None, linewidth=2 if plain else 1
        )
    axis.set(xlabel="cycles per kilometre", ylabel="power", title=title)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)
