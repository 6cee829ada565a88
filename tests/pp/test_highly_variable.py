import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

from sccalmflow import pp


def make(as_sparse: bool = True) -> ad.AnnData:
    rng = np.random.default_rng(0)
    X = np.log1p(rng.poisson(rng.gamma(0.5, 1 + np.arange(200) / 20, (150, 200))) * 0.7).astype(np.float32)
    adata = ad.AnnData(sparse.csr_matrix(X) if as_sparse else X)
    adata.obs["split"] = pd.Categorical(np.where(np.arange(150) < 50, "heldout", "train"))
    return adata


def test_genes_are_those_of_scanpy_on_training_cells() -> None:
    adata = make()
    pp.highly_variable_genes(adata, n_top_genes=40)
    train = adata[adata.obs["split"] == "train"].copy()
    sc.pp.highly_variable_genes(train, n_top_genes=40, flavor="seurat")
    np.testing.assert_array_equal(adata.var["highly_variable"], train.var["highly_variable"])
    assert adata.var["highly_variable"].sum() == 40 and adata.n_vars == 200


def test_variance_takes_the_genes_with_the_largest_variance_of_training_cells() -> None:
    adata = make()
    pp.highly_variable_genes(adata, n_top_genes=40, flavor="variance")
    train = adata.X.toarray()[50:].astype(np.float64)
    np.testing.assert_array_equal(
        np.flatnonzero(adata.var["highly_variable"]), np.sort(np.argsort(-train.var(axis=0))[:40])
    )


@pytest.mark.parametrize("flavor", ["seurat", "variance"])
@pytest.mark.filterwarnings("ignore:.*normalized dispersions.*")
def test_as_many_genes_are_marked_as_were_asked_for(flavor) -> None:
    """Also where many genes are equally variable, or do not vary at all."""
    tied = ad.AnnData(np.log1p(np.random.default_rng(2).poisson(0.3, (60, 500))).astype(np.float32))
    still = make(False)
    still.X[:, :120] = 0
    for adata, n in ((tied, 50), (tied, 300), (still, 100)):
        pp.highly_variable_genes(adata, n, flavor=flavor, split_key=None)
        assert adata.var["highly_variable"].sum() == n


@pytest.mark.parametrize("flavor", ["seurat", "variance"])
@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csc_array, sparse.csc_matrix])
def test_every_sparse_format_is_taken(flavor, kind) -> None:
    adata, other = make(), make()
    other.X = kind(other.X)
    for one in (adata, other):
        pp.highly_variable_genes(one, n_top_genes=40, flavor=flavor)
    np.testing.assert_array_equal(adata.var["highly_variable"], other.var["highly_variable"])


@pytest.mark.parametrize("flavor", ["seurat", "variance"])
def test_sparse_and_dense_agree(flavor) -> None:
    one, other = make(True), make(False)
    for adata in (one, other):
        pp.highly_variable_genes(adata, n_top_genes=30, flavor=flavor)
    np.testing.assert_array_equal(one.var["highly_variable"], other.var["highly_variable"])


@pytest.mark.parametrize("flavor", ["seurat", "variance"])
def test_held_out_cells_do_not_influence_the_choice(flavor) -> None:
    one, other = make(False), make(False)
    other.X[:50] = np.random.default_rng(1).uniform(0, 8, (50, 200))
    chosen = []
    for adata in (one, other):
        pp.highly_variable_genes(adata, n_top_genes=30, flavor=flavor)
        chosen.append(adata.var["highly_variable"].to_numpy())
    np.testing.assert_array_equal(*chosen)
    pp.highly_variable_genes(other, n_top_genes=30, flavor=flavor, split_key=None)
    assert (other.var["highly_variable"].to_numpy() != chosen[0]).any()


def test_expression_and_its_metadata_are_left_alone() -> None:
    adata = make()
    adata.uns["log1p"] = {"base": None}
    before = adata.copy()
    pp.highly_variable_genes(adata, n_top_genes=30)
    assert (adata.X != before.X).nnz == 0
    assert set(adata.var.columns) == {"highly_variable"} and set(adata.uns) == {"log1p"}


@pytest.mark.parametrize("n_top_genes", [200, 201, 1500])
def test_all_genes_are_kept_where_there_are_no_more(n_top_genes: int) -> None:
    adata = make()
    pp.highly_variable_genes(adata, n_top_genes=n_top_genes)
    assert adata.var["highly_variable"].all() and adata.var["highly_variable"].dtype == bool


def test_errors_come_before_work() -> None:
    adata = make()
    with pytest.raises(ValueError, match="n_top_genes is 0"):
        pp.highly_variable_genes(adata, n_top_genes=0)
    with pytest.raises(TypeError, match="n_top_genes=100.0 must be a whole number"):
        pp.highly_variable_genes(adata, n_top_genes=100.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="flavor is 'variances'.*Did you mean 'variance'"):
        pp.highly_variable_genes(adata, flavor="variances")
    with pytest.raises(KeyError, match="Did you mean 'split'.*split_key=None"):
        pp.highly_variable_genes(adata, split_key="splt")
    negative = ad.AnnData(np.arcsinh(np.random.default_rng(0).normal(size=(9, 4))))
    with pytest.raises(ValueError, match="negative values.*needs no choice of genes") as error:
        pp.highly_variable_genes(negative, split_key=None)
    assert "values=" not in str(error.value)  # it has no such argument
    adata.X = np.round(np.expm1(adata.X.toarray()))
    with pytest.raises(ValueError, match="raw counts"):
        pp.highly_variable_genes(adata)
    assert "highly_variable" not in adata.var
