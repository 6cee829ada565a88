import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import sccalmflow as scf


def written(pred, truth, folder, **kwargs):
    return [ad.read_h5ad(path) for path in scf.tl.to_cell_eval(pred, truth, folder, **kwargs)]


def rows(adata, context, perturbation):
    return adata[(adata.obs["context"] == context) & (adata.obs["perturbation"] == perturbation)].X.toarray()


def cells(adata, cell_type, perturbation):
    return adata.X[((adata.obs["cell_type"] == cell_type) & (adata.obs["perturbation"] == perturbation)).to_numpy()]


def with_chronicity(pred, truth):
    """The same cells in two exposures each, so that a context has two labels."""
    for adata in (pred, truth):
        adata.obs["chronicity"] = np.where(np.arange(adata.n_obs) % 2, "chronic", "acute")
    pred.uns["sccalmflow"]["condition_keys"] = ["cell_type", "perturbation", "chronicity"]


def test_both_files_hold_the_same_real_controls_and_their_own_cells(pred, truth, tmp_path):
    predicted, real = written(pred, truth, tmp_path / "new" / "folder")
    for context, perturbation in (("B", "IFN"), ("T", "IL-6")):
        np.testing.assert_array_equal(rows(predicted, context, perturbation), cells(pred, context, perturbation))
        np.testing.assert_array_equal(rows(real, context, perturbation), cells(truth, context, perturbation))
        for adata in (predicted, real):
            np.testing.assert_array_equal(rows(adata, context, "control"), cells(truth, context, "control"))
    # Contexts and conditions that nothing was predicted for are in neither file.
    assert real.n_obs == predicted.n_obs == 4 * 40
    assert sorted(real.obs["context"].unique()) == ["B", "T"]


def test_files_are_csr_with_the_genes_of_the_truth_and_two_columns(pred, truth, tmp_path):
    shuffled = pred[:, ::-1].copy()
    shuffled.X = sparse.csc_matrix(shuffled.X)
    for first, second in zip(
        written(pred, truth, tmp_path / "a"), written(shuffled, truth, tmp_path / "b"), strict=True
    ):
        assert isinstance(second.X, sparse.csr_matrix) and second.X.dtype == np.float32
        assert second.var_names.equals(truth.var_names) and list(second.obs) == ["perturbation", "context"]
        assert second.obs_names.is_unique and not second.uns
        np.testing.assert_array_equal(first.X.toarray(), second.X.toarray())


def test_only_held_out_cells_of_a_condition_are_real_ones(pred, truth, tmp_path):
    is_condition = ((truth.obs["cell_type"] == "B") & (truth.obs["perturbation"] == "IFN")).to_numpy()
    truth.obs["split"] = truth.obs["split"].astype(str)
    truth.obs.iloc[np.flatnonzero(is_condition)[:30], truth.obs.columns.get_loc("split")] = "train"
    real = written(pred, truth, tmp_path)[1]
    np.testing.assert_array_equal(rows(real, "B", "IFN"), truth.X[is_condition][30:])


def test_predicted_controls_never_replace_real_ones(pred, truth, tmp_path):
    fake = pred[:5].copy()
    fake.obs["perturbation"], fake.X = "control", fake.X * 0 + 7
    both = ad.concat([pred, fake], uns_merge="same", index_unique="-")
    with pytest.warns(UserWarning, match="predicted control cells"):
        predicted = written(both, truth, tmp_path)[0]
    np.testing.assert_array_equal(rows(predicted, "B", "control"), cells(truth, "B", "control"))


def test_negative_predictions_become_zero_and_the_input_is_left_alone(pred, truth, tmp_path):
    pred.X = pred.X - 1
    before = pred.X.copy()
    predicted = written(pred, truth, tmp_path)[0]
    np.testing.assert_array_equal(rows(predicted, "T", "IL-6"), np.clip(cells(pred, "T", "IL-6"), 0, None))
    np.testing.assert_array_equal(pred.X, before)
    assert predicted.X.min() == 0


def test_a_context_of_two_labels_is_joined_and_has_its_own_controls(pred, truth, tmp_path):
    with_chronicity(pred, truth)
    predicted, real = written(pred, truth, tmp_path, context_key="where")
    assert sorted(real.obs["where"].unique()) == ["B, acute", "B, chronic", "T, acute", "T, chronic"]
    both = pd.crosstab(predicted.obs["where"], predicted.obs["perturbation"])
    assert (both["control"] == 20).all() and both.loc["B, acute", "IFN"] == 20


