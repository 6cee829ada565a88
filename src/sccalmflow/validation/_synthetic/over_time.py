"""Where a rollout goes wrong: its error at each time, beside the error of one step from the true history."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor

from sccalmflow.flow import ResampledPath, VolterraFlow, rollout
from sccalmflow.tl import wasserstein
from sccalmflow.validation._training import draw_sequences

from .distributions import Draw
from .models import Trained
from .scores import REPORT_SEED, Evaluation
from .tasks import Task

# Three exact distances for each time: with the samples of the tables they would take longer than the training.
_MOST = 500


@torch.no_grad()
def states_over_time(flow: VolterraFlow, source: Draw, target: Draw, n: int, generator: Generator) -> dict[str, Tensor]:
    """States at times 1 .. T, each (n, T, D).

    Returns
    -------
    ``truth``
        On the flow's path from source to target.
    ``teacher``
        Drawn by the model from the true history before each time.
    ``rollout``
        Drawn by the model from its own.
    """
    config = flow.config
    n_sequences = -(-n // config.n_trajectories)

    def draws(draw: Draw, per_trajectory: int) -> Tensor:
        drawn = draw_sequences(draw, n_sequences, config.n_trajectories * per_trajectory, generator)
        return drawn.unflatten(1, (config.n_trajectories, per_trajectory)).to(flow.device)

    shape = n_sequences, config.n_trajectories, config.n_steps, flow.decoder.noise_dim
    noises = [torch.randn(shape, generator=generator).to(flow.device) for _ in range(2)]
    truth = flow.path.trajectory(draws(source, flow.n_draws), draws(target, 1)[:, :, 0], config.n_steps)
    teacher = flow.decoder.sample(flow.hidden(truth[:, :, :-1]), truth[:, :, :-1], noises[0], 1.0)
    if flow.decoder.target == "endpoint":
        assert isinstance(flow.path, ResampledPath)  # FlowConfig sees to it
        fresh = draws(source, flow.n_draws)
        steps = range(1, config.n_steps)
        states = [flow.path.state(step, fresh, teacher[:, :, step - 1], config.n_steps) for step in steps]
        teacher = torch.stack([*states, teacher[:, :, -1]], dim=2)
    own = rollout(flow, draws(source, flow.n_draws), noises[1])
    found = {"truth": truth[:, :, 1:], "teacher": teacher, "rollout": own[:, :, 1:]}
    return {name: states.flatten(0, 1)[:n].cpu() for name, states in found.items()}


def errors_over_time(trained: Trained, task: Task, evaluation: Evaluation, seed: int) -> dict[str, Any]:
    """2-Wasserstein distance of the states at times 1 .. T to a fresh sample of the true ones.

    ``rollout`` is that of the model's own history, ``teacher`` of the true one, ``floor`` of a second sample of the
    truth. Distances of laws rather than squared errors of states: on the resampled path a state cannot be foretold.
    """
    assert trained.flow is not None  # only flows are followed
    generator, n = Generator().manual_seed(REPORT_SEED + seed), min(evaluation.n_samples, _MOST)
    first, second = (states_over_time(trained.flow, task.source.draw, task.target.draw, n, generator) for _ in range(2))
    compared = {"rollout": first["rollout"], "teacher": first["teacher"], "floor": first["truth"]}
    return {
        name: [
            wasserstein(x.numpy(), y.numpy()) for x, y in zip(states.unbind(1), second["truth"].unbind(1), strict=True)
        ]
        for name, states in compared.items()
    }
