import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import sccalmflow as scf
from sccalmflow.tl import _methods, _target

QUICK = {"n_boot": 0}


def table(report):
    return scf.tl.summary(report).drop(columns="n_conditions")


def test_a_good_prediction_lies_between_the_baselines_and_the_ceiling(pred, truth):
    report = scf.tl.evaluate(pred, truth, **QUICK)
    means = table(report)
    assert list(means.index) == ["prediction", "control", "additive", "perturbed_mean", "nearest", "linear", "ceiling"]
    assert tuple(means) == scf.tl.PRESETS["default"]
    # The baselines are true cells of another condition: their spread, correlations and lack of duplicates are real.
    for metric in means.drop(columns=["std_ratio", "correlation_error", "duplicate_rate"]):
        gap = (means[metric] - scf.tl.METRICS[metric].best).abs()
        assert gap["ceiling"] < gap["control"], metric
        # Half as many cells on either side: the slope is a noisy figure.
        assert gap["prediction"] < gap["additive"] + 1e-9 or metric == "delta_slope", metric
    # Cells of another type carry that type's profile into the change, however right their perturbation.
    assert (means["pearson_delta"].drop(["control", "perturbed_mean", "nearest"]) > 0.7).all()
    # Not 0: control cells rebuilt from components differ from real ones by noise, which the true change contains too.
    assert abs(means.loc["control", "pearson_delta"]) < 0.2
    assert report["novelty"].unique().tolist() == ["unseen combination"]


@pytest.mark.parametrize(("method", "name"), [("calmflow", "calmflow"), ("additive", "prediction")])
def test_one_prediction_alone_is_called_what_made_it_unless_the_report_says_so_of_another(pred, truth, method, name):
    pred.uns["sccalmflow"]["method"] = method
    report = scf.tl.evaluate(pred, truth, metrics=["mmd"], **QUICK)
    assert report["method"].iloc[0] == name
    assert report["method"].value_counts()["additive"] == report["condition"].nunique()


def test_the_report_is_one_row_per_condition_method_and_metric(pred, truth):
    report = scf.tl.evaluate(pred, truth, n_boot=20)
    assert not report.duplicated(["cell_type", "perturbation", "method", "metric"]).any()
    assert len(report) == 2 * 7 * len(scf.tl.PRESETS["default"])
    assert report["condition"].unique().tolist() == ["B, IFN", "T, IL-6"]
    ceiling = report[report["method"] == "ceiling"]
    assert (ceiling["n_pred"] == 20).all() and (ceiling["n_true"] == 20).all()
    without = report["ci_low"].isna()
    assert set(report["metric"][without]) == {
        name for name in report["metric"].unique() if not scf.tl.METRICS[name].interval
    }
    inside = report[~without]
    assert (inside["ci_low"] <= inside["value"]).all() and (inside["value"] <= inside["ci_high"]).all()


def test_values_are_those_of_the_metrics_themselves(pred, truth):
    report = scf.tl.evaluate(pred, truth, **QUICK, baselines=False).set_index(["condition", "metric"])["value"]
    x = pred[pred.obs["cell_type"] == "B"]
    y = truth[(truth.obs["cell_type"] == "B") & (truth.obs["perturbation"] == "IFN")]
    control = truth[(truth.obs["cell_type"] == "B") & (truth.obs["perturbation"] == "control")]
    assert report["B, IFN", "edistance"] == scf.tl.edistance(x.obsm["X_pca"], y.obsm["X_pca"])
    assert report["B, IFN", "pearson_delta"] == scf.tl.pearson_delta(x.X, y.X, control.X)


def test_top_genes_are_those_of_scanpy_on_the_truth_alone(pred, truth):
    report = scf.tl.evaluate(pred, truth, metrics=["pearson_delta_top100"], **QUICK, baselines=False)
    both = truth[(truth.obs["cell_type"] == "B") & truth.obs["perturbation"].isin(["IFN", "control"])].copy()
    sc.tl.rank_genes_groups(both, "perturbation", groups=["IFN"], reference="control", method="t-test", rankby_abs=True)
    # Half of the 60 genes: fewer than 100, and never all.
    genes = both.var_names.get_indexer(both.uns["rank_genes_groups"]["names"]["IFN"][:30])
    y, control = (both[both.obs["perturbation"] == label].X for label in ("IFN", "control"))
    expected = scf.tl.pearson_delta(pred[pred.obs["cell_type"] == "B"].X[:, genes], y[:, genes], control[:, genes])
    assert report["value"].iloc[0] == pytest.approx(expected)


