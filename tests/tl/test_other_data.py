"""Predictions and truth that were not made for each other: other projections, genes, splits, things."""

import warnings

import numpy as np
import pytest
from scipy import sparse

import sccalmflow as scf

QUICK = {"n_boot": 0, "metrics": ["edistance"], "baselines": False}


def distances(pred, truth):
    return scf.tl.evaluate(pred, truth, **QUICK)["value"].to_numpy()


def test_scores_of_another_projection_are_projected_again_with_a_warning(pred, truth):
    expected = distances(pred, truth)
    other = truth.copy()
    scf.pp.pca(other, 10, split_key=None)
    scf.pp.PCA.from_anndata(other).store(pred)
    pred.obsm["X_pca"] = scf.pp.PCA.from_anndata(other).transform(pred.X)
    with pytest.warns(UserWarning, match=r"scores of another projection than truth's, so prediction\.X is projected"):
        found = distances(pred, truth)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_scores_of_the_same_projection_are_taken_as_they_are_whatever_the_order_of_the_genes(pred, truth):
    scf.pp.PCA.from_anndata(truth).store(pred)
    expected = distances(pred, truth)
    turned = pred[:, ::-1].copy()
    turned.uns["pca"]["mean"] = turned.uns["pca"]["mean"][::-1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(distances(turned, truth), expected)


def test_genes_beyond_those_of_the_truth_are_set_aside(pred, truth):
    few = truth[:, truth.var_names[5:]].copy()
    scf.pp.pca(few, 10)
    few_pred = pred[:, few.var_names].copy()
    del few_pred.obsm["X_pca"], pred.obsm["X_pca"]
    np.testing.assert_array_equal(distances(pred, few), distances(few_pred, few))


def test_genes_by_other_names_are_refused_with_examples_of_both(pred, truth):
    pred.var_names = [f"ENSG{i}" for i in range(pred.n_vars)]
    with pytest.raises(ValueError, match=r"60 of truth's are not in prediction \('g0'.*called 'ENSG0'"):
        distances(pred, truth)


def test_a_truth_without_the_split_of_the_prediction_is_measured_throughout(pred, truth):
    expected = distances(pred, truth)
    del truth.obs["split"]
    with pytest.warns(UserWarning, match="truth.obs has no column 'split'"):
        np.testing.assert_array_equal(distances(pred, truth), expected)
    with pytest.raises(KeyError, match="truth.obs has no column 'split'"):
        scf.tl.evaluate(pred, truth, split_key="split", **QUICK)


def test_a_truth_without_control_cells_is_told_what_it_must_hold(pred, truth):
    heldout = truth[truth.obs["split"] == "heldout"].copy()
    with pytest.raises(ValueError, match="truth has no control cells.*training, the control and the held-out"):
        distances(pred, heldout)


def test_errors_of_labels_name_whose_they_are(pred, truth):
    del pred.obs["cell_type"]
    with pytest.raises(KeyError, match=r"prediction\.obs has no column 'cell_type'"):
        distances(pred, truth)
    with pytest.raises(KeyError, match=r"truth\.obs has no column 'cell'"):
        scf.tl.evaluate(pred, truth, condition_keys=["cell", "perturbation"], **QUICK)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda pred: [pred], "pred is a list: give an AnnData, or several by name"),
        (lambda pred: {"mine": "pred.h5ad"}, r"pred\['mine'\] is a str"),
        (lambda pred: pred.obs, "pred is a DataFrame"),
    ],
)
def test_other_things_than_anndata_are_refused_by_type(pred, truth, given, message):
    with pytest.raises(TypeError, match=message):
        scf.tl.evaluate(given(pred), truth)
    with pytest.raises(TypeError, match="truth is a DataFrame"):
        scf.tl.evaluate(pred, truth.obs)


@pytest.mark.parametrize(
    "metric", [scf.tl.edistance, scf.tl.mmd, scf.tl.wasserstein, scf.tl.std_ratio, scf.tl.r2, scf.tl.mse]
)
def test_metrics_refuse_anndata_and_sparse_matrices_by_argument(pred, truth, metric):
    with pytest.raises(TypeError, match="x is an AnnData: .*sccalmflow.tl.evaluate"):
        metric(pred, truth)
    with pytest.raises(TypeError, match=r"y is sparse: give a dense array, y\.toarray"):
        metric(pred.X, sparse.csr_matrix(truth.X))


def test_a_summary_of_cells_is_refused(pred):
    for function in (scf.tl.summary, scf.tl.rank):
        with pytest.raises(TypeError, match="report is a AnnData: give the table that sccalmflow.tl.evaluate returns"):
            function(pred)
