"""What an experiment trains: flows by their recipe, in the same shape as their competitors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Generator, Tensor

from sccalmflow.flow import VolterraFlow
from sccalmflow.validation._training import Recipe, generate, n_parameters, train

from .tasks import Task


@dataclass(frozen=True)
class Trained:
    """A model that has been trained.

    Parameters
    ----------
    sample
        Function (n, generator, temperature) to samples (n, D).
    n_parameters
        All of its weights.
    n_evaluations
        Evaluations of the network for one sample: tokens that a flow reads, calls that a solver makes.
    training_seconds
        Seconds of training.
    flow
        The flow, where it is one.
    """

    sample: Callable[[int, Generator, float], Tensor]
    n_parameters: int
    n_evaluations: int
    training_seconds: float
    flow: VolterraFlow | None = None

    def at(self, temperature: float) -> Callable[[int, Generator], Tensor]:
        """The samples at one temperature, a function (n, generator) to samples (n, D)."""
        return lambda n, generator: self.sample(n, generator, temperature)

    @property
    def mflop(self) -> float:
        """Millions of operations of one sample, counted as two for each parameter and evaluation.

        Attention is left out (it adds less than T tokens times the width a layer), and the whole of a network is
        counted at each evaluation, which is what happens but for the embedding of times.
        """
        return 2e-6 * self.n_parameters * self.n_evaluations


def train_flow(recipe: Recipe, task: Task, seed: int, *, progress: str | None = None) -> Trained:
    """Train a flow on a task."""
    flow, seconds = train(recipe, task.source.draw, task.target.draw, seed, progress=progress)

    def sample(n: int, generator: Generator, temperature: float) -> Tensor:
        return generate(flow, task.source.draw, n, generator, temperature=temperature)

    return Trained(
        sample=sample,
        n_parameters=n_parameters(flow),
        n_evaluations=recipe.flow.n_steps * recipe.flow.n_space_tokens,
        training_seconds=seconds,
        flow=flow,
    )