def test_a_worse_prediction_scores_worse(pred, truth):
    rng = np.random.default_rng(0)
    genes, cells, shifted = pred.copy(), pred.copy(), pred.copy()
    genes.X = pred.X[:, rng.permutation(pred.n_vars)]
    # The right cells under the wrong condition.
    for key in ("cell_type", "perturbation"):
        cells.obs[key] = pred.obs[key].to_numpy()[::-1]
    shifted.X, shifted.obsm["X_pca"] = pred.X + 0.5, pred.obsm["X_pca"] + 0.5
    preds = {"good": pred, "genes": genes, "cells": cells, "shifted": shifted}
    means = table(scf.tl.evaluate(preds, truth, **QUICK, baselines=False))
    assert means.loc["good", "r2_corr"] > means.loc["genes", "r2_corr"]
    assert (means.loc[["cells", "shifted"], "edistance"] > means.loc["good", "edistance"]).all()
    assert means.loc["good", "pearson_delta"] > means.loc["cells", "pearson_delta"]
    assert means.loc["shifted", "r2"] < means.loc["good", "r2"]
    # A correlation is blind to a shift of all genes, which is why r2 stands beside it.
    assert means.loc["shifted", "r2_corr"] == pytest.approx(means.loc["good", "r2_corr"])


def test_predicted_controls_never_replace_real_ones(pred, truth):
    fake = pred[:5].copy()
    fake.obs["perturbation"], fake.X = "control", fake.X * 0
    both = ad.concat([pred, fake], uns_merge="same", index_unique="-")
    with pytest.warns(UserWarning, match="predicted control cells"):
        report = scf.tl.evaluate(both, truth, **QUICK)
    pd.testing.assert_frame_equal(report, scf.tl.evaluate(pred, truth, **QUICK).assign(novelty=report["novelty"]))


def test_results_do_not_depend_on_companions_gene_order_or_storage(pred, truth):
    alone = scf.tl.evaluate(pred, truth, n_boot=10)
    permuted = pred[:, ::-1].copy()
    permuted.X = sparse.csr_matrix(permuted.X)
    both = scf.tl.evaluate({"prediction": permuted, "other": pred}, truth, n_boot=10)
    pd.testing.assert_frame_equal(both[both["method"] != "other"].reset_index(drop=True), alone)


def test_missing_scores_are_projected(pred, truth):
    bare = pred.copy()
    del bare.obsm["X_pca"]
    first, second = (scf.tl.evaluate(one, truth, **QUICK, baselines=False) for one in (pred, bare[:, ::-1].copy()))
    np.testing.assert_allclose(first["value"], second["value"], rtol=1e-3, atol=1e-4)


def test_inputs_are_left_alone_and_global_random_state_too(pred, truth):
    before, truth_before, state = pred.copy(), truth.copy(), np.random.get_state()[1].copy()
    scf.tl.evaluate(pred, truth, n_boot=5)
    for old, new in ((before, pred), (truth_before, truth)):
        np.testing.assert_array_equal(old.X, new.X)
        pd.testing.assert_frame_equal(old.obs, new.obs)
        assert list(old.uns) == list(new.uns) and list(old.obsm) == list(new.obsm)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_the_report_survives_a_csv_file(pred, truth, tmp_path):
    report = scf.tl.evaluate(pred, truth, n_boot=5)
    report.to_csv(tmp_path / "report.csv", index=False)
    again = pd.read_csv(tmp_path / "report.csv")
    pd.testing.assert_frame_equal(again, report)
    pd.testing.assert_frame_equal(scf.tl.summary(again), scf.tl.summary(report))


