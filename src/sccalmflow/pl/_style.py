"""Colours and axes shared by the plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette keeps its contrasts for all common kinds of colour blindness.
BLUE, VERMILLION, GREEN, ORANGE, SKY, PURPLE = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7"
BLACK, GREY, PALE = "#000000", "#8A8A8A", "#E4E4E4"
MODELS = (VERMILLION, BLUE, GREEN, PURPLE, ORANGE, SKY)


def as_axes(axes: Axes | Sequence[Axes] | np.ndarray, n: int, what: str) -> np.ndarray:
    """Flat array of the Axes that were given, after checking that there are enough."""
    flat = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()
    if len(flat) < n:
        raise ValueError(f"axes holds {len(flat)} Axes, but there are {n} {what} to draw.")
    return flat[:n]


def tidy(ax: Axes) -> None:
    """Leave only the lines of the frame that carry a scale."""
    ax.spines[["top", "right"]].set_visible(False)
