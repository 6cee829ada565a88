"""The report in a few lines: means, intervals, skill and ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd

from sccalmflow import _checks
from sccalmflow.baselines._registry import BASELINES

from ._methods import CEILING

Statistic = Literal["mean", "interval", "skill"]


def summary(report: pd.DataFrame, *, statistic: Statistic = "mean", groupby: str | None = None) -> pd.DataFrame:
    """Every method in a row, every metric in a column, over all conditions.

    Each condition counts the same, however many cells it has.

    Parameters
    ----------
    report
        What :func:`evaluate` returned, or the same read back from a file.
    statistic
        "mean" is the mean over conditions. "interval" is the mean with its 95 % interval as text ("0.16 [0.14, 0.19]"):
        the half-widths of the conditions' own intervals, whose cells are different ones, add up as squares; that is the
        uncertainty from the cells at hand, not from the choice of conditions. "skill" is ``(m - b) / (c - b)`` with m
        the mean of the method, b that of the best baseline and c that of the ceiling, for metrics with a target in
        distances from it: 1 is the ceiling, 0 the best baseline, below 0 worse than doing almost nothing; not clipped.
        NaN without baselines and ceiling, and where the ceiling is no better than a baseline: such a metric cannot tell
        there what is good.
    groupby
        A column of the report whose values get their own rows: "novelty", "cell_type", or strata of ``effect_size``
        that you add.

    Returns
    -------
    Methods x metrics, both in the report's order, with a last column ``n_conditions``: means over different conditions
    are not comparable, and a baseline can lack some. Only baselines that have all conditions are "the best" for a
    skill. With ``groupby`` the index is (group, method).

    Raises
    ------
    ValueError
        A column of the report is missing, or an unknown statistic.

    Examples
    --------
    >>> import pandas as pd
    >>> import sccalmflow as scf
    >>> report = pd.DataFrame({"condition": ["a", "b"], "method": "mine", "metric": "edistance", "value": [1.0, 2.0]})
    >>> scf.tl.summary(report)
    metric  edistance  n_conditions
    method
    mine          1.5             2
    """
    _checks.one_of(statistic, get_args(Statistic), "statistic")
    extra = {"mean": (), "interval": ("ci_low", "ci_high"), "skill": ("direction", "best")}[statistic]
    _need_columns(report, [*([groupby] if groupby else []), *extra])
    if groupby is None:
        return _one_table(report, statistic)
    groups = {value: report[report[groupby] == value] for value in report[groupby].dropna().unique()}
    return pd.concat({value: _one_table(rows, statistic) for value, rows in groups.items()}, names=[groupby])


def rank(report: pd.DataFrame) -> pd.DataFrame:
    """Rank of every method within each condition and metric, the mean over conditions: 1 is the best method.

    Unlike means, ranks are not ruled by the one condition in which a metric is large.

    Parameters
    ----------
    report
        What :func:`evaluate` returned, or the same read back from a file. The ceiling takes no part.

    Returns
    -------
    Methods x metrics, with a last column ``mean`` over metrics, sorted by it. Ties share their mean rank. A method that
    lacks a condition is not ranked there, and one without a value is ranked last.

    Raises
    ------
    ValueError
        A column of the report is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> import sccalmflow as scf
    >>> report = pd.DataFrame(
    ...     {"condition": "a", "method": ["mine", "control"], "metric": "edistance", "value": [1.0, 2.0]}
    ... ).assign(direction="lower", best=0.0)
    >>> scf.tl.rank(report)
    metric   edistance  mean
    method
    mine           1.0   1.0
    control        2.0   2.0
    """
    _need_columns(report, ["direction", "best"])
    rows = report[report["method"] != CEILING]
    rows = rows.assign(rank=_loss(rows).groupby([rows["condition"], rows["metric"]]).rank(na_option="bottom"))
    table = _means(rows, "rank")
    table["mean"] = table.mean(axis=1)
    return table.sort_values("mean", kind="stable")


def _one_table(report: pd.DataFrame, statistic: Statistic) -> pd.DataFrame:
    if statistic == "mean":
        table = _means(report, "value")
    elif statistic == "interval":
        table = _intervals(report)
    else:
        table = _skill(report)
    table["n_conditions"] = (
        report.groupby(["method", "metric"], observed=True)["condition"].nunique().groupby("method").max()
    )
    return table


def _means(report: pd.DataFrame, column: str) -> pd.DataFrame:
    table = report.pivot_table(index="method", columns="metric", values=column, aggfunc="mean", sort=False)
    # pivot_table drops a method or metric that is NaN throughout; a report must show that it is.
    table = table.reindex(index=report["method"].unique(), columns=report["metric"].unique())
    table.index.name, table.columns.name = "method", "metric"
    return table


def _intervals(report: pd.DataFrame) -> pd.DataFrame:
    mean = _means(report, "value")
    n = report.pivot_table(index="method", columns="metric", values="value", aggfunc="count", sort=False)
    below, above = (
        np.sqrt(_means(report.assign(square=(report["value"] - report[end]) ** 2), "square") / n.reindex_like(mean))
        for end in ("ci_low", "ci_high")
    )
    text = mean.astype(object)
    for method in mean.index:
        for metric in mean.columns:
            m, low, high = (table.loc[method, metric] for table in (mean, mean - below, mean + above))
            text.loc[method, metric] = f"{m:.3g}" + ("" if np.isnan(low) else f" [{low:.3g}, {high:.3g}]")
    return text


def _skill(report: pd.DataFrame) -> pd.DataFrame:
    loss = _means(report.assign(loss=_loss(report)), "loss")
    conditions = report.groupby(["method", "metric"], observed=True)["condition"].nunique().unstack()
    has_all = (conditions == conditions.max()).reindex_like(loss)
    best = loss.where(has_all)[loss.index.isin(list(BASELINES))].min().to_numpy(float)
    ceiling = loss.loc[CEILING].to_numpy(float) if CEILING in loss.index else np.full(loss.shape[1], np.nan)
    room = np.where(best > ceiling, best - ceiling, np.nan)
    return pd.DataFrame((best - loss.to_numpy(float)) / room, index=loss.index, columns=loss.columns)


def _loss(report: pd.DataFrame) -> pd.Series:
    """Values turned such that lower is better."""
    value, direction = report["value"], report["direction"]
    distance = (value - report["best"]).abs()
    return value.where(direction == "lower", -value).where(direction != "target", distance)


def _need_columns(report: pd.DataFrame, extra: Sequence[str]) -> None:
    if not isinstance(report, pd.DataFrame):
        raise TypeError(f"report is a {type(report).__name__}: give the table that sccalmflow.tl.evaluate returns.")
    for column in ("condition", "method", "metric", "value", *extra):
        if column not in report:
            hint = _checks.suggest(column, report.columns)
            raise ValueError(f"the report has no column {column!r}; give what sccalmflow.tl.evaluate returned.{hint}")
