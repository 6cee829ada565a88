"""Decoders: from the language model's hidden vector to the law of a state.

All share one interface: :meth:`loss` scores the trajectory, :meth:`sample` draws, and :attr:`target` says what is
drawn, the ``"next"`` state or the ``"endpoint"`` of the trajectory.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from .endpoint_decoders import EnergyDecoder, GaussianDecoder, MixtureDecoder

DecoderName = Literal["variational", "gaussian", "mixture", "energy", "regression"]
"""Names of the decoders, as :class:`FlowConfig` takes them."""


def mlp(n_in: int, n_hidden: int, n_out: int) -> nn.Sequential:
    """Two-layer perceptron, the size of each network around the language model in the paper."""
    return nn.Sequential(nn.Linear(n_in, n_hidden), nn.GELU(), nn.Linear(n_hidden, n_out))


class VariationalDecoder(nn.Module):
    """The paper's decoder (its equations 8 and 9): a latent with a variational posterior, then the next state.

    ``z = mu(h) + sqrt(temperature) * sigma(h) * noise`` and ``x_next = MLP(z)``; the loss is the squared error summed
    over the D features plus ``kl_weight`` times ``KL(q(z | h) || N(0, I))``.

    Parameters
    ----------
    dim
        Scores D of a state.
    width
        Size of a hidden vector: that of the language model times the space tokens of a state.
    n_hidden
        Width of the hidden layers.
    n_latent
        Size of the latent.
    kl_weight
        Weight of the divergence.

    Examples
    --------
    >>> import torch
    >>> from sccalmflow.flow import VariationalDecoder
    >>> decoder = VariationalDecoder(dim=3, width=8, n_hidden=16, n_latent=2, kl_weight=0.3)
    >>> hidden, states = torch.zeros(5, 4, 8), torch.zeros(5, 5, 3)
    >>> {name: tuple(part.shape) for name, part in decoder.loss(hidden, states[:, :-1], states).items()}
    {'loss': (5, 4), 'error': (5, 4), 'kl': (5, 4)}
    >>> noise = torch.randn(5, decoder.noise_dim)
    >>> decoder.sample(hidden[:, 0], states[:, 0], noise, temperature=1.0).shape
    torch.Size([5, 3])
    >>> mean, variance = decoder.posterior(hidden)
    >>> mean.shape, variance.shape
    (torch.Size([5, 4, 2]), torch.Size([5, 4, 2]))
    """

    target: Literal["next", "endpoint"] = "next"

    def __init__(self, dim: int, width: int, n_hidden: int, n_latent: int, kl_weight: float) -> None:
        super().__init__()
        self.kl_weight = kl_weight
        self.noise_dim = n_latent
        self.mean = mlp(width, n_hidden, n_latent)
        self.log_variance = mlp(width, n_hidden, n_latent)
        self.state = mlp(n_latent, n_hidden, dim)

    def posterior(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Law of the latent, a Gaussian with independent components.

        Parameters
        ----------
        hidden
            Hidden vectors, shape (..., width).

        Returns
        -------
        Mean and variance, each (..., n_latent).
        """
        # The bounds keep exp() finite whatever the network says; the constant keeps the divergence finite.
        variance = self.log_variance(hidden).float().clamp(-10, 10).exp() + 1e-4
        return self.mean(hidden).float(), variance

    def loss(
        self, hidden: Tensor, now: Tensor, trajectory: Tensor, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Loss of each state.

        Parameters
        ----------
        hidden
            Shape (..., T, width).
        now
            States x_0 .. x_{T-1}, shape (..., T, D); not read by this decoder.
        trajectory
            States x_0 .. x_T, shape (..., T + 1, D).
        generator
            Source of the latent noise.

        Returns
        -------
        ``loss`` and its parts ``error`` and ``kl``, each (..., T).
        """
        mean, variance = self.posterior(hidden)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        next_state = self.state(mean + variance.sqrt() * noise).float()
        error = (next_state - trajectory[..., 1:, :]).square().sum(-1)
        kl = 0.5 * (variance + mean.square() - 1 - variance.log()).sum(-1)
        return {"loss": error + self.kl_weight * kl, "error": error, "kl": kl}

    def sample(self, hidden: Tensor, now: Tensor, noise: Tensor, temperature: float) -> Tensor:
        """Draw the next state.

        Parameters
        ----------
        hidden
            Hidden vectors, shape (..., width).
        now
            Current states, shape (..., D), in scaled scores; not read by this decoder.
        noise
            Standard normal, shape (..., noise_dim); here ``noise_dim`` is ``n_latent``.
        temperature
            Factor on the variance; 0 takes the mean.

        Returns
        -------
        Shape (..., D).
        """
        mean, variance = self.posterior(hidden)
        return self.state(mean + (temperature * variance).sqrt() * noise).float()


class RegressionDecoder(nn.Module):
    """The next state without a law: the variational decoder without its latent, for ablation.

    The loss is the squared error summed over the D features. A rollout has no randomness but that of its source, and
    the temperature changes nothing. Parameters as for :class:`VariationalDecoder`.

    Examples
    --------
    >>> import torch
    >>> from sccalmflow.flow import RegressionDecoder
    >>> decoder = RegressionDecoder(dim=3, width=8, n_hidden=16)
    >>> hidden, states = torch.zeros(5, 4, 8), torch.zeros(5, 5, 3)
    >>> {name: tuple(part.shape) for name, part in decoder.loss(hidden, states[:, :-1], states).items()}
    {'loss': (5, 4), 'error': (5, 4)}
    >>> noise = torch.randn(5, decoder.noise_dim)
    >>> decoder.sample(hidden[:, 0], states[:, 0], noise, temperature=1.0).shape
    torch.Size([5, 3])
    """

    target: Literal["next", "endpoint"] = "next"
    noise_dim = 0

    def __init__(self, dim: int, width: int, n_hidden: int) -> None:
        super().__init__()
        self.state = mlp(width, n_hidden, dim)

    def loss(
        self, hidden: Tensor, now: Tensor, trajectory: Tensor, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Loss of each state; arguments and shapes as for :meth:`VariationalDecoder.loss`, part ``error``."""
        error = (self.state(hidden).float() - trajectory[..., 1:, :]).square().sum(-1)
        return {"loss": error, "error": error}

    def sample(self, hidden: Tensor, now: Tensor, noise: Tensor, temperature: float) -> Tensor:
        """The next state, as for :meth:`VariationalDecoder.sample` but without noise: ``noise_dim`` is 0."""
        return self.state(hidden).float()


Decoder = VariationalDecoder | EnergyDecoder | GaussianDecoder | MixtureDecoder | RegressionDecoder

__all__ = [
    "Decoder",
    "DecoderName",
    "EnergyDecoder",
    "GaussianDecoder",
    "MixtureDecoder",
    "RegressionDecoder",
    "VariationalDecoder",
    "mlp",
]
