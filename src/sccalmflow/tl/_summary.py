"""The report in a few lines."""

from __future__ import annotations

import pandas as pd


def summary(report: pd.DataFrame) -> pd.DataFrame:
    """Mean over conditions of every metric, one row a method.

    Each condition counts the same, however many cells it has.

    Parameters
    ----------
    report
        What :func:`evaluate` returned, or the same read back from a CSV file.

    Returns
    -------
    Methods x metrics, both in the report's order, with a last column ``n_conditions``: means over different conditions
    are not comparable, and a baseline can lack some.

    Raises
    ------
    ValueError
        A column of the report is missing.

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
    missing = [column for column in ("condition", "method", "metric", "value") if column not in report]
    if missing:
        raise ValueError(f"the report has no column {missing[0]!r}; give what sccalmflow.tl.evaluate returned.")
    table = report.pivot_table(index="method", columns="metric", values="value", aggfunc="mean", sort=False)
    # pivot_table drops a method or metric that is NaN throughout; a report must show that it is.
    table = table.reindex(index=report["method"].unique(), columns=report["metric"].unique())
    table["n_conditions"] = report.groupby("method", observed=True)["condition"].nunique()
    table.index.name, table.columns.name = "method", "metric"
    return table
