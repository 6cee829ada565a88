"""True and predicted change of the genes that a perturbation changes most surely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from anndata import AnnData

from sccalmflow.baselines._training import Condition

from ._facets import facet_axes, is_small, make_room, outer_labels, read_pair, title
from ._means import Means, means
from ._style import COLOURS, GREY, PALE, legend, literal, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

# True and predicted side by side within a row, so that intervals do not hide each other.
_SHIFT = 0.17


def de_genes(
    pred: AnnData,
    truth: AnnData,
    *,
    n_genes: int = 20,
    condition_keys: Sequence[str] | None = None,
    perturbation_key: str | None = None,
    control: str | None = None,
    split_key: str | None = None,
    axes: Axes | Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Draw true and predicted change of the most surely changed genes, one facet per predicted condition.

    The change is the difference of mean expression to the real control cells of the same context, in log1p where
    ``truth`` has a projection of :func:`sccalmflow.pp.pca` of such values. Genes are chosen by Welch's t-test of true
    against control cells, in which the prediction has no say, and sorted by their true change. Lines are 95 % intervals
    of the difference of means: they shrink with the number of cells, and say nothing of how sure a model is. A
    prediction of the wrong sign is a cross.

    Parameters
    ----------
    pred
        Predicted cells, as for :func:`sccalmflow.tl.evaluate`.
    truth
        All labelled cells.
    n_genes
        How many genes to draw in a facet, or all when there are fewer.
    condition_keys
        Columns of ``obs`` that make a condition. Read from ``pred.uns["sccalmflow"]`` when None, as are the next three.
    perturbation_key
        The one of them with the perturbation.
    control
        Its label for control cells.
    split_key
        Column of ``truth.obs`` that says "train" for training cells; held-out cells alone are the truth.
    axes
        One Axes per condition. By default a new figure.

    Returns
    -------
    Array of Axes, one per condition in the order of ``pred``. Nothing is shown or saved.

    Raises
    ------
    TypeError
        ``pred`` or ``truth`` is no AnnData.
    KeyError, ValueError
        As :func:`sccalmflow.tl.evaluate`, too few ``axes``, fewer than two control cells of a context, or ``n_genes``
        below 1.

    Examples
    --------
    >>> import sccalmflow as scf
    >>> adata = scf.datasets.simulated_cytokines(cells_per_condition=10, n_genes=100)
    >>> heldout = scf.pp.hold_out(adata, n=2, min_cells=1)
    >>> scf.pp.pca(adata, n_comps=10)
    >>> pred = scf.baselines.additive(adata, heldout, perturbation_key="perturbation", control="control")
    >>> axes = scf.pl.de_genes(pred, adata, n_genes=5)
    >>> len(axes[0].get_yticklabels())
    5
    """
    if n_genes < 1:
        raise ValueError(f"n_genes is {n_genes}; draw at least 1.")
    pair = read_pair(
        pred,
        truth,
        "genes",
        condition_keys=condition_keys,
        perturbation_key=perturbation_key,
        control=control,
        split_key=split_key,
        with_control=True,
    )
    given = axes is not None
    n_genes = min(n_genes, truth.n_vars)
    few, many = (3.2, 0.16 * n_genes + 0.6), (2.0, 0.11 * n_genes + 0.5)
    axes = facet_axes(axes, len(pair.conditions), few=few, many=many)
    for ax, (condition, found) in zip(axes, means(pair).items(), strict=True):
        _facet(ax, condition, found, truth.var_names.to_numpy(), n_genes)
    # Of values on another scale, and of data that do not say theirs, the unit is not known.
    is_log1p = truth.uns.get("pca", {}).get("values") == "log1p"
    outer_labels(axes, "change (log1p)" if is_log1p else "change")
    if not given:
        make_room(axes)
    legend(axes, _handles(), given=given)
    return axes


def _facet(ax: Axes, condition: Condition, found: Means, names: np.ndarray, n_genes: int) -> None:
    true, predicted = found.true_change, found.predicted_change
    # Genes that vary nowhere have no score, and come last.
    surest = np.argsort(-np.nan_to_num(np.abs(true.score), nan=-1.0), kind="stable")[:n_genes]
    genes = surest[np.argsort(-true.mean[surest], kind="stable")]
    rows = np.arange(len(genes))
    small = is_small(ax)
    width = 0.6 if small else 1

    ax.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    ax.hlines(rows, true.mean[genes], predicted.mean[genes], color=PALE, linewidth=4 * width, zorder=0)
    wrong = true.mean[genes] * predicted.mean[genes] < 0
    drawn = (
        ("truth", true, -_SHIFT, np.ones(len(genes), dtype=bool), "o", 3.5),
        ("prediction", predicted, _SHIFT, ~wrong, "D", 3.0),
        ("prediction", predicted, _SHIFT, wrong, "X", 5.0),
    )
    for kind, change, shift, which, marker, size in drawn:
        x, y, half = change.mean[genes][which], rows[which] + shift, change.half[genes][which]
        ax.hlines(y, x - half, x + half, color=COLOURS[kind], linewidth=width, alpha=0.7, zorder=2)
        ax.plot(
            x,
            y,
            linestyle="none",
            marker=marker,
            markersize=size * (0.7 if small else 1),
            color=COLOURS[kind],
            zorder=3,
        )
    ax.set_yticks(rows, names[genes], fontsize=5 if small else 7)
    literal(*ax.get_yticklabels())
    ax.set_ylim(len(genes) - 0.4, -0.6)
    title(ax, condition)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=6 if small else 8)
    ax.locator_params(axis="x", nbins=4)
    tidy(ax)
    ax.spines["left"].set_visible(False)


def _handles() -> list[Line2D]:
    from matplotlib.lines import Line2D

    looks = (("truth", "o", "truth"), ("prediction", "D", "prediction"), ("prediction", "X", "wrong sign"))
    return [
        Line2D([], [], linestyle="none", marker=marker, markersize=5, color=COLOURS[kind], label=label)
        for kind, marker, label in looks
    ]
