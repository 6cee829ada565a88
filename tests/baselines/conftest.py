import anndata as ad
import numpy as np
import pandas as pd
import pytest

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
    return ad.AnnData(X, obs=obs, varm={"PCs": loadings}, obsm={"X_pca": X @ loadings})


@pytest.fixture
def tiny():
    """Means to compute in one's head: two cells of one gene per condition, one apart, and two PCs."""

    def make(means, pcs=None):
        rows = [(*condition.split(), mean + shift) for condition, mean in means.items() for shift in (-0.5, 0.5)]
        obs = pd.DataFrame([row[:2] for row in rows], columns=["cell_type", "perturbation"])
        obs.index = [f"{t}-{p}-{i % 2}" for i, (t, p) in enumerate(obs.itertuples(index=False))]
        X = np.array([[row[2]] for row in rows])
        scores = [(pcs or {}).get(condition, (0, 0)) for condition in means for _ in range(2)]
        return ad.AnnData(X, obs=obs.assign(split="train"), obsm={"X_pca": np.array(scores, dtype=float)})

    return make
