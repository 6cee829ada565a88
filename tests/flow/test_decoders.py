import math

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from sccalmflow.flow import EnergyDecoder, GaussianDecoder, MixtureDecoder, VariationalDecoder

DIM, WIDTH, LATENT = 3, 8, 4


def gaussian(nll_weight: float = 0.2) -> GaussianDecoder:
    torch.manual_seed(0)
    decoder = GaussianDecoder(DIM, WIDTH, 16, nll_weight, precision_power=0.0)
    # Away from the start, where mean and variance hardly depend on the input.
    nn.init.normal_(decoder.state[-1].weight, std=0.3)
    return decoder


def variational(kl_weight: float = 0.3) -> VariationalDecoder:
    torch.manual_seed(0)
    return VariationalDecoder(DIM, WIDTH, 16, LATENT, kl_weight)


def energy() -> EnergyDecoder:
    torch.manual_seed(0)
    return EnergyDecoder(DIM, WIDTH, 16, LATENT)


def inputs(scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden vectors, states and trajectories of two sequences, one trajectory, five times."""
    generator = torch.Generator().manual_seed(1)
    trajectory = scale * torch.randn(2, 1, 6, DIM, generator=generator)
    return scale * torch.randn(2, 1, 5, WIDTH, generator=generator), trajectory[..., :-1, :], trajectory


def test_divergence_is_that_of_torch_distributions() -> None:
    decoder, (hidden, now, trajectory) = variational(), inputs()
    mean, variance = decoder.posterior(hidden)
    expected = kl_divergence(Normal(mean, variance.sqrt()), Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(decoder.loss(hidden, now, trajectory)["kl"], expected)


def test_variational_error_is_the_squared_distance_of_a_seeded_draw_to_the_next_state() -> None:
    decoder, (hidden, now, trajectory) = variational(kl_weight=0.7), inputs()
    terms = decoder.loss(hidden, now, trajectory, generator=torch.Generator().manual_seed(3))
    noise = torch.randn(2, 1, 5, LATENT, generator=torch.Generator().manual_seed(3))
    drawn = decoder.sample(hidden, now, noise, temperature=1.0)
    for time in range(5):
        expected = ((drawn[:, :, time] - trajectory[:, :, time + 1]) ** 2).sum(-1)
        torch.testing.assert_close(terms["error"][:, :, time], expected)
    torch.testing.assert_close(terms["loss"], terms["error"] + 0.7 * terms["kl"])


def test_gaussian_error_and_likelihood_are_those_of_torch_distributions_at_the_endpoint() -> None:
    decoder, (hidden, now, trajectory) = gaussian(nll_weight=0.5), inputs()
    mean, log_variance = decoder.posterior(hidden, now)
    endpoint = trajectory[:, :, -1:].expand_as(mean)
    terms = decoder.loss(hidden, now, trajectory)
    expected = -Normal(mean, (0.5 * log_variance).exp()).log_prob(endpoint).mean(-1) - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(terms["nll"], expected)
    torch.testing.assert_close(terms["error"], nn.functional.mse_loss(mean, endpoint, reduction="none").mean(-1))
    torch.testing.assert_close(terms["loss"], terms["error"] + 0.5 * terms["nll"])


def test_likelihood_leaves_the_gradient_of_the_mean_alone() -> None:
    hidden, now, trajectory = inputs()
    gradients = []
    for weight in (0.0, 5.0):
        decoder = gaussian(weight)
        decoder.loss(hidden, now, trajectory)["loss"].sum().backward()
        gradients.append(decoder.state[-1].bias.grad)
    torch.testing.assert_close(gradients[0][:DIM], gradients[1][:DIM])
    assert gradients[0][DIM:].abs().max() == 0
    assert gradients[1][DIM:].abs().min() > 0


def test_gradient_of_the_likelihood_agrees_with_finite_differences() -> None:
    decoder = gaussian()
    hidden, now, trajectory = inputs()
    decoder.loss(hidden, now, trajectory)["nll"].sum().backward()
    bias, step = decoder.state[-1].bias, 1e-2
    for component in range(DIM, 2 * DIM):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                bias[component] += sign * step
                values.append(decoder.loss(hidden, now, trajectory)["nll"].sum().item())
                bias[component] -= sign * step
        assert bias.grad[component].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=2e-2)


def test_error_weighted_with_the_full_precision_moves_the_mean_as_the_likelihood_does() -> None:
    decoder, (hidden, now, trajectory) = gaussian(nll_weight=0.0), inputs()
    decoder.precision_power = 1.0
    mean, log_variance = (part.detach().requires_grad_() for part in decoder.posterior(hidden, now))
    decoder.posterior = lambda *_: (mean, log_variance)  # type: ignore[method-assign]
    weighted, no_pull = torch.autograd.grad(
        decoder.loss(hidden, now, trajectory)["loss"].sum(), [mean, log_variance], allow_unused=True
    )
    endpoint = trajectory[:, :, -1:].expand_as(mean)
    likelihood = -Normal(mean, (0.5 * log_variance.detach()).exp()).log_prob(endpoint).mean(-1).sum()
    torch.testing.assert_close(weighted, 2 * torch.autograd.grad(likelihood, mean)[0])
    assert no_pull is None or not no_pull.any()


def test_an_untrained_gaussian_decoder_starts_near_the_current_state() -> None:
    hidden, now, _ = inputs()
    mean, _ = GaussianDecoder(DIM, WIDTH, 16, 0.2, 0.0).posterior(hidden, now)
    assert (mean - now).abs().max() < 0.2


def test_temperature_zero_gives_the_mean_whatever_the_noise() -> None:
    hidden, now, _ = inputs()
    noise = torch.randn(2, 1, 5, DIM)
    torch.testing.assert_close(gaussian().sample(hidden, now, noise, 0.0), gaussian().posterior(hidden, now)[0])
    decoder = variational()
    expected = decoder.state(decoder.posterior(hidden)[0])
    torch.testing.assert_close(decoder.sample(hidden, now, torch.randn(2, 1, 5, LATENT), 0.0), expected)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0])
def test_spread_of_gaussian_draws_is_the_root_of_temperature_times_variance(temperature: float) -> None:
    decoder = gaussian()
    hidden, now, _ = inputs()
    hidden, now = hidden[0, 0, 0], now[0, 0, 0]
    noise = torch.randn(20_000, DIM, generator=torch.Generator().manual_seed(0))
    drawn = decoder.sample(hidden.expand(20_000, -1), now.expand(20_000, -1), noise, temperature)
    mean, log_variance = decoder.posterior(hidden, now)
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.1, rtol=0)
    torch.testing.assert_close(drawn.std(0), (temperature * log_variance.exp()).sqrt(), rtol=0.03, atol=0)


@pytest.mark.parametrize("temperature", [0.25, 4.0])
def test_spread_of_the_latent_is_the_root_of_temperature_times_variance(temperature: float) -> None:
    decoder = variational()
    decoder.state = nn.Identity()  # the latent itself comes out
    hidden, now, _ = inputs()
    noise = torch.ones(2, 1, 5, LATENT)
    mean, variance = decoder.posterior(hidden)
    drawn = decoder.sample(hidden, now, noise, temperature)
    torch.testing.assert_close((drawn - mean).square(), temperature * variance, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make", [gaussian, variational, energy])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_variances_loss_and_gradients_stay_finite_for_huge_hidden_vectors(make, sign: float) -> None:
    decoder = make()
    hidden, now, trajectory = inputs()
    hidden = (sign * 1e6 * hidden).requires_grad_()
    terms = decoder.loss(hidden, now, trajectory)
    terms["loss"].sum().backward()
    assert all(torch.isfinite(value).all() for value in terms.values())
    assert torch.isfinite(hidden.grad).all()
    noise = torch.randn(2, 1, 5, decoder.noise_dim)
    assert torch.isfinite(decoder.sample(hidden, now, noise, 1.0)).all()


def test_targets_say_what_is_drawn() -> None:
    assert (GaussianDecoder.target, VariationalDecoder.target) == ("endpoint", "next")


def mixture() -> MixtureDecoder:
    torch.manual_seed(0)
    decoder = MixtureDecoder(DIM, WIDTH, 16, 3)
    nn.init.normal_(decoder.state[-1].weight, std=0.5)
    return decoder


def as_distribution(decoder: MixtureDecoder, hidden: torch.Tensor, now: torch.Tensor) -> MixtureSameFamily:
    log_weight, mean, log_variance = decoder.posterior(hidden, now)
    return MixtureSameFamily(Categorical(logits=log_weight), Independent(Normal(mean, (0.5 * log_variance).exp()), 1))


def test_mixture_loss_is_the_likelihood_of_torch_distributions_per_feature() -> None:
    decoder, (hidden, now, trajectory) = mixture(), inputs()
    law, endpoint = as_distribution(decoder, hidden, now), trajectory[:, :, -1:].expand(-1, -1, 5, -1)
    terms = decoder.loss(hidden, now, trajectory)
    torch.testing.assert_close(terms["loss"], -law.log_prob(endpoint) / DIM - 0.5 * math.log(2 * math.pi))
    torch.testing.assert_close(terms["error"], (law.mean - endpoint).square().mean(-1))


@pytest.mark.parametrize("temperature", [0.0, 0.25, 1.0])
def test_mixture_draws_have_the_mean_and_temperature_times_the_variance_of_the_mixture(temperature: float) -> None:
    decoder, n = mixture(), 200_000
    hidden, now, _ = (part[:1, :, :1] for part in inputs())
    noise = torch.randn(1, 1, n, decoder.noise_dim, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        drawn = decoder.sample(hidden.expand(-1, -1, n, -1), now.expand(-1, -1, n, -1), noise, temperature)[0, 0]
        law = as_distribution(decoder, hidden, now)
        torch.testing.assert_close(drawn.mean(0), law.mean[0, 0, 0], atol=0.05, rtol=0)
        torch.testing.assert_close(drawn.var(0), temperature * law.variance[0, 0, 0], atol=1e-4, rtol=0.02)
        if temperature == 1:
            shares = (drawn[:, None] < drawn[:5]).double().mean(0)
            expected = (law.sample((n,))[:, 0, 0, 0][:, None] < drawn[:5]).double().mean(0)
            torch.testing.assert_close(shares, expected, atol=0.01, rtol=0)


def test_energy_loss_is_the_energy_score_of_two_seeded_draws() -> None:
    decoder, (hidden, now, trajectory) = energy(), inputs()
    terms = decoder.loss(hidden, now, trajectory, generator=torch.Generator().manual_seed(3))
    noise = torch.randn(2, 2, 1, 5, decoder.noise_dim, generator=torch.Generator().manual_seed(3))
    a, b = (decoder.sample(hidden, now, one, temperature=1.0) for one in noise)
    y = trajectory[:, :, -1:]
    score = ((a - y).norm(dim=-1) + (b - y).norm(dim=-1) - (a - b).norm(dim=-1)) / 2
    torch.testing.assert_close(terms["loss"], score / DIM**0.5)
    torch.testing.assert_close(terms["loss"], terms["error"] - terms["spread"] / 2)


def test_an_energy_decoder_learns_several_places_and_what_the_features_do_together() -> None:
    torch.manual_seed(0)
    decoder, n = EnergyDecoder(2, 1, 32, 4), 512
    hidden, now = torch.zeros(n, 1), torch.zeros(n, 2)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=5e-3)
    for _ in range(600):
        # One of two places, (2, 1) and (-2, -1): the features go together, and nothing lies between.
        endpoint = torch.tensor([2.0, 1.0]) * torch.randint(2, (n, 1)).mul(2).sub(1)
        trajectory = torch.stack([now, endpoint], dim=-2)
        loss = decoder.loss(hidden[:, None], now[:, None], trajectory)["loss"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        drawn = decoder.sample(hidden, now, torch.randn(n, decoder.noise_dim), 1.0)
    assert torch.corrcoef(drawn.T)[0, 1] > 0.95
    torch.testing.assert_close(drawn.std(0), torch.tensor([2.0, 1.0]), rtol=0.1, atol=0)
    assert (drawn[:, 0].abs() < 1).float().mean() < 0.1


def test_an_untrained_energy_decoder_draws_about_the_current_state() -> None:
    hidden, now, _ = inputs()
    assert (energy().sample(hidden, now, torch.zeros(2, 1, 5, LATENT + DIM), 1.0) - now).abs().max() < 0.2


def test_the_temperature_of_an_energy_decoder_scales_all_of_its_noise() -> None:
    hidden, now, _ = inputs()
    noise = torch.randn(2, 1, 5, LATENT + DIM)
    decoder = energy()
    torch.testing.assert_close(decoder.sample(hidden, now, noise, 4.0), decoder.sample(hidden, now, 2 * noise, 1.0))
    torch.testing.assert_close(decoder.sample(hidden, now, noise, 0.0), decoder.sample(hidden, now, -noise, 0.0))
