"""Every method of the held-out benchmark: from a split to predicted cells, with what they cost.

A method is a function of a split, its settings, a seed and a number of cells. Its ``grid`` holds the settings that
``tune.py`` compares on validation folds; the first are used where nothing has been tuned.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import anndata as ad
import numpy as np
import torch
from benchmarks import peers
from benchmarks.splits import Split
from scipy import sparse

import sccalmflow as scf
from sccalmflow.baselines._generative_model import GenerativeModel

Settings = dict[str, Any]
# A peer that needs longer on a data set of this size is of no use to anybody with a laptop.
_LIMIT_S = 3600
Predict = Callable[[Split, Settings, int, int], tuple[ad.AnnData, dict[str, Any]]]


class NotAvailable(RuntimeError):
    """A method cannot be run on a data set, or not here; the message says why."""


@dataclass(frozen=True)
class Method:
    """What tables call it, how it predicts, and the settings to choose from.

    ``tuned_as`` names the method whose choice of settings it shares, ``preset`` what this package's model starts from.
    """

    label: str
    predict: Predict
    grid: tuple[Settings, ...] = ({},)
    tuned_as: str | None = None
    preset: str | None = None


def calmflow(
    split: Split, settings: Settings, seed: int, n_cells: int, *, preset: str = "default"
) -> tuple[ad.AnnData, dict[str, Any]]:
    """This package's model; settings for "setup", "model", "train" and "predict"."""
    set_up(split, **settings.get("setup", {}))
    model = scf.CaLMFlowModel(split.adata, preset=preset, seed=seed, **settings.get("model", {}))
    start = time.perf_counter()
    model.train(seed=seed, **settings.get("train", {}))
    trained = time.perf_counter()
    pred = model.predict_perturbation(split.heldout, n_cells=n_cells, seed=seed, **settings.get("predict", {}))
    return pred, {
        "training_seconds": trained - start,
        "prediction_seconds": time.perf_counter() - trained,
        "parameters": sum(parameter.numel() for parameter in model.module.parameters()),
        "history": {key: frame.iloc[:, 0].tolist() for key, frame in model.history_.items()},
        "settings": model.settings,
    }


def set_up(split: Split, **sentences: str) -> None:
    """Tell the package which columns are what, and how its sentences read if not by default."""
    scf.CaLMFlowModel.setup_anndata(
        split.adata,
        cell_type_key="cell_type",
        perturbation_key="perturbation",
        chronicity_key="chronicity" if "chronicity" in split.keys else None,
        control=split.control,
        **sentences,
    )


def generative(
    split: Split, settings: Settings, seed: int, n_cells: int, *, method: str, source: str, score_every: int = 50
) -> tuple[ad.AnnData, dict[str, Any]]:
    """A generative baseline; with ``names_cell_type=False`` it is not told the type, which its source shows.

    It predicts as many cells as the context has control cells, whatever ``n_cells`` says.
    """
    shape = {name: value for name, value in settings.items() if name != "names_cell_type"}
    if method == "ddpm":
        model: GenerativeModel = scf.baselines.Diffusion(**shape)
    else:
        model = scf.baselines.FlowMatching(coupling=method, **shape)
    with _watched(type(model)) as seen:
        start = time.perf_counter()
        pred = scf.baselines.generative(
            split.adata,
            split.heldout,
            model,
            perturbation_key="perturbation",
            control=split.control,
            source=source,
            encode=None if settings.get("names_cell_type", True) else _without_type(split),
            score_every=score_every,
            seed=seed,
        )
        seconds = time.perf_counter() - start
    made = pred.uns["sccalmflow"]
    return pred, {
        "training_seconds": seen["seconds"],
        "prediction_seconds": seconds - seen["seconds"],
        "parameters": seen["parameters"],
        "history": dict(zip(made["scores_after"].tolist(), made["scores"].tolist(), strict=True)),
        "n_updates": made["n_updates"],
        "settings": {"method": method, "source": source, **settings},
    }


