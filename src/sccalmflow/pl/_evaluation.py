"""The report as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ._inputs import kind
from ._style import BLACK, GREY, LETTER, MODELS, PALE, as_axes, legend, legend_at_foot, literal, new_axes, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_REFERENCES = {
    "control": (GREY, "o", "white"),
    "additive": (GREY, "s", "white"),
    "perturbed_mean": (GREY, "^", "white"),
    "nearest": (GREY, "v", "white"),
    "linear": (GREY, "D", "white"),
    "ceiling": (BLACK, "|", BLACK),
}
_ARROWS = {"lower": "lower is better", "higher": "higher is better", "target": "best is"}
_MEAN = "mean"
# What the report calls the condition of metrics that take all conditions together.
_POOLED = "all conditions"
# Panels beside each other; more metrics go into further rows.
_COLUMNS = 5
# Up to so many rows of a panel are drawn with room to spare.
_FEW = 12
_ROUNDING = 1e-9
# Where the first row, at 0, begins.
_TOP = -0.6
# Share of a row's height that its methods take up.
_SPREAD = 0.6


def evaluation(
    report: pd.DataFrame,
    *,
    metrics: str | Sequence[str] | None = None,
    axes: Axes | Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Every metric in a panel, every condition in a row, and their mean at the foot.

    Models are filled dots with their intervals; the baselines are hollow, the ceiling is a black bar: a good model is
    near the bar, and a useful one on its side of the hollow marks. Figures of "all conditions" together, as some
    metrics have, stand below the mean, which leaves them out.

    Parameters
    ----------
    report
        What :func:`sccalmflow.tl.evaluate` returned, or the same read back from a CSV file.
    metrics
        Which to draw, one or several in this order; all by default.
    axes
        One Axes per metric, the first of which holds the legend at its foot. By default a new figure.

    Returns
    -------
    Array of Axes, one per metric. Nothing is shown or saved.

    Raises
    ------
    TypeError
        ``report`` is no DataFrame.
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
    >>> axes.shape
    (1,)
    """
    from sccalmflow._checks import one_of

    if not isinstance(report, pd.DataFrame):
        raise TypeError(f"report is {kind(report)}: pass the DataFrame that tl.evaluate returns.")
    if isinstance(metrics, str):
        metrics = [metrics]
    needed = ("condition", "method", "metric", "value", "ci_low", "ci_high", "direction", "best")
    missing = [column for column in needed if column not in report]
    if missing:
        raise ValueError(f"the report has no column {missing[0]!r}; give what sccalmflow.tl.evaluate returned.")
    known = report["metric"].unique().tolist()
    for metric in metrics or ():
        one_of(metric, known, "metrics")
    chosen = list(metrics) if metrics else known
    rows = _Rows(report[report["metric"].isin(chosen)]["condition"].unique().tolist())
    styles = _styles(report["method"].unique().tolist())
    given = axes is not None
    axes = _new_axes(len(chosen), rows, len(styles)) if axes is None else as_axes(axes, len(chosen), "metrics")
    for ax, metric in zip(axes, chosen, strict=True):
        _panel(ax, report[report["metric"] == metric], rows, styles)
        _title(ax, metric, report[report["metric"] == metric].iloc[0])
    for ax in axes:
        # Panels beside each other share the labels of the first; anywhere else each needs its own.
        ax.tick_params(axis="y", length=0, labelleft=not any(_left_of(other, ax) for other in axes))
    handles = axes[0].get_legend_handles_labels()[0]
    if given:
        _make_room(axes, rows, legend_at_foot(axes[0], handles))
    else:
        legend(axes, handles, given=False)
    return axes


class _Rows:
    """Where conditions, their mean and the figures of all of them together stand, from top to bottom."""

    def __init__(self, conditions: Sequence[str]) -> None:
        single = [condition for condition in conditions if condition != _POOLED]
        self.place = {condition: float(i) for i, condition in enumerate(single)}
        self.foot = [_MEAN] * (len(single) > 1) + [_POOLED] * (_POOLED in conditions)
        # A gap and a line keep what stands at the foot from being read as one more condition.
        gap = 0.5 if single else 0.0
        self.place |= {name: len(single) + gap + i for i, name in enumerate(self.foot)}
        self.line = len(single) - 0.25 if single and self.foot else None

    @property
    def bottom(self) -> float:
        """Where the last row ends."""
        return max(self.place.values()) + 0.6


