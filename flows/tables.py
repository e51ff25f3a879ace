"""Tables of an evaluation: Markdown to read, CSV to work on."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev

from flows.evaluate import Trial
from pipeline.quality import LOWER_IS_BETTER, Score, values

NAMES = {
    "ssim": "SSIM ↑",
    "psnr": "PSNR ↑",
    "psnr_one": "PSNR, peak 1 ↑",
    "uiqi": "UIQI ↑",
    "ergas": "ERGAS ↓",
    "sam": "SAM ° ↓",
    "cc": "CC ↑",
    "scc": "SCC ↑",
    "rmse": "RMSE, DN ↓",
    "rmse_index": "RMSE ↓",
    "qnr": "QNR ↑",
    "d_lambda": "D_λ ↓",
    "d_s": "D_S ↓",
    "consistency": "consistency, DN ↓",
}
"""Headings; the arrow points to better."""

DIGITS = {"psnr": 2, "psnr_one": 2, "rmse": 1, "consistency": 2, "ergas": 3, "sam": 3}
"""Decimals, four where nothing is said."""


def write(folder: Path, trials: Sequence[Trial]) -> list[Path]:
    """Write ``tables.md`` and ``tables.csv``."""
    folder.mkdir(parents=True, exist_ok=True)
    markdown, table = folder / "tables.md", folder / "tables.csv"
    markdown.write_text("\n".join(_markdown(trials)) + "\n", encoding="utf-8")
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["scene", "group", "scale", "method", "seed", "metric", "value", "note"])
        for t in trials:
            if t.score is None:
                continue
            numbers = values(t.score) | ({f"ndvi_re_{k}": v for k, v in _index(t.index).items()} if t.index else {})
            for metric, value in numbers.items():
                writer.writerow([t.scene, t.group, t.scale, t.method, t.seed, metric, f"{value:.6g}", t.note])
    return [markdown, table]


def _markdown(trials: Sequence[Trial]) -> Iterable[str]:
    yield "# Evaluation"
    for scene, group in dict.fromkeys((t.scene, t.group) for t in trials):
        here = [t for t in trials if (t.scene, t.group) == (scene, group)]
        reduced = [t for t in here if t.scale == "reduced" and t.score]
        yield f"\n## {scene}, bands of {group}: one scale down, beside what was measured\n"
        yield from _table(_rows(reduced))
        if any(t.index for t in reduced):
            yield f"\n### {scene}: NDVI-RE, (B07 − B05) / (B07 + B05)\n"
            rows = {t.method: [_index(o.index) for o in reduced if o.method == t.method and o.index] for t in reduced}
            yield from _table(rows)
        full = [t for t in here if t.scale == "full" and t.score]
        if full:
            yield f"\n### {scene}, bands of {group}: full resolution, without a reference\n"
            yield from _table(_rows(full))
        for t in here:
            if t.note and t.seed == 0:
                yield f"\n*{t.method}, {t.scale}: {'' if t.score else 'not taught, '}{t.note}.*"


def _index(score: Score) -> dict[str, float]:
    """Metrics of NDVI-RE's table; the index has no digital numbers, so its RMSE is its own."""
    found = values(score)
    return {"cc": found["cc"], "ergas": found["ergas"], "rmse_index": found["rmse"] / 1e4}


def _rows(trials: Sequence[Trial]) -> dict[str, list[dict[str, float]]]:
    """Metrics by method, one dictionary a seed."""
    rows: dict[str, list[dict[str, float]]] = {}
    for t in trials:
        if t.score:
            rows.setdefault(t.method, []).append(values(t.score))
    return rows


def _table(rows: dict[str, list[dict[str, float]]]) -> Iterable[str]:
    """Rows by method, one dictionary of metrics a seed; the best of each column in bold, the spread after ±."""
    if not rows:
        yield "Nothing could be scored."
        return
    metrics = list(next(iter(rows.values()))[0])
    means = {method: {m: mean(s[m] for s in seeds) for m in metrics} for method, seeds in rows.items()}
    best = {m: (min if m in LOWER_IS_BETTER else max)(row[m] for row in means.values()) for m in metrics}
    yield "| method | " + " | ".join(NAMES[m] for m in metrics) + " |"
    yield "|---|" + "---:|" * len(metrics)
    for method, seeds in rows.items():
        cells = []
        for m in metrics:
            text = f"{means[method][m]:.{DIGITS.get(m, 4)}f}"
            if len(seeds) > 1:
                text += f" ± {stdev(s[m] for s in seeds):.{DIGITS.get(m, 4)}f}"
            cells.append(f"**{text}**" if means[method][m] == best[m] and len(rows) > 1 else text)
        yield f"| {method} | " + " | ".join(cells) + " |"
