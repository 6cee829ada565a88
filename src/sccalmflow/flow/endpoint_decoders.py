"""Decoders that draw the endpoint of a trajectory, from the hidden vector of its history and its current state.

Their interface is that of :mod:`sccalmflow.flow.decoders`; they need independent states in time, the resampled path.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn


class EnergyDecoder(nn.Module):
    """Draws of the endpoint given the history, trained by their energy score.

    ``x1 = (1 + gate(h)) x + f(h, x, z) + s(h, x) e`` with a standard normal latent ``z``, which carries what the
    features do together, and a standard normal ``e`` of D features for what each does alone. Nothing is assumed of the
    law, and no density is needed: the score (Gneiting and Raftery 2007) of two draws ``a`` and ``b`` for an endpoint
    ``y``, ``(|a - y| + |b - y| - |a - b|) / 2``, is least on average for the true law. It is divided by the root of D.
    Needs independent states in time (the resampled path). Parameters as for :class:`VariationalDecoder`.

    Examples
    --------
    >>> import torch
    >>> from sccalmflow.flow import EnergyDecoder
    >>> decoder = EnergyDecoder(dim=3, width=8, n_hidden=16, n_latent=2)
    >>> hidden, states = torch.zeros(5, 4, 8), torch.zeros(5, 5, 3)
    >>> {name: tuple(part.shape) for name, part in decoder.loss(hidden, states[:, :-1], states).items()}
    {'loss': (5, 4), 'error': (5, 4), 'spread': (5, 4)}
    >>> noise = torch.randn(5, decoder.noise_dim)
    >>> decoder.sample(hidden[:, 0], states[:, 0], noise, temperature=1.0).shape
    torch.Size([5, 3])
    >>> decoder.draws(hidden, states[:, :-1], torch.randn(7, 5, 4, decoder.noise_dim)).shape
    torch.Size([7, 5, 4, 3])
    """

    target: Literal["next", "endpoint"] = "endpoint"
    log_scale_bounds = (-6.0, 3.0)

    def __init__(self, dim: int, width: int, n_hidden: int, n_latent: int) -> None:
        super().__init__()
        self.n_latent = n_latent
        self.noise_dim = n_latent + dim
        # A scale of the state by itself: in many dimensions the narrow layers below could not take noise away.
        self.gate = nn.Linear(width, 1)
        self.state = nn.Linear(width + dim, n_hidden)
        self.latent = nn.Linear(n_latent, n_hidden, bias=False)
        last, self.log_scale = nn.Linear(n_hidden, dim), nn.Linear(n_hidden, dim)
        # Starts near "the endpoint is the current state", as it nearly is when the source is control cells.
        for layer, spread, start in ((self.gate, 0.0, 0.0), (last, 0.05, 0.0), (self.log_scale, 0.01, -1.0)):
            nn.init.normal_(layer.weight, std=spread)
            nn.init.constant_(layer.bias, start)
        self.shift = nn.Sequential(nn.GELU(), nn.Linear(n_hidden, n_hidden), nn.GELU(), last)

    def draws(self, hidden: Tensor, now: Tensor, noise: Tensor) -> Tensor:
        """Several endpoints of each state.

        Parameters
        ----------
        hidden
            Hidden vectors, shape (..., width).
        now
            Current states, shape (..., D).
        noise
            N standard normal draws for each of them, shape (N, ..., n_latent + D).

        Returns
        -------
        Shape (N, ..., D).
        """
        features = self.state(torch.cat([hidden, now.to(hidden.dtype)], -1))
        latent, own = noise.split([self.n_latent, now.shape[-1]], -1)
        shift = self.shift(features + self.latent(latent.to(features.dtype))).float()
        scale = self.log_scale(nn.functional.gelu(features)).float().clamp(*self.log_scale_bounds).exp()
        return (1 + self.gate(hidden).float()) * now + shift + scale * own

    def loss(
        self, hidden: Tensor, now: Tensor, trajectory: Tensor, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Loss of each state; shapes as for :meth:`VariationalDecoder.loss`, parts ``error`` and ``spread``.

        ``error`` is the mean distance of a draw to the endpoint and ``spread`` that of two draws, both divided by the
        root of D; the loss is the error less half of the spread.
        """
        noise = torch.randn(2, *now.shape[:-1], self.noise_dim, generator=generator, device=now.device)
        drawn = self.draws(hidden, now, noise)
        error = _distance(drawn, trajectory[..., -1:, :]).mean(0)
        spread = _distance(drawn[0], drawn[1])
        return {"loss": error - spread / 2, "error": error, "spread": spread}

    def sample(self, hidden: Tensor, now: Tensor, noise: Tensor, temperature: float) -> Tensor:
        """Draw the endpoint, as for :meth:`VariationalDecoder.sample`; ``noise_dim`` is ``n_latent + D``.

        The temperature scales the variance of the latent and of each feature's noise.
        """
        return self.draws(hidden, now, temperature**0.5 * noise[None])[0]


