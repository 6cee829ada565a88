"""How cells are shared out among the Leiden clusters of the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from anndata import AnnData

from sccalmflow.baselines._training import Condition
from sccalmflow.tl import LeidenClassifier

from ._facets import Pair, facet_axes, is_small, make_room, outer_labels, read_pair, title
from ._style import BLACK, COLOURS, PALE, legend, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ORDER = ("truth", "prediction", "control")


def leiden_composition(
    pred: AnnData,
    truth: AnnData,
    *,
    resolution: float = 0.3,
    max_cells: int = 10_000,
    seed: int = 0,
    condition_keys: Sequence[str] | None = None,
    perturbation_key: str | None = None,
    control: str | None = None,
    split_key: str | None = None,
    axes: Axes | Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Draw the share of true and predicted cells in each Leiden cluster, one facet per predicted condition.

    Bars are the truth, dots the prediction, and dashes the control cells, which say whether the perturbation moves
    cells between clusters at all. Clusters are those of the truth, so that predictions do not shape them; a classifier
    that has learned them reads all three kinds of cells, so that its mistakes are the same everywhere. How often it is
    right on true cells that it has not seen stands above the figure.

    Parameters
    ----------
    pred
        Predicted cells, as for :func:`sccalmflow.tl.evaluate`.
    truth
        All labelled cells, with ``obsm["X_pca"]``. Clustered are its cells in the contexts of the predicted conditions
        (all of a condition but the perturbation): controls, training and held-out cells alike.
    resolution
        Of the Leiden clustering; 0.3 as in the CaLMFlow paper. More makes more clusters.
    max_cells
        The clusters are found on at most this many true cells, drawn at random, which bounds the time.
    seed
        Seed of the clustering, the classifier and the choice of cells.
    condition_keys
        Columns of ``obs`` that make a condition. Read from ``pred.uns["sccalmflow"]`` when None, as are the next three.
    perturbation_key
        The one of them with the perturbation.
    control
        Its label for control cells.
    split_key
        Column of ``truth.obs`` that says "train" for training cells; held-out cells alone are drawn as truth.
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
        As :func:`sccalmflow.tl.evaluate`, too few ``axes``, ``resolution`` that is not positive, or ``max_cells`` below
        50.

    Examples
    --------
    >>> import sccalmflow as scf
    >>> adata = scf.datasets.simulated_cytokines(cells_per_condition=10, n_genes=100)
    >>> heldout = scf.pp.hold_out(adata, n=2, min_cells=1)
    >>> scf.pp.pca(adata, n_comps=10)
    >>> pred = scf.baselines.additive(adata, heldout, perturbation_key="perturbation", control="control")
    >>> axes = scf.pl.leiden_composition(pred, adata, max_cells=200)
    >>> axes[0].get_xlabel()
    'Leiden cluster'
    """
    if not resolution > 0:
        raise ValueError(f"resolution is {resolution}; it must be positive.")
    if max_cells < 50:
        raise ValueError(f"max_cells is {max_cells}; clusters of fewer than 50 cells show nothing.")
    pair = read_pair(
        pred,
        truth,
        "pcs",
        condition_keys=condition_keys,
        perturbation_key=perturbation_key,
        control=control,
        split_key=split_key,
    )
    given = axes is not None
    axes = facet_axes(axes, len(pair.conditions), few=(3.2, 2.4), many=(1.7, 1.5))
    scores = cast(np.ndarray, pair.true.pcs)
    rows = _rows_to_fit(pair, max_cells, np.random.default_rng(seed))
    classifier = LeidenClassifier.fit(scores[rows], resolution=resolution, seed=seed)
    shares = {condition: _shares(pair, condition, classifier) for condition in pair.conditions}
    # One scale for all facets, which makes them comparable.
    top = 1.08 * max(share.max() for one in shares.values() for share in one.values())
    for ax, (condition, one) in zip(axes, shares.items(), strict=True):
        _facet(ax, condition, one)
        ax.set_ylim(0, top)
    outer_labels(axes, "Leiden cluster", "share of cells")
    if not given:
        make_room(axes)
    # A facet whose context has no control cells has no dashes.
    drawn = {str(handle.get_label()): handle for ax in axes for handle in ax.get_legend_handles_labels()[0]}
    handles = [drawn[kind] for kind in _ORDER if kind in drawn]
    # NaN when all clusters are too small to hold a cell out.
    known = "unknown" if np.isnan(classifier.accuracy) else f"{classifier.accuracy:.0%}"
    legend(axes, handles, given=given, title=f"held-out accuracy of the clusters' classifier: {known}")
    return axes


def _rows_to_fit(pair: Pair, max_cells: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of the truth in the contexts of the predicted conditions, at most ``max_cells``."""
    contexts = {pair.keys.control_of(condition) for condition in pair.conditions}
    own = [rows for condition, rows in pair.true.rows.items() if pair.keys.control_of(condition) in contexts]
    rows = np.concatenate(own)
    return rows if len(rows) <= max_cells else rng.choice(rows, max_cells, replace=False)


def _shares(pair: Pair, condition: Condition, classifier: LeidenClassifier) -> dict[str, np.ndarray]:
    """Share of each kind of cells in each cluster."""
    true, predicted = (cast(np.ndarray, cells.pcs) for cells in (pair.true, pair.predicted))
    cells = {
        "truth": true[pair.true.rows[condition]],
        "prediction": predicted[pair.predicted.rows[condition]],
        "control": true[pair.control_rows(condition)],
    }
    return {
        kind: np.bincount(classifier.predict(x), minlength=classifier.n_clusters) / len(x)
        for kind, x in cells.items()
        if len(x)
    }


def _facet(ax: Axes, condition: Condition, shares: dict[str, np.ndarray]) -> None:
    n_clusters = len(shares["truth"])
    # A cluster that holds none of the facet's cells is left blank.
    clusters = np.flatnonzero(np.any(list(shares.values()), axis=0))
    small = is_small(ax)
    ax.bar(clusters, shares["truth"][clusters], width=0.7, color=COLOURS["truth"], alpha=0.45, label="truth")
    if "control" in shares:
        ax.hlines(
            shares["control"][clusters],
            clusters - 0.35,
            clusters + 0.35,
            color=BLACK,
            linewidth=1.2,
            zorder=2,
            label="control",
        )
    ax.plot(
        clusters,
        shares["prediction"][clusters],
        linestyle="none",
        marker="o",
        markersize=3 if small else 5,
        color=COLOURS["prediction"],
        # A dot of 0 % lies on the axis, and is not to be cut there.
        clip_on=False,
        zorder=3,
        label="prediction",
    )
    title(ax, condition)
    # Every second number when there are more than the facet has room for.
    ax.set_xticks(np.arange(0, n_clusters, -(-n_clusters // (8 if small else 20))))
    ax.set_xlim(-0.6, n_clusters - 0.4)
    ax.grid(axis="y", color=PALE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.locator_params(axis="y", nbins=4)
    ax.tick_params(labelsize=6 if small else 8)
    # Room for a dot of 0 %, which lies on the axis.
    ax.tick_params(axis="x", length=0, pad=6)
    tidy(ax)
