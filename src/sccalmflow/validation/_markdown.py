"""Lines and cells of the tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Column(NamedTuple):
    """Heading, name of the score, format; the spread over runs is shown unless it is a cost."""

    title: str
    key: str
    form: str
    is_cost: bool = False


def mean_and_spread(runs: Sequence[dict[str, Any]], column: Column) -> str:
    """Mean and standard deviation of a score over the runs that have it."""
    values = [run[column.key] for run in runs if column.key in run]
    if not values:
        return "–"
    mean = f"{np.mean(values):{column.form}}"
    return mean if len(values) == 1 or column.is_cost else f"{mean} ± {np.std(values, ddof=1):{column.form}}"


def table_head(titles: Sequence[str]) -> list[str]:
    """The headings, and the line below them."""
    return [table_row(titles), "|" + " --- |" * len(titles)]


def table_row(cells: Sequence[str]) -> str:
    """One line."""
    return f"| {' | '.join(cells)} |"
