"""A sparse matrix of many cells does not fit into memory as a dense one."""

import numpy as np
import pytest
from anndata import AnnData
from scipy import sparse

from sccalmflow import pp
from sccalmflow.pp import _pca


@pytest.mark.parametrize("exact_up_to", [1000, 5])
def test_a_sparse_matrix_is_never_made_dense_as_a_whole(monkeypatch: pytest.MonkeyPatch, exact_up_to: int) -> None:
    counts = np.random.default_rng(0).poisson(1.0, (200, 20)).astype(np.float32)
    adata = AnnData(sparse.csr_matrix(np.log1p(counts / 3)))
    original, rows = sparse.csr_matrix.toarray, []

    def toarray(matrix: sparse.csr_matrix, *args: object, **kwargs: object) -> np.ndarray:
        rows.append(matrix.shape[0])
        return original(matrix, *args, **kwargs)

    monkeypatch.setattr(_pca, "_ROWS_AT_A_TIME", 16)
    monkeypatch.setattr(_pca, "_EXACT_UP_TO_GENES", exact_up_to)
    monkeypatch.setattr(sparse.csr_matrix, "toarray", toarray)
    monkeypatch.setattr(sparse.csr_matrix, "todense", toarray)
    pp.pca(adata, n_comps=3, split_key=None)
    assert adata.obsm["X_pca"].shape == (200, 3)
    assert max(rows, default=0) <= 16
    assert rows or exact_up_to == 5  # the iterative way needs no dense slice
