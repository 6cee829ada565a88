"""Predicted scores as an AnnData in gene space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from sccalmflow._version import __version__

from ._folder import ModelState
from ._requests import Asked


def predicted_anndata(
    scores: Sequence[np.ndarray], asked: Sequence[Asked], state: ModelState, made: dict[str, Any]
) -> AnnData:
    """Cells of every condition, one below the other.

    Parameters
    ----------
    scores
        Those of each condition, (n_cells, D), or (n_cells, T + 1, D) for whole trajectories.
    asked
        The conditions.
    state
        The model.
    made
        How the cells were drawn, for ``uns``.
    """
    n_cells = [len(some) for some in scores]
    paths = np.concatenate(scores)
    cells = paths[:, -1] if paths.ndim == 3 else paths
    schema = state.schema
    columns: dict[str, list[Any]] = {
        key: [None if a.labels is None else a.labels[position] for a in asked]
        for position, key in enumerate(schema.keys)
    }
    columns["prompt"] = [a.sentence for a in asked]
    columns["novelty"] = [a.novelty for a in asked]
    obs = pd.DataFrame({name: pd.Categorical(np.repeat(values, n_cells)) for name, values in columns.items()})
    obs.index = [f"{condition}-{cell}" for condition, n in enumerate(n_cells) for cell in range(n)]
    pred = AnnData(state.pca.inverse(cells), obs=obs, var=pd.DataFrame(index=state.pca.var_names.astype(str)))
    pred.obsm[schema.obsm_key] = cells
    if paths.ndim == 3:
        pred.obsm["trajectory"] = paths
    state.pca.store(pred, schema.obsm_key)
    pred.uns["sccalmflow"] = {
        "version": __version__,
        "method": "calmflow",
        "condition_keys": list(schema.keys),
        "perturbation_key": schema.perturbation_key,
        "control": schema.control,
        "split_key": schema.split_key or "",
        "sampling": made,
    }
    return pred
