"""Flows and the models that the paper compares with, trained on a data set from noise."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from sccalmflow.baselines._generative_model import GenerativeModel
from sccalmflow.tl import edistance
from sccalmflow.validation._competitors import Competitor
from sccalmflow.validation._synthetic.distributions import Draw
from sccalmflow.validation._training import Recipe, choose_temperature, generate, n_parameters, train

# Rollouts keep all their states: 10,000 images at once would take gigabytes.
_AT_ONCE = 1_000
# The weights of a competitor are those of the best of so many stages of its training.
_N_STAGES = 5
_CHOICE_SEED = 1_000
_MAX_VALIDATION = 300


@dataclass(frozen=True, eq=False)
class Data:
    """Samples to learn, (n, D) float32 of about unit variance, and others for choices; neither is the truth."""

    train: np.ndarray
    validation: np.ndarray

    @classmethod
    def hold_back(cls, samples: np.ndarray) -> Data:
        """A tenth of the samples, at most 300 of them, for choices; always the same."""
        train, validation = split_rows(len(samples))
        return cls(train=samples[train], validation=samples[validation])


def split_rows(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from and rows for choices."""
    order, n_validation = np.random.default_rng(0).permutation(n), min(_MAX_VALIDATION, n // 10)
    return order[n_validation:], order[:n_validation]


@dataclass(frozen=True)
class Fitted:
    """A trained model: function (n, seed) to samples (n, D), and what it cost."""

    sample: Callable[[int, int], np.ndarray]
    costs: dict[str, Any] = field(default_factory=dict)


def fit(recipe: Recipe | Competitor, data: Data, seed: int, *, title: str | None = None) -> Fitted:
    """Train, and make the choices that a model has by E-distance to the validation samples.

    With a ``title``, a progress bar shows it.
    """
    progress = None if title is None else f"{title}, seed {seed}"
    if isinstance(recipe, Recipe):
        return _fit_flow(recipe, data, seed, progress)
    return _fit_competitor(recipe, data, seed, progress)


def noise(dim: int) -> Draw:
    """Standard normal draws."""
    return lambda n, generator: torch.randn(n, dim, generator=generator)


def draws_from(samples: np.ndarray) -> Draw:
    """Samples at random, with replacement."""
    rows = torch.from_numpy(samples)
    return lambda n, generator: rows[torch.randint(len(rows), (n,), generator=generator)]


def _fit_flow(recipe: Recipe, data: Data, seed: int, progress: str | None) -> Fitted:
    source = noise(data.train.shape[1])
    flow, seconds = train(recipe, source, draws_from(data.train), seed, progress=progress)

    def sample(n: int, seed: int, temperature: float) -> np.ndarray:
        generator = Generator().manual_seed(seed)
        parts: list[Tensor] = []
        for start in range(0, n, _AT_ONCE):
            parts.append(generate(flow, source, min(_AT_ONCE, n - start), generator, temperature=temperature))
        return torch.cat(parts).numpy()

    n_choice = len(data.validation)

    def score(temperature: float) -> float:
        return edistance(sample(n_choice, _CHOICE_SEED + seed, temperature), data.validation)

    best, by_temperature = choose_temperature(recipe.temperatures, score)
    costs = {
        "n_parameters": n_parameters(flow),
        "n_evaluations": recipe.flow.n_steps * recipe.flow.n_space_tokens,
        "training_seconds": seconds,
        "temperature": best,
        "edistance_by_temperature": by_temperature,
    }
    return Fitted(lambda n, seed: sample(n, seed, best), costs)


def _fit_competitor(recipe: Competitor, data: Data, seed: int, progress: str | None) -> Fitted:
    model = recipe.model()
    choosing = 0.0

    def score(trained: GenerativeModel) -> float:
        nonlocal choosing
        start = time.perf_counter()
        value = edistance(trained.sample(len(data.validation), seed=_CHOICE_SEED + seed), data.validation)
        choosing += time.perf_counter() - start
        return value

    start = time.perf_counter()
    # On a data set these models learn the samples by heart when trained for long: hence the choice of a stage.
    every = max(1, recipe.n_updates // _N_STAGES)
    model.fit(data.train, score=score, score_every=every, seed=seed, show_progress=progress is not None)
    costs = {
        "n_parameters": recipe.n_parameters(data.train.shape[1]),
        # That of the last score: an adaptive solver takes as many as its worst sample needs.
        "n_evaluations": model.n_evaluations_,
        "training_seconds": time.perf_counter() - start - choosing,
        "n_updates_kept": model.n_updates_,
    }
    return Fitted(lambda n, seed: model.sample(n, seed=seed), costs)