@contextmanager
def _watched(kind: type[GenerativeModel]) -> Iterator[dict[str, Any]]:
    """Seconds that all calls of ``fit`` take together, and the parameters of the last network."""
    fit, seen = kind.fit, {"seconds": 0.0, "parameters": 0}

    def timed(self: GenerativeModel, *arguments: Any, **options: Any) -> GenerativeModel:
        start = time.perf_counter()
        fitted = fit(self, *arguments, **options)
        seen["seconds"] += time.perf_counter() - start
        seen["parameters"] = sum(parameter.numel() for parameter in fitted.network_.parameters())
        return fitted

    with mock.patch.object(kind, "fit", timed):
        yield seen


def _without_type(split: Split) -> Callable[[Any], list[float]]:
    """One-hot vectors of all labels but the cell type's; control is no perturbation."""
    keys = [key for key in split.keys if key != "cell_type"]
    terms = sorted({(key, label) for key in keys for label in split.adata.obs[key].astype(str)})
    terms.remove(("perturbation", split.control))
    return lambda labels: [float(labels[key] == label) for key, label in terms]


def scvi(split: Split, settings: Settings, seed: int, n_cells: int) -> tuple[ad.AnnData, dict[str, Any]]:
    """scVI on counts, its decoder told the condition one-hot, its latents drawn from the prior, as in the paper."""
    if not split.has_counts:
        raise NotAvailable(f"scVI is a model of counts, and {split.name} has none.")
    from scvi.model import SCVI

    train = split.adata[split.adata.obs["split"] == "train"].copy()
    keys = list(split.keys)
    SCVI.setup_anndata(train, layer="counts", categorical_covariate_keys=keys)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SCVI(train, encode_covariates=False, **settings)
        start = time.perf_counter()
        model.train(early_stopping=True, accelerator="cpu")
        trained = time.perf_counter()
        parts = [_from_prior(model, train, split, condition, n_cells) for condition in _rows(split)]
    pred = ad.concat(parts)
    pred.obsm["X_pca"] = scf.pp.PCA.from_anndata(split.adata).transform(pred.X)
    return pred, {
        "training_seconds": trained - start,
        "prediction_seconds": time.perf_counter() - trained,
        "parameters": sum(parameter.numel() for parameter in model.module.parameters()),
        "history": {key: frame.iloc[:, 0].tolist() for key, frame in model.history_.items() if "elbo" in key},
        "settings": settings,
    }


@torch.no_grad()
def _from_prior(model: Any, train: ad.AnnData, split: Split, condition: dict[str, str], n: int) -> ad.AnnData:
    """Cells of one condition; how deep each is sequenced is drawn from the control cells of its context."""
    controls = train.obs["perturbation"] == split.control
    for key, label in condition.items():
        if key != "perturbation":
            controls &= train.obs[key] == label
    rows = np.flatnonzero(controls)[torch.randint(int(controls.sum()), (n,)).numpy()]
    library = torch.tensor(np.asarray(train.layers["counts"][rows].sum(axis=1)).reshape(-1, 1)).float().log()
    mappings = model.adata_manager.get_state_registry("extra_categorical_covs")["mappings"]
    covariates = torch.tensor([[list(mappings[key]).index(label) for key, label in condition.items()]]).expand(n, -1)
    latent = torch.randn(n, model.module.n_latent)
    law = model.module.generative(z=latent, library=library, batch_index=torch.zeros(n, 1), cat_covs=covariates)["px"]
    scale = 1e4 / train.obs["total_counts"].to_numpy()[rows, None]
    cells = ad.AnnData(sparse.csr_matrix(np.log1p(law.sample().numpy() * scale)), var=train.var[[]])
    cells.obs = cells.obs.assign(**condition)
    cells.obs_names = [f"scvi-{'-'.join(condition.values())}-{i}" for i in range(n)]
    return cells


def peer(split: Split, settings: Settings, seed: int, n_cells: int, *, name: str) -> tuple[ad.AnnData, dict[str, Any]]:
    """Another system, in an environment of its own."""
    train = split.adata[split.adata.obs["split"] == "train"].copy()
    try:
        pred, made = peers.predict(
            peers.PEERS[name],
            train,
            split.heldout,
            perturbation_key="perturbation",
            control=split.control,
            n_cells=n_cells,
            settings=settings,
            seed=seed,
            limit_s=_LIMIT_S,
        )
    except (RuntimeError, TimeoutError) as reason:
        # Whatever becomes of one peer, the others are to be run.
        raise NotAvailable(str(reason)) from None
    return pred, {**made, "settings": settings | made.get("settings", {})}


