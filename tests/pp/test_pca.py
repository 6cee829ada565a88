import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.decomposition import PCA as SklearnPCA

from sccalmflow import pp
from sccalmflow.pp import _pca


def make(n: int = 60, g: int = 20, *, seed: int = 0, as_sparse: bool = False) -> ad.AnnData:
    """Log values that are mostly 0, two thirds of the cells in training."""
    rng = np.random.default_rng(seed)
    X = np.log1p(rng.poisson(rng.gamma(1, 1, (n, 1)) * rng.gamma(0.5, 2, g)) * rng.uniform(0.5, 1, (n, g)))
    adata = ad.AnnData(sparse.csr_matrix(X, dtype=np.float32) if as_sparse else X.astype(np.float32))
    adata.obs["split"] = pd.Categorical(np.where(np.arange(n) % 3 == 0, "heldout", "train"))
    return adata


def dense(adata: ad.AnnData) -> np.ndarray:
    return (adata.X.toarray() if sparse.issparse(adata.X) else adata.X).astype(np.float64)


def test_agrees_with_scikit_learn_on_training_cells_up_to_the_one_scale() -> None:
    adata = make()
    pp.pca(adata, n_comps=5)
    train = (adata.obs["split"] == "train").to_numpy()
    reference = SklearnPCA(5, svd_solver="full").fit(dense(adata)[train])
    signs = np.sign((reference.components_ * adata.varm["PCs"].T).sum(axis=1))
    scale = np.sqrt((reference.explained_variance_ * (train.sum() - 1) / train.sum()).mean())
    np.testing.assert_allclose(adata.varm["PCs"].T, reference.components_ * signs[:, None], atol=1e-5)
    np.testing.assert_allclose(
        adata.obsm["X_pca"], reference.transform(dense(adata)) * signs / scale, rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(adata.uns["pca"]["variance_ratio"], reference.explained_variance_ratio_, rtol=1e-5)
    np.testing.assert_allclose(adata.uns["pca"]["mean"], reference.mean_, rtol=1e-5)
    assert adata.uns["pca"]["scale"] == pytest.approx(scale)


def test_many_genes_take_the_iterative_path_and_agree_with_the_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for as_sparse in (True, False):
        exact, iterative = make(as_sparse=as_sparse), make(as_sparse=as_sparse)
        pp.pca(exact, n_comps=5)
        with monkeypatch.context() as patch:
            patch.setattr(_pca, "_EXACT_UP_TO_GENES", 10)
            pp.pca(iterative, n_comps=5)
        np.testing.assert_allclose(iterative.obsm["X_pca"], exact.obsm["X_pca"], atol=1e-3)
        for key in ("scale", "variance_ratio"):
            np.testing.assert_allclose(iterative.uns["pca"][key], exact.uns["pca"][key], rtol=1e-4)


def test_shrinkage_says_how_much_less_new_cells_vary() -> None:
    rng = np.random.default_rng(0)
    loud = rng.normal(size=(3, 200)) * np.array([[2.0], [1.5], [1.0]])
    X = (rng.normal(size=(3_000, 3)) @ loud + rng.normal(size=(3_000, 200))).astype(np.float32)
    adata = ad.AnnData(X)
    adata.obs["split"] = pd.Categorical(np.where(np.arange(3_000) < 300, "train", "heldout"))
    pp.pca(adata, n_comps=20, values="any")
    train = (adata.obs["split"] == "train").to_numpy()
    spread = [adata.obsm["X_pca"][rows].std(axis=0) for rows in (~train, train)]
    shrinkage = adata.uns["pca"]["shrinkage"]
    # Three real components of the population, and seventeen that the training cells alone vary along.
    np.testing.assert_allclose(shrinkage[:3], 1, atol=0.15)
    assert shrinkage[3:].mean() == pytest.approx((spread[0] / spread[1])[3:].mean(), abs=0.04)
    assert 0.5 < shrinkage[3:].mean() < 0.75


@pytest.mark.parametrize("as_sparse", [True, False])
def test_shrinkage_agrees_with_scikit_learn_on_cells_left_out(as_sparse: bool) -> None:
    adata = make(n=150, as_sparse=as_sparse)
    pp.pca(adata, n_comps=4)
    X = dense(adata)[(adata.obs["split"] == "train").to_numpy()]
    inside, outside = np.zeros(4), np.zeros(4)
    for i in range(3):
        left_out = np.arange(len(X)) % 10 == i
        reference = SklearnPCA(4, svd_solver="full").fit(X[~left_out])
        inside += reference.transform(X[~left_out]).var(axis=0) * left_out.sum()
        outside += (reference.transform(X[left_out]) ** 2).sum(axis=0)
    np.testing.assert_allclose(adata.uns["pca"]["shrinkage"], np.minimum(1, np.sqrt(outside / inside)), rtol=1e-4)


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(8, 40),
    g=st.integers(2, 15),
    data=st.data(),
)
@settings(max_examples=25, deadline=None)
def test_sparse_and_dense_agree_and_the_training_scores_have_unit_variance(
    seed: int, n: int, g: int, data: st.DataObject
) -> None:
    n_train = n - len(range(0, n, 3))
    n_comps = data.draw(st.integers(1, min(g, n_train - 1)))
    one, other = make(n, g, seed=seed), make(n, g, seed=seed, as_sparse=True)
    train = (one.obs["split"] == "train").to_numpy()
    if np.ptp(dense(one)[train], axis=0).max() == 0:
        return
    for adata in (one, other):
        pp.pca(adata, n_comps=n_comps)
    a, b = (pp.PCA.from_anndata(x) for x in (one, other))
    assert a.scale == pytest.approx(b.scale, rel=1e-4)
    # Components of equal variance are arbitrary; what they span together, and the reconstruction, are compared.
    np.testing.assert_allclose(a.variance_ratio, b.variance_ratio, atol=1e-5)
    assert one.obsm["X_pca"].dtype == np.float32 and one.obsm["X_pca"].shape == (n, n_comps)
    assert one.obsm["X_pca"][train].var(axis=0).mean() == pytest.approx(1, rel=1e-3)
    np.testing.assert_allclose(a.loadings.T @ a.loadings, np.eye(n_comps), atol=1e-5)
    np.testing.assert_allclose(one.obsm["X_pca"][train].mean(axis=0), 0, atol=1e-3)


