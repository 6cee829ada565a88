"""Cells to generate: training cells, held-out cells as the truth, and the components that training cells define."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from anndata import AnnData, read_h5ad
from scipy import sparse

from sccalmflow import _checks
from sccalmflow.datasets import simulated_cytokines
from sccalmflow.datasets._normalise import log_normalised
from sccalmflow.pp import PCA, pca
from sccalmflow.pp._split import HELDOUT, TRAIN

_HELD_OUT = 0.2
# Fewer would leave less than ten for the truth.
_FEWEST = 50
_KANG = "single_cell/kang_combined_counts.h5ad"


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells split for unconditional generation.

    Parameters
    ----------
    name
        What they are called in tables.
    train, truth
        Scaled scores of the training and of the held-out cells, (n, D) float32, in random order.
    projection
        From genes to scores.
    counts
        Raw counts of the training cells, or None where there are none.
    """

    name: str
    train: np.ndarray
    truth: np.ndarray
    projection: PCA
    counts: sparse.csr_matrix | None


def read(path: Path | None = None) -> tuple[str, AnnData]:
    """A name, and cells with log1p values in ``X`` and counts in ``layers["counts"]`` where there are any.

    Parameters
    ----------
    path
        An .h5ad file with counts (in ``layers["counts"]`` or ``X``) or log1p values (in ``X``). By default the cells of
        Kang et al. (2018) in the folder that the environment variable SCCALMFLOW_DATA names, or the built-in
        simulation where there is no such file.

    Raises
    ------
    FileNotFoundError
        There is no file at ``path``.
    ValueError
        It holds neither counts nor log1p values.
    """
    if path is None:
        usual = Path(os.environ.get("SCCALMFLOW_DATA", ""), _KANG)
        if "SCCALMFLOW_DATA" not in os.environ or not usual.is_file():
            return "simulated cytokines", simulated_cytokines()
        path = usual
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}. Leave --data out for the built-in simulation.")
    return path.stem, with_log_values(read_h5ad(path))


def with_log_values(adata: AnnData) -> AnnData:
    """The same cells and genes with log1p values in ``X``, and their counts where the data has them."""
    for matrix in (adata.layers.get("counts"), adata.X):
        try:
            _checks.count_values(matrix, where="X")
        except ValueError:
            continue
        counts = sparse.csr_matrix(matrix, dtype=np.float32)
        return AnnData(log_normalised(counts), var=adata.var[[]], layers={"counts": counts})
    _checks.log_values(adata.X, where="adata.X", other_scale="This experiment is of no other scale.")
    return AnnData(sparse.csr_matrix(adata.X, dtype=np.float32), var=adata.var[[]])


def split(name: str, adata: AnnData, n_comps: int) -> Cells:
    """Hold out every fifth cell at random, always the same, and fit the components on the others.

    Raises
    ------
    ValueError
        Fewer than 50 cells, or more components than cells or genes allow.
    """
    if adata.n_obs < _FEWEST:
        raise ValueError(f"{name} has {adata.n_obs} cells; {_FEWEST} are needed to hold a fifth of them out.")
    adata = adata.copy()
    adata.obs_names = [str(number) for number in range(adata.n_obs)]
    adata.var_names_make_unique()
    order, n = np.random.default_rng(0).permutation(adata.n_obs), round(_HELD_OUT * adata.n_obs)
    held_out, train = order[:n], order[n:]
    adata.obs["split"] = TRAIN
    adata.obs.iloc[held_out, adata.obs.columns.get_loc("split")] = HELDOUT
    pca(adata, n_comps)
    scores = adata.obsm["X_pca"]
    counts = adata.layers["counts"][train] if "counts" in adata.layers else None
    return Cells(name, scores[train], scores[held_out], PCA.from_anndata(adata), counts)