def test_bootstrap_intervals_match_resampling_cell_by_cell(pred, truth):
    report = scf.tl.evaluate(pred, truth, metrics=["pearson_delta", "edistance"], n_boot=400, baselines=False)
    wide = (report["ci_high"] - report["ci_low"]).to_numpy()[:2]
    x, y = (
        pred[pred.obs["cell_type"] == "B"],
        truth[(truth.obs["cell_type"] == "B") & (truth.obs["perturbation"] == "IFN")],
    )
    control = truth[(truth.obs["cell_type"] == "B") & (truth.obs["perturbation"] == "control")].X
    rng, naive = np.random.default_rng(0), []
    for _ in range(400):
        i, j = rng.integers(x.n_obs, size=x.n_obs), rng.integers(y.n_obs, size=y.n_obs)
        naive.append(
            (
                scf.tl.pearson_delta(x.X[i], y.X[j], control),
                scf.tl.edistance(x.obsm["X_pca"][i], y.obsm["X_pca"][j]),
            )
        )
    expected = np.diff(np.percentile(naive, [2.5, 97.5], axis=0), axis=0)[0]
    np.testing.assert_allclose(wide, expected, rtol=0.35)


def test_a_metric_of_ones_own_needs_no_registration(pred, truth):
    worst = scf.tl.Metric(
        name="worst",
        function=lambda x, y: float(np.abs(x.mean(0) - y.mean(0)).max()),
        direction="lower",
        best=0.0,
        space="genes",
    )
    report = scf.tl.evaluate(pred, truth, metrics=[worst, "mmd"], n_boot=5)
    assert report["metric"].unique().tolist() == ["worst", "mmd"]
    assert "worst" not in scf.tl.METRICS


def test_a_condition_column_may_be_called_condition(pred, truth):
    for adata in (pred, truth):
        adata.obs["condition"] = adata.obs.pop("perturbation")
    report = scf.tl.evaluate(
        pred, truth, condition_keys=["cell_type", "condition"], perturbation_key="condition", **QUICK
    )
    assert report["obs_condition"].unique().tolist() == ["IFN", "IL-6"]
    assert report["condition"].unique().tolist() == ["B, IFN", "T, IL-6"]


def test_a_baseline_that_cannot_predict_is_missing_and_said_to_be(pred, truth):
    truth.obs["split"] = np.where(truth.obs["perturbation"] == "IL-6", "heldout", truth.obs["split"].astype(str))
    with pytest.warns(UserWarning, match="lacks some baselines") as warned:
        report = scf.tl.evaluate(pred, truth, **QUICK)
    assert [str(warning.message).splitlines()[1:] for warning in warned] == [
        ["'T, IL-6' has no additive, nearest, linear: the perturbation 'IL-6' was never seen in training."]
    ]
    assert report[report["method"] == "additive"]["condition"].unique().tolist() == ["B, IFN"]
    counts = scf.tl.summary(report)["n_conditions"]
    assert counts[["additive", "nearest", "linear"]].tolist() == [1, 1, 1]
    assert counts[["control", "perturbed_mean"]].tolist() == [2, 2]


def test_a_baseline_of_a_single_cell_does_not_stop_the_report(pred, truth):
    seen = ((truth.obs["perturbation"] == "IL-6") & (truth.obs["split"] == "train")).to_numpy()
    truth = truth[~seen | (np.cumsum(seen) == 1)].copy()
    with pytest.warns(UserWarning, match="'T, IL-6' has no perturbed_mean, nearest: training has a single cell"):
        report = scf.tl.evaluate(pred, truth, **QUICK)
    assert scf.tl.summary(report)["n_conditions"][["additive", "nearest"]].tolist() == [2, 1]


def test_a_baseline_that_pools_many_cells_is_thinned_by_the_seed_alone(pred, truth, monkeypatch):
    monkeypatch.setattr(_methods, "_MOST_CELLS", 50)
    reports = [scf.tl.evaluate(pred, truth, metrics=["edistance", "r2"], seed=seed, **QUICK) for seed in (0, 0, 1)]
    sizes = reports[0].groupby("method")["n_pred"].max()
    assert sizes["perturbed_mean"] == 50 and sizes["control"] == 40
    pd.testing.assert_frame_equal(reports[0], reports[1])
    assert (reports[0]["value"] != reports[2]["value"])[reports[0]["method"] == "perturbed_mean"].all()