def test_without_other_keys_there_is_one_context(pred, truth, tmp_path):
    kwargs = {"condition_keys": ["perturbation"], "perturbation_key": "perturbation", "control": "control"}
    predicted, real = written(pred, truth, tmp_path, **kwargs)
    assert predicted.obs["context"].unique().tolist() == real.obs["context"].unique().tolist() == ["all"]


def test_files_that_exist_are_kept_unless_told_otherwise(pred, truth, tmp_path):
    first, _ = scf.tl.to_cell_eval(pred, truth, tmp_path)
    before = first.read_bytes()
    pred.X = pred.X * 0.5
    with pytest.raises(FileExistsError, match="overwrite=True"):
        scf.tl.to_cell_eval(pred, truth, tmp_path)
    assert first.read_bytes() == before
    scf.tl.to_cell_eval(pred, truth, tmp_path, overwrite=True)
    np.testing.assert_array_equal(rows(ad.read_h5ad(first), "B", "IFN"), cells(pred, "B", "IFN"))


def _one_control(pred, truth):
    is_control = ((truth.obs["cell_type"] == "B") & (truth.obs["perturbation"] == "control")).to_numpy()
    is_control[np.flatnonzero(is_control)[0]] = False
    truth._inplace_subset_obs(~is_control)


def _no_true_cells(pred, truth):
    pred.obs["cell_type"] = "NK"
    truth._inplace_subset_obs(~((truth.obs["cell_type"] == "NK") & (truth.obs["perturbation"] == "IFN")).to_numpy())


def _other_genes(pred, truth):
    pred.var_names = ["gene0", *pred.var_names[1:]]


def _counts(pred, truth):
    pred.X = np.round(pred.X * 10)


def _above_cell_eval(pred, truth):
    pred.X[0, 0] = 20.5


def _no_fraction(pred, truth):
    for adata in (pred, truth):
        adata.X = (adata.X > 2).astype(np.float32)


def _contexts_alike(pred, truth):
    with_chronicity(pred, truth)
    for adata in (pred, truth):
        is_b = (adata.obs["cell_type"] == "B").to_numpy()
        adata.obs["cell_type"] = np.where(is_b, "B", "B, x")
        adata.obs["chronicity"] = np.where(is_b, "x, y", "y")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_one_control, "1 control cells .* context 'B'"),
        (_no_true_cells, "no cells of that combination"),
        (_other_genes, "not in pred"),
        (_counts, "raw counts"),
        (_above_cell_eval, "reaches 20.5.*below 15"),
        (_no_fraction, "whole numbers"),
        (_contexts_alike, "two contexts read 'B, x, y'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(pred, truth, tmp_path, spoil, message):
    spoil(pred, truth)
    with pytest.raises(ValueError, match=message):
        scf.tl.to_cell_eval(pred, truth, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_the_context_column_may_not_be_that_of_the_perturbation(pred, truth, tmp_path):
    with pytest.raises(ValueError, match="context_key"):
        scf.tl.to_cell_eval(pred, truth, tmp_path, context_key="perturbation")


def test_cell_eval_accepts_the_files_and_finds_the_same_change(pred, truth, tmp_path):
    cell_eval = pytest.importorskip("cell_eval")
    from cell_eval.utils import split_anndata_on_celltype

    pred.X = pred.X - 0.3
    files = written(pred, truth, tmp_path)
    report = scf.tl.evaluate(pred, truth, metrics=["pearson_delta"], n_boot=0, baselines=False)
    pairs = zip(*(split_anndata_on_celltype(adata, "context").values() for adata in files), strict=True)
    for (predicted, real), ours in zip(pairs, report.itertuples(), strict=True):
        evaluator = cell_eval.MetricsEvaluator(
            predicted, real, control_pert="control", pert_col="perturbation", num_threads=1, outdir=str(tmp_path)
        )
        results, _ = evaluator.compute(profile="minimal", write_csv=False, break_on_error=True)
        assert results["perturbation"].to_list() == [ours.perturbation]
        # Values below 0 are cut in the file, and hardly a mean is.
        assert results["pearson_delta"].item() == pytest.approx(ours.value, abs=0.02)
