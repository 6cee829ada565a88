"""Scores of models on a data set as a table, beside what the paper prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sccalmflow.validation._markdown import Column, mean_and_spread, table_head, table_row


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
    lines = table_head(["model", "runs", *(column.title for column in columns)])
    for row in rows:
        if row.printed is not None:
            texts = [row.printed.scores.get(column.key, "–") for column in columns]
            lines.append(table_row([f"printed in the paper: {row.printed.model}", "–", *texts]))
        cells = [mean_and_spread(row.runs, column) for column in columns]
        lines.append(table_row([row.model, str(len(row.runs)), *cells]))
    return "\n".join(lines) + "\n"