def _distance(x: Tensor, y: Tensor) -> Tensor:
    """Root of the mean squared difference over the features; its gradient is finite where the two are equal."""
    return ((x - y).square().mean(-1) + 1e-8).sqrt()


def _log_variance(raw: Tensor) -> Tensor:
    """Between bounds that keep exp() finite whatever the network says."""
    low, high = -9.0, 5.0
    return low + (high - low) * torch.sigmoid(raw)


class GaussianDecoder(nn.Module):
    """The posterior of the endpoint given the history, a Gaussian with independent components.

    The mean is a residual on the current state. The loss is the squared error of the mean, averaged over the D
    features, plus ``nll_weight`` times the Gaussian log-likelihood in which the error is detached: the variance
    follows the error but cannot trade it away. Needs independent states in time (the resampled path).

    The squared errors of early times, when little is known, are far larger than those of late ones. They can be
    weighted with the predicted precision to the power ``precision_power`` (without a gradient): 0 counts them as they
    are, 1 is the gradient of the likelihood, and values between are a compromise (Seitzer et al. 2022, beta = 1 -
    power).

    ``dim``, ``width`` and ``n_hidden`` are as for :class:`VariationalDecoder`.

    Parameters
    ----------
    nll_weight
        Weight of the likelihood.
    precision_power
        Power of the predicted precision, from 0 to 1.

    Examples
    --------
    >>> import torch
    >>> from sccalmflow.flow import GaussianDecoder
    >>> decoder = GaussianDecoder(dim=3, width=8, n_hidden=16, nll_weight=0.2, precision_power=0.5)
    >>> hidden, states = torch.zeros(5, 4, 8), torch.zeros(5, 5, 3)
    >>> {name: tuple(part.shape) for name, part in decoder.loss(hidden, states[:, :-1], states).items()}
    {'loss': (5, 4), 'error': (5, 4), 'nll': (5, 4)}
    >>> noise = torch.randn(5, decoder.noise_dim)
    >>> decoder.sample(hidden[:, 0], states[:, 0], noise, temperature=1.0).shape
    torch.Size([5, 3])
    >>> mean, log_variance = decoder.posterior(hidden, states[:, :-1])
    >>> mean.shape, log_variance.shape
    (torch.Size([5, 4, 3]), torch.Size([5, 4, 3]))
    """

    target: Literal["next", "endpoint"] = "endpoint"

    def __init__(self, dim: int, width: int, n_hidden: int, nll_weight: float, precision_power: float) -> None:
        super().__init__()
        self.nll_weight = nll_weight
        self.precision_power = precision_power
        self.noise_dim = dim
        last = nn.Linear(n_hidden, 2 * dim)
        # Starts at "the endpoint is the current state": near it, when the source is control cells.
        nn.init.zeros_(last.bias)
        nn.init.normal_(last.weight, std=0.01)
        self.state = nn.Sequential(nn.Linear(width + dim, n_hidden), nn.GELU(), last)

    def posterior(self, hidden: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
        """Law of the endpoint.

        Parameters
        ----------
        hidden
            Hidden vectors, shape (..., width).
        now
            Current states, shape (..., D).

        Returns
        -------
        Mean and log-variance, each (..., D).
        """
        shift, raw = self.state(torch.cat([hidden, now.to(hidden.dtype)], -1)).float().chunk(2, -1)
        return now + shift, _log_variance(raw)

    def loss(
        self, hidden: Tensor, now: Tensor, trajectory: Tensor, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Loss of each state; shapes as for :meth:`VariationalDecoder.loss`, parts ``error`` and ``nll``."""
        mean, log_variance = self.posterior(hidden, now)
        squared = (mean - trajectory[..., -1:, :]).square()
        error = (squared * torch.exp(-self.precision_power * log_variance.detach())).mean(-1)
        nll = 0.5 * (squared.detach() * torch.exp(-log_variance) + log_variance).mean(-1)
        return {"loss": error + self.nll_weight * nll, "error": error, "nll": nll}

    def sample(self, hidden: Tensor, now: Tensor, noise: Tensor, temperature: float) -> Tensor:
        """Draw the endpoint, as for :meth:`VariationalDecoder.sample`; ``noise_dim`` is D."""
        mean, log_variance = self.posterior(hidden, now)
        return mean + temperature**0.5 * torch.exp(0.5 * log_variance) * noise


class MixtureDecoder(nn.Module):
    """The posterior of the endpoint given the history, a mixture of Gaussians with independent components.

    Where the history leaves several places open, a single Gaussian draws endpoints between them, and the states that
    follow from these belong to no trajectory of training. The means are residuals on the current state. The loss is the
    negative log-likelihood divided by D. Needs independent states in time (the resampled path).

    ``dim``, ``width`` and ``n_hidden`` are as for :class:`VariationalDecoder`.

    Parameters
    ----------
    n_components
        Components C of the mixture.

    Examples
    --------
    >>> import torch
    >>> from sccalmflow.flow import MixtureDecoder
    >>> decoder = MixtureDecoder(dim=3, width=8, n_hidden=16, n_components=2)
    >>> hidden, states = torch.zeros(5, 4, 8), torch.zeros(5, 5, 3)
    >>> {name: tuple(part.shape) for name, part in decoder.loss(hidden, states[:, :-1], states).items()}
    {'loss': (5, 4), 'error': (5, 4), 'nll': (5, 4)}
    >>> noise = torch.randn(5, decoder.noise_dim)
    >>> decoder.sample(hidden[:, 0], states[:, 0], noise, temperature=1.0).shape
    torch.Size([5, 3])
    >>> [tuple(part.shape) for part in decoder.posterior(hidden, states[:, :-1])]
    [(5, 4, 2), (5, 4, 2, 3), (5, 4, 2, 3)]
    """

    target: Literal["next", "endpoint"] = "endpoint"

    def __init__(self, dim: int, width: int, n_hidden: int, n_components: int) -> None:
        super().__init__()
        self.sizes = [n_components, n_components * dim, n_components * dim]
        self.noise_dim = dim + 1
        last = nn.Linear(n_hidden, sum(self.sizes))
        nn.init.normal_(last.weight, std=0.05)
        nn.init.zeros_(last.bias)
        # Components that start at one place would learn the same.
        nn.init.normal_(last.bias[n_components : n_components * (1 + dim)])
        self.state = nn.Sequential(nn.Linear(width + dim, n_hidden), nn.GELU(), last)

    def posterior(self, hidden: Tensor, now: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Law of the endpoint; parameters as for :meth:`GaussianDecoder.posterior`.

        Returns
        -------
        Log-weights (..., C), means and log-variances (..., C, D) of the C components.
        """
        output = self.state(torch.cat([hidden, now.to(hidden.dtype)], -1)).float()
        weight, shift, raw = output.split(self.sizes, -1)
        components = (-1, now.shape[-1])
        log_variance = _log_variance(raw.unflatten(-1, components))
        return weight.log_softmax(-1), now[..., None, :] + shift.unflatten(-1, components), log_variance

    def loss(
        self, hidden: Tensor, now: Tensor, trajectory: Tensor, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Loss of each state; shapes as for :meth:`VariationalDecoder.loss`, parts ``error`` and ``nll``.

        ``error`` is the squared error of the mixture's mean, averaged over the D features; it is not trained on.
        """
        log_weight, mean, log_variance = self.posterior(hidden, now)
        endpoint = trajectory[..., -1:, :]
        squared = (mean - endpoint[..., None, :]).square()
        log_density = -0.5 * (squared * torch.exp(-log_variance) + log_variance).sum(-1)
        nll = -torch.logsumexp(log_weight + log_density, -1) / now.shape[-1]
        centre = (log_weight.exp()[..., None] * mean).sum(-2)
        return {"loss": nll, "error": (centre - endpoint).square().mean(-1).detach(), "nll": nll}

    def sample(self, hidden: Tensor, now: Tensor, noise: Tensor, temperature: float) -> Tensor:
        """Draw the endpoint, as for :meth:`VariationalDecoder.sample`; ``noise_dim`` is D + 1.

        The last of these standard normal numbers chooses the component.

        The temperature shrinks the draw towards the mixture's mean, which scales the variance of the whole law by it.
        """
        log_weight, mean, log_variance = self.posterior(hidden, now)
        weight = log_weight.exp()
        uniform = torch.special.ndtr(noise[..., -1:])
        chosen = (weight.cumsum(-1)[..., :-1] < uniform).sum(-1)[..., None, None].expand_as(mean[..., :1, :])
        spread = torch.exp(0.5 * log_variance.gather(-2, chosen)[..., 0, :])
        drawn = mean.gather(-2, chosen)[..., 0, :] + spread * noise[..., :-1]
        centre = (weight[..., None] * mean).sum(-2)
        return centre + temperature**0.5 * (drawn - centre)
