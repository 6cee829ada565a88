"""The models that the paper compares with, trained on the same draws."""

from __future__ import annotations

import time

import torch
from torch import Generator, Tensor

from sccalmflow.validation._competitors import Competitor, MethodName

from .models import Trained
from .recipes import n_states
from .tasks import Task

N_LAYERS = 3
# An adaptive solver takes as many steps as its worst sample needs.
_COUNTED_ON = 1_000


def competitor(method: MethodName, dim: int) -> Competitor:
    """At the paper's size: torchcfm's network for the plane, three hidden layers of 64 units.

    It learns from as many states as the default flow reads, 256 an update. The learning rates of CFM and CFM-OT were
    chosen on 8 Gaussians to moons, at the default's size (see :mod:`.tuning`); for CFM 3e-3 is as good as 1e-3.
    """
    lr = 3e-3 if method == "cfm_ot" else 1e-3
    return Competitor(method, width=64, n_layers=N_LAYERS, n_updates=n_states(dim) // 2, lr=lr)


def train_competitor(recipe: Competitor, task: Task, seed: int, *, progress: bool = False) -> Trained:
    """Train a competitor on a task, diffusion from noise whatever the source of the task is."""
    model = recipe.model()
    start = time.perf_counter()
    source = None if recipe.method == "ddpm" else task.source.draw
    model.fit(task.target.draw, source=source, seed=seed, show_progress=progress)
    seconds = time.perf_counter() - start

    def sample(n: int, generator: Generator, temperature: float) -> Tensor:
        # Their samplers take a seed; the temperature belongs to the flow's law.
        number = int(torch.randint(2**31, (1,), generator=generator))
        return torch.from_numpy(model.sample(n, seed=number))

    sample(_COUNTED_ON, Generator().manual_seed(seed), 1.0)
    return Trained(
        sample=sample,
        n_parameters=recipe.n_parameters(task.dim),
        n_evaluations=model.n_evaluations_,
        training_seconds=seconds,
    )
