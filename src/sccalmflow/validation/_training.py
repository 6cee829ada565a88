"""Train a flow on draws that never run out, and sample from it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Generator, Tensor

from sccalmflow._device import best_device, forked_random_state
from sccalmflow.baselines._optimise import optimise
from sccalmflow.flow import (
    BackboneName,
    CausalLM,
    FlowConfig,
    VolterraFlow,
    backbone_config,
    pair_by_optimal_transport,
    rollout,
)

from ._synthetic.distributions import Draw


@dataclass(frozen=True)
class Recipe:
    """A flow and how it is trained.

    Parameters
    ----------
    flow
        Shape of the flow.
    backbone, width, n_layers, n_heads
        The language model, initialised at random.
    n_updates
        Updates of the weights.
    batch_size
        Sequences of an update, each drawn afresh.
    lr
        Highest learning rate of AdamW, after the first 5 % of the updates; it falls to 0 along a cosine.
    average_over
        The weights that sample are a moving average over about this share of the updates.
    temperatures
        Where there are several, the one that samples best on draws of its own is taken, as in the paper.
    ot_pairing
        Pair the source draws of a batch with its endpoints by optimal transport (straight path only).
    """

    flow: FlowConfig
    backbone: BackboneName
    width: int
    n_layers: int
    n_heads: int
    n_updates: int
    batch_size: int
    lr: float
    average_over: float = 0.02
    temperatures: tuple[float, ...] = (1.0,)
    ot_pairing: bool = False


def build(recipe: Recipe, seed: int) -> VolterraFlow:
    """The flow with its first weights; the global random state stays as it was."""
    config = backbone_config(
        recipe.backbone,
        vocab_size=1,
        width=recipe.width,
        n_layers=recipe.n_layers,
        n_heads=recipe.n_heads,
        dropout=0.0,
        max_positions=recipe.flow.n_steps,
    )
    with forked_random_state(seed):
        return VolterraFlow(recipe.flow, CausalLM.from_config(config))


def n_parameters(flow: VolterraFlow) -> int:
    """All weights of a flow."""
    return sum(parameter.numel() for parameter in flow.parameters())


@cache
def size(recipe: Recipe) -> int:
    """All weights of the flow of a recipe."""
    return n_parameters(build(recipe, 0))


def choose_temperature(
    temperatures: Sequence[float], score: Callable[[float], float]
) -> tuple[float, dict[str, float]]:
    """The temperature with the lowest score, and all scores; where there is one only, it is not scored."""
    if len(temperatures) == 1:
        return temperatures[0], {}
    found = {temperature: score(temperature) for temperature in temperatures}
    return min(found, key=found.__getitem__), {str(temperature): value for temperature, value in found.items()}


def draw_sequences(draw: Draw, n: int, per_sequence: int, generator: Generator) -> Tensor:
    """Draws in groups, shape (n, per_sequence, D)."""
    return draw(n * per_sequence, generator).unflatten(0, (n, per_sequence))


def train(
    recipe: Recipe, source: Draw, target: Draw, seed: int, *, progress: str | None = None
) -> tuple[VolterraFlow, float]:
    """Train a flow from source to target, on a GPU where there is one.

    Source and target are drawn on the processor, so that a seed means the same draws everywhere.

    Parameters
    ----------
    recipe
        The flow and its training.
    source, target
        Functions (n, generator) to draws (n, D).
    seed
        Seed of the weights and of all draws.
    progress
        What the progress bar is called; no bar where it is None.

    Returns
    -------
    The flow with averaged weights, in evaluation mode, and the seconds that training took.
    """
    device, generator = best_device(), Generator().manual_seed(seed)
    # The decoder draws where the flow is.
    noise = generator if device.type == "cpu" else Generator(device).manual_seed(seed)
    flow = build(recipe, seed).to(device).train()

    def loss() -> Tensor:
        size, n_trajectories = recipe.batch_size, recipe.flow.n_trajectories
        endpoint = draw_sequences(target, size, n_trajectories, generator)
        draws = draw_sequences(source, size, n_trajectories * flow.n_draws, generator)
        draws = draws.unflatten(1, (n_trajectories, flow.n_draws))
        if recipe.ot_pairing:
            draws = pair_by_optimal_transport(draws.flatten(0, 2), endpoint.flatten(0, 1)).view_as(draws)
        return flow.loss(endpoint.to(device), draws.to(device), generator=noise)["loss"].mean()

    start = time.perf_counter()
    *_, (_, averaged) = optimise(
        flow, loss, n_updates=recipe.n_updates, lr=recipe.lr, average_over=recipe.average_over, progress=progress
    )
    assert isinstance(averaged, VolterraFlow)
    return averaged, time.perf_counter() - start


def generate(flow: VolterraFlow, source: Draw, n: int, generator: Generator, *, temperature: float = 1.0) -> Tensor:
    """Endpoints of rollouts from fresh source draws, shape (n, D)."""
    config = flow.config
    n_sequences = math.ceil(n / config.n_trajectories)
    draws = draw_sequences(source, n_sequences, config.n_trajectories * flow.n_draws, generator)
    draws = draws.unflatten(1, (config.n_trajectories, flow.n_draws))
    noise = torch.randn(n_sequences, config.n_trajectories, config.n_steps, flow.decoder.noise_dim, generator=generator)
    states = rollout(flow, draws.to(flow.device), noise.to(flow.device), temperature=temperature)
    return states[:, :, -1].flatten(0, 1)[:n].cpu()