def test_no_change_stays_no_change_through_all_components_and_back(pred, truth):
    scf.pp.pca(truth, 60)
    pred.obsm["X_pca"] = scf.pp.PCA.from_anndata(truth).transform(pred.X)
    report = scf.tl.evaluate(pred, truth, metrics=["pearson_delta", "de_overlap"], **QUICK)
    assert (report[report["method"] == "control"]["value"] == 0).all()


def test_genes_that_never_vary_do_no_harm(pred, truth):
    for adata in (pred, truth):
        adata.X[:, :5] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = scf.tl.evaluate(pred, truth, **QUICK)
    assert np.isfinite(report["value"]).all()


def test_discrimination_looks_at_all_perturbed_conditions_of_the_truth(pred, truth):
    report = scf.tl.evaluate(pred, truth, metrics=["discrimination"], baselines=False, **QUICK)
    change = {}
    for t in ("B", "T", "NK"):
        control = truth[(truth.obs["cell_type"] == t) & (truth.obs["perturbation"] == "control")].X.mean(0)
        for p in ("IFN", "IL-6"):
            rows = (truth.obs["cell_type"] == t) & (truth.obs["perturbation"] == p)
            change[t, p] = truth[rows].X.mean(0) - control
    own = ("B", "IFN")
    x = pred[pred.obs["cell_type"] == "B"].X.mean(0)
    x = x - truth[(truth.obs["cell_type"] == "B") & (truth.obs["perturbation"] == "control")].X.mean(0)
    far = {key: np.abs(x - delta).sum() for key, delta in change.items()}
    nearer = sum(far[key] < far[own] for key in far if key != own)
    assert report.loc[report["condition"] == "B, IFN", "value"].item() == pytest.approx(1 - nearer / 5)


def test_the_specific_change_is_taken_against_the_training_conditions_of_the_context(pred, truth):
    report = scf.tl.evaluate(pred, truth, metrics=["pearson_delta_specific"], baselines=False, **QUICK)
    # Of B cells under IFN, training has IL-6 in their place; of T cells under IL-6, IFN.
    reference = truth[(truth.obs["cell_type"] == "B") & (truth.obs["perturbation"] == "IL-6")].X
    y = truth[(truth.obs["cell_type"] == "B") & (truth.obs["perturbation"] == "IFN")].X
    expected = scf.tl.pearson_delta(pred[pred.obs["cell_type"] == "B"].X, y, reference)
    assert report["value"].iloc[0] == pytest.approx(expected)
    both = truth.obs["split"].astype(str).where(truth.obs["cell_type"] != "B", "heldout")
    truth.obs["split"] = both.where(truth.obs["perturbation"] != "control", "train")
    alone = scf.tl.evaluate(pred, truth, metrics=["pearson_delta_specific", "r2"], baselines=False, **QUICK)
    assert alone.loc[alone["condition"] == "B, IFN", "metric"].tolist() == ["r2"]


def test_keys_survive_an_h5ad_file(pred, truth, tmp_path):
    pred.write_h5ad(tmp_path / "pred.h5ad")
    report = scf.tl.evaluate(ad.read_h5ad(tmp_path / "pred.h5ad"), truth, metrics=["mmd"], **QUICK)
    pd.testing.assert_frame_equal(report, scf.tl.evaluate(pred, truth, metrics=["mmd"], **QUICK))


def _without_uns(pred, truth):
    del pred.uns["sccalmflow"]


def _other_genes(pred, truth):
    pred.var_names = ["gene0", *pred.var_names[1:]]


def _repeated_genes(pred, truth):
    pred.var_names = ["g1", *pred.var_names[1:]]


def _unknown_label(pred, truth):
    pred.obs["perturbation"] = pred.obs["perturbation"].astype(str).replace("IFN", "IFN-b").to_numpy()


def _counts(pred, truth):
    pred.X = np.round(pred.X * 10)


def _not_logged(pred, truth):
    pred.X = np.expm1(pred.X) * 100 + 0.5


def _nan(pred, truth):
    pred.X[0, 0] = np.nan


def _nan_scores(pred, truth):
    pred.obsm["X_pca"][0, 0] = np.nan


def _other_components(pred, truth):
    pred.obsm["X_pca"] = pred.obsm["X_pca"][:, :4]


def _no_pca(pred, truth):
    del truth.obsm["X_pca"]


def _wrong_control(pred, truth):
    pred.uns["sccalmflow"]["control"] = "Control"


