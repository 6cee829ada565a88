import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import sccalmflow as scf


@pytest.fixture(autouse=True)
def untouched_style_and_closed_figures(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *_: pytest.fail("a plot called show"))
    before, state = matplotlib.rcParams.copy(), np.random.get_state()[1].copy()
    yield
    assert matplotlib.rcParams == before
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    plt.close("all")


@pytest.fixture(scope="session")
def adata():
    rng = np.random.default_rng(0)
    labels = [(t, p) for t in ("B", "T") for p in ("control", "IFN", "IL-6") for _ in range(25)]
    obs = pd.DataFrame(labels, columns=["cell_type", "perturbation"], index=[f"c{i}" for i in range(len(labels))])
    obs["split"] = np.where((obs["cell_type"] == "B") & (obs["perturbation"] != "control"), "heldout", "train")
    shift = (obs["cell_type"] == "B").to_numpy() * 3.0 + (obs["perturbation"] != "control").to_numpy() * 1.5
    X = rng.normal(size=(len(obs), 6)) + shift[:, None]
    return AnnData(np.abs(X) + 0.1, obs=obs, obsm={"X_pca": X})


@pytest.fixture(scope="session")
def pred(adata):
    heldout = pd.DataFrame({"cell_type": ["B", "B"], "perturbation": ["IFN", "IL-6"]})
    return scf.baselines.additive(adata, heldout, perturbation_key="perturbation", control="control")


@pytest.fixture(scope="session")
def samples(adata, pred):
    """Predicted, true and control cells of a perturbation of B cells, found without the package."""

    def of(perturbation, space="X"):
        def values(cells, label):
            chosen = ((cells.obs["cell_type"] == "B") & (cells.obs["perturbation"] == label)).to_numpy()
            return np.asarray(cells.X if space == "X" else cells.obsm[space])[chosen]

        return values(pred, perturbation), values(adata, perturbation), values(adata, "control")

    return of
