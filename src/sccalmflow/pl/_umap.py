"""Prediction over truth in a UMAP that only the truth has shaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from anndata import AnnData

from sccalmflow.baselines._training import Condition
from sccalmflow.tl._umap import new_umap, stored

from ._facets import Pair, facet_axes, inches, make_room, read_pair, title
from ._style import COLOURS, PALE, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

# More points than this in one facet only hide each other.
_SHOWN = 500
_OTHERS = "other cells"


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
    TypeError
        ``pred`` or ``truth`` is no AnnData.
    KeyError, ValueError
        As :func:`sccalmflow.tl.evaluate`, too few ``axes``, or ``max_cells`` below 10.

    Examples
    --------
    >>> import sccalmflow as scf
    >>> adata = scf.datasets.simulated_cytokines(cells_per_condition=10, n_genes=100)
    >>> heldout = scf.pp.hold_out(adata, n=2, min_cells=1)
    >>> scf.pp.pca(adata, n_comps=10)
    >>> pred = scf.baselines.additive(adata, heldout, perturbation_key="perturbation", control="control")
    >>> axes = scf.pl.umap(pred, adata, max_cells=50)
    >>> len(axes)
    2
    """
    if max_cells < 10:
        raise ValueError(f"max_cells is {max_cells}; a UMAP of fewer than 10 cells shows nothing.")
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
    axes = facet_axes(axes, len(pair.conditions))
    shown = _choose(pair, max_cells=max_cells, rng=np.random.default_rng(seed))
    background, drawn = _embed(pair, shown, max_cells=max_cells, seed=seed)
    for ax, (condition, points) in zip(axes, drawn.items(), strict=True):
        _facet(ax, condition, background, points)
    if not given:
        make_room(axes)
    legend(axes, _handles(), given=given)
    return axes


Shown = dict[Condition, dict[str, np.ndarray]]


def _choose(pair: Pair, *, max_cells: int, rng: np.random.Generator) -> Shown:
    """Rows to draw of each kind and condition: all, or as many as share out ``max_cells``."""
    most = min(_SHOWN, max(30, max_cells // (2 * len(pair.conditions))))

    def some(rows: np.ndarray) -> np.ndarray:
        return rows if len(rows) <= most else rng.choice(rows, most, replace=False)

    return {
        condition: {
            "control": some(pair.control_rows(condition)),
            "truth": some(pair.true.rows[condition]),
            "prediction": some(rows),
        }
        for condition, rows in pair.predicted.rows.items()
    }


def _embed(
    pair: Pair, shown: Shown, *, max_cells: int, seed: int
) -> tuple[np.ndarray, dict[Condition, dict[str, np.ndarray]]]:
    """Positions of all fitted cells, and of those drawn in each facet."""
    scores = cast(np.ndarray, pair.true.pcs)
    wanted = np.unique(np.concatenate([rows[kind] for rows in shown.values() for kind in ("control", "truth")]))
    others = np.setdiff1d(np.arange(len(scores)), wanted)
    room = min(len(others), max(0, max_cells - len(wanted)))
    fitted = np.concatenate([wanted, np.random.default_rng(seed).choice(others, room, replace=False)])
    model = new_umap(len(fitted), seed=seed)
    background = model.fit_transform(stored(scores[fitted], len(fitted)))
    place = {row: i for i, row in enumerate(fitted)}

    rows = np.concatenate([one["prediction"] for one in shown.values()])
    projected = np.split(
        model.transform(stored(cast(np.ndarray, pair.predicted.pcs)[rows], len(fitted))),
        np.cumsum([len(one["prediction"]) for one in shown.values()])[:-1],
    )
    drawn = {}
    for (condition, one), points in zip(shown.items(), projected, strict=True):
        of_truth = {kind: background[[place[row] for row in one[kind]]] for kind in ("control", "truth")}
        drawn[condition] = {**of_truth, "prediction": points}
    return background, drawn


def _facet(ax: Axes, condition: Condition, background: np.ndarray, points: Mapping[str, np.ndarray]) -> None:
    # Points shrink with the facet, or forty facets are forty blots.
    size = float(np.clip(2.5 * inches(ax), 3, 9))
    _dots(ax, background, 0.6 * size, PALE)
    _dots(ax, points["control"], size, COLOURS["control"])
    # In random order: whichever kind came last would hide the other.
    kinds = ("truth", "prediction")
    both = np.concatenate([points[kind] for kind in kinds])
    colours = np.repeat([COLOURS[kind] for kind in kinds], [len(points[kind]) for kind in kinds])
    order = np.random.default_rng(0).permutation(len(both))
    _dots(ax, both[order], size, colours[order].tolist())
    _zoom(ax, background, np.concatenate([points["control"].reshape(-1, 2), both]))
    title(ax, condition)
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


def _handles() -> list[Line2D]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], linestyle="none", marker="o", markersize=6, color=colour, label=kind)
        for kind, colour in {**COLOURS, _OTHERS: PALE}.items()
    ]
