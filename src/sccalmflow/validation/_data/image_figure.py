"""Images of several models under each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_images(rows: Mapping[str, np.ndarray], side: int, *, n: int = 20) -> Figure:
    """A row of the first n images, pixels from 0 to 1 (n, side²), for each name."""
    from matplotlib.figure import Figure

    names, images = 0.075 * max(map(len, rows)), 0.46 * n  # inches that the longest name takes, and a row
    figure = Figure(figsize=(names + images, 0.45 * len(rows)), dpi=110)
    axes = figure.subplots(len(rows), 1, squeeze=False, gridspec_kw={"hspace": 0.05})[:, 0]
    figure.subplots_adjust(left=names / (names + images), right=1, bottom=0, top=1)
    for ax, (name, pixels) in zip(axes, rows.items(), strict=True):
        # A black pixel between images.
        framed = np.pad(pixels[:n].reshape(-1, side, side), ((0, 0), (0, 0), (0, 1)))
        ax.imshow(np.concatenate(list(framed), axis=1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    return figure
