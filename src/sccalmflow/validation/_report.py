"""What the experiments found, as a table and as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Result:
    """Scores of one run, or of the truth itself.

    Parameters
    ----------
    task, model
        Names for the reader.
    scores
        ``w2``, ``mmd``, ``std_ratio``, and for a run ``n_parameters``, ``training_seconds`` and ``temperature``.
    points
        File with a sample of the run; None for the truth.
    """

    task: str
    model: str
    scores: dict[str, Any]
    points: Path | None = None


_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("W2", "w2", ".3f"),
    ("MMD", "mmd", ".4f"),
    ("std ratio", "std_ratio", ".2f"),
    ("temperature", "temperature", ".1f"),
    ("parameters", "n_parameters", ",.0f"),
    ("seconds", "training_seconds", ".0f"),
)


def markdown_table(results: Sequence[Result]) -> str:
    """Mean and standard deviation over the runs of each model on each task, in the order in which they first come."""
    head = ["task", "model", "runs", *(title for title, _, _ in _COLUMNS)]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for task, model in dict.fromkeys((result.task, result.model) for result in results):
        runs = [result for result in results if (result.task, result.model) == (task, model)]
        count = "–" if runs[0].points is None else str(len(runs))
        cells = [_mean_and_spread(runs, key, form) for _, key, form in _COLUMNS]
        lines.append(f"| {' | '.join([task, model, count, *cells])} |")
    return "\n".join(lines) + "\n"


def draw_figure(results: Sequence[Result], truth: dict[str, np.ndarray]) -> Figure:
    """A row of scatter plots for each task: a sample of the truth, then one of each model's first run.

    Parameters
    ----------
    results
        All results; those of the truth give the floor in the titles, the first of a task being its lowest.
    truth
        A sample of the truth for each task, (n, 2).
    """
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(result.model for result in results if result.points is not None))
    figure = Figure(figsize=(3.4 * (1 + len(models)), 3.4 * len(truth)), layout="constrained", dpi=120)
    rows = figure.subplots(len(truth), 1 + len(models), squeeze=False)
    for axes, (task, sample) in zip(rows, truth.items(), strict=True):
        floor = next(result.scores for result in results if result.task == task and result.points is None)
        _scatter(axes[0], sample, f"{task}: truth\nfloor W2 {floor['w2']:.2f}, MMD {floor['mmd']:.4f}", "#8A8A8A")
        centre, reach = sample.mean(0), 1.25 * np.abs(sample - sample.mean(0)).max()
        for ax in axes:
            ax.set(xlim=(centre[0] - reach, centre[0] + reach), ylim=(centre[1] - reach, centre[1] + reach))
        for ax, model in zip(axes[1:], models, strict=True):
            runs = [result for result in results if (result.task, result.model) == (task, model)]
            scores = {key: float(np.mean([run.scores[key] for run in runs])) for key in ("w2", "mmd")}
            assert runs[0].points is not None  # models are those with points
            title = f"{model}\nW2 {scores['w2']:.2f}, MMD {scores['mmd']:.4f}"
            _scatter(ax, np.load(runs[0].points), title, "#D55E00")
    return figure


def _scatter(ax: Axes, points: np.ndarray, title: str, colour: str) -> None:
    ax.scatter(points[:, 0], points[:, 1], s=2, color=colour, linewidths=0, rasterized=True)
    ax.set_title(title, fontsize=9)
    ax.set_aspect("equal")
    ax.set(xticks=[], yticks=[])


def _mean_and_spread(runs: Sequence[Result], key: str, form: str) -> str:
    values = [run.scores[key] for run in runs if key in run.scores]
    if not values:
        return "–"
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    shows_spread = len(values) > 1 and key in ("w2", "mmd", "std_ratio")
    return f"{mean:{form}} ± {spread:{form}}" if shows_spread else f"{mean:{form}}"
