"""Denoising diffusion: cells from noise in many small, random steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from sccalmflow import _checks

from ._draws import Batch
from ._generative_model import GenerativeModel
from ._network import ActivationName, ConditionalMLP


@dataclass(kw_only=True, eq=False)
class Diffusion(GenerativeModel):
    """Denoising diffusion (DDPM; Ho et al. 2020) with the scheduler of diffusers.

    A multilayer perceptron learns the noise in a noised cell, and sampling takes it away in ``n_diffusion_steps``
    steps of the reversed chain. It starts from standard normal noise and from nothing else.

    Parameters
    ----------
    n_diffusion_steps
        Steps of the chain, 100 in the paper.
    width, n_layers
        Units of a hidden layer, and how many layers; the default is the paper's.
    activation
        "selu" or "gelu".
    condition_encoder
        Module that turns a batch of conditions, B x c, into vectors, B x e, and is trained with the rest; None takes
        one-hot labels and the like as they are. Integers reach it as integers.
    n_updates
        Updates of the weights, over which the learning rate rises and falls.
    batch_size
        Cells of an update.
    lr
        Highest learning rate of AdamW. Weights are averaged over about the last 2 % of the updates.

    Raises
    ------
    ImportError
        diffusers is not installed (``pip install "sccalmflow[baselines]"``).
    TypeError, ValueError
        An unknown name, a number out of bounds, or one that should be whole.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> x = np.random.default_rng(0).normal(3.0, 0.5, size=(500, 1))
    >>> model = scf.baselines.Diffusion(width=32, n_updates=100, n_diffusion_steps=20)
    >>> model.fit(x).sample(1000).shape
    (1000, 1)
    >>> model.n_evaluations_
    20
    """

    _needs_noise: ClassVar[bool] = True

    width: int = 2048
    n_layers: int = 2
    activation: ActivationName = "gelu"
    n_diffusion_steps: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.whole_number(self.n_diffusion_steps, "n_diffusion_steps", least=2)
        self._scheduler = _scheduler(self.n_diffusion_steps)

    @property
    def name(self) -> str:
        """What the paper calls it, in lower case."""
        return "ddpm"

    def _loss(self, network: ConditionalMLP, batch: Batch, generator: Generator) -> Tensor:
        step = torch.randint(self.n_diffusion_steps, (len(batch.endpoint),), generator=generator)
        # The source draws are the standard normal noise that a diffusion needs.
        noised = self._scheduler.add_noise(batch.endpoint, batch.source, step)
        found = network(noised, step / self.n_diffusion_steps, network.encode(batch.condition))
        return torch.nn.functional.mse_loss(found, batch.source.to(found.device))

    def _transport(self, start: Tensor, encoded: Tensor | None, generator: Generator) -> Tensor:
        self._scheduler.set_timesteps(self.n_diffusion_steps)
        state = start
        for step in self._scheduler.timesteps:
            noise = self._evaluate(state, step / self.n_diffusion_steps, encoded)
            state = self._scheduler.step(noise, step, state, generator=generator).prev_sample
        return state


def _scheduler(n_steps: int) -> Any:
    try:
        from diffusers import DDPMScheduler
    except ImportError as error:
        raise ImportError('Diffusion needs diffusers: pip install "sccalmflow[baselines]".') from error
    # The noise of Ho et al.'s 1,000 steps, spread over fewer: with their betas a cell would still be 60 % itself after
    # 100 steps, and sampling would start from what training never saw. (The cosine schedule ends in noise too, but its
    # last betas near 1 blow up the network's first errors.) Clipping to [-1, 1] is for images.
    return DDPMScheduler(
        num_train_timesteps=n_steps,
        beta_start=0.1 / n_steps,
        beta_end=min(20 / n_steps, 0.999),
        prediction_type="epsilon",
        clip_sample=False,
    )
