import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import sccalmflow as scf

KEYS = {"perturbation_key": "perturbation", "control": "control"}
TYPES = ("B", "T", "NK")
BASELINES = [getattr(scf.baselines, name) for name in ("control", "additive", "perturbed_mean", "nearest", "linear")]
STORES = [np.asarray, sparse.csr_matrix, sparse.csr_array]


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


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda baseline: baseline.__name__)
def test_expression_is_that_of_the_components_where_there_is_a_projection(adata, baseline):
    heldout = hold_out(adata, ("T", "a"))
    scf.pp.pca(adata, n_comps=3, values="any")
    pred = baseline(adata, heldout, **KEYS)
    expected = pred.obsm["X_pca"] @ adata.varm["PCs"].T * adata.uns["pca"]["scale"] + adata.uns["pca"]["mean"]
    np.testing.assert_allclose(pred.X, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("store", STORES)
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


def values(adata):
    X = adata.X.toarray() if sparse.issparse(adata.X) else adata.X
    return pd.DataFrame(np.hstack([X, adata.obsm["X_pca"]]), index=adata.obs_names)


@pytest.mark.parametrize("split_key", ["split", None])
@pytest.mark.parametrize("baseline", BASELINES)
def test_held_out_cells_change_nothing(adata, baseline, split_key):
    heldout = hold_out(adata, ("T", "a"), ("B", "b"))
    before = baseline(adata, heldout, split_key=split_key, **KEYS)
    rows = mask(adata, heldout)
    adata.X[rows], adata.obsm["X_pca"][rows] = 99, -99
    after = baseline(adata, heldout, split_key=split_key, **KEYS)
    pd.testing.assert_frame_equal(values(before), values(after))


@pytest.mark.parametrize("baseline", BASELINES)
def test_cells_are_named_and_labelled_whatever_they_come_from(adata, baseline):
    heldout = hold_out(adata, ("T", "b"), ("T", "a"), ("B", "a"))
    pred = baseline(adata, heldout, **KEYS)
    assert pred.obs_names.is_unique and list(pred.var_names) == list(adata.var_names)
    assert list(pred.obs) == ["cell_type", "perturbation"]
    assert list(map(tuple, pred.obs.drop_duplicates().to_numpy())) == list(map(tuple, heldout.to_numpy()))
    numbers, sources = zip(*(name.split("-") for name in pred.obs_names), strict=True)
    assert set(numbers) == {"0", "1", "2"}
    # Each source is a training cell: a control of the context, or a cell of the perturbation.
    was = adata.obs.loc[list(sources)]
    assert (was["split"] == "train").all()
    moved = was["perturbation"].to_numpy() != "control"
    assert (was["perturbation"].to_numpy() == pred.obs["perturbation"])[moved].all()
    assert (was["cell_type"].to_numpy() == pred.obs["cell_type"])[~moved].all()
    assert pred.uns["sccalmflow"] == {
        "condition_keys": ["cell_type", "perturbation"],
        "split_key": "split",
        "method": baseline.__name__,
        **KEYS,
    }


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("baseline", BASELINES)
def test_storage_views_and_the_order_of_cells_and_labels_change_nothing(adata, baseline, store):
    heldout = hold_out(adata, ("T", "a"), ("B", "b"))
    expected = values(baseline(adata, heldout, **KEYS)).sort_index()
    order = np.random.default_rng(1).permutation(adata.n_obs)
    other = adata[order].copy()
    other.X = store(other.X)
    other.obs["cell_type"] = pd.Categorical(other.obs["cell_type"], categories=TYPES[::-1])
    found = baseline(other, heldout, **KEYS)
    assert sparse.issparse(found.X) == (sparse.issparse(other.X) and baseline.__name__ not in ("additive", "linear"))
    for pred in (found, baseline(other[:], heldout, **KEYS)):
        pd.testing.assert_frame_equal(values(pred).sort_index(), expected)


@pytest.mark.parametrize("baseline", BASELINES)
def test_float32_stays_float32(adata, baseline):
    heldout = hold_out(adata, ("T", "a"))
    adata.X, adata.obsm["X_pca"] = adata.X.astype("f4"), adata.obsm["X_pca"].astype("f4")
    pred = baseline(adata, heldout, **KEYS)
    assert pred.X.dtype == pred.obsm["X_pca"].dtype == np.float32


@pytest.mark.parametrize("baseline", [scf.baselines.additive, scf.baselines.nearest])
def test_perturbed_cells_without_controls_beside_them_are_no_comparison(adata, baseline):
    heldout = hold_out(adata, ("T", "a"), ("B", "control"), ("NK", "control")).iloc[:1]
    with pytest.raises(ValueError, match="'a' has no training cells beside control cells"):
        baseline(adata, heldout, **KEYS)


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
    for baseline in (scf.baselines.nearest, scf.baselines.linear):
        with pytest.raises(ValueError, match="context 'TT' has no training control cells. Did you mean 'T'"):
            baseline(adata, ask("TT", "a"), **KEYS)
        with pytest.raises(ValueError, match="'aa' was never seen in training. Did you mean 'a'"):
            baseline(adata, ask("T", "aa"), **KEYS)
    with pytest.raises(ValueError, match="'a' was never seen.* perturbed cells of the context 'TT'"):
        scf.baselines.perturbed_mean(adata[adata.obs["perturbation"] != "a"], ask("TT", "a"), **KEYS)
    for baseline in BASELINES:
        with pytest.raises(ValueError, match="conditions asks for 'control'"):
            baseline(adata, ask("T", "control"), **KEYS)
    with pytest.raises(ValueError, match="empty"):
        scf.baselines.control(adata, ask("T", "a").iloc[:0], **KEYS)
    with pytest.raises(ValueError, match="missing labels"):
        scf.baselines.control(adata, ask("T", None), **KEYS)
        with pytest.raises(TypeError, match="conditions is a list: give a DataFrame.*'perturbation' among them"):
            baseline(adata, [("T", "a")], **KEYS)
        with pytest.raises(TypeError, match=r"conditions is an AnnData.*conditions.obs\[\[..., 'perturbation'\]\]"):
            baseline(adata, adata[:1], **KEYS)
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
