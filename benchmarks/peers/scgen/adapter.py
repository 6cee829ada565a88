"""scGen as in pertpy: a VAE, and in its latent space control cells plus a mean difference; see README.md."""

from __future__ import annotations

import sys
from functools import partial
from unittest import mock

import anndata as ad
import jax
import numpy as np
import pandas as pd
import scvi
from exchange import Clock, Job, dense, progress, read_job, used, write_answer
from pertpy.tools import Scgen


def main() -> None:
    job, clock = read_job(sys.argv[1:]), Clock()
    settings = used(job, epochs=100, batch_size=32, n_hidden=800, n_latent=100, dropout=0.2)
    scvi.settings.seed = job.seed
    train_cells = cells(job, np.arange(job.train.n_obs))
    with clock("training"):
        model = train(job, train_cells, settings)
    with clock("prediction"):
        X, numbers = predict(job, model)
    pred = ad.AnnData(X, obs=job.labelled(numbers), var=pd.DataFrame(index=job.train.var_names))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(model.module.params))
    packages = ["pertpy", "scvi-tools", "jax", "anndata"]
    write_answer(job, pred, clock, parameters=parameters, packages=packages, settings=settings)


def cells(job: Job, rows: np.ndarray) -> ad.AnnData:
    """Training cells with their context, all keys but the perturbation's, in one column: scGen knows one."""
    obs = job.train.obs.iloc[rows]
    labels = {"context": context(job, obs), "perturbation": obs[job.perturbation_key].astype(str)}
    return ad.AnnData(
        dense(job.train.X[rows]),
        obs=pd.DataFrame(labels).astype("category"),
        var=pd.DataFrame(index=job.train.var_names),
    )


def context(job: Job, obs: pd.DataFrame) -> pd.Series:
    return obs[job.covariates].astype(str).agg(", ".join, axis=1)


def train(job: Job, adata: ad.AnnData, settings: dict) -> Scgen:
    Scgen.setup_anndata(adata, batch_key="perturbation", labels_key="context")
    model = Scgen(adata, n_hidden=settings["n_hidden"], n_latent=settings["n_latent"], dropout_rate=settings["dropout"])
    progress(f"training for at most {settings['epochs']} epochs")
    model.train(
        max_epochs=settings["epochs"],
        batch_size=settings["batch_size"],
        early_stopping=True,
        early_stopping_patience=25,
        enable_progress_bar=False,
    )
    progress(f"trained for {model.trainer.current_epoch} epochs")
    return model


def predict(job: Job, model: Scgen) -> tuple[np.ndarray, np.ndarray]:
    """As many cells of each target as there are control cells to start from, at most ``n_cells``."""
    rng = np.random.default_rng(job.seed)
    known = model.adata.obs
    X, numbers = [], []
    for i, target in job.targets.iterrows():
        rows = job.controls(target, rng)
        treated = target[job.perturbation_key]
        shared = known.loc[known["perturbation"] == treated, "context"].astype(str).unique()
        # Its own generator has no seed. Differences are taken where both are known: with all control cells, those of
        # contexts without the perturbation would make a difference of cell types out of it.
        with mock.patch("numpy.random.default_rng", partial(np.random.default_rng, job.seed)):
            made, _ = model.predict(
                ctrl_key=job.control,
                stim_key=treated,
                adata_to_predict=cells(job, rows),
                restrict_arithmetic_to={"context": sorted(shared)},
            )
        X.append(np.asarray(made.X, dtype=np.float32))
        numbers.append(np.full(len(rows), i))
    return np.concatenate(X), np.concatenate(numbers)


if __name__ == "__main__":
    main()
