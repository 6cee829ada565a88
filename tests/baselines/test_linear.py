import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge, RidgeCV

import sccalmflow as scf

KEYS = {"perturbation_key": "perturbation", "control": "control"}
PENALTIES = 10.0 ** np.arange(-3, 3.5, 0.5)


def ask(*conditions):
    return pd.DataFrame([condition.split() for condition in conditions], columns=["cell_type", "perturbation"])


@pytest.fixture
def noisy(adata):
    """Conditions that are not the sum of their labels, so that some penalty in between is best."""
    rng = np.random.default_rng(9)
    for rows in adata.obs.groupby(["cell_type", "perturbation"]).indices.values():
        adata.X[rows] += rng.normal(0, 0.4, adata.n_vars)
    adata.obsm["X_pca"] = adata.X @ adata.varm["PCs"]
    return adata


def centroids(adata, *without):
    """Means of genes by condition, and the design as one writes it by hand: three types and a, b, a+b."""
    means = pd.DataFrame(adata.X).groupby((adata.obs["cell_type"] + " " + adata.obs["perturbation"]).to_numpy()).mean()
    means = means.drop(index=list(without))
    return means, np.array([design(*condition.split()) for condition in means.index])


def design(cell_type, perturbation):
    return [float(cell_type == t) for t in ("B", "NK", "T")] + [float(perturbation == p) for p in ("a", "b", "a+b")]


def left_out_error(x, y, penalty):
    errors = []
    for i in range(len(x)):
        fit = Ridge(alpha=penalty).fit(np.delete(x, i, 0), np.delete(y, i, 0))
        errors.append((fit.predict(x[[i]])[0] - y[i]) ** 2)
    return np.mean(errors)


def test_the_mean_is_that_of_ridge_with_the_penalty_of_leave_one_condition_out(noisy):
    means, x = centroids(noisy, "T a", "B b")
    y = means.to_numpy()
    best = min(PENALTIES, key=lambda penalty: left_out_error(x, y, penalty))
    assert PENALTIES[0] < best < PENALTIES[-1]
    pred = scf.baselines.linear(noisy, ask("T a", "B b"), **KEYS)
    expected = Ridge(alpha=best).fit(x, y).predict([design("T", "a"), design("B", "b")])
    found = [pred[pred.obs["cell_type"] == t].X.mean(axis=0) for t in ("T", "B")]
    np.testing.assert_allclose(found, expected)


def test_the_spread_is_that_of_the_control_cells(noisy):
    pred = scf.baselines.linear(noisy, ask("T a"), **KEYS)
    control = noisy[(noisy.obs["cell_type"] == "T") & (noisy.obs["perturbation"] == "control")]
    np.testing.assert_allclose(pred.X - pred.X.mean(0), control.X - control.X.mean(0), atol=1e-12)
    np.testing.assert_allclose(np.cov(pred.obsm["X_pca"].T), np.cov(control.obsm["X_pca"].T))


def test_pcs_are_those_of_the_genes(noisy):
    pred = scf.baselines.linear(noisy, ask("T a", "B b"), **KEYS)
    np.testing.assert_allclose(pred.obsm["X_pca"], pred.X @ noisy.varm["PCs"], atol=1e-12)
    # Also where, alone, they would choose another penalty than all genes together.
    for gene in range(noisy.n_vars):
        noisy.obsm["X_pca"] = noisy.X[:, [gene]]
        pred = scf.baselines.linear(noisy, ask("T a", "B b"), **KEYS)
        np.testing.assert_allclose(pred.obsm["X_pca"], pred.X[:, [gene]])


def test_where_labels_add_up_it_is_nearly_exact(adata):
    pred = scf.baselines.linear(adata, ask("T a"), **KEYS)
    truth = adata[(adata.obs["cell_type"] == "T") & (adata.obs["perturbation"] == "a")]
    np.testing.assert_allclose(pred.X, truth.X, atol=0.01)


def test_conditions_count_the_same_whatever_their_size(noisy):
    pred = scf.baselines.linear(noisy, ask("T a"), **KEYS)
    larger = ad.concat([noisy, *[noisy[noisy.obs["cell_type"] == "B"]] * 3], index_unique="-")
    np.testing.assert_allclose(scf.baselines.linear(larger, ask("T a"), **KEYS).X, pred.X)


def test_an_unseen_pair_is_the_sum_of_its_parts_and_a_seen_one_is_itself(noisy):
    pairs = [f"{t} a+b" for t in ("B", "NK", "T")]
    means, x = centroids(noisy, *pairs)
    fit = RidgeCV(alphas=PENALTIES).fit(x[:, :5], means.to_numpy())
    pred = scf.baselines.linear(noisy, ask(*pairs), **KEYS)
    expected = fit.predict([[0, 1, 0, 1, 1]])[0]
    np.testing.assert_allclose(pred[pred.obs["cell_type"] == "NK"].X.mean(axis=0), expected)
    # With the pair in training elsewhere, its own column decides.
    means, x = centroids(noisy, "T a+b")
    fit = RidgeCV(alphas=PENALTIES).fit(x, means.to_numpy())
    pred = scf.baselines.linear(noisy, ask("T a+b"), **KEYS)
    np.testing.assert_allclose(pred.X.mean(axis=0), fit.predict([design("T", "a+b")])[0])


def test_a_perturbation_without_controls_beside_it_can_be_learned_from(tiny):
    adata = tiny({"B a": 3, "NK control": 1, "NK b": 2, "T control": 5, "T b": 6})
    pred = scf.baselines.linear(adata, ask("T a"), **KEYS)
    x = [[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 1, 0, 0, 1], [0, 0, 1, 0, 0], [0, 0, 1, 0, 1]]
    fit = RidgeCV(alphas=PENALTIES).fit(x, np.array([[3], [1], [2], [5], [6]]))
    assert pred.X.mean() == pytest.approx(np.ravel(fit.predict([[0, 0, 1, 1, 0]]))[0])


def test_two_training_conditions_are_enough(tiny):
    pred = scf.baselines.linear(tiny({"B a": 3, "T control": 5}), ask("T a"), **KEYS)
    assert np.isfinite(pred.X).all() and np.ptp(pred.X) == pytest.approx(1)


def test_it_is_fitted_once_for_all_conditions(noisy, monkeypatch):
    fits, fit = [], RidgeCV.fit
    monkeypatch.setattr(RidgeCV, "fit", lambda self, x, y: fits.append(len(x)) or fit(self, x, y))
    scf.baselines.linear(noisy, ask("T a", "B b", "NK a"), **KEYS)
    assert fits == [9]
