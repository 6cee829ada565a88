"""The way of predicted cells from the source to where they end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from anndata import AnnData

from sccalmflow import _checks
from sccalmflow.baselines._training import Condition

from ._facets import facet_axes, inches, is_small, make_room, outer_labels, read_pair, title
from ._style import BLACK, COLOURS, legend, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

# More true or control cells than this in one facet only hide each other.
_SHOWN = 300
# As many marks of time as the eye tells apart on one line.
_MARKS = 6


def trajectory(
    pred: AnnData,
    truth: AnnData,
    *,
    components: tuple[int, int] = (1, 2),
    n_paths: int = 10,
    seed: int = 0,
    condition_keys: Sequence[str] | None = None,
    perturbation_key: str | None = None,
    control: str | None = None,
    split_key: str | None = None,
    axes: Axes | Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Draw how predicted cells move over the time of the flow, in two principal components, a facet per condition.

    The thick line is the mean of all predicted cells at each time, from white marks at time 0 to black ones at time 1;
    thin lines are single cells. Behind them lie the true and the control cells. Time is that of the flow, from the
    source to the cell, and no course of a real response: only the end is fitted to data.

    Parameters
    ----------
    pred
        Predicted cells with ``obsm["trajectory"]``, n x (T + 1) x D scaled scores at the times 0, 1/T, ..., 1.
    truth
        All labelled cells, with ``obsm["X_pca"]``.
    components
        Which two principal components to draw, counted from 1.
    n_paths
        How many single cells' paths to draw in a facet, 0 for none. A facet is zoomed to nearly all of its cells.
    seed
        Seed of the choice of cells.
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
        As :func:`sccalmflow.tl.evaluate`, too few ``axes``, a prediction without trajectories, components that it does
        not have, or a negative ``n_paths``.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> adata = scf.datasets.simulated_cytokines(cells_per_condition=10, n_genes=100)
    >>> heldout = scf.pp.hold_out(adata, n=2, min_cells=1)
    >>> scf.pp.pca(adata, n_comps=10)
    >>> pred = scf.baselines.additive(adata, heldout, perturbation_key="perturbation", control="control")

    A model's prediction has trajectories of its own; these are straight lines.

    >>> pred.obsm["trajectory"] = np.linspace(0, 1, 5)[None, :, None] * pred.obsm["X_pca"][:, None]
    >>> axes = scf.pl.trajectory(pred, adata)
    >>> axes[0].get_xlabel()
    'PC 1'
    """
    if n_paths < 0:
        raise ValueError(f"n_paths is {n_paths}; give 0 for none, or a positive number.")
    pair = read_pair(
        pred,
        truth,
        "pcs",
        condition_keys=condition_keys,
        perturbation_key=perturbation_key,
        control=control,
        split_key=split_key,
    )
    paths = _paths(pred, components)
    columns = [component - 1 for component in components]
    scores = cast(np.ndarray, pair.true.pcs)
    if paths.shape[2] != scores.shape[1]:
        raise ValueError(
            f"pred.obsm['trajectory'] has {paths.shape[2]} components and truth.obsm['X_pca'] {scores.shape[1]}; "
            "give the truth that the model was trained with."
        )
    given = axes is not None
    axes = facet_axes(axes, len(pair.conditions))
    rng = np.random.default_rng(seed)
    for ax, condition in zip(axes, pair.conditions, strict=True):
        behind = {"control": pair.control_rows(condition), "truth": pair.true.rows[condition]}
        cells = {kind: scores[_some(rows, _SHOWN, rng)][:, columns] for kind, rows in behind.items()}
        _facet(ax, condition, cells, paths[pair.predicted.rows[condition]][:, :, columns], n_paths, rng)
    outer_labels(axes, f"PC {components[0]}", f"PC {components[1]}")
    if not given:
        make_room(axes)
    legend(axes, _handles(), given=given)
    return axes


def _paths(pred: AnnData, components: tuple[int, int]) -> np.ndarray:
    if "trajectory" not in pred.obsm:
        raise ValueError(
            "pred.obsm has no 'trajectory'. Predict with model.predict_perturbation(..., return_trajectory=True)."
        )
    paths = np.asarray(pred.obsm["trajectory"])
    if paths.ndim != 3 or paths.shape[1] < 2:
        raise ValueError(f"pred.obsm['trajectory'] has the shape {paths.shape}; cells x times x components are needed.")
    _checks.finite_values(paths, where="pred.obsm['trajectory']")
    if len(components) != 2 or components[0] == components[1]:
        raise ValueError(f"components is {components}; give two different ones.")
    for component in components:
        if not 1 <= component <= paths.shape[2]:
            raise ValueError(f"components is {components}, but the trajectories have components 1 to {paths.shape[2]}.")
    return paths


def _some(rows: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= most else rng.choice(rows, most, replace=False)


def _facet(
    ax: Axes,
    condition: Condition,
    cells: dict[str, np.ndarray],
    paths: np.ndarray,
    n_paths: int,
    rng: np.random.Generator,
) -> None:
    """Draw one condition; ``paths`` is cells x times x 2."""
    small = is_small(ax)
    size = float(np.clip(3 * inches(ax), 4, 12))
    for kind, points in cells.items():
        ax.scatter(
            points[:, 0], points[:, 1], s=size, c=COLOURS[kind], alpha=0.5, linewidths=0, zorder=1, rasterized=True
        )
    shown = paths[_some(np.arange(len(paths)), n_paths, rng)]
    for path in shown:
        ax.plot(*path.T, color=COLOURS["prediction"], linewidth=0.4 if small else 0.6, alpha=0.4, zorder=2)
    ax.scatter(shown[:, -1, 0], shown[:, -1, 1], s=size, c=COLOURS["prediction"], linewidths=0, zorder=3)
    mean = paths.mean(axis=0)
    ax.plot(*mean.T, color=BLACK, linewidth=1 if small else 1.6, zorder=4)
    marks = np.unique(np.linspace(0, len(mean) - 1, min(_MARKS, len(mean))).round().astype(int))
    shades = [str(1 - mark / (len(mean) - 1)) for mark in marks]
    ax.scatter(
        mean[marks, 0], mean[marks, 1], s=8 if small else 22, c=shades, edgecolors=BLACK, linewidths=0.7, zorder=5
    )
    title(ax, condition)
    _zoom(ax, np.concatenate([*cells.values(), shown.reshape(-1, 2)]), mean)
    ax.locator_params(nbins=4)
    ax.tick_params(labelsize=6 if small else 8)
    tidy(ax)


def _zoom(ax: Axes, cells: np.ndarray, mean: np.ndarray) -> None:
    """A square around the mean path and nearly all else; a stray one must not shrink the rest."""
    low, high = np.percentile(cells, [1, 99], axis=0)
    low, high = np.minimum(low, mean.min(axis=0)), np.maximum(high, mean.max(axis=0))
    half = 0.58 * max(float((high - low).max()), 1e-6)
    middle = (low + high) / 2
    # Distances in scaled scores mean the same along both components.
    ax.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half), aspect="equal")


def _handles() -> list[Line2D]:
    from matplotlib.lines import Line2D

    return [
        *(
            Line2D([], [], linestyle="none", marker="o", markersize=5, color=COLOURS[kind], label=kind)
            for kind in ("control", "truth")
        ),
        Line2D([], [], color=COLOURS["prediction"], linewidth=0.8, marker="o", markersize=4, label="prediction"),
        Line2D([], [], color=BLACK, marker="o", markerfacecolor="white", label="mean, start"),
        Line2D([], [], color=BLACK, marker="o", label="mean, end"),
    ]
