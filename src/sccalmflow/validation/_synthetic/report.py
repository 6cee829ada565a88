"""What the experiments found, as a table and as scatter plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sccalmflow.validation._markdown import Column, mean_and_spread, table_head, table_row

from .paper import Printed

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
        Those of :func:`sccalmflow.validation._synthetic.scores.scores`, and for a run its size and cost.
    points
        File with a sample of the run on the plane; None for the truth.
    """

    task: str
    model: str
    scores: dict[str, Any]
    points: Path | None = None


_MOST_COLUMNS = 8
_DISTANCES = (
    Column("W2", "w2", ".3f"),
    Column("W2 on the plane", "plane_w2", ".3f"),
    Column("MMD", "mmd", ".4f"),
    Column("MMD, scaled", "mmd_scaled", ".4f"),
)
_OTHERS = (
    Column("variance ratio", "variance_ratio", ".3f"),
    Column("temperature", "temperature", ".1f", True),
    Column("parameters", "n_parameters", ",.0f", True),
    Column("evaluations", "n_evaluations", ",.0f", True),
    Column("MFLOP a sample", "mflop", ",.2f", True),
    Column("training s", "training_seconds", ",.0f", True),
)


def markdown_table(results: Sequence[Result], printed: Sequence[tuple[str, Printed]] = ()) -> str:
    """Mean and standard deviation over the runs of each model on each task, in the order in which they first come.

    Parameters
    ----------
    results
        All results. The last of a task without points is its floor, and each distance has its multiple of it in
        brackets.
    printed
        What the paper prints, with the label of the task.
    """
    columns = [*_DISTANCES, *_OTHERS]
    lines = table_head(["task", "model", "runs", *(column.title for column in columns)])
    shown = set()
    for task, model in dict.fromkeys((result.task, result.model) for result in results):
        if task not in shown:
            shown.add(task)
            lines += [_printed_line(task, row, len(columns)) for label, row in printed if label == task]
        runs = [result for result in results if (result.task, result.model) == (task, model)]
        is_truth = runs[0].points is None
        floor = None if is_truth else _floor(results, task)
        scores = [run.scores for run in runs]
        cells = [mean_and_spread(scores, column) + _multiple(scores, column.key, floor) for column in _DISTANCES]
        cells += [mean_and_spread(scores, column) for column in _OTHERS]
        lines.append(table_row([task, model, "–" if is_truth else str(len(runs)), *cells]))
    return "\n".join(lines) + "\n"


def draw_figure(results: Sequence[Result], truth: dict[str, np.ndarray]) -> Figure:
    """Scatter plots of each task, in as many rows as it takes: the truth, then each model's first run.

    A folder may have the scores of a run and not its sample, which the picture then leaves out.

    Parameters
    ----------
    results
        All results; those of the truth give the floor.
    truth
        A sample of the truth for each task on its plane, (n, 2).
    """
    from matplotlib.figure import Figure

    drawn = [result for result in results if result.points is not None and result.points.exists()]
    models = list(dict.fromkeys(result.model for result in drawn))
    n_columns = min(1 + len(models), _MOST_COLUMNS)
    n_rows = -(-(1 + len(models)) // n_columns)
    figure = Figure(figsize=(2.6 * n_columns, 2.8 * n_rows * len(truth)), layout="constrained", dpi=100)
    grid = figure.subplots(n_rows * len(truth), n_columns, squeeze=False).reshape(len(truth), -1)
    for axes, (task, sample) in zip(grid, truth.items(), strict=True):
        for ax in axes[1 + len(models) :]:
            ax.set_visible(False)
        _scatter(axes[0], sample, f"{task}\ntruth{_caption([_floor(results, task)])}", "#8A8A8A")
        centre, reach = sample.mean(0), 1.25 * np.abs(sample - sample.mean(0)).max()
        for ax in axes:
            ax.set(xlim=(centre[0] - reach, centre[0] + reach), ylim=(centre[1] - reach, centre[1] + reach))
        for ax, model in zip(axes[1:], models, strict=False):
            runs = [result for result in drawn if (result.task, result.model) == (task, model)]
            if not runs:
                ax.set_visible(False)
                continue
            assert runs[0].points is not None  # models are those with points
            name = model.replace("`", "")
            _scatter(ax, np.load(runs[0].points), f"{name}{_caption([run.scores for run in runs])}", "#D55E00")
    return figure


def _scatter(ax: Axes, points: np.ndarray, title: str, colour: str) -> None:
    ax.scatter(points[:, 0], points[:, 1], s=2, color=colour, linewidths=0, rasterized=True)
    ax.set_title(title, fontsize=7)
    ax.set_aspect("equal")
    ax.set(xticks=[], yticks=[])


def _caption(scores: Sequence[dict[str, Any]]) -> str:
    plane, mmd = (float(np.mean([score[key] for score in scores])) for key in ("plane_w2", "mmd_scaled"))
    return f"\nW2 on the plane {plane:.2f}, scaled MMD {mmd:.4f}"


def _floor(results: Sequence[Result], task: str) -> dict[str, Any]:
    """The scores that a perfect model gets."""
    return [result.scores for result in results if result.task == task and result.points is None][-1]


def _multiple(runs: Sequence[dict[str, Any]], key: str, floor: dict[str, Any] | None) -> str:
    if floor is None:
        return ""
    return f" ({np.mean([run[key] for run in runs]) / floor[key]:.2f}×)"


def _printed_line(task: str, row: Printed, n_columns: int) -> str:
    w2, mmd = (f"{number.mean:g} ± {number.spread:g}" for number in (row.w2, row.mmd))
    cells = [w2, "–", mmd, *["–"] * (n_columns - 3)]
    return table_row([task, f"printed in the paper: {row.model}", "–", *cells])
