import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import sccalmflow as scf

KEYS = {"perturbation_key": "perturbation", "control": "control"}
TYPES, PERTURBATIONS = ("B", "T", "NK"), ("control", "a", "b", "a+b")


@pytest.fixture
def adata():
    """Effects without noise, the same in every type: the additive baseline must be exact."""
    rng = np.random.default_rng(0)
    loadings = np.linalg.qr(rng.normal(size=(12, 4)))[0]
    profile = {t: rng.gamma(2, 1, 12) + 2 for t in TYPES}
    effect = {"control": np.zeros(12), "a": rng.normal(0, 0.3, 12), "b": rng.normal(0, 0.3, 12)}
    effect["a+b"] = effect["a"] + effect["b"]
    spread = rng.normal(0, 0.1, (8, 12))
    labels = [(t, p) for t in TYPES for p in PERTURBATIONS]
    X = np.concatenate([profile[t] + effect[p] + spread for t, p in labels])
    obs = pd.DataFrame(np.repeat(labels, 8, axis=0), columns=["cell_type", "perturbation"])
    obs.index = [f"cell{i}" for i in range(len(obs))]
    obs["split"] = "train"
    return ad.AnnData(X, obs=obs, obsm={"X_pca": X @ loadings})


def hold_out(adata, *conditions):
    frame = pd.DataFrame(conditions, columns=["cell_type", "perturbation"])
    adata.obs["split"] = np.where(mask(adata, frame), "heldout", "train")
    return frame


def mask(adata, frame):
    return pd.MultiIndex.from_frame(adata.obs[["cell_type", "perturbation"]]).isin(list(map(tuple, frame.to_numpy())))


def test_control_returns_the_control_cells_of_the_context_as_they_are(adata):
    heldout = hold_out(adata, ("T", "a"), ("T", "b"), ("B", "a"))
    pred = scf.baselines.control(adata, heldout, **KEYS)
    assert pred.n_obs == 24 and pred.obs_names.is_unique
    assert list(pred.var_names) == list(adata.var_names)
    for row in heldout.itertuples(index=False):
        mine = pred[mask(pred, pd.DataFrame([row]))]
        real = adata[(adata.obs["cell_type"] == row.cell_type) & (adata.obs["perturbation"] == "control")]
        np.testing.assert_array_equal(mine.X, real.X)
        np.testing.assert_array_equal(mine.obsm["X_pca"], real.obsm["X_pca"])


@pytest.mark.parametrize("store", [np.asarray, sparse.csr_matrix, sparse.csr_array])
def test_additive_is_exact_where_effects_add_up(adata, store):
    heldout = hold_out(adata, ("T", "a"), ("B", "b"))
    truth = adata[mask(adata, heldout)]
    order = pd.MultiIndex.from_frame(heldout)
    expected = ad.concat([truth[mask(truth, heldout.iloc[[i]])] for i in range(len(order))])
    adata.X = store(adata.X)
    pred = scf.baselines.additive(adata, heldout, **KEYS)
    np.testing.assert_allclose(pred.X, expected.X, atol=1e-12)
    np.testing.assert_allclose(pred.obsm["X_pca"], expected.obsm["X_pca"], atol=1e-12)
    assert pred.obs[["cell_type", "perturbation"]].astype(str).to_numpy().tolist() == (
        expected.obs[["cell_type", "perturbation"]].to_numpy().tolist()
    )


def test_an_unseen_pair_is_the_sum_of_its_parts_and_a_seen_one_is_itself(adata):
    pairs = hold_out(adata, *[(t, "a+b") for t in TYPES])
    pred = scf.baselines.additive(adata, pairs, **KEYS)
    np.testing.assert_allclose(pred.X, adata[mask(adata, pairs)].X, atol=1e-12)
    # With a synergy in training, the pair's own change is used.
    synergy = adata.copy()
    synergy.X[(adata.obs["perturbation"] == "a+b").to_numpy()] += 1
    one = hold_out(synergy, ("T", "a+b"))
    pred = scf.baselines.additive(synergy, one, **KEYS)
    np.testing.assert_allclose(pred.X, synergy[mask(synergy, one)].X, atol=1e-12)


