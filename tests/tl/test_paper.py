import numpy as np
import pytest

import sccalmflow as scf


@pytest.fixture(scope="module")
def report(_truth):
    pred = _truth[_truth.obs["split"] == "heldout"].copy()
    pred.uns["sccalmflow"] = {
        "condition_keys": ["cell_type", "perturbation"],
        "perturbation_key": "perturbation",
        "control": "control",
        "split_key": "split",
    }
    rng = np.random.default_rng(0)
    pred.obsm["X_pca"] = pred.obsm["X_pca"] + rng.normal(0, 0.05, pred.obsm["X_pca"].shape)
    return scf.tl.evaluate(pred, _truth, preset="paper", n_boot=10)


def test_the_paper_s_columns_are_all_there(report):
    assert set(report["metric"]) == set(scf.tl.PRESETS["paper"])
    pooled = report[report["condition"] == "all conditions"]
    names = {"mmd_umap", "wasserstein_umap", "leiden_kld", "inception_score", "adaptive_mmd"}
    assert set(pooled["metric"]) == names
    assert not set(report[report["condition"] != "all conditions"]["metric"]) & names
    assert pooled["cell_type"].unique().tolist() == ["all"]
    assert 0 < report.attrs["classifier_accuracy"] <= 1


def test_a_near_copy_of_the_truth_is_found_good(report):
    means = scf.tl.summary(report)
    assert means["mmd_umap"].idxmin() == "prediction"
    assert means.loc["prediction", "wasserstein_umap"] < means.loc["control", "wasserstein_umap"]
    assert means.loc["prediction", "leiden_kld"] == pytest.approx(0, abs=0.01)
    assert means.loc["prediction", "inception_score"] == pytest.approx(2, abs=0.1)


def test_each_condition_counts_with_as_many_predicted_as_true_cells(report):
    pooled = report[report["condition"] == "all conditions"]
    assert (pooled["n_pred"] == pooled["n_true"]).all()
    assert pooled.set_index("method")["n_pred"].drop("ceiling").unique().tolist() == [80]


def test_classifier_metrics_are_those_of_the_functions(pred, truth):
    report = scf.tl.evaluate(pred, truth, metrics=["leiden_kld", "inception_score"], baselines=False, n_boot=0)
    y = truth[truth.obs["split"] == "heldout"]
    x, y = (one[np.lexsort([one.obs["perturbation"], one.obs["cell_type"]])].obsm["X_pca"] for one in (pred, y))
    classifier = scf.tl.LeidenClassifier.fit(y)
    values = report.set_index("metric")["value"]
    assert values["leiden_kld"] == pytest.approx(scf.tl.leiden_kld(x, y, classifier=classifier))
    assert values["inception_score"] == pytest.approx(scf.tl.inception_score(x, y, classifier=classifier))


def test_a_method_that_lacks_a_condition_is_not_pooled(pred, truth):
    part = pred[pred.obs["cell_type"] == "B"].copy()
    with pytest.warns(UserWarning, match="'part' lack conditions that others predict"):
        report = scf.tl.evaluate(
            {"all": pred, "part": part}, truth, metrics=["adaptive_mmd"], baselines=False, n_boot=0
        )
    assert report["method"].unique().tolist() == ["all"]
