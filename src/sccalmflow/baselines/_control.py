"""The baseline that predicts no effect."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from sccalmflow import _checks

from ._baseline import Baseline
from ._training import Condition, Training, training


def control(
    adata: AnnData, conditions: pd.DataFrame, *, perturbation_key: str, control: str, split_key: str | None = "split"
) -> AnnData:
    """Predict that nothing happens: the control cells of the same context, as they are.

    The context is all of a condition but its perturbation. The components are those of the cells as they are;
    expression is what these components stand for, as it is in the prediction of any model of components.

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
    condition has as many cells as its context has training control cells.

    Raises
    ------
    TypeError
        ``conditions`` is not a DataFrame.
    KeyError
        A key is not a column of ``adata.obs``.
    ValueError
        A context without training control cells, a label that does not exist, a condition that is a control itself, or
        missing PCs.

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
    >>> X = np.array([[1.0, 0.0], [1.0, 2.0], [3.0, 0.0], [3.0, 2.0]])
    >>> adata = AnnData(X, obs=obs, obsm={"X_pca": X})
    >>> heldout = pd.DataFrame({"cell_type": ["T"], "perturbation": ["IL-6"]})
    >>> scf.baselines.control(adata, heldout, perturbation_key="perturbation", control="none").X
    array([[3., 0.]])
    """
    cells = training(adata, conditions, perturbation_key=perturbation_key, control=control, split_key=split_key)
    return CONTROL.predict(cells)


def control_rows(training: Training, condition: Condition) -> np.ndarray:
    """Training control cells of a condition's context."""
    return training.rows[training.control_of(condition)]


def why_not_control(training: Training, condition: Condition) -> str | None:
    """Why control cells of this context cannot be had, or None."""
    if training.control_of(condition) in training.rows:
        return None
    context = training.context(condition)
    known = {training.context(other) for other in training.rows if training.perturbation(other) == training.control}
    return f"the context {context!r} has no training control cells.{_checks.suggest(context, known - {context})}"


CONTROL = Baseline(name="control", why_not=why_not_control, rows=control_rows)
