"""Prediction over truth in a UMAP that only the truth has shaped."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from anndata import AnnData

from sccalmflow.baselines._training import Condition
from sccalmflow.tl._keys import Keys, resolve_keys
from sccalmflow.tl._pair import Cells, predicted_cells, true_cells

from ._style import BLUE, GREY, PALE, VERMILLION, as_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More points than this in one facet only hide each other.
_SHOWN = 500
_NEIGHBORS = 15
# umap-learn's own number for large data; its 500 for small ones take longer and look the same.
_EPOCHS = 200
COLOURS = {"control": GREY, "truth": BLUE, "prediction": VERMILLION, "other cells": PALE}


def umap(
    pred: AnnData,
    truth: AnnData,
    *,
    condition_keys: Sequence[str] | None = None,
    perturbation_key: str | None = None,
    control: str | None = None,
    split_key: str | None = None,
    max_cells: int = 3_000,
    seed: int = 0,
    axes: Axes | Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Overlay predicted and true cells, one facet per predicted condition.

    The UMAP is fitted on PCs of the truth alone, and predictions are projected into it: a joint fit would bend to meet
    the prediction. The price is that a cell unlike any true one still lands among true ones; read the figure beside
    :func:`sccalmflow.tl.evaluate`.

    Parameters
    ----------
    pred
        Predicted cells, as for :func:`sccalmflow.tl.evaluate`.
    truth
        All labelled cells, with ``obsm["X_pca"]``.
    condition_keys
        Columns of ``obs`` that make a condition. Read from ``pred.uns["sccalmflow"]`` when None, as are the next three.
    perturbation_key
        The one of them with the perturbation.
    control
        Its label for control cells, which are drawn in grey.
    split_key
        Column of ``truth.obs`` that says "train" for training cells; held-out cells alone are drawn as truth.
    max_cells
        The UMAP is fitted on at most about this many true cells, which bounds its time. A facet shows at most 500 cells
        of each kind, and is zoomed to them (to 96 % of them: stray cells fall outside).
    seed
        Seed of the UMAP and of the choice of cells.
    axes
        One Axes per condition. By default a new figure.

    Returns
    -------
    Array of Axes, one per condition in the order of ``pred``. Nothing is shown or saved.

    Raises
    ------
    KeyError, ValueError
        As :func:`sccalmflow.tl.evaluate`, too few ``axes``, or ``max_cells`` below 10.

    Examples
    --------
    >>> import sccalmflow as scf
    >>> adata = scf.datasets.simulated_cytokines(cells_per_condition=10, n_genes=100)
    >>> heldout = scf.pp.hold_out(adata, n=2, min_cells=1)
    >>> scf.pp.pca(adata, n_comps=10)
    >>> pred = scf.baselines.additive(adata, heldout, perturbation_key="perturbation", control="control")
    >>> axes = scf.pl.umap(pred, adata, max_cells=200)  # doctest: +SKIP
    """
    if max_cells < 10:
        raise ValueError(f"max_cells is {max_cells}; a UMAP of fewer than 10 cells shows nothing.")
    keys = resolve_keys(
        {"pred": pred},
        truth,
        condition_keys=condition_keys,
        perturbation_key=perturbation_key,
        control=control,
        split_key=split_key,
    )
    true = true_cells(truth, keys, ["pcs"], "any")
    predicted = predicted_cells(pred, "pred", true, keys, ["pcs"], "any")
    conditions = list(predicted.rows)
    axes = _new_axes(len(conditions)) if axes is None else as_axes(axes, len(conditions), "conditions")

    shown = _choose(predicted, true, keys, max_cells=max_cells, rng=np.random.default_rng(seed))
    background, drawn = _embed(predicted, true, shown, max_cells=max_cells, seed=seed)
    for ax, condition in zip(axes, conditions, strict=True):
        _facet(ax, ", ".join(condition), background, drawn[condition])
    _legend(axes[0])
    return axes


Shown = dict[Condition, dict[str, np.ndarray]]


