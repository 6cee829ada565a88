"""CellFlow: flow matching with optimal transport from control cells, in the PCs; see README.md."""

from __future__ import annotations

import sys
from functools import partial

import anndata as ad
import jax
import numpy as np
import optax
from cellflow.model import CellFlow
from cellflow.utils import match_linear
from exchange import Clock, Job, progress, read_job, used, write_answer

# The solver integrates all cells of a call in step, as many steps as the slowest of them needs.
_CELLS_AT_A_TIME = 256


def main() -> None:
    job, clock = read_job(sys.argv[1:]), Clock()
    settings = used(
        job,
        iterations=1000,
        batch_size=256,
        width=512,
        covariates=True,
        learning_rate=1e-3,
        condition_dim=64,
        condition_dropout=0.5,
        epsilon=0.1,
    )
    with clock("training"):
        model = train(job, settings)
    with clock("prediction"):
        scores, numbers = sample(job, model)
    pred = ad.AnnData(np.zeros((len(scores), 0), np.float32), obs=job.labelled(numbers), obsm={"X_pca": scores})
    parameters = sum(leaf.size for leaf in jax.tree.leaves(model.solver.vf_state.params))
    packages = ["cellflow-tools", "jax", "ott-jax", "anndata"]
    write_answer(job, pred, clock, parameters=parameters, packages=packages, settings=settings)


def train(job: Job, settings: dict) -> CellFlow:
    adata = scores_of(job, np.flatnonzero(has_targets(job)))
    covariates = job.covariates if settings["covariates"] else []
    model = CellFlow(adata, solver="otfm")
    model.prepare_data(
        sample_rep="X_pca",
        control_key="is_control",
        perturbation_covariates={job.perturbation_key: [job.perturbation_key]},
        perturbation_covariate_reps={job.perturbation_key: f"{job.perturbation_key}_one_hot"},
        sample_covariates=covariates,
        sample_covariate_reps={key: f"{key}_one_hot" for key in covariates},
        split_covariates=job.covariates,
    )
    width = settings["width"]
    model.prepare_model(
        condition_embedding_dim=settings["condition_dim"],
        cond_output_dropout=settings["condition_dropout"],
        pooling="mean",
        time_encoder_dims=(width, width),
        hidden_dims=(width, width),
        decoder_dims=(width, width),
        match_fn=partial(match_linear, epsilon=settings["epsilon"], tau_a=1.0, tau_b=1.0),
        optimizer=optax.adam(settings["learning_rate"]),
        seed=job.seed,
    )
    progress(f"training for {settings['iterations']} iterations")
    # Without validation data there is nothing to do every valid_freq iterations.
    model.train(settings["iterations"], batch_size=settings["batch_size"], valid_freq=settings["iterations"] + 1)
    return model


def sample(job: Job, model: CellFlow) -> tuple[np.ndarray, np.ndarray]:
    """PCs of as many cells of each target as there are control cells to start from, at most ``n_cells``."""
    rng = np.random.default_rng(job.seed)
    scores, numbers = [], []
    for i, target in job.targets.iterrows():
        rows = job.controls(target, rng)
        for part in np.split(rows, range(_CELLS_AT_A_TIME, len(rows), _CELLS_AT_A_TIME)):
            wanted = target.to_frame().T.assign(is_control=False)
            (cells,) = model.predict(scores_of(job, part), covariate_data=wanted, sample_rep="X_pca").values()
            scores.append(np.asarray(cells, dtype=np.float32))
            numbers.append(np.full(len(part), i))
        progress(f"predicted {len(rows)} cells of {', '.join(target)}")
    return np.concatenate(scores), np.concatenate(numbers)


def has_targets(job: Job) -> np.ndarray:
    """Cells of contexts with perturbed cells: CellFlow refuses to train on control cells alone."""
    context = job.train.obs[job.covariates].astype(str).agg("\t".join, axis=1)
    return context.isin(context[~job.is_control]).to_numpy()


def scores_of(job: Job, rows: np.ndarray) -> ad.AnnData:
    """Some training cells as CellFlow wants them, with the one-hot vectors of all labels."""
    obs = job.train.obs.iloc[rows].assign(is_control=job.is_control[rows])
    one_hot = {}
    for key in job.keys:
        labels = list(job.train.obs[key].cat.categories)
        one_hot[f"{key}_one_hot"] = dict(zip(labels, np.eye(len(labels), dtype=np.float32), strict=True))
    X, scores = np.zeros((len(rows), 0), np.float32), job.train.obsm["X_pca"][rows]
    return ad.AnnData(X, obs=obs, obsm={"X_pca": scores}, uns=one_hot)


if __name__ == "__main__":
    main()
