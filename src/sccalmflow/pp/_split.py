from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sccalmflow import _checks

if TYPE_CHECKING:
    from anndata import AnnData

TRAIN, HELDOUT = "train", "heldout"


def training_cells(adata: AnnData, split_key: str | None) -> np.ndarray:
    """Mask of the cells that may be fitted on: ``obs[split_key] == "train"``, or all where ``split_key`` is None."""
    if split_key is None:
        return np.ones(adata.n_obs, dtype=bool)
    if split_key not in adata.obs:
        raise KeyError(
            f"adata.obs has no column {split_key!r}.{_checks.suggest(split_key, map(str, adata.obs.columns))} "
            "Run sccalmflow.pp.hold_out(adata) first, or pass split_key=None to fit on all cells."
        )
    mask = np.asarray(adata.obs[split_key].astype(object) == TRAIN, dtype=bool)
    if not mask.any():
        found = ", ".join(repr(label) for label in adata.obs[split_key].unique()[:5])
        raise ValueError(f"adata.obs[{split_key!r}] marks no cell as {TRAIN!r}; it holds {found}.")
    return mask
