"""Cells of a baseline, put into an AnnData like any other prediction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from ._training import Condition, Training

Cells = tuple[np.ndarray | sparse.csr_matrix, np.ndarray]


def predict(
    training: Training,
    name: str,
    cells: Callable[[Training, Condition], Cells],
    why_not: Callable[[Condition], str | None],
) -> AnnData:
    """Predict all conditions, after checking that each of them can be."""
    conditions = training.without
    for condition in conditions:
        reason = why_not(condition)
        if reason is not None:
            raise ValueError(f"baselines.{name} cannot predict {', '.join(condition)!r}: {reason}")
    expression, scores = zip(*(cells(training, condition) for condition in conditions), strict=True)
    sizes = [len(pcs) for pcs in scores]
    obs = pd.DataFrame(
        {
            key: pd.Categorical(np.repeat(labels, sizes))
            for key, labels in zip(training.keys, zip(*conditions, strict=True), strict=True)
        }
    )
    sources = np.concatenate([training.rows[training.control_of(condition)] for condition in conditions])
    # One control cell serves every condition of its context: the number keeps the names unique.
    numbers = np.repeat(np.arange(len(conditions)), sizes)
    obs.index = [f"{i}-{cell}" for i, cell in zip(numbers, training.adata.obs_names[sources], strict=True)]
    X = sparse.vstack(expression, format="csr") if sparse.issparse(expression[0]) else np.concatenate(expression)
    made = {
        "condition_keys": list(training.keys),
        "perturbation_key": training.perturbation_key,
        "control": training.control,
        "split_key": training.split_key or "",
        "method": name,
    }
    return AnnData(
        X,
        obs=obs,
        var=pd.DataFrame(index=training.adata.var_names),
        obsm={"X_pca": np.concatenate(scores)},
        uns={"sccalmflow": made},
    )