def test_contexts_count_the_same_whatever_their_size(adata):
    larger = ad.concat([adata, *[adata[adata.obs["cell_type"] == "B"]] * 3], index_unique="-")
    larger.X[((larger.obs["cell_type"] == "B") & (larger.obs["perturbation"] == "a")).to_numpy()] += 1
    heldout = hold_out(larger, ("T", "a"))
    pred = scf.baselines.additive(larger, heldout, **KEYS)
    without = scf.baselines.additive(adata, heldout, **KEYS)
    np.testing.assert_allclose(pred.X, without.X + 0.5)


@pytest.mark.parametrize("split_key", ["split", None])
@pytest.mark.parametrize("baseline", [scf.baselines.control, scf.baselines.additive])
def test_held_out_cells_change_nothing(adata, baseline, split_key):
    heldout = hold_out(adata, ("T", "a"), ("B", "b"))
    before = baseline(adata, heldout, split_key=split_key, **KEYS)
    rows = mask(adata, heldout)
    adata.X[rows], adata.obsm["X_pca"][rows] = 99, -99
    after = baseline(adata, heldout, split_key=split_key, **KEYS)
    np.testing.assert_array_equal(before.X, after.X)
    np.testing.assert_array_equal(before.obsm["X_pca"], after.obsm["X_pca"])


def test_other_held_out_conditions_are_not_learned_from(adata):
    hold_out(adata, ("T", "a"), ("B", "a"))
    adata.X[((adata.obs["cell_type"] == "B") & (adata.obs["perturbation"] == "a")).to_numpy()] = 99
    asked = pd.DataFrame({"cell_type": ["T"], "perturbation": ["a"]})
    assert scf.baselines.additive(adata, asked, **KEYS).X.max() < 50


def test_predictions_can_be_written_evaluated_and_leave_the_input_alone(adata, tmp_path):
    heldout = hold_out(adata, ("T", "a"))
    before = adata.copy()
    pred = scf.baselines.additive(adata, heldout, **KEYS)
    pred.write_h5ad(tmp_path / "pred.h5ad")
    again = ad.read_h5ad(tmp_path / "pred.h5ad")
    assert list(again.uns["sccalmflow"]["condition_keys"]) == ["cell_type", "perturbation"]
    np.testing.assert_array_equal(before.X, adata.X)
    pd.testing.assert_frame_equal(before.obs, adata.obs)


def test_what_cannot_be_predicted_is_refused_with_a_remedy(adata):
    ask = lambda t, p: pd.DataFrame({"cell_type": [t], "perturbation": [p]})
    with pytest.raises(ValueError, match="context 'TT' has no training control cells. Did you mean 'T'"):
        scf.baselines.control(adata, ask("TT", "a"), **KEYS)
    with pytest.raises(ValueError, match="'aa' was never seen in training.*Did you mean 'a'"):
        scf.baselines.additive(adata, ask("T", "aa"), **KEYS)
    with pytest.raises(ValueError, match="'c' was never seen"):
        scf.baselines.additive(adata, ask("T", "a+c"), **KEYS)
    with pytest.raises(ValueError, match="empty"):
        scf.baselines.control(adata, ask("T", "a").iloc[:0], **KEYS)
    with pytest.raises(ValueError, match="missing labels"):
        scf.baselines.control(adata, ask("T", None), **KEYS)
    with pytest.raises(ValueError, match="Did you mean 'control'"):
        scf.baselines.control(adata, ask("T", "a"), perturbation_key="perturbation", control="ctrl_control")
    with pytest.raises(KeyError, match="Did you mean 'cell_type'"):
        scf.baselines.control(adata, ask("T", "a").rename(columns={"cell_type": "celltype"}), **KEYS)
    with pytest.raises(KeyError, match="splits"):
        scf.baselines.control(adata, ask("T", "a"), split_key="splits", **KEYS)
    adata.obs["split"] = "heldout"
    with pytest.raises(ValueError, match="no cell as 'train'"):
        scf.baselines.control(adata, ask("T", "a"), **KEYS)
    del adata.obsm["X_pca"]
    with pytest.raises(ValueError, match="sccalmflow.pp.pca"):
        scf.baselines.control(adata, ask("T", "a"), split_key=None, **KEYS)
