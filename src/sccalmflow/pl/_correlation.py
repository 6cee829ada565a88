"""Predicted against true change of every gene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from anndata import AnnData

from sccalmflow.baselines._training import Condition
from sccalmflow.tl import delta_slope, pearson_delta

from ._facets import facet_axes, is_small, make_room, outer_labels, read_pair, title
from ._labels import label_points
from ._means import Means, means
from ._style import BLUE, GREY, VERMILLION, legend, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More names than this cover what they name in a facet that is one of many.
_LABELS_IF_SMALL = 4


def correlation(
    pred: AnnData,
    truth: AnnData,
    *,
    n_labels: int = 10,
    condition_keys: Sequence[str] | None = None,
    perturbation_key: str | None = None,
    control: str | None = None,
    split_key: str | None = None,
    axes: Axes | Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Draw the predicted against the true change of every gene, one facet per predicted condition.

    A change is the difference of mean expression to the real control cells of the same context, for the prediction as
    for the truth. In the corner stand Pearson's correlation of the two over all genes
    (:func:`sccalmflow.tl.pearson_delta`), which forgives a prediction that is too timid, and the least-squares slope of
    the predicted on the true change, the fit drawn, which does not: it is below 1 then.

    Parameters
    ----------
    pred
        Predicted cells, as for :func:`sccalmflow.tl.evaluate`.
    truth
        All labelled cells.
    n_labels
        How many genes to name in a facet: those with the largest true change, up or down. At most 4 in a
        facet under two inches wide, and names that find no place without covering each other are left out.
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
        As :func:`sccalmflow.tl.evaluate`, too few ``axes``, fewer than two control cells of a context, or a negative
        ``n_labels``.

    Examples
    --------
    >>> import sccalmflow as scf
    >>> adata = scf.datasets.simulated_cytokines(cells_per_condition=10, n_genes=100)
    >>> heldout = scf.pp.hold_out(adata, n=2, min_cells=1)
    >>> scf.pp.pca(adata, n_comps=10)
    >>> pred = scf.baselines.additive(adata, heldout, perturbation_key="perturbation", control="control")
    >>> axes = scf.pl.correlation(pred, adata, n_labels=3)
    >>> axes[0].get_ylabel()
    'predicted change'
    """
    if n_labels < 0:
        raise ValueError(f"n_labels is {n_labels}; give 0 for no names, or a positive number.")
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
    found = means(pair)
    given = axes is not None
    axes = facet_axes(axes, len(pair.conditions))
    points = [_facet(ax, condition, one) for ax, (condition, one) in zip(axes, found.items(), strict=True)]
    outer_labels(axes, "true change", "predicted change")
    if not given:
        make_room(axes)
    legend(axes, axes[0].get_legend_handles_labels()[0], given=given)
    # Where a name fits is known once the facets have their final size.
    axes[0].figure.canvas.figure.draw_without_rendering()
    for ax, genes in zip(axes, points, strict=True):
        most = min(n_labels, _LABELS_IF_SMALL) if is_small(ax) else n_labels
        largest = np.argsort(-np.abs(genes[:, 0]), kind="stable")[:most]
        label_points(ax, genes, largest, truth.var_names[largest].tolist(), fontsize=5 if is_small(ax) else 7)
    return axes


def _facet(ax: Axes, condition: Condition, found: Means) -> np.ndarray:
    """Draw one condition; true and predicted change, genes x 2."""
    true, predicted = found.true_change.mean, found.predicted_change.mean
    points = np.stack([true, predicted], axis=1)
    low, high = float(points.min()), float(points.max())
    margin = 0.12 * max(high - low, 1e-6)
    # One range for both scales: the diagonal is a diagonal, and names have room at the edges.
    limits = (low - margin, high + margin)
    ax.plot(limits, limits, color=GREY, linewidth=0.8, linestyle="--", zorder=1, label="identity")
    small = is_small(ax)
    size = 4 if small else 9
    ax.scatter(true, predicted, s=size, c=BLUE, alpha=0.5, linewidths=0, zorder=2, rasterized=True, label="gene")
    samples = [sample.mean[None] for sample in (found.predicted, found.true, found.control)]
    r, slope = pearson_delta(*samples), delta_slope(*samples)
    ends = np.array([true.min(), true.max()])
    fit = predicted.mean() + slope * (ends - true.mean())
    ax.plot(ends, fit, color=VERMILLION, linewidth=1.2, zorder=3, label="fit")
    ax.text(
        0.03,
        0.97,
        f"r = {r:.2f}\nslope = {slope:.2f}",
        transform=ax.transAxes,
        va="top",
        fontsize=6 if small else 8,
        # Genes may lie in any corner.
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
    )
    title(ax, condition)
    ax.set(xlim=limits, ylim=limits, aspect="equal")
    ax.locator_params(nbins=4)
    ax.tick_params(labelsize=6 if small else 8)
    tidy(ax)
    return points
