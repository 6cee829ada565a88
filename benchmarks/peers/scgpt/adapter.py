"""scGPT's perturbation generator, from scratch: from a control cell and a perturbation to the perturbed cell."""

from __future__ import annotations

import sys

import anndata as ad
import numpy as np
import pandas as pd
import torch
from exchange import Clock, Job, dense, progress, read_job, used, write_answer
from scgpt.loss import masked_mse_loss
from scgpt.model import TransformerGenerator

# Flags of scGPT: 1 marks what is perturbed.
_PLAIN, _PERTURBED, _PAD_FLAG = 0, 1, 2
_CELLS_AT_A_TIME = 16


def main() -> None:
    job, clock = read_job(sys.argv[1:]), Clock()
    settings = used(
        job, steps=600, batch_size=32, genes=150, width=64, layers=2, heads=4, dropout=0.2, learning_rate=1e-3
    )
    torch.manual_seed(job.seed)
    # Vocabulary: the padding, the genes, then one token a perturbation, as a cytokine is no gene of the panel.
    treatments = sorted(set(job.train.obs[job.perturbation_key].astype(str)) - {job.control})
    token = {treatment: 1 + job.train.n_vars + i for i, treatment in enumerate(treatments)}
    X = torch.as_tensor(dense(job.train.X))
    model = TransformerGenerator(
        ntoken=1 + job.train.n_vars + len(treatments),
        d_model=settings["width"],
        nhead=settings["heads"],
        d_hid=settings["width"],
        nlayers=settings["layers"],
        nlayers_cls=1,
        n_cls=1,
        vocab={"<pad>": 0},
        dropout=settings["dropout"],
        pert_pad_id=_PAD_FLAG,
    )
    with clock("training"):
        train(job, settings, model, X, token)
    with clock("prediction"):
        made, numbers = predict(job, model, X, token)
    pred = ad.AnnData(made, obs=job.labelled(numbers), var=pd.DataFrame(index=job.train.var_names))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    write_answer(job, pred, clock, parameters=parameters, packages=["scgpt", "torch", "anndata"], settings=settings)


def train(job: Job, settings: dict, model: TransformerGenerator, X: torch.Tensor, token: dict[str, int]) -> None:
    """Each perturbed cell from a random control cell of its context, on random genes, which change every step."""
    rng = np.random.default_rng(job.seed)
    context = job.train.obs[job.covariates].astype(str).agg(", ".join, axis=1).to_numpy()
    treatment = job.train.obs[job.perturbation_key].astype(str).to_numpy()
    sources = {name: np.flatnonzero(job.is_control & (context == name)) for name in np.unique(context)}
    perturbed = np.flatnonzero(~job.is_control & np.array([len(sources[name]) > 0 for name in context]))
    optimizer = torch.optim.Adam(model.parameters(), lr=settings["learning_rate"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings["steps"])
    n_genes = min(settings["genes"], job.train.n_vars)
    model.train()
    for step in range(settings["steps"]):
        targets = rng.choice(perturbed, settings["batch_size"])
        rows = np.array([rng.choice(sources[context[target]]) for target in targets])
        genes = rng.choice(job.train.n_vars, n_genes, replace=False)
        made = forward(model, X[rows][:, genes], genes, [token[treatment[target]] for target in targets])
        loss = masked_mse_loss(made, X[targets][:, genes], torch.ones_like(made, dtype=torch.bool))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            progress(f"step {step + 1} of {settings['steps']}: loss {loss.item():.4f}")


def forward(model: TransformerGenerator, values: torch.Tensor, genes: np.ndarray, tokens: list[int]) -> torch.Tensor:
    """Expression of these genes after the perturbation, whose token comes first, with value 0."""
    n = len(values)
    ids = torch.cat([torch.tensor(tokens)[:, None], torch.as_tensor(1 + genes).expand(n, -1)], dim=1)
    flags = torch.full_like(ids, _PLAIN)
    flags[:, 0] = _PERTURBED
    values = torch.cat([torch.zeros(n, 1), values], dim=1)
    # Nothing is padded; a mask that says so costs time.
    return model(ids, values, flags, src_key_padding_mask=None)["mlm_output"][:, 1:]


def predict(
    job: Job, model: TransformerGenerator, X: torch.Tensor, token: dict[str, int]
) -> tuple[np.ndarray, np.ndarray]:
    """As many cells of each target as there are control cells to start from, at most ``n_cells``."""
    rng = np.random.default_rng(job.seed)
    made, numbers = [], []
    model.eval()
    for i, target in job.targets.iterrows():
        rows = job.controls(target, rng)
        for part in np.split(rows, range(_CELLS_AT_A_TIME, len(rows), _CELLS_AT_A_TIME)):
            tokens = [token[target[job.perturbation_key]]] * len(part)
            with torch.no_grad():
                made.append(forward(model, X[part], np.arange(job.train.n_vars), tokens).numpy())
            numbers.append(np.full(len(part), i))
        progress(f"predicted {len(rows)} cells of {', '.join(target)}")
    return np.concatenate(made), np.concatenate(numbers)


if __name__ == "__main__":
    main()
