import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import sccalmflow as scf

TYPES, PERTURBATIONS = ("B", "T", "NK"), ("control", "IFN", "IL-6")
KEYS = {"perturbation_key": "perturbation", "control": "control"}


def make(n=40, genes=60, noise=0.4, seed=0):
    """Log-scale cells: a profile per type, an effect per perturbation that types feel alike but not equally."""
    rng = np.random.default_rng(seed)
    profile = {t: rng.gamma(2.0, 1.0, genes) + 1 for t in TYPES}
    effect = {p: rng.normal(0, 0.6, genes) * (p != "control") for p in PERTURBATIONS}
    own = {(t, p): rng.normal(0, 0.15, genes) * (p != "control") for t in TYPES for p in PERTURBATIONS}
    obs = pd.DataFrame(
        [(t, p) for t in TYPES for p in PERTURBATIONS for _ in range(n)], columns=["cell_type", "perturbation"]
    )
    X = [profile[t] + effect[p] + own[t, p] + rng.normal(0, noise, genes) for t, p in obs.itertuples(index=False)]
    obs.index = [f"cell{i}" for i in range(len(obs))]
    return AnnData(
        np.clip(X, 0, None).astype(np.float32), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(genes)])
    )


@pytest.fixture(scope="session")
def _truth():
    adata = make()
    heldout = pd.DataFrame({"cell_type": ["B", "T"], "perturbation": ["IFN", "IL-6"]})
    scf.pp.hold_out(adata, conditions=heldout, keys=["cell_type", "perturbation"])
    scf.pp.pca(adata, 10)
    return adata


@pytest.fixture
def truth(_truth):
    return _truth.copy()


@pytest.fixture
def pred(_truth):
    """Fresh draws of the held-out conditions, as a near-perfect model would make them."""
    again = make(seed=0)
    held = (_truth.obs["split"] == "heldout").to_numpy()
    cells = again[held].copy()
    rng = np.random.default_rng(1)
    # Cells keep their condition's mean and get noise of their own.
    for (_, _), rows in cells.obs.groupby(["cell_type", "perturbation"]).indices.items():
        cells.X[rows] = np.clip(cells.X[rows].mean(0) + rng.normal(0, 0.4, cells.X[rows].shape), 0, None)
    cells.obsm["X_pca"] = scf.pp.PCA.from_anndata(_truth).transform(cells.X)
    cells.uns["sccalmflow"] = {"condition_keys": ["cell_type", "perturbation"], "split_key": "split", **KEYS}
    cells.obs["novelty"] = "unseen combination"
    return cells