def _no_such_key(pred, truth):
    pred.uns["sccalmflow"]["condition_keys"] = ["celltype", "perturbation"]


def _no_controls(pred, truth):
    is_control = (truth.obs["cell_type"] == "B") & (truth.obs["perturbation"] == "control")
    truth._inplace_subset_obs(~is_control.to_numpy())


def _one_cell(pred, truth):
    keep = (pred.obs["cell_type"] != "B").to_numpy()
    keep[0] = True
    pred._inplace_subset_obs(keep)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without_uns, "pass condition_keys="),
        (_other_genes, "1 of truth's are not in prediction"),
        (_repeated_genes, "more than once"),
        (_unknown_label, "Did you mean 'IFN'"),
        (_counts, "raw counts"),
        (_not_logged, "not on the log scale"),
        (_nan, "NaN"),
        (_nan_scores, "X_pca.*NaN"),
        (_other_components, "4 components"),
        (_no_pca, "sccalmflow.pp.pca"),
        (_wrong_control, "Did you mean 'control'"),
        (_no_such_key, "Did you mean 'cell_type'"),
        (_no_controls, "truth has 0 control cells"),
        (_one_cell, "1 cell in prediction"),
    ],
)
def test_bad_input_is_refused_with_a_remedy(pred, truth, spoil, message):
    spoil(pred, truth)
    with pytest.raises((ValueError, KeyError), match=message):
        scf.tl.evaluate(pred, truth)


def test_bad_arguments_are_refused(pred, truth):
    with pytest.raises(ValueError, match="uses itself"):
        scf.tl.evaluate({"control": pred}, truth)
    with pytest.raises(ValueError, match="n_boot"):
        scf.tl.evaluate(pred, truth, n_boot=-1)
    with pytest.raises(ValueError, match="empty"):
        scf.tl.evaluate({}, truth)
    with pytest.raises(ValueError, match="give a list"):
        scf.tl.evaluate(pred, truth, condition_keys="cell_type")
    with pytest.raises(ValueError, match="values"):
        scf.tl.evaluate(pred, truth, values="counts")
    with pytest.raises(ValueError, match="no column 'method'"):
        scf.tl.summary(pd.DataFrame({"condition": []}))


def test_negative_predictions_of_a_linear_projection_pass(pred, truth):
    pred.X = pred.X - 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scf.tl.evaluate(pred, truth, metrics=["r2"], **QUICK)


@pytest.mark.parametrize("order", [("mine", "foreign"), ("foreign", "mine")])
def test_novelty_is_what_any_prediction_says_of_it(pred, truth, order):
    foreign = pred.copy()
    del foreign.obs["novelty"]
    preds = {name: {"mine": pred, "foreign": foreign}[name] for name in order}
    report = scf.tl.evaluate(preds, truth, metrics=["edistance"], baselines=False, n_boot=0)
    assert report["novelty"].unique().tolist() == ["unseen combination"]


def test_a_key_that_was_stored_as_none_is_not_said(pred, truth):
    pred.uns["sccalmflow"]["split_key"] = None
    report = scf.tl.evaluate(pred, truth, metrics=["edistance"], baselines=False, n_boot=0)
    assert report["n_true"].unique().tolist() == [40]


def test_too_few_cells_are_said_to_be_where_they_are(pred, truth):
    held = (truth.obs["cell_type"] == "B") & (truth.obs["perturbation"] == "IFN")
    one = truth[~held | ~held.duplicated()].copy()
    with pytest.raises(ValueError, match="'B, IFN' has 1 cell in truth"):
        scf.tl.evaluate({"mine": pred}, one, metrics=["edistance"], n_boot=0)


def test_the_half_that_is_judged_has_no_say_in_the_top_genes_of_the_ceiling(pred, truth, monkeypatch):
    ranked = []
    rank = _target.rank_genes
    monkeypatch.setattr(_target, "rank_genes", lambda true, control: ranked.append(true) or rank(true, control))
    scf.tl.evaluate(pred, truth, metrics=["pearson_delta_top100"], **QUICK)
    # Of each of the two conditions all 40 cells for the methods, and for each of five halvings one half.
    assert sorted(map(len, ranked)) == [20] * 10 + [40] * 2
