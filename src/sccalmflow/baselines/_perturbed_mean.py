"""The baseline that predicts the perturbation's cells of other contexts."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from ._baseline import Baseline
from ._training import Condition, Training, training


def perturbed_mean(
    adata: AnnData, conditions: pd.DataFrame, *, perturbation_key: str, control: str, split_key: str | None = "split"
) -> AnnData:
    """Predict that perturbed cells look the same everywhere: those of training, as they are.

    The field's "perturbed mean", as a population. For a perturbation that training has, all its training cells, which
    are of other contexts. For one that training never has, an unseen combination included, all perturbed training
    cells of the same context, whatever their perturbation: there the question is what perturbed cells have in common.
    Each cell counts the same, so a context with more cells counts for more.

    Parameters
    ----------
    adata
        Labelled cells x genes, log1p, with ``obsm["X_pca"]`` from :func:`sccalmflow.pp.pca`.
    conditions
        One row per condition to predict; the columns are the condition keys of ``adata.obs``, the perturbation's
        included (what :func:`sccalmflow.pp.hold_out` returns).
    perturbation_key
        The column with the perturbation.
    control
        Its label for control cells.
    split_key
        Column of ``adata.obs``; only cells marked "train" in it are used. The default is where
        :func:`sccalmflow.pp.hold_out` writes; None stands for all cells. Cells of the requested conditions themselves
        are never used.

    Returns
    -------
    An AnnData like any prediction: ``X`` (dense; the expression that ``obsm["X_pca"]`` stands for, or the cells' own
    where ``adata`` has scores without a projection), ``obsm["X_pca"]``, the condition columns in ``obs``. Each
    condition has as many cells as are pooled for it, which can be many.

    Raises
    ------
    TypeError
        ``conditions`` is not a DataFrame.
    KeyError
        A key is not a column of ``adata.obs``.
    ValueError
        A perturbation never seen in training in a context without perturbed training cells, a label that does not
        exist, a condition that is a control itself, or missing PCs.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> import sccalmflow as scf
    >>> obs = pd.DataFrame(
    ...     {"cell_type": ["B", "B", "T", "T"], "perturbation": ["none", "IL-6"] * 2, "split": "train"},
    ...     index=["b0", "b1", "t0", "t1"],
    ... )
    >>> X = np.array([[1.0, 0.0], [1.0, 2.0], [3.0, 0.0], [3.0, 2.5]])
    >>> adata = AnnData(X, obs=obs, obsm={"X_pca": X})
    >>> heldout = pd.DataFrame({"cell_type": ["T"], "perturbation": ["IL-6"]})
    >>> scf.baselines.perturbed_mean(adata, heldout, perturbation_key="perturbation", control="none").X
    array([[1., 2.]])
    """
    cells = training(adata, conditions, perturbation_key=perturbation_key, control=control, split_key=split_key)
    return PERTURBED_MEAN.predict(cells)


def perturbed_rows(training: Training, condition: Condition) -> np.ndarray:
    """Training cells of the condition's perturbation, or else of all perturbations in its context."""
    return np.sort(np.concatenate([training.rows[other] for other in _pooled(training, condition)]))


def why_not_perturbed_mean(training: Training, condition: Condition) -> str | None:
    """Why there are no such cells, or None."""
    if _pooled(training, condition):
        return None
    return (
        f"{training.why_unseen(training.perturbation(condition))} Nor has training any perturbed cells of the context "
        f"{training.context(condition)!r}."
    )


def _pooled(training: Training, condition: Condition) -> list[Condition]:
    return training.seen(training.perturbation(condition)) or [
        other
        for other in training.rows
        if training.context(other) == training.context(condition) and training.perturbation(other) != training.control
    ]


PERTURBED_MEAN = Baseline(name="perturbed_mean", why_not=why_not_perturbed_mean, rows=perturbed_rows)
