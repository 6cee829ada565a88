"""The baseline that predicts the nearest condition of training."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from ._baseline import Baseline
from ._control import why_not_control
from ._training import Condition, Training, training


def nearest(
    adata: AnnData, conditions: pd.DataFrame, *, perturbation_key: str, control: str, split_key: str | None = "split"
) -> AnnData:
    """Predict that a context responds as the one most like it: the cells of the nearest seen condition, as they are.

    Nearest is the same perturbation in the training context whose control cells have the nearest mean PCs (Euclidean)
    to those of the wanted context; of contexts equally near, the first in the order of labels. Contexts without
    training control cells cannot be compared and are passed over.

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
    condition has as many cells as the nearest one has in training.

    Raises
    ------
    TypeError
        ``conditions`` is not a DataFrame.
    KeyError
        A key is not a column of ``adata.obs``.
    ValueError
        A context without training control cells, a perturbation (or a combination as such) never seen in training
        beside controls, a label that does not exist, a condition that is a control itself, or missing PCs.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> import sccalmflow as scf
    >>> obs = pd.DataFrame(
    ...     {
    ...         "cell_type": ["B", "B", "NK", "NK", "T"],
    ...         "perturbation": ["none", "IL-6"] * 2 + ["none"],
    ...         "split": "train",
    ...     },
    ...     index=["b0", "b1", "n0", "n1", "t0"],
    ... )
    >>> X = np.array([[1.0, 0.0], [1.0, 2.0], [4.0, 0.0], [4.0, 2.5], [3.0, 0.0]])
    >>> adata = AnnData(X, obs=obs, obsm={"X_pca": X})
    >>> heldout = pd.DataFrame({"cell_type": ["T"], "perturbation": ["IL-6"]})
    >>> scf.baselines.nearest(adata, heldout, perturbation_key="perturbation", control="none").X
    array([[4. , 2.5]])
    """
    cells = training(adata, conditions, perturbation_key=perturbation_key, control=control, split_key=split_key)
    return NEAREST.predict(cells)


def nearest_rows(training: Training, condition: Condition) -> np.ndarray:
    """Training cells of the same perturbation in the context with the nearest control cells."""
    _, here = training.mean(training.control_of(condition))

    def distance(other: Condition) -> float:
        _, there = training.mean(training.control_of(other))
        return float(np.linalg.norm(there - here))

    return training.rows[min(training.seen_beside_control(training.perturbation(condition)), key=distance)]


def why_not_nearest(training: Training, condition: Condition) -> str | None:
    """Why there is no nearest condition, or None."""
    reason = why_not_control(training, condition)
    perturbation = training.perturbation(condition)
    if reason is not None or training.seen_beside_control(perturbation):
        return reason
    return training.why_unseen(perturbation)


NEAREST = Baseline(name="nearest", why_not=why_not_nearest, rows=nearest_rows)
