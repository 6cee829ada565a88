"""Scores along a setting, as a table and as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sccalmflow.validation._markdown import table_head, table_row

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Curves:
    """Scores along a setting.

    Parameters
    ----------
    setting
        Its name for the reader.
    values
        Scores by panel (a metric or a model), line and value of the setting, one number a seed.
    floors
        What the truth itself scores in a panel.
    """

    setting: str
    values: dict[str, dict[str, dict[float, list[float]]]]
    floors: dict[str, float]


def curves_table(curves: Curves) -> str:
    """Mean over the seeds, a line of the table for each line of the figure."""
    lines = []
    for panel, by_line in curves.values.items():
        settings = sorted({value for line in by_line.values() for value in line})
        lines += table_head([panel, *(f"{curves.setting} {value:g}" for value in settings), "floor"])
        floor = f"{curves.floors[panel]:.4f}" if panel in curves.floors else "–"
        for name, line in by_line.items():
            cells = [f"{np.mean(line[value]):.4f}" if value in line else "–" for value in settings]
            lines.append(table_row([name, *cells, floor]))
        lines.append("")
    return "\n".join(lines)


def draw_curves(curves: Curves, colours: Sequence[str] = ("#D55E00", "#E69F00", "#0072B2", "#8A8A8A")) -> Figure:
    """A panel for each metric or model; means over the seeds, and each seed as a point."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(curves.values), 3.4), layout="constrained", dpi=120)
    axes = figure.subplots(1, len(curves.values), squeeze=False)[0]
    for ax, (panel, by_line) in zip(axes, curves.values.items(), strict=True):
        for colour, (name, line) in zip(colours, by_line.items(), strict=False):
            settings = sorted(line)
            ax.plot(settings, [np.mean(line[value]) for value in settings], color=colour, label=name)
            for value in settings:
                ax.scatter([value] * len(line[value]), line[value], s=6, color=colour)
        if panel in curves.floors:
            ax.axhline(curves.floors[panel], color="#8A8A8A", linestyle="--", linewidth=1, label="floor")
        ax.set(xlabel=curves.setting, title=panel)
        ax.set_yscale("log")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=7)
    return figure