def _make_room(axes: np.ndarray, rows: _Rows, share: float) -> None:
    """Move the rows of all panels up by the share of the height that the legend takes, and a little more."""
    # In a panel lower than its legend some of each is to be seen.
    above = 1 - min(share + 0.04, 0.7)
    for ax in axes:
        ax.set_ylim(_TOP + (rows.bottom - _TOP) / above, _TOP)


def _left_of(other: Axes, ax: Axes) -> bool:
    if other.figure is not ax.figure:
        return False
    there, here = other.get_position(), ax.get_position()
    return there.x0 < here.x0 and bool(np.isclose(there.y0, here.y0))


def _styles(methods: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """Colour, marker and face of each method, references first so that models lie on top."""
    models = [method for method in methods if method not in _REFERENCES]
    styles = {name: style for name, style in _REFERENCES.items() if name in methods}
    markers = "oD^vPX"
    for i, model in enumerate(models):
        colour = MODELS[i % len(MODELS)]
        styles[model] = (colour, markers[(i // len(MODELS)) % len(markers)], colour)
    return styles


def _panel(ax: Axes, table: pd.DataFrame, rows: _Rows, styles: dict[str, tuple[str, str, str]]) -> None:
    scale = 1 if len(rows.place) <= _FEW else 0.8
    if rows.line is not None:
        ax.axhline(rows.line, color=PALE, linewidth=1)
    for k, (method, (colour, marker, face)) in enumerate(styles.items()):
        own = table[table["method"] == method]
        values = own.set_index("condition")["value"].astype(float)
        if _MEAN in rows.foot and len(single := values.drop(_POOLED, errors="ignore")):
            values = pd.concat([values, pd.Series({_MEAN: single.mean()})])
        # Side by side within the row, so that intervals do not hide each other.
        shift = _SPREAD * (k / max(1, len(styles) - 1) - 0.5)
        # A metric without an interval has NaN there.
        known = own[own[["ci_low", "ci_high"]].notna().all(axis=1)]
        y = known["condition"].map(rows.place).to_numpy(dtype=float) + shift
        ax.hlines(y, known["ci_low"], known["ci_high"], color=colour, linewidth=1, alpha=0.7)
        ax.plot(
            values.to_numpy(),
            values.index.map(rows.place).to_numpy(dtype=float) + shift,
            linestyle="none",
            marker=marker,
            color=colour,
            markerfacecolor=face,
            markersize=(8 if marker == "|" else 4.5) * scale,
            markeredgewidth=(2 if marker == "|" else 1) * scale,
            label=method,
        )
    ax.set_yticks(list(rows.place.values()), list(rows.place))
    literal(*ax.get_yticklabels())
    ax.set_ylim(rows.bottom, _TOP)


def _title(ax: Axes, metric: str, row: pd.Series) -> None:
    best = float(row["best"])
    if np.isfinite(best):
        ax.axvline(best, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
    hint = _ARROWS.get(str(row["direction"]), "")
    literal(ax.set_title(metric, fontsize=10))
    ax.set_xlabel(f"{hint} {best:g}" if row["direction"] == "target" else hint, fontsize=8, color="#555555")
    ax.grid(axis="y", color=PALE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(axis="both", labelsize=8)
    # Few ticks, well inside: those of neighbouring panels would touch.
    ax.locator_params(axis="x", nbins=4)
    ax.margins(x=0.12)
    low, high = ax.get_xlim()
    if high - low < _ROUNDING:
        # Values that differ by rounding alone, as shares that are all 0, are not to look different.
        ax.set_xlim(low - 0.1, high + 0.1)
    tidy(ax)
    ax.spines["left"].set_visible(False)


def _new_axes(n_metrics: int, rows: _Rows, n_methods: int) -> np.ndarray:
    # Many methods need higher rows, many conditions lower ones: a figure has to fit on a page.
    row = max(0.36, 0.055 * n_methods) if len(rows.place) <= _FEW else max(0.2, 0.025 * n_methods)
    columns = n_metrics if n_metrics <= _COLUMNS else -(-n_metrics // -(-n_metrics // _COLUMNS))
    names = max(1.5, LETTER * max(map(len, rows.place)))
    return new_axes(n_metrics, columns, (2.2, row * (rows.bottom + 0.6) + 0.8), around=(names, 0.5))
