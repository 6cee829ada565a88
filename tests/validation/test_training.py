import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.datasets import make_moons

from sccalmflow.flow import FlowConfig, VolterraFlow
from sccalmflow.validation._runs import once
from sccalmflow.validation._synthetic.distributions import (
    EIGHT_GAUSSIANS,
    GAUSSIAN,
    MOONS,
    NOISY_MOONS,
    THREE_GAUSSIANS,
    even_half_circles,
    in_dimensions,
    independent_half_circles,
    plane_in,
)
from sccalmflow.validation._training import Recipe, build, generate, train

TINY = Recipe(
    flow=FlowConfig(dim=2, n_steps=4, n_hidden=8),
    backbone="gpt_neox",
    width=8,
    n_layers=1,
    n_heads=1,
    n_updates=3,
    batch_size=8,
    lr=1e-3,
)
TINY_PAPER = replace(
    TINY,
    flow=FlowConfig(dim=2, path="straight", decoder="variational", n_steps=4, n_hidden=8, n_latent=4),
    backbone="gpt2",
    temperatures=(0.2, 1.0),
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_half_circles_are_those_of_scikit_learn():
    expected = make_moons(101, shuffle=False)[0]
    np.testing.assert_allclose(even_half_circles(101, generator()).numpy(), expected, atol=1e-6)


def test_moons_are_half_circles_shifted_along_the_diagonal_and_scaled():
    shift = (MOONS.sample(500, generator()) + 1) / 3 - even_half_circles(500, generator())
    torch.testing.assert_close(shift[:, 0], shift[:, 1], atol=1e-5, rtol=0)
    assert shift.min() > -1e-5 and shift.max() < 0.2 + 1e-5
    assert shift.mean() == pytest.approx(0.1, abs=0.01)


def test_noisy_moons_have_independent_normal_noise():
    noise = (NOISY_MOONS.sample(20_000, generator()) + 1) / 3 - even_half_circles(20_000, generator())
    np.testing.assert_allclose(np.cov(noise.T.numpy()), 0.04 * np.eye(2), atol=2e-3)


def test_independent_and_even_samples_have_one_law():
    independent, even = (draw(40_000, generator()) for draw in (MOONS.draw, MOONS.sample))
    torch.testing.assert_close(independent.mean(0), even.mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(independent.T.cov(), even.T.cov(), atol=0.1, rtol=0)
    points = independent_half_circles(1_000, generator())
    radius = torch.minimum(points.norm(dim=1), (torch.tensor([1.0, 0.5]) - points).norm(dim=1))
    assert (radius < 1 + 1e-5).all()


def test_eight_gaussians_have_their_centres_and_variance():
    points = EIGHT_GAUSSIANS.draw(40_000, generator()).numpy()
    nearest = np.round(np.arctan2(points[:, 1], points[:, 0]) / (math.pi / 4)) % 8
    for number in range(8):
        cluster = points[nearest == number]
        angle = number * math.pi / 4
        np.testing.assert_allclose(cluster.mean(0), [5 * math.cos(angle), 5 * math.sin(angle)], atol=0.03)
        np.testing.assert_allclose(np.cov(cluster.T), 0.1 * np.eye(2), atol=0.01)
        assert len(cluster) == pytest.approx(5_000, abs=300)


def test_three_gaussians_are_a_third_of_the_circle_apart():
    points = THREE_GAUSSIANS.draw(6_000, generator())
    for number in range(3):
        centre = 5 * torch.tensor([math.cos(2 * math.pi * number / 3), math.sin(2 * math.pi * number / 3)])
        assert ((points - centre).norm(dim=1) < 2).float().mean() == pytest.approx(1 / 3, abs=0.03)


def test_the_plane_in_more_dimensions_is_orthonormal_and_fixed():
    plane = plane_in(50)
    torch.testing.assert_close(plane.T @ plane, torch.eye(2), atol=1e-6, rtol=0)
    assert torch.equal(plane, plane_in(50))
    assert torch.equal(plane_in(2), torch.eye(2))


@pytest.mark.parametrize("law", [EIGHT_GAUSSIANS, MOONS])
def test_in_more_dimensions_a_law_keeps_its_shape_on_the_plane_and_has_noise_off_it(law):
    plane, points = plane_in(20), in_dimensions(law, 20).draw(20_000, generator())
    torch.testing.assert_close((points @ plane).T.cov(), law.draw(20_000, generator()).T.cov(), atol=0.3, rtol=0)
    off = torch.linalg.qr(torch.cat([plane, torch.eye(20)[:, 2:]], dim=1))[0][:, 2:]
    torch.testing.assert_close((points @ off).T.cov(), 0.1 * torch.eye(18), atol=0.01, rtol=0)


def test_the_source_stays_standard_normal_and_the_plane_is_left_as_it_is():
    torch.testing.assert_close(
        in_dimensions(GAUSSIAN, 20).draw(20_000, generator()).T.cov(), torch.eye(20), atol=0.05, rtol=0
    )
    assert in_dimensions(MOONS, 2) is MOONS


@pytest.mark.parametrize("recipe", [TINY, TINY_PAPER, replace(TINY, flow=replace(TINY.flow, n_trajectories=3))])
def test_training_is_reproducible_and_leaves_the_global_random_state(recipe):
    before = torch.get_rng_state()
    first, second, other = (train(recipe, EIGHT_GAUSSIANS.draw, MOONS.draw, seed)[0] for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    samples = [generate(flow, EIGHT_GAUSSIANS.draw, 10, generator()) for flow in (first, second, other)]
    assert samples[0].shape == (10, 2)
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])


@pytest.mark.parametrize("n_trajectories", [1, 4])
def test_paired_draws_are_the_same_ones_and_travel_no_further_than_they_must(monkeypatch, n_trajectories: int):
    seen = []

    def loss(self, endpoint, source, **options):
        seen.append((source.flatten(0, 2), endpoint.flatten(0, 1)))
        return {"loss": sum(parameter.sum() for parameter in self.parameters())}

    monkeypatch.setattr(VolterraFlow, "loss", loss)
    for paired in (False, True):
        flow = replace(TINY_PAPER.flow, n_trajectories=n_trajectories)
        recipe = replace(TINY_PAPER, flow=flow, n_updates=1, batch_size=8 // n_trajectories, ot_pairing=paired)
        train(recipe, EIGHT_GAUSSIANS.draw, MOONS.draw, seed=0)
    (as_drawn, endpoint), (paired_with_it, same) = seen
    assert torch.equal(endpoint, same)
    cost = torch.cdist(as_drawn, endpoint).square()
    rows, columns = linear_sum_assignment(cost.numpy())
    expected = as_drawn[torch.as_tensor(rows)[torch.as_tensor(columns).argsort()]]
    torch.testing.assert_close(paired_with_it, expected)
    assert not torch.equal(paired_with_it, as_drawn)


def test_training_moves_the_samples_towards_the_target():
    recipe = replace(TINY, width=16, n_updates=80, batch_size=32, lr=1e-2)
    flow, _ = train(recipe, EIGHT_GAUSSIANS.draw, lambda n, g: 4 + MOONS.draw(n, g), seed=0)
    mean = generate(flow, EIGHT_GAUSSIANS.draw, 500, generator()).mean(0)
    untrained = generate(build(recipe, 0).eval(), EIGHT_GAUSSIANS.draw, 500, generator()).mean(0)
    centre = 4 + MOONS.sample(1_000, generator()).mean(0)
    assert (mean - centre).norm() < 0.25 * (untrained - centre).norm()


def test_training_stops_at_a_loss_that_is_not_finite():
    with pytest.raises(FloatingPointError, match="update 1 is nan"):
        train(TINY, EIGHT_GAUSSIANS.draw, lambda n, g: torch.full((n, 2), torch.nan), seed=0)


def test_other_settings_are_another_run_and_a_failed_one_leaves_no_file(tmp_path):
    path = tmp_path / "run.json"

    def fail():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        once(path, {"lr": 1}, fail)
    assert not list(tmp_path.iterdir())
    assert once(path, {"lr": 1, "sizes": (1, 2)}, lambda: {"w2": 1}) == {"w2": 1}
    assert once(path, {"lr": 1, "sizes": (1, 2)}, fail) == {"w2": 1}
    assert once(path, {"lr": 2, "sizes": (1, 2)}, lambda: {"w2": 3}) == {"w2": 3}


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_foreign_file_is_refused(tmp_path, text):
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="not the result of a run"):
        once(path, {}, dict)