def _rows(split: Split) -> list[dict[str, str]]:
    return split.heldout.astype(str).to_dict(orient="records")


# Networks and rates on both sides of the defaults; from control cells, whether the context is named.
_FROM_NOISE = ({}, {"lr": 3e-4}, {"lr": 3e-3}, {"width": 1024}, {"width": 256})
_FROM_CONTROL = tuple(
    named | rate for named in ({}, {"names_cell_type": False}) for rate in ({}, {"lr": 3e-4}, {"lr": 3e-3})
)

# One vector for each label and no words between them: what one-hot labels are to a network of this width.
LABELS_ALONE = {
    "prompt_template": "[{cell_type} ]{perturbation}[ {chronicity}]",
    "control_template": "[{cell_type} ]unperturbed[ {chronicity}]",
}

# What the default could be: `tune.py --methods variants` compares these on validation folds. The one default for all
# data is then chosen by hand, in the package.
_VARIANTS = (
    {},
    {"predict": {"anchor": False}},
    {"predict": {"name_cell_type": True}},
    {"model": {"omit_probability": 0.0}},
    {"model": {"omit_probability": 0.8}},
    {"model": {"n_steps": 1}},
    {"model": {"n_steps": 2}},
    {"model": {"n_steps": 8}},
    {"model": {"width": 96, "n_heads": 3}},
    {"model": {"n_layers": 1}},
    {"model": {"n_layers": 6}},
    {"model": {"n_space_tokens": 2}},
    {"model": {"n_space_tokens": 2, "n_layers": 2}},
    {"model": {"dropout": 0.1}},
    {"train": {"weight_decay": 1.0}},
    {"model": {"decoder": "energy"}},
    {"model": {"n_context_cells": 8}},
    {"model": {"n_trajectories": 4}, "train": {"batch_size": 32}},
    {"model": {"source": "noise"}},
    {"model": {"path": "straight", "decoder": "variational"}},
    {"model": {"nll_weight": 1.0}},
    {"setup": LABELS_ALONE},
    {"predict": {"temperature": 0.5}},
    {"train": {"lr": 3e-4}},
    {"train": {"lr": 2e-3}},
    {"train": {"refit": True}},
)

# As many settings as the competitors have, for what the same choice on the same fold is worth to this model.
_TUNED = (
    {},
    {"model": {"n_steps": 2}},
    {"model": {"n_layers": 6}},
    {"model": {"n_space_tokens": 2}},
    {"train": {"lr": 2e-3}},
)

METHODS: dict[str, Method] = {
    "default": Method("CaLMFlow", calmflow, preset="default"),
    "tuned": Method("CaLMFlow, tuned", calmflow, _TUNED, preset="default"),
    "paper": Method("CaLMFlow, `paper`", partial(calmflow, preset="paper"), preset="paper"),
    "variants": Method("CaLMFlow, variants of the default", calmflow, _VARIANTS),
}
for _name, _label, _coupling in (
    ("cfm", "CFM", "independent"),
    ("cfm_ot", "CFM-OT", "ot"),
    ("cfm_sb", "CFM-SB", "schroedinger"),
):
    for _source, _grid in (("noise", _FROM_NOISE), ("control", _FROM_CONTROL)):
        METHODS[f"{_name}-{_source}"] = Method(
            f"{_label}, from {'noise' if _source == 'noise' else 'control cells'}",
            partial(generative, method=_coupling, source=_source),
            _grid,
            None if _name == "cfm" else f"cfm-{_source}",
        )
# As wide as the others: at the paper's size, a score costs 100 evaluations of 4.4 million weights for each cell.
_AS_WIDE = {"width": 512, "n_layers": 3}
METHODS["ddpm"] = Method(
    "DDPM",
    partial(generative, method="ddpm", source="noise", score_every=100),
    (_AS_WIDE, {**_AS_WIDE, "lr": 3e-4}, {**_AS_WIDE, "lr": 3e-3}),
)
METHODS["scvi"] = Method("scVI", scvi, ({}, {"n_latent": 30}))
for _name, _label in (("cpa", "CPA"), ("cellflow", "CellFlow"), ("scgen", "scGen"), ("scgpt", "scGPT, from scratch")):
    METHODS[_name] = Method(_label, partial(peer, name=_name), peers.PEERS[_name].grid)
