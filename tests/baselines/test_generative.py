"""Generative baselines on an AnnData."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch

import sccalmflow as scf
from sccalmflow.baselines import Diffusion, FlowMatching, generative

KEYS = {"perturbation_key": "perturbation", "control": "control"}
TYPES, EFFECTS = ("B", "T", "NK"), {"control": 0.0, "a": 4.0, "b": -4.0}


@pytest.fixture
def adata():
    """Three types far apart in one direction, two perturbations that move them in another; 30 cells a condition."""
    rng = np.random.default_rng(0)
    labels = [(t, p) for t in TYPES for p in EFFECTS for _ in range(30)]
    centres = np.array([[4.0 * TYPES.index(t), EFFECTS[p], 0, 0] for t, p in labels])
    X = (centres + rng.normal(0, 0.5, centres.shape)) @ np.linalg.qr(rng.normal(size=(12, 4)))[0].T
    obs = pd.DataFrame(labels, columns=["cell_type", "perturbation"], index=[f"c{i}" for i in range(len(labels))])
    adata = ad.AnnData(X.astype("f4"), obs=obs)
    scf.pp.hold_out(adata, conditions=asked(), keys=["cell_type", "perturbation"])
    scf.pp.pca(adata, n_comps=4, values="any")
    return adata


def asked(*conditions):
    return pd.DataFrame(conditions or [("T", "a"), ("B", "b")], columns=["cell_type", "perturbation"])


def flow(**options):
    return FlowMatching(**{"width": 32, "n_updates": 40, "solver": "euler", "n_solver_steps": 4} | options)


def cells(adata, cell_type, perturbation):
    rows = (adata.obs["cell_type"] == cell_type) & (adata.obs["perturbation"] == perturbation)
    return adata.obsm["X_pca"][rows.to_numpy()]


@pytest.mark.parametrize("source", ["noise", "control"])
def test_a_prediction_looks_like_that_of_any_baseline(adata, source, tmp_path):
    before = adata.copy()
    pred = generative(adata, asked(), flow(), source=source, score_every=20, seed=3, **KEYS)
    assert pred.n_obs == 60 and pred.obs_names.is_unique
    assert list(map(tuple, pred.obs.drop_duplicates().to_numpy())) == [("T", "a"), ("B", "b")]
    assert pred.X.dtype == pred.obsm["X_pca"].dtype == np.float32
    expected = pred.obsm["X_pca"] @ adata.varm["PCs"].T * adata.uns["pca"]["scale"] + adata.uns["pca"]["mean"]
    np.testing.assert_allclose(pred.X, expected, rtol=1e-4, atol=1e-4)
    made = pred.uns["sccalmflow"]
    assert (made["method"], made["source"], made["seed"]) == ("cfm", source, 3)
    assert made["condition_keys"] == ["cell_type", "perturbation"]
    assert made["scores_after"].tolist() == [20, 40] and made["n_updates"] == [20, 40][made["scores"].argmin()]
    pred.write_h5ad(tmp_path / "pred.h5ad")
    np.testing.assert_array_equal(before.X, adata.X)
    pd.testing.assert_frame_equal(before.obs, adata.obs)


def test_what_was_learned_goes_to_the_held_out_combination(adata):
    model = flow(n_updates=400, lr=3e-3, n_solver_steps=10)
    pred = generative(adata, asked(), model, source="control", **KEYS)
    for condition in asked().itertuples(index=False):
        truth, mine = cells(adata, *condition), cells(pred, *condition)
        assert scf.tl.edistance(mine, truth) < 0.5 * scf.tl.edistance(cells(adata, condition[0], "control"), truth)


@pytest.mark.parametrize("source", ["noise", "control"])
def test_held_out_cells_change_nothing(adata, source):
    before = generative(adata, asked(), flow(), source=source, **KEYS)
    adata.obsm["X_pca"][(adata.obs["split"] == "heldout").to_numpy()] = -99
    after = generative(adata, asked(), flow(), source=source, **KEYS)
    np.testing.assert_array_equal(before.obsm["X_pca"], after.obsm["X_pca"])


def test_seeds_decide_and_conditions_do_not_depend_on_each_other(adata):
    first = generative(adata, asked(), flow(), **KEYS)
    np.testing.assert_array_equal(generative(adata, asked(), flow(), **KEYS).X, first.X)
    assert (generative(adata, asked(), flow(), seed=1, **KEYS).X != first.X).any()
    alone = generative(adata, asked(("T", "a")), flow(), **KEYS)
    np.testing.assert_array_equal(alone.X, first.X[:30])


def test_the_model_is_left_as_it_is_and_without_validation_trained_to_the_end(adata):
    model = flow()
    pred = generative(adata, asked(), model, validation_size=0, **KEYS)
    assert model.network_ is None
    assert pred.uns["sccalmflow"]["n_updates"] == 40 and len(pred.uns["sccalmflow"]["scores"]) == 0


def test_a_prompt_can_stand_in_for_the_labels(adata):
    words = {"B": 1, "T": 2, "NK": 3, "control": 4, "a": 5, "b": 6}
    read = []

    def encode(labels):
        read.append(labels)
        return [words[labels["cell_type"]], words[labels["perturbation"]]]

    model = flow(condition_encoder=torch.nn.EmbeddingBag(7, 4, padding_idx=0))
    pred = generative(adata, asked(), model, encode=encode, **KEYS)
    assert {"cell_type": "T", "perturbation": "a"} in read and pred.n_obs == 60
    with pytest.raises(ValueError, match="all of one length"):
        generative(adata, asked(), flow(), encode=lambda labels: [1.0] * len(labels["cell_type"]), **KEYS)


def test_an_unseen_pair_is_told_by_its_parts(adata):
    pred = generative(adata, asked(("T", "a+b")), flow(), validation_size=0, split_key=None, **KEYS)
    assert pred.n_obs == 30
    with pytest.raises(ValueError, match="'c' was never seen"):
        generative(adata, asked(("T", "a+c")), flow(), **KEYS)


def test_every_kind_of_model_predicts(adata):
    models = [
        flow(coupling="ot"),
        flow(coupling="schroedinger"),
        Diffusion(width=16, n_updates=20, n_diffusion_steps=5),
    ]
    found = [generative(adata, asked(), model, **KEYS) for model in models]
    assert [pred.uns["sccalmflow"]["method"] for pred in found] == ["cfm_ot", "cfm_sb", "ddpm"]
    assert all(np.isfinite(pred.X).all() for pred in found)


def test_bad_input_is_refused_before_training(adata):
    model = flow(n_updates=10**9)
    with pytest.raises(ValueError, match="Did you mean 'control'"):
        generative(adata, asked(), model, source="controls", **KEYS)
    with pytest.raises(ValueError, match="validation_size=1"):
        generative(adata, asked(), model, validation_size=1, **KEYS)
    with pytest.raises(ValueError, match="context 'TT' has no training control cells"):
        generative(adata, asked(("TT", "a")), model, **KEYS)
    with pytest.raises(TypeError, match="conditions is a list: give a DataFrame"):
        generative(adata, [("T", "a")], model, **KEYS)
    with pytest.raises(TypeError, match=r"model is the class FlowMatching: give .* FlowMatching\(\)"):
        generative(adata, asked(), FlowMatching, **KEYS)
    with pytest.raises(TypeError, match="model is a str"):
        generative(adata, asked(), "cfm", **KEYS)
    with pytest.raises(ValueError, match="seed=-1 must not be negative"):
        generative(adata, asked(), model, seed=-1, **KEYS)
    with pytest.raises(ValueError, match="score_every=0"):
        generative(adata, asked(), model, score_every=0, **KEYS)
    with pytest.raises(ValueError, match="Diffusion starts from noise"):
        generative(adata, asked(), Diffusion(width=8), source="control", **KEYS)
    del adata.uns["pca"]
    with pytest.raises(KeyError, match="sccalmflow.pp.pca"):
        generative(adata, asked(), model, **KEYS)


def test_cells_are_drawn_in_to_the_spread_of_new_cells(adata):
    adata.uns["pca"]["shrinkage"] = np.ones(4)
    before = generative(adata, asked(("T", "a")), flow(), **KEYS).obsm["X_pca"]
    adata.uns["pca"]["shrinkage"] = np.array([1.0, 0.5, 0.5, 0.0])
    after = generative(adata, asked(("T", "a")), flow(), **KEYS).obsm["X_pca"]
    np.testing.assert_allclose(after.mean(0), before.mean(0), atol=1e-5)
    np.testing.assert_allclose(after.std(0), before.std(0) * [1.0, 0.5, 0.5, 0.0], atol=1e-5)
