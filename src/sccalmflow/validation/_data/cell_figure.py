"""Generated cells over true ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from sccalmflow.tl._umap import new_umap, stored

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 5


def draw_cells(truth: np.ndarray, samples: Mapping[str, np.ndarray], *, max_cells: int = 1_000) -> Figure:
    """A facet for each model: its cells (orange) over the true ones (grey), in a UMAP that only the truth has shaped.

    Parameters
    ----------
    truth
        True cells, n x D.
    samples
        Cells of each model, n x D.
    max_cells
        At most so many of each are drawn; more only hide each other.
    """
    from matplotlib.figure import Figure

    truth = truth[:max_cells]
    umap = new_umap(len(truth)).fit(stored(truth, len(truth)))
    true = umap.embedding_
    n_columns = min(_COLUMNS, len(samples))
    n_rows = -(-len(samples) // n_columns)
    figure = Figure(figsize=(2.6 * n_columns, 2.8 * n_rows), layout="constrained", dpi=110)
    axes = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True).ravel()
    for ax, (name, cells) in zip(axes, samples.items(), strict=False):
        drawn = umap.transform(stored(cells[:max_cells], len(truth)))
        ax.scatter(*true.T, s=3, color="#BBBBBB", linewidths=0, rasterized=True)
        ax.scatter(*drawn.T, s=3, color="#D55E00", linewidths=0, alpha=0.7, rasterized=True)
        ax.set_title(name.replace("`", ""), fontsize=8)
        ax.set(xticks=[], yticks=[])
    for ax in axes[len(samples) :]:
        ax.set_visible(False)
    return figure
