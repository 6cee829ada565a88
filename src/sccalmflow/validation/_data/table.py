"""Scores of models on a data set as a table, beside what the paper prints."""

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


class Printed(NamedTuple):
    """What the paper prints: its name for the model, and text by name of the score."""

    model: str
    scores: dict[str, str]


class Row(NamedTuple):
    """A model, the scores of its runs, and what the paper prints for it."""

    model: str
    runs: Sequence[dict[str, Any]]
    printed: Printed | None = None


COSTS = (
    Column("temperature", "temperature", ".1f", True),
    Column("parameters", "n_parameters", ",.0f", True),
    Column("evaluations", "n_evaluations", ",.0f", True),
    Column("training s", "training_seconds", ",.0f", True),
)


def data_table(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """Mean and standard deviation over the runs of each model, in Markdown."""
    lines = [_line(["model", "runs", *(column.title for column in columns)]), "|" + " --- |" * (2 + len(columns))]
    for row in rows:
        if row.printed is not None:
            texts = [row.printed.scores.get(column.key, "–") for column in columns]
            lines.append(_line([f"printed in the paper: {row.printed.model}", "–", *texts]))
        lines.append(
            _line([row.model, str(len(row.runs)), *(_mean_and_spread(row.runs, column) for column in columns)])
        )
    return "\n".join(lines) + "\n"


def _mean_and_spread(runs: Sequence[dict[str, Any]], column: Column) -> str:
    values = [run[column.key] for run in runs if column.key in run]
    if not values:
        return "–"
    mean = f"{np.mean(values):{column.form}}"
    return mean if len(values) == 1 or column.is_cost else f"{mean} ± {np.std(values, ddof=1):{column.form}}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
