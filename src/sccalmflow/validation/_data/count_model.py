"""scVI as a generator of cells: counts from its prior."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from anndata import AnnData
from scipy import sparse
from torch import Generator

from sccalmflow._device import forked_random_state
from sccalmflow.datasets._normalise import log_normalised

from .cells import Cells
from .fitting import Fitted, split_rows

# Counts of all genes at once are large.
_AT_ONCE = 1_000


@dataclass(frozen=True)
class CountModel:
    """scVI with a zero-inflated negative binomial, as in the paper.

    Parameters
    ----------
    max_epochs
        Passes over the training cells, unless validation cells stop it before; None for scvi-tools' own number.
    n_latent, n_hidden
        Those of scvi-tools.
    """

    max_epochs: int | None = None
    n_latent: int = 10
    n_hidden: int = 128


def fit_count_model(recipe: CountModel, cells: Cells, seed: int, *, progress: bool = False) -> Fitted:
    """Train on the counts of the training cells; samples are projected to the scores of all other models."""
    from scvi.model import SCVI

    if cells.counts is None:
        raise ValueError(f"{cells.name} has no counts, which scVI needs.")
    counts = cells.counts
    adata = AnnData(counts)
    SCVI.setup_anndata(adata)
    with forked_random_state(seed):
        model = SCVI(adata, n_latent=recipe.n_latent, n_hidden=recipe.n_hidden, gene_likelihood="zinb")
        start = time.perf_counter()
        model.train(
            max_epochs=recipe.max_epochs,
            early_stopping=True,
            accelerator="cpu",
            enable_progress_bar=progress,
            # The cells that all models make their choices by; scvi-tools' own would come from an unseeded generator.
            datasplitter_kwargs={"external_indexing": list(split_rows(len(adata)))},
        )
        seconds = time.perf_counter() - start
    model.module.eval()
    log_sizes = torch.from_numpy(np.log(np.asarray(counts.sum(axis=1), dtype=np.float32)))

    @torch.no_grad()
    def sample(n: int, seed: int) -> np.ndarray:
        generator = Generator().manual_seed(seed)
        parts = []
        # The law of counts draws from the global state, which is the user's.
        with forked_random_state(seed):
            for start in range(0, n, _AT_ONCE):
                size = min(_AT_ONCE, n - start)
                latent = torch.randn(size, recipe.n_latent, generator=generator)
                # scVI is given the number of counts of a cell; the prior of that is the training cells.
                library = log_sizes[torch.randint(len(log_sizes), (size,), generator=generator)]
                law = model.module.generative(z=latent, library=library, batch_index=torch.zeros(size, 1))["px"]
                drawn = log_normalised(sparse.csr_matrix(law.sample().numpy()))
                parts.append(cells.projection.transform(drawn))
        return np.concatenate(parts)

    n_parameters = sum(parameter.numel() for parameter in model.module.parameters())
    return Fitted(sample, {"n_parameters": n_parameters, "n_evaluations": 1, "training_seconds": seconds})