@pytest.mark.parametrize("as_sparse", [True, False])
def test_all_components_reconstruct_the_expression(as_sparse: bool) -> None:
    adata = make(as_sparse=as_sparse)
    pp.pca(adata, n_comps=adata.n_vars)
    back = pp.reconstruct(adata)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, dense(adata), atol=1e-4)


def test_reconstruction_of_fewer_components_is_the_best_of_its_rank_on_training_cells() -> None:
    adata = make()
    pp.pca(adata, n_comps=4, split_key=None)
    X = dense(adata) - dense(adata).mean(axis=0)
    left_over = np.linalg.svd(X, compute_uv=False)[4:]
    error = np.square(pp.reconstruct(adata) - dense(adata)).sum()
    assert error == pytest.approx(np.square(left_over).sum(), rel=1e-4)


def test_held_out_cells_do_not_influence_the_fit() -> None:
    one, other = make(as_sparse=True), make(as_sparse=True)
    held = (other.obs["split"] == "heldout").to_numpy()
    X = other.X.toarray()
    X[held] = np.random.default_rng(1).uniform(0, 9, X[held].shape)
    other.X = sparse.csr_matrix(X)
    for adata in (one, other):
        pp.pca(adata, n_comps=5)
    np.testing.assert_array_equal(one.varm["PCs"], other.varm["PCs"])
    np.testing.assert_array_equal(one.uns["pca"]["mean"], other.uns["pca"]["mean"])
    assert one.uns["pca"]["scale"] == other.uns["pca"]["scale"]
    np.testing.assert_array_equal(one.obsm["X_pca"][~held], other.obsm["X_pca"][~held])
    assert not np.allclose(one.obsm["X_pca"][held], other.obsm["X_pca"][held])


