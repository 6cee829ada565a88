"""CPA: an autoencoder with additive codes of perturbation and covariates, on counts; see README.md."""

from __future__ import annotations

import sys

import anndata as ad
import cpa
import numpy as np
import pandas as pd
import torch
from exchange import Clock, Job, dense, progress, read_job, used, write_answer

# The tutorial on Kang et al. of CPA's own documentation, but for what is in the settings.
_MODEL = {
    "n_latent": 64,
    "doser_type": "linear",
    "n_hidden_encoder": 128,
    "n_layers_encoder": 2,
    "n_hidden_decoder": 512,
    "n_layers_decoder": 2,
    "use_batch_norm_encoder": True,
    "use_layer_norm_encoder": False,
    "use_batch_norm_decoder": False,
    "use_layer_norm_decoder": True,
    "dropout_rate_encoder": 0.0,
    "dropout_rate_decoder": 0.1,
    "variational": False,
}
_PLAN = {
    "n_epochs_kl_warmup": None,
    "n_epochs_mixup_warmup": 0,
    "mixup_alpha": 0.0,
    "adv_steps": None,
    "n_hidden_adv": 64,
    "n_layers_adv": 3,
    "use_batch_norm_adv": True,
    "use_layer_norm_adv": False,
    "dropout_rate_adv": 0.3,
    "pen_adv": 5.0,
    "wd": 4e-07,
    "adv_lr": 3e-4,
    "adv_wd": 4e-07,
    "adv_loss": "cce",
    "doser_lr": 3e-4,
    "doser_wd": 4e-07,
    "do_clip_grad": True,
    "gradient_clip_value": 1.0,
    "step_size_lr": 10,
}
_VALIDATION_SHARE = 0.1


def main() -> None:
    job, clock = read_job(sys.argv[1:]), Clock()
    settings = used(
        job,
        likelihood="nb" if "counts" in job.train.layers else "gauss",
        draw=True,
        epochs=200,
        pretrain_epochs=30,
        warmup_epochs=50,
        batch_size=128,
        learning_rate=3e-4,
        adversary=20.0,
    )
    if settings["likelihood"] != "gauss" and "counts" not in job.train.layers:
        raise SystemExit(f"likelihood {settings['likelihood']!r} needs counts.")
    with clock("training"):
        model = train(job, settings)
    with clock("prediction"):
        X, numbers = sample(job, model, settings)
    pred = ad.AnnData(X, obs=job.labelled(numbers), var=pd.DataFrame(index=job.train.var_names))
    parameters = sum(parameter.numel() for parameter in model.module.parameters())
    packages = ["cpa-tools", "torch", "scvi-tools", "anndata"]
    write_answer(job, pred, clock, parameters=parameters, packages=packages, settings=settings)


def train(job: Job, settings: dict) -> cpa.CPA:
    # CPA wants to have met every label of a condition: one cell of each target says which there are, and is not used.
    known = register(
        job,
        settings,
        np.concatenate([np.arange(job.train.n_obs), np.zeros(len(job.targets), dtype=int)]),
        pd.concat([job.train.obs[job.keys], job.targets]),
    )
    rng = np.random.default_rng(job.seed)
    split = np.where(rng.random(job.train.n_obs) < _VALIDATION_SHARE, "valid", "train")
    known.obs["split"] = [*split, *["ood"] * len(job.targets)]
    model = cpa.CPA(
        known,
        split_key="split",
        train_split="train",
        valid_split="valid",
        test_split="ood",
        recon_loss=settings["likelihood"],
        seed=job.seed,
        **_MODEL,
    )
    progress(f"training for at most {settings['epochs']} epochs")
    model.train(
        max_epochs=settings["epochs"],
        use_gpu=torch.cuda.is_available(),
        batch_size=settings["batch_size"],
        plan_kwargs={
            **_PLAN,
            "lr": settings["learning_rate"],
            "reg_adv": settings["adversary"],
            "n_epochs_pretrain_ae": settings["pretrain_epochs"],
            "n_epochs_adv_warmup": settings["warmup_epochs"],
        },
        early_stopping_patience=5,
        check_val_every_n_epoch=5,
        save_path=False,
        enable_progress_bar=False,
    )
    progress(f"trained for {model.trainer.current_epoch} epochs")
    return model


def register(job: Job, settings: dict, rows: np.ndarray, labels: pd.DataFrame) -> ad.AnnData:
    """Training cells with these labels instead of their own, as CPA wants them."""
    X = job.train.layers["counts"] if settings["likelihood"] != "gauss" else job.train.X
    obs = labels.astype(str).set_axis(np.arange(len(rows)).astype(str))
    cells = ad.AnnData(dense(X[rows]), obs=obs, var=pd.DataFrame(index=job.train.var_names))
    cpa.CPA.setup_anndata(
        cells,
        perturbation_key=job.perturbation_key,
        control_group=job.control,
        categorical_covariate_keys=job.covariates,
        is_count_data=settings["likelihood"] != "gauss",
        max_comb_len=max(job.train.obs[job.perturbation_key].astype(str).str.count(r"\+").max() + 1, 1),
    )
    return cells


def sample(job: Job, model: cpa.CPA, settings: dict) -> tuple[np.ndarray, np.ndarray]:
    """Control cells decoded with the target's codes, drawn from the likelihood, on the scale of ``train.X``."""
    rng = np.random.default_rng(job.seed)
    torch.manual_seed(job.seed)
    # Means of the same control cell are the same; draws are not.
    rows = [job.controls(target, rng, repeat=settings["draw"]) for _, target in job.targets.iterrows()]
    numbers, rows = np.repeat(np.arange(len(rows)), [len(found) for found in rows]), np.concatenate(rows)
    cells = register(job, settings, rows, job.targets.iloc[numbers])
    z = model.custom_predict(covars_to_add=job.covariates, adata=cells, batch_size=512)["latent_z"].X
    counts = settings["likelihood"] != "gauss"
    library = torch.log(torch.as_tensor(cells.X.sum(1, keepdims=True))) if counts else None
    with torch.no_grad():
        made = model.module.generative(torch.as_tensor(np.asarray(z)), library)["px"]
        X = (made.sample() if settings["draw"] else made.mean).numpy()
    if not counts:
        return X, numbers
    totals = job.train.obs["total_counts"].to_numpy() if "total_counts" in job.train.obs else None
    size = cells.X.sum(1) if totals is None else totals[rows]
    return np.log1p(X / size[:, None] * 1e4).astype(np.float32), numbers


if __name__ == "__main__":
    main()
