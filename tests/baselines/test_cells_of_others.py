"""The baselines that predict training cells of other conditions: perturbed_mean and nearest."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import sccalmflow as scf

KEYS = {"perturbation_key": "perturbation", "control": "control"}


def ask(*conditions):
    return pd.DataFrame([condition.split() for condition in conditions], columns=["cell_type", "perturbation"])


def sources(pred):
    """Conditions of the training cells, in order: a cell is called number-type-perturbation-cell."""
    return list(dict.fromkeys(" ".join(name.split("-")[1:3]) for name in pred.obs_names))


def test_perturbed_mean_is_all_training_cells_of_the_perturbation(tiny):
    adata = tiny({"B control": 1, "B a": 2, "NK a": 7, "NK b": 20, "T control": 5, "T a": 90, "T b": 80})
    pred = scf.baselines.perturbed_mean(adata, ask("T a"), **KEYS)
    np.testing.assert_array_equal(pred.X.ravel(), [1.5, 2.5, 6.5, 7.5])
    assert sources(pred) == ["B a", "NK a"]


def test_perturbed_mean_of_an_unseen_perturbation_is_all_perturbed_cells_of_the_context(tiny):
    adata = tiny({"B control": 1, "B a": 2, "T control": 5, "T b": 80, "T c": 60, "T x": 99, "T a+b": 70})
    pred = scf.baselines.perturbed_mean(adata, ask("T x", "T b"), **KEYS)
    # Not T b, which is asked for too; the context needs no perturbation of the same name elsewhere.
    np.testing.assert_array_equal(pred[pred.obs["perturbation"] == "x"].X.ravel(), [59.5, 60.5, 69.5, 70.5])
    np.testing.assert_array_equal(pred[pred.obs["perturbation"] == "b"].X.ravel(), [59.5, 60.5, 69.5, 70.5])
    assert pred.obs_names.is_unique


def test_perturbed_mean_needs_no_control_cells_of_the_context(tiny):
    adata = tiny({"B control": 1, "B a": 2, "T a": 90})
    assert sources(scf.baselines.perturbed_mean(adata, ask("T a"), **KEYS)) == ["B a"]


def test_nearest_is_the_context_with_the_nearest_controls_in_pcs(tiny):
    means = {"B control": 1, "B a": 2, "NK control": 50, "NK a": 7, "T control": 1, "T a": 90, "M control": 0}
    # B has T's genes, but NK has its PCs; M is nearest of all and was never given a.
    pcs = {"B control": (0, 3), "NK control": (1, 1), "T control": (0, 0), "M control": (0, 0)}
    # Cells of the perturbation have no say in what is near.
    pcs |= {"B a": (0, 0), "NK a": (50, 50), "T a": (0, 3)}
    pred = scf.baselines.nearest(tiny(means, pcs), ask("T a"), **KEYS)
    np.testing.assert_array_equal(pred.X.ravel(), [6.5, 7.5])
    np.testing.assert_array_equal(pred.obsm["X_pca"], [[50, 50]] * 2)


def test_nearest_passes_over_contexts_without_controls_and_breaks_ties_by_label(tiny):
    means = {"T control": 5, "NK a": 1, "M control": 9, "M a": 4, "B control": 5, "B a": 2}
    pcs = {"T control": (0, 0), "M control": (0, 2), "B control": (2, 0)}
    assert sources(scf.baselines.nearest(tiny(means, pcs), ask("T a"), **KEYS)) == ["B a"]


def test_nearest_looks_at_training_controls_only(tiny):
    means = {"T control": 5, "B control": 5, "B a": 2, "NK control": 5, "NK a": 3}
    adata = tiny(means, {"T control": (0, 0), "B control": (0, 1), "NK control": (0, 2)})
    extra = adata[adata.obs["cell_type"].eq("B") & adata.obs["perturbation"].eq("control")].copy()
    extra.obsm["X_pca"] += 1000
    extra.obs["split"] = "heldout"
    joined = ad.concat([adata, extra], index_unique="_")
    pred = scf.baselines.nearest(joined, ask("T a"), **KEYS)
    np.testing.assert_array_equal(pred.X.ravel(), [1.5, 2.5])


def test_a_pair_is_a_perturbation_of_its_own_for_both(tiny):
    adata = tiny({"B control": 1, "B a+b": 2, "B a": 3, "T control": 5, "T a": 8, "T b": 9})
    for baseline in (scf.baselines.perturbed_mean, scf.baselines.nearest):
        assert sources(baseline(adata, ask("T a+b"), **KEYS)) == ["B a+b"]
    unseen = adata[adata.obs["perturbation"] != "a+b"]
    assert sources(scf.baselines.perturbed_mean(unseen, ask("T a+b"), **KEYS)) == ["T a", "T b"]
    with pytest.raises(ValueError, match=r"'a\+b' was never seen in training"):
        scf.baselines.nearest(unseen, ask("T a+b"), **KEYS)
