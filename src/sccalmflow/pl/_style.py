"""Colours, axes and legends shared by the plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.text import Text

# Okabe and Ito's palette keeps its contrasts for all common kinds of colour blindness.
BLUE, VERMILLION, GREEN, ORANGE, SKY, PURPLE = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7"
BLACK, GREY, PALE = "#000000", "#8A8A8A", "#E4E4E4"
MODELS = (VERMILLION, BLUE, GREEN, PURPLE, ORANGE, SKY)
# What a colour stands for wherever cells of a condition are drawn.
COLOURS = {"control": GREY, "truth": BLUE, "prediction": VERMILLION}
# Width in inches of a letter of the legend's text, and of what stands around a label.
LETTER, _AROUND = 0.075, 0.47
# Size in points of the legend's text above a figure of ours, and in Axes that were given.
_LARGE, _SMALL = 9, 7


def as_axes(axes: Axes | Sequence[Axes] | np.ndarray, n: int, what: str) -> np.ndarray:
    """Flat array of the Axes that were given, after checking that there are enough."""
    flat = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()
    if len(flat) < n:
        raise ValueError(f"axes holds {len(flat)} Axes, but there are {n} {what} to draw.")
    return flat[:n]


def new_axes(n: int, columns: int, panel: tuple[float, float], *, around: tuple[float, float] = (0, 0)) -> np.ndarray:
    """The first n Axes of a new figure's grid, row by row; sizes in inches, those around for the whole figure."""
    import matplotlib.pyplot as plt

    rows = -(-n // columns)
    size = (panel[0] * columns + around[0], panel[1] * rows + around[1])
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for ax in grid.ravel()[n:]:
        figure.delaxes(ax)
    return grid.ravel()[:n]


def tidy(ax: Axes) -> None:
    """Leave only the lines of the frame that carry a scale."""
    ax.spines[["top", "right"]].set_visible(False)


def literal(*texts: Text) -> None:
    """Draw users' labels as they are written: a dollar sign in one starts no formula."""
    for text in texts:
        text.set_parse_math(False)


def legend(axes: np.ndarray, handles: Sequence[Artist], *, given: bool, title: str | None = None) -> None:
    """Above the figure that a plot has made; in the first Axes when they were given, whose figure is not ours."""
    if given:
        inside = axes[0].legend(handles=handles, title=title, fontsize=_SMALL, title_fontsize=_SMALL)
        literal(*inside.get_texts())
        return
    figure = axes[0].figure
    above = figure.legend(
        handles=handles,
        loc="outside upper center",
        fontsize=_LARGE,
        handlelength=1.6,
        columnspacing=1.4,
        ncols=_legend_columns(handles, figure.get_figwidth()),
        frameon=False,
        title=title,
        title_fontsize=8,
    )
    literal(*above.get_texts())
    # The layout of facets of equal scales settles in its second pass only; until then titles can lie on the legend.
    for _ in range(2):
        figure.draw_without_rendering()


def legend_at_foot(ax: Axes, handles: Sequence[Artist]) -> float:
    """In an Axes that data fill, which is to make room; the share of its height that the legend takes."""
    # The layout of the figure, which is not ours, comes first.
    ax.figure.canvas.figure.draw_without_rendering()
    room = ax.get_window_extent().width / ax.figure.dpi
    columns = _legend_columns(handles, room * _LARGE / _SMALL)
    foot = ax.legend(handles=handles, loc="lower center", fontsize=_SMALL, ncols=columns)
    literal(*foot.get_texts())
    return float(foot.get_window_extent().height / ax.get_window_extent().height)


def _legend_columns(handles: Sequence[Artist], room: float) -> int:
    """Most columns that fit: a legend is filled column by column, and the layout does not keep it from being cut."""
    widths = [LETTER * len(str(handle.get_label())) + _AROUND for handle in handles]
    fits = (n for n in range(len(widths), 1, -1) if sum(map(max, np.array_split(widths, n))) <= room)
    return next(fits, 1)
