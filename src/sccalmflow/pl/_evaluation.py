"""The report as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ._style import BLACK, GREY, MODELS, PALE, as_axes, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_REFERENCES = {"control": (GREY, "o", "white"), "additive": (GREY, "s", "white"), "ceiling": (BLACK, "|", BLACK)}
_ARROWS = {"lower": "lower is better", "higher": "higher is better", "target": "best is"}
_MEAN = "mean"


def evaluation(
    report: pd.DataFrame,
    *,
    metrics: Sequence[str] | None = None,
    axes: Axes | Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Every metric in a panel, every condition in a row, and their mean at the foot.

    Models are filled dots with their intervals; the baselines are hollow, the ceiling is a black bar: a good model is
    near the bar, and a useful one on its side of the hollow marks.

    Parameters
    ----------
    report
        What :func:`sccalmflow.tl.evaluate` returned, or the same read back from a CSV file.
    metrics
        Which to draw, in this order; all by default.
    axes
        One Axes per metric. By default a new figure.

    Returns
    -------
    Array of Axes, one per metric. Nothing is shown or saved.

    Raises
    ------
    ValueError
        A column of the report is missing, a metric that it does not have, or too few ``axes``.

    Examples
    --------
    >>> import pandas as pd
    >>> import sccalmflow as scf
    >>> report = pd.DataFrame(
    ...     {"condition": "B, IL-6", "method": ["mine", "control"], "metric": "edistance", "value": [0.5, 2.0]}
    ... ).assign(ci_low=[0.4, 1.9], ci_high=[0.6, 2.1], direction="lower", best=0.0)
    >>> axes = scf.pl.evaluation(report)
    """
    from sccalmflow._checks import one_of

    needed = ("condition", "method", "metric", "value", "ci_low", "ci_high", "direction", "best")
    missing = [column for column in needed if column not in report]
    if missing:
        raise ValueError(f"the report has no column {missing[0]!r}; give what sccalmflow.tl.evaluate returned.")
    known = report["metric"].unique().tolist()
    for metric in metrics or ():
        one_of(metric, known, "metrics")
    chosen = list(metrics) if metrics else known
    conditions = report["condition"].unique().tolist()
    axes = _new_axes(len(chosen), len(conditions)) if axes is None else as_axes(axes, len(chosen), "metrics")
    styles = _styles(report["method"].unique().tolist())
    for ax, metric in zip(axes, chosen, strict=True):
        _panel(ax, report[report["metric"] == metric], conditions, styles)
        _title(ax, metric, report[report["metric"] == metric].iloc[0])
    for i, ax in enumerate(axes):
        # Beside each other the panels share their labels; anywhere else each needs its own.
        shared = i > 0 and ax.figure is axes[0].figure and np.isclose(ax.get_position().y0, axes[0].get_position().y0)
        ax.tick_params(axis="y", length=0, labelleft=not shared)
    axes[0].figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=min(len(styles), 6), frameon=False
    )
    return axes


def _styles(methods: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """Colour, marker and face of each method, references first so that models lie on top."""
    models = [method for method in methods if method not in _REFERENCES]
    styles = {name: style for name, style in _REFERENCES.items() if name in methods}
    markers = "oD^vPX"
    for i, model in enumerate(models):
        colour = MODELS[i % len(MODELS)]
        styles[model] = (colour, markers[(i // len(MODELS)) % len(markers)], colour)
    return styles


def _panel(ax: Axes, rows: pd.DataFrame, conditions: Sequence[str], styles: dict[str, tuple[str, str, str]]) -> None:
    place = {condition: i for i, condition in enumerate(conditions)}
    if len(conditions) > 1:
        # A gap and a line keep the mean from being read as one more condition.
        ax.axhline(len(conditions) - 0.25, color=PALE, linewidth=1)
    for k, (method, (colour, marker, face)) in enumerate(styles.items()):
        own = rows[rows["method"] == method]
        # Side by side within the row, so that intervals do not hide each other.
        shift = 0.5 * (k / max(1, len(styles) - 1) - 0.5)
        y = own["condition"].map(place).to_numpy(dtype=float) + shift
        ax.hlines(y, own["ci_low"], own["ci_high"], color=colour, linewidth=1, alpha=0.7)
        values = own["value"].to_numpy(dtype=float)
        if len(conditions) > 1 and len(own):
            y, values = np.append(y, len(conditions) + 0.5 + shift), np.append(values, own["value"].mean())
        ax.plot(
            values,
            y,
            linestyle="none",
            marker=marker,
            color=colour,
            markerfacecolor=face,
            markersize=9 if marker == "|" else 5,
            markeredgewidth=2 if marker == "|" else 1,
            label=method,
        )
    ticks = [*range(len(conditions)), *([len(conditions) + 0.5] if len(conditions) > 1 else [])]
    ax.set_yticks(ticks, [*conditions, *([_MEAN] if len(conditions) > 1 else [])])
    ax.set_ylim(ticks[-1] + 0.6, -0.6)


def _title(ax: Axes, metric: str, row: pd.Series) -> None:
    best = float(row["best"])
    ax.axvline(best, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
    hint = _ARROWS.get(str(row["direction"]), "")
    ax.set_title(metric, fontsize=10)
    ax.set_xlabel(f"{hint} {best:g}" if row["direction"] == "target" else hint, fontsize=8, color="#555555")
    ax.grid(axis="y", color=PALE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(axis="both", labelsize=8)
    # Few ticks, well inside: those of neighbouring panels would touch.
    ax.locator_params(axis="x", nbins=4)
    ax.margins(x=0.12)
    tidy(ax)
    ax.spines["left"].set_visible(False)


def _new_axes(n_metrics: int, n_conditions: int) -> np.ndarray:
    import matplotlib.pyplot as plt

    size = (2.2 * n_metrics + 1.5, 0.36 * (n_conditions + 1.5) + 1.2)
    _, grid = plt.subplots(1, n_metrics, figsize=size, squeeze=False, layout="constrained")
    return grid.ravel()
