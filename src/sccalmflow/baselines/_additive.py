"""The baseline that adds the perturbation's mean effect in other contexts."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from ._baseline import Baseline
from ._control import control_rows, why_not_control
from ._training import Condition, Profile, Training, training


def additive(
    adata: AnnData, conditions: pd.DataFrame, *, perturbation_key: str, control: str, split_key: str | None = "split"
) -> AnnData:
    """Predict that a perturbation does everywhere what it does elsewhere on average.

    The training control cells of the same context, plus the mean over training contexts of the perturbation's change:
    mean of its cells minus mean of the controls, in every context that has both, each context counting the same. The
    change is taken in PCs and in genes. A combination "a+b" that training does not have is predicted by the sum of the
    changes of its parts. Expression is not clipped at 0, so that means stay exact.

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
        A context without training control cells, a perturbation never seen in training beside controls, a label that
        does not exist, a condition that is a control itself, or missing PCs.

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
    return ADDITIVE.predict(cells)


def why_not_additive(training: Training, condition: Condition) -> str | None:
    """Why the additive baseline cannot predict this condition, or None."""
    unknown = [part for part in _parts(training, condition) if not training.seen_beside_control(part)]
    return why_not_control(training, condition) or (training.why_unseen(unknown[0]) if unknown else None)


def additive_change(training: Training, condition: Condition) -> Profile:
    """Mean change that the condition's perturbation makes in training, or the sum of its parts' changes."""
    changes = [_mean_change(training, part) for part in _parts(training, condition)]
    genes, pcs = (np.sum(space, axis=0) for space in zip(*changes, strict=True))
    return genes, pcs


def _parts(training: Training, condition: Condition) -> list[str]:
    return training.parts(training.perturbation(condition), training.seen_beside_control)


def _mean_change(training: Training, perturbation: str) -> Profile:
    """Mean over training contexts of the change against their controls."""
    changes = []
    for condition in training.seen_beside_control(perturbation):
        pair = training.mean(condition), training.mean(training.control_of(condition))
        changes.append([after - before for after, before in zip(*pair, strict=True)])
    genes, pcs = (np.mean(space, axis=0) for space in zip(*changes, strict=True))
    return genes, pcs


ADDITIVE = Baseline(name="additive", why_not=why_not_additive, rows=control_rows, change=additive_change)
