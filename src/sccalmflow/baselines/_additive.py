"""The baseline that adds the perturbation's mean effect in other contexts."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from ._control import control_cells
from ._prediction import Cells, predict
from ._training import Condition, Training, dense, training


def additive(
    adata: AnnData, conditions: pd.DataFrame, *, perturbation_key: str, control: str, split_key: str | None = "split"
) -> AnnData:
    """Predict that a perturbation does everywhere what it does elsewhere on average.

    The training control cells of the same context, plus the mean over training contexts of the perturbation's change:
    mean of its cells minus mean of the controls, in every context that has both, each context counting the same. The
    change is taken in genes for ``X`` and in PCs for ``obsm["X_pca"]``. A combination "a+b" that training does not
    have is predicted by the sum of the changes of its parts. Expression is not clipped at 0, so that means stay exact.

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
    An AnnData like any prediction: ``X`` (dense), ``obsm["X_pca"]``, the condition columns in ``obs``. Each condition
    has as many cells as its context has training control cells.

    Raises
    ------
    KeyError
        A key is not a column of ``adata.obs``.
    ValueError
        A context without training control cells, a perturbation never seen in training beside controls, a label that
        does not exist, or missing PCs.

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
    >>> scf.baselines.additive(adata, heldout, perturbation_key="perturbation", control="none").X
    array([[3., 2.]])
    """
    cells = training(adata, conditions, perturbation_key=perturbation_key, control=control, split_key=split_key)
    return predict(cells, "additive", additive_cells, cells.why_not_additive)


def additive_cells(training: Training, condition: Condition) -> Cells:
    """Control cells of the condition's context, moved by the perturbation's mean change: expression and PCs."""
    X, pcs = control_cells(training, condition)
    changes = [training.delta(part) for part in training.parts(training.perturbation(condition))]
    genes, scores = (np.sum(space, axis=0) for space in zip(*changes, strict=True))
    return _moved(dense(X), genes), _moved(pcs, scores)


def _moved(cells: np.ndarray, change: np.ndarray) -> np.ndarray:
    # The data's own precision: float64 statistics must not double the memory of float32 cells.
    dtype = cells.dtype if cells.dtype.kind == "f" else np.float64
    return (cells + change).astype(dtype, copy=False)
