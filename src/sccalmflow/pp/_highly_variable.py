from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sccalmflow import _checks

from ._split import training_cells

if TYPE_CHECKING:
    from anndata import AnnData


def highly_variable_genes(adata: AnnData, n_top_genes: int = 1500, *, split_key: str | None = "split") -> None:
    """Mark the most variable genes, chosen on training cells only.

    Scanpy's dispersion ranking (``flavor="seurat"``) of the training cells. The AnnData keeps all its genes; take the
    chosen ones with ``adata = adata[:, adata.var["highly_variable"]].copy()``.

    Parameters
    ----------
    adata
        Log1p-normalised expression in ``X``, dense or sparse.
    n_top_genes
        How many genes to mark. All of them where there are fewer. 1,500 hold the response to a cytokine, and a
        principal component analysis of them takes seconds.
    split_key
        Column of ``obs`` whose ``"train"`` cells are used (see :func:`hold_out`); None uses all cells.

    Returns
    -------
    None. Adds ``adata.var["highly_variable"]`` (bool).

    Raises
    ------
    KeyError
        ``split_key`` is not in ``obs``.
    ValueError
        ``n_top_genes`` is below 1; ``X`` holds raw counts, negative or not finite values; the data is backed or empty.

    Examples
    --------
    >>> import sccalmflow as scf
    >>> adata = scf.datasets.simulated_cytokines(cells_per_condition=5, n_genes=400)
    >>> scf.pp.highly_variable_genes(adata, n_top_genes=100, split_key=None)
    >>> int(adata.var["highly_variable"].sum())
    100
    """
    import scanpy as sc
    from anndata import AnnData

    if n_top_genes < 1:
        raise ValueError(f"n_top_genes is {n_top_genes}; at least one gene is needed.")
    _checks.not_empty(adata)
    _checks.in_memory(adata)
    mask = training_cells(adata, split_key)
    _checks.log_values(adata.X, where="adata.X")
    if n_top_genes >= adata.n_vars:
        adata.var["highly_variable"] = np.ones(adata.n_vars, dtype=bool)
        return
    train = AnnData(adata.X[mask])
    if "log1p" in adata.uns:  # scanpy keeps the base of the logarithm there, and undoes it to compute dispersions
        train.uns["log1p"] = adata.uns["log1p"]
    found = sc.pp.highly_variable_genes(train, n_top_genes=n_top_genes, flavor="seurat", inplace=False)
    adata.var["highly_variable"] = found["highly_variable"].to_numpy(dtype=bool)
