"""The models that the paper compares with, trained on the same draws."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Generator, Tensor

from sccalmflow.baselines import Diffusion, FlowMatching

from .models import Trained
from .tasks import Task

MethodName = Literal["cfm", "cfm_ot", "cfm_sb", "ddpm"]
LABELS: dict[MethodName, str] = {"cfm": "CFM", "cfm_ot": "CFM-OT", "cfm_sb": "CFM-SB", "ddpm": "DDPM"}
N_LAYERS = 3
_COUPLINGS: dict[MethodName, Literal["independent", "ot", "schroedinger"]] = {
    "cfm": "independent",
    "cfm_ot": "ot",
    "cfm_sb": "schroedinger",
}
# An adaptive solver takes as many steps as its worst sample needs.
_COUNTED_ON = 1_000


@dataclass(frozen=True)
class CompetitorRecipe:
    """A competitor and how it is trained.

    Parameters
    ----------
    method
        Conditional flow matching with independent, optimal-transport or Schrödinger-bridge pairs, or diffusion. The
        last starts from noise whatever the source of the task is.
    width
        Units of each of its three hidden layers; 64 is torchcfm's network for the plane, which the paper used.
    n_updates, batch_size
        By default as many states as the flow reads with its 2,000 updates of 128 trajectories and 16 times.
    lr
        Highest learning rate.
    """

    method: MethodName
    width: int = 64
    n_updates: int = 16_000
    batch_size: int = 256
    lr: float = 1e-3


def n_parameters(dim: int, width: int) -> int:
    """Parameters of a network of state and time with three hidden layers."""
    return (dim + 2) * width + (N_LAYERS - 1) * (width + 1) * width + (width + 1) * dim


def of_equal_size(recipe: CompetitorRecipe, dim: int, n: int) -> CompetitorRecipe:
    """The recipe with the width whose number of parameters is nearest to ``n``."""
    # n_parameters is quadratic in the width: a w² + b w + c.
    a, b, c = N_LAYERS - 1, 2 * dim + N_LAYERS + 1, dim - n
    width = (-b + math.sqrt(max(0.0, b * b - 4 * a * c))) / (2 * a)
    return replace(recipe, width=max(1, round(width)))


def train_competitor(recipe: CompetitorRecipe, task: Task, seed: int, *, progress: bool = False) -> Trained:
    """Train a competitor on a task; needs the ``baselines`` extra."""
    model = _model(recipe)
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
        n_parameters=n_parameters(task.dim, recipe.width),
        n_evaluations=model.n_evaluations_,
        training_seconds=seconds,
    )


def _model(recipe: CompetitorRecipe) -> FlowMatching | Diffusion:
    if recipe.method == "ddpm":
        return Diffusion(
            width=recipe.width,
            n_layers=N_LAYERS,
            n_updates=recipe.n_updates,
            batch_size=recipe.batch_size,
            lr=recipe.lr,
        )
    return FlowMatching(
        coupling=_COUPLINGS[recipe.method],
        width=recipe.width,
        n_layers=N_LAYERS,
        n_updates=recipe.n_updates,
        batch_size=recipe.batch_size,
        lr=recipe.lr,
    )