def test_signs_are_fixed_by_the_largest_loading() -> None:
    adata = make()
    pp.pca(adata, n_comps=10)
    loadings = adata.varm["PCs"]
    assert np.all(loadings[np.abs(loadings).argmax(axis=0), np.arange(10)] > 0)


def test_a_protein_panel_below_zero_needs_values_any_and_keeps_all_its_components() -> None:
    rng = np.random.default_rng(0)
    adata = ad.AnnData(np.arcsinh(rng.normal(0, 3, (50, 6))).astype(np.float32))
    with pytest.raises(ValueError, match="negative values.*values=.any. by sccalmflow.pp.pca"):
        pp.pca(adata, n_comps=6, split_key=None)
    pp.pca(adata, n_comps=6, split_key=None, values="any")
    np.testing.assert_allclose(pp.reconstruct(adata), adata.X, atol=1e-5)


def test_counts_whose_depth_was_not_made_equal_give_a_warning() -> None:
    adata = ad.AnnData(np.log1p(np.random.default_rng(0).poisson(2.0, (60, 20))).astype(np.float32))
    with pytest.warns(UserWarning, match="sc.pp.normalize_total"):
        pp.pca(adata, n_comps=5, split_key=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pp.pca(adata, n_comps=5, split_key=None, values="any")


def test_raw_counts_are_refused_before_anything_is_written() -> None:
    adata = make()
    adata.X = np.round(np.expm1(adata.X) * 3)
    with pytest.raises(ValueError, match="raw counts"):
        pp.pca(adata, n_comps=2)
    assert "X_pca" not in adata.obsm and "pca" not in adata.uns


def test_survives_a_round_trip_through_h5ad(tmp_path: Path) -> None:
    adata = make(as_sparse=True)
    pp.pca(adata, n_comps=5)
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    np.testing.assert_array_equal(pp.reconstruct(back), pp.reconstruct(adata))
    np.testing.assert_array_equal(pp.PCA.from_anndata(back).transform(back.X), adata.obsm["X_pca"])


def test_another_key_leaves_the_first_alone() -> None:
    adata = make()
    pp.pca(adata, n_comps=5)
    before = adata.obsm["X_pca"].copy()
    pp.pca(adata, n_comps=3, split_key=None, key_added="X_all")
    np.testing.assert_array_equal(adata.obsm["X_pca"], before)
    assert adata.obsm["X_all"].shape == (adata.n_obs, 3)
    assert pp.PCA.from_anndata(adata, "X_all").n_comps == 3
    assert pp.reconstruct(adata, key="X_all").shape == adata.shape


@pytest.mark.parametrize("key", ["pca", "PCs"])
def test_a_key_that_would_overwrite_the_default_projection_is_refused(key: str) -> None:
    adata = make()
    pp.pca(adata, n_comps=5)
    before = pp.reconstruct(adata)
    with pytest.raises(ValueError, match="where the default, 'X_pca', keeps its projection"):
        pp.pca(adata, n_comps=3, key_added=key)
    np.testing.assert_array_equal(pp.reconstruct(adata), before)


@pytest.mark.filterwarnings("ignore:.*view.*")
@pytest.mark.filterwarnings("ignore::anndata.ImplicitModificationWarning")
def test_a_view_becomes_an_anndata_of_its_own_and_loses_nothing() -> None:
    parent = make(as_sparse=True)
    parent.layers["counts"] = parent.X.copy()
    parent.obsm["spatial"] = np.ones((parent.n_obs, 2))
    view = parent[10:50, ::2]
    copy = view.copy()
    pp.pca(view, n_comps=4)
    pp.pca(copy, n_comps=4)
    assert not view.is_view
    np.testing.assert_array_equal(view.obsm["X_pca"], copy.obsm["X_pca"])
    assert "X_pca" not in parent.obsm and "pca" not in parent.uns
    assert "counts" in view.layers and "spatial" in view.obsm
    np.testing.assert_array_equal(pp.reconstruct(view), pp.reconstruct(copy))


def test_without_a_split_the_error_says_hold_out_or_none() -> None:
    adata = make()
    del adata.obs["split"]
    with pytest.raises(KeyError, match=r"hold_out\(adata\) first, or pass split_key=None"):
        pp.pca(adata, n_comps=2)
    adata.obs["split"] = "test"
    with pytest.raises(ValueError, match="no cell as 'train'; it holds 'test'"):
        pp.pca(adata, n_comps=2)


@pytest.mark.parametrize("n_comps", [0, -1, 21])
def test_n_comps_out_of_bounds_names_the_bounds(n_comps: int) -> None:
    with pytest.raises(ValueError, match=f"n_comps is {n_comps}, but 40 training cells of 20 genes allow 1 to 20"):
        pp.pca(make(), n_comps=n_comps)


@pytest.mark.parametrize("n_comps", [10.0, "10", None])
def test_n_comps_must_be_a_whole_number(n_comps: object) -> None:
    adata = make()
    with pytest.raises(TypeError, match=f"n_comps={n_comps!r} must be a whole number"):
        pp.pca(adata, n_comps=n_comps)  # type: ignore[arg-type]
    pp.pca(adata, n_comps=np.int64(3))  # type: ignore[arg-type]
    assert adata.obsm["X_pca"].shape[1] == 3


def test_few_cells_bound_the_components_too() -> None:
    with pytest.raises(ValueError, match="5 training cells of 20 genes allow 1 to 4"):
        pp.pca(make(5), n_comps=5, split_key=None)


def test_equal_cells_are_refused() -> None:
    with pytest.raises(ValueError, match="all equal"):
        pp.pca(ad.AnnData(np.full((9, 4), 0.5, dtype=np.float32)), n_comps=2, split_key=None)


def test_backed_data_and_misspelt_values_are_refused(tmp_path: Path) -> None:
    make().write_h5ad(tmp_path / "x.h5ad")
    backed = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    with pytest.raises(ValueError, match="to_memory"):
        pp.pca(backed, n_comps=2)
    backed.file.close()
    with pytest.raises(ValueError, match="Did you mean 'log1p'"):
        pp.pca(make(), n_comps=2, values="log1")  # type: ignore[arg-type]


def test_changed_genes_are_noticed() -> None:
    adata = make()
    pp.pca(adata, n_comps=3)
    for other in (adata[:, :10].copy(), adata[:, ::-1].copy()):
        with pytest.raises(ValueError, match="Select genes before"):
            pp.reconstruct(other)


def test_a_missing_or_foreign_projection_says_what_to_run() -> None:
    adata = make()
    with pytest.raises(KeyError, match=r"Run sccalmflow.pp.pca\(adata\) first"):
        pp.reconstruct(adata)
    adata.varm["PCs"], adata.uns["pca"] = np.ones((20, 2)), {"variance_ratio": np.ones(2)}  # what scanpy leaves
    with pytest.raises(KeyError, match=r"Run sccalmflow.pp.pca\(adata\) first"):
        pp.reconstruct(adata)


def test_transform_and_inverse_check_their_shapes() -> None:
    adata = make()
    pp.pca(adata, n_comps=3)
    fitted = pp.PCA.from_anndata(adata)
    with pytest.raises(ValueError, match="X has 19 genes, but the projection was fitted on 20"):
        fitted.transform(dense(adata)[:, 1:])
    with pytest.raises(ValueError, match="scores have 4 components, but the projection has 3"):
        fitted.inverse(np.ones((2, 4)))


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
def test_transform_takes_any_matrix(kind) -> None:
    adata = make()
    pp.pca(adata, n_comps=3)
    scores = pp.PCA.from_anndata(adata).transform(kind(dense(adata)))
    assert isinstance(scores, np.ndarray) and scores.dtype == np.float32
    np.testing.assert_allclose(scores, adata.obsm["X_pca"], atol=1e-5)


def test_transform_of_sparse_input_never_makes_it_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    adata = make(as_sparse=True)
    pp.pca(adata, n_comps=3)
    fitted = pp.PCA.from_anndata(adata)

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("made dense")

    monkeypatch.setattr(sparse.csr_matrix, "toarray", refuse)
    monkeypatch.setattr(sparse.csr_matrix, "todense", refuse)
    fitted.transform(adata.X)