def _choose(predicted: Cells, true: Cells, keys: Keys, *, max_cells: int, rng: np.random.Generator) -> Shown:
    """Rows to draw of each kind and condition: all, or as many as share out ``max_cells``."""
    most = min(_SHOWN, max(30, max_cells // (2 * len(predicted.rows))))

    def some(rows: np.ndarray) -> np.ndarray:
        return rows if len(rows) <= most else rng.choice(rows, most, replace=False)

    empty = np.array([], dtype=int)
    return {
        condition: {
            "control": some(true.rows.get(keys.control_of(condition), empty)),
            "truth": some(true.rows[condition]),
            "prediction": some(rows),
        }
        for condition, rows in predicted.rows.items()
    }


def _embed(
    predicted: Cells, true: Cells, shown: Shown, *, max_cells: int, seed: int
) -> tuple[np.ndarray, dict[Condition, dict[str, np.ndarray]]]:
    """Positions of all fitted cells, and of those drawn in each facet."""
    from scipy.sparse import csr_matrix
    from umap import UMAP

    scores = cast(np.ndarray, true.pcs)
    wanted = np.unique(np.concatenate([rows[kind] for rows in shown.values() for kind in ("control", "truth")]))
    others = np.setdiff1d(np.arange(len(scores)), wanted)
    room = min(len(others), max(0, max_cells - len(wanted)))
    fitted = np.concatenate([wanted, np.random.default_rng(seed).choice(others, room, replace=False)])
    # One job: umap-learn warns that a seed leaves it no other choice.
    model = UMAP(n_neighbors=min(_NEIGHBORS, len(fitted) - 1), n_epochs=_EPOCHS, random_state=seed, n_jobs=1)
    # Up to 4,095 cells umap-learn compares all pairs: dense ones in a Python loop (a minute), sparse ones by
    # scikit-learn (a second). Beyond, its compiled index is the faster way.
    stored = csr_matrix if len(fitted) < 4_096 else np.asarray
    background = model.fit_transform(stored(scores[fitted]))
    place = {row: i for i, row in enumerate(fitted)}

    rows = np.concatenate([one["prediction"] for one in shown.values()])
    projected = np.split(
        model.transform(stored(cast(np.ndarray, predicted.pcs)[rows])),
        np.cumsum([len(one["prediction"]) for one in shown.values()])[:-1],
    )
    drawn = {}
    for (condition, one), points in zip(shown.items(), projected, strict=True):
        of_truth = {kind: background[[place[row] for row in one[kind]]] for kind in ("control", "truth")}
        drawn[condition] = {**of_truth, "prediction": points}
    return background, drawn


def _facet(ax: Axes, title: str, background: np.ndarray, points: Mapping[str, np.ndarray]) -> None:
    # Points shrink with the facet, or forty facets are forty blots.
    inches = ax.get_window_extent().width / ax.figure.dpi
    size = float(np.clip(2.5 * inches, 3, 9))
    _dots(ax, background, 0.6 * size, PALE)
    _dots(ax, points["control"], size, COLOURS["control"])
    # In random order: whichever kind came last would hide the other.
    kinds = ("truth", "prediction")
    both = np.concatenate([points[kind] for kind in kinds])
    colours = np.repeat([COLOURS[kind] for kind in kinds], [len(points[kind]) for kind in kinds])
    order = np.random.default_rng(0).permutation(len(both))
    _dots(ax, both[order], size, colours[order].tolist())
    _zoom(ax, background, np.concatenate([points["control"].reshape(-1, 2), both]))
    ax.set_title("\n".join(textwrap.wrap(title, max(14, int(13 * inches)))), fontsize=9 if inches > 2 else 7)
    ax.set(xticks=[], yticks=[], aspect="equal")
    ax.spines[:].set_color(PALE)


def _dots(ax: Axes, points: np.ndarray, size: float, colours: str | list[str]) -> None:
    points = points.reshape(-1, 2)
    ax.scatter(points[:, 0], points[:, 1], s=size, c=colours, alpha=0.7, linewidths=0, rasterized=True)


def _zoom(ax: Axes, background: np.ndarray, points: np.ndarray) -> None:
    """A square around the facet's own cells; stray ones must not shrink the rest to a dot."""
    low, high = np.percentile(points, [2, 98], axis=0)
    smallest = 0.15 * float(np.ptp(background, axis=0).max())
    half = 0.5 * max(1.3 * float((high - low).max()), smallest)
    middle = (low + high) / 2
    ax.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half))


def _legend(ax: Axes) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="none", marker="o", markersize=6, color=colour, label=kind)
        for kind, colour in COLOURS.items()
    ]
    ax.figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)


def _new_axes(n: int) -> np.ndarray:
    import matplotlib.pyplot as plt

    columns = min(n, 3) if n <= 9 else math.ceil(math.sqrt(1.6 * n))
    rows = math.ceil(n / columns)
    side = 3.2 if n <= 9 else 1.7
    figure, grid = plt.subplots(
        rows, columns, figsize=(side * columns, side * rows + 0.6), squeeze=False, layout="constrained"
    )
    for ax in grid.ravel()[n:]:
        figure.delaxes(ax)
    return grid.ravel()[:n]
