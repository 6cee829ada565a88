from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import sccalmflow as scf

KEYS = {"cell_type_key": "cell_type", "perturbation_key": "perturbation", "chronicity_key": "chronicity"}
TINY = {"width": 16, "n_layers": 1, "n_heads": 2, "n_hidden": 16, "n_steps": 2}
HELDOUT = ("NK", "IL-6", "chronic")


def make_cells(
    n: int = 24,
    *,
    types: Sequence[str] = ("B", "CD4 T", "NK"),
    perturbations: Sequence[str] = ("control", "IFN", "IL-6"),
    chronicities: Sequence[str] = ("acute", "chronic"),
    heldout: tuple[str, ...] | None = HELDOUT,
    seed: int = 0,
) -> AnnData:
    """Log expression of 12 genes in shuffled order, each label with its own profile; 5 components."""
    rng = np.random.default_rng(seed)
    profile = {label: rng.gamma(1, 0.7, 12) for label in [*types, *perturbations, *chronicities]}
    obs = pd.DataFrame(
        [c for c in product(types, perturbations, chronicities) for _ in range(n)],
        columns=["cell_type", "perturbation", "chronicity"],
    )
    X = 0.5 + sum(np.array([profile[label] for label in obs[key]]) for key in obs) + rng.gamma(1, 0.3, (len(obs), 12))
    obs["split"] = np.where([heldout == row for row in obs.itertuples(index=False, name=None)], "heldout", "train")
    order = rng.permutation(len(obs))
    obs = obs.iloc[order].astype("category").set_index(pd.Index([f"cell{i}" for i in range(len(obs))]))
    adata = AnnData(X[order].astype(np.float32), obs=obs, var=pd.DataFrame(index=[f"gene{i}" for i in range(12)]))
    scf.pp.pca(adata, n_comps=5)
    return adata


def build_model(adata: AnnData, *, setup: dict[str, object] | None = None, **settings: object) -> scf.CaLMFlowModel:
    """Set up and build a tiny model; ``setup`` and ``settings`` change what they name."""
    scf.CaLMFlowModel.setup_anndata(adata, **{**KEYS, **(setup or {})})
    return scf.CaLMFlowModel(adata, **{**TINY, **settings})


def train_model(model: scf.CaLMFlowModel, **options: object) -> scf.CaLMFlowModel:
    """Two epochs of two steps without validation, if nothing else is said."""
    short = {"max_epochs": 2, "steps_per_epoch": 2, "batch_size": 16, "validation_size": 0, "show_progress": False}
    model.train(**{**short, **options})
    return model


@pytest.fixture(scope="session")
def cells_of() -> Callable[..., AnnData]:
    return make_cells


@pytest.fixture(scope="session")
def build() -> Callable[..., scf.CaLMFlowModel]:
    return build_model


@pytest.fixture(scope="session")
def train() -> Callable[..., scf.CaLMFlowModel]:
    return train_model


@pytest.fixture(scope="session")
def cells() -> AnnData:
    """The cells that the shared model was trained on; copy before changing anything."""
    return make_cells()


@pytest.fixture(scope="session")
def trained(cells: AnnData) -> scf.CaLMFlowModel:
    """A model trained well enough that conditions and cells differ."""
    return train_model(build_model(cells.copy()), max_epochs=3, steps_per_epoch=100, batch_size=64, lr=5e-3)


@pytest.fixture(scope="session")
def predict() -> Callable[..., AnnData]:
    def predict(model: scf.CaLMFlowModel, conditions: object, n_cells: int | None = 20, **options: object) -> AnnData:
        return model.predict_perturbation(conditions, n_cells=n_cells, show_progress=False, **options)

    return predict


@pytest.fixture(scope="session")
def conditions() -> pd.DataFrame:
    """One held-out condition, one seen and one of control cells."""
    rows = [HELDOUT, ("B", "IFN", "acute"), ("CD4 T", "control", "chronic")]
    return pd.DataFrame(rows, columns=["cell_type", "perturbation", "chronicity"])
