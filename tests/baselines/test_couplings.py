"""Couplings and paths of flow matching against POT, closed forms and torchcfm."""

import math

import numpy as np
import ot
import pytest
import torch

from sccalmflow.baselines._coupling import entropic_plan, exact_plan, partners
from sccalmflow.baselines._flow_matching import conditional_path


def draws(n=40, dim=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    source = torch.randn(n, dim, generator=generator)
    endpoint = 2 * torch.randn(n, dim, generator=generator) + 1
    time, noise = torch.rand(n, generator=generator), torch.randn(n, dim, generator=generator)
    return source, endpoint, time, noise


def squared(source, endpoint):
    return ((source[:, None] - endpoint[None]) ** 2).sum(-1).double().numpy()


def pair(source, endpoint, coupling, *, group=None, regularisation=2.0, seed=0):
    group = torch.zeros(len(source), dtype=torch.long) if group is None else group
    generator = torch.Generator().manual_seed(seed)
    return partners(source, endpoint, group, coupling, regularisation=regularisation, generator=generator)


def test_the_exact_plan_is_that_of_pot_and_its_pairs_cost_less():
    source, endpoint, *_ = draws()
    uniform = np.full(40, 1 / 40)
    expected = ot.emd(uniform, uniform, squared(source, endpoint))
    np.testing.assert_allclose(exact_plan(source, endpoint), expected, atol=1e-12)
    index = pair(source, endpoint, "ot")
    assert sorted(index.tolist()) == list(range(40))
    cost = squared(source, endpoint)
    assert cost[index, np.arange(40)].mean() == pytest.approx((expected * cost).sum())
    assert cost[index, np.arange(40)].mean() < 0.9 * np.diag(cost).mean()


@pytest.mark.parametrize("regularisation", [0.5, 2.0, 50.0])
def test_the_entropic_plan_is_that_of_pot_with_uniform_margins(regularisation):
    source, endpoint, *_ = draws()
    uniform = np.full(40, 1 / 40)
    plan = entropic_plan(source, endpoint, regularisation)
    np.testing.assert_allclose(plan.sum(0), uniform, rtol=0.02)
    np.testing.assert_allclose(plan.sum(1), uniform, rtol=0.02)
    expected = ot.sinkhorn(
        uniform, uniform, squared(source, endpoint), regularisation, stopThr=1e-9, numItermax=100_000
    )
    np.testing.assert_allclose(plan, expected, atol=2e-4)


def test_the_entropic_plan_goes_from_the_exact_one_to_independence():
    source, endpoint, *_ = draws()
    # exp(-cost / 1e-4) is 0 everywhere: Sinkhorn on the costs themselves has nothing to scale.
    plan = entropic_plan(source, endpoint, 1e-4)
    assert plan.sum() == pytest.approx(1)
    np.testing.assert_array_equal(plan.argmax(0), exact_plan(source, endpoint).argmax(0))
    np.testing.assert_allclose(entropic_plan(source, endpoint, 1e6), np.full((40, 40), 1 / 1600), rtol=1e-3)


def test_pairs_of_the_bridge_are_drawn_from_the_plan():
    source, endpoint, *_ = draws(n=4)
    plan = entropic_plan(source, endpoint, 8.0)
    counts = np.zeros((4, 4))
    for seed in range(400):
        counts[pair(source, endpoint, "schroedinger", regularisation=8.0, seed=seed), np.arange(4)] += 1
    np.testing.assert_allclose(counts / counts.sum(), plan, atol=0.03)


@pytest.mark.parametrize("coupling", ["independent", "ot", "schroedinger"])
def test_pairs_never_cross_groups(coupling):
    source, endpoint, *_ = draws()
    group = torch.arange(40) % 3
    assert torch.equal(group[pair(source, endpoint, coupling, group=group)], group)


def test_straight_paths_have_the_stated_state_and_velocity():
    source, endpoint, time, noise = draws()
    state, velocity = conditional_path(source, endpoint, time, noise, sigma=0.3, bridge=False)
    for i in range(40):
        expected = (1 - time[i]) * source[i] + time[i] * endpoint[i] + 0.3 * noise[i]
        torch.testing.assert_close(state[i], expected)
    torch.testing.assert_close(velocity, endpoint - source)


def test_the_bridge_has_the_brownian_variance_and_the_velocity_that_moves_it():
    n, sigma = 200_000, 0.7
    noise = torch.randn(n, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    source, endpoint = torch.full((n, 1), -1.0), torch.full((n, 1), 2.0)

    def at(t):
        time = torch.full((n,), t, dtype=torch.float64)
        return conditional_path(source, endpoint, time, noise, sigma=sigma, bridge=True)

    for t in (0.1, 0.5, 0.8):
        state, velocity = at(t)
        assert state.mean() == pytest.approx(-1 + 3 * t, abs=0.01)
        assert state.std() == pytest.approx(sigma * math.sqrt(t * (1 - t)), rel=0.01)
        # The same noise at a later time is the same particle, so the velocity is its derivative.
        torch.testing.assert_close(velocity, (at(t + 1e-6)[0] - at(t - 1e-6)[0]) / 2e-6, rtol=1e-4, atol=1e-4)


def test_the_bridge_is_finite_at_both_ends():
    source, endpoint, _, noise = draws(n=2)
    state, velocity = conditional_path(source, endpoint, torch.tensor([0.0, 1.0]), noise, sigma=1.0, bridge=True)
    assert velocity.isfinite().all()
    torch.testing.assert_close(state, torch.stack([source[0], endpoint[1]]))


@pytest.mark.parametrize("coupling", ["independent", "ot", "schroedinger"])
def test_plans_and_losses_are_those_of_torchcfm(coupling):
    torchcfm = pytest.importorskip("torchcfm.conditional_flow_matching")
    planner = pytest.importorskip("torchcfm.optimal_transport").OTPlanSampler
    # In float32 torchcfm loses digits: it takes the noise of a bridge from the state less its mean.
    source, endpoint, time, _ = (part.double() for part in draws(n=64))
    sigma = 0.8
    bridge = coupling == "schroedinger"
    if coupling != "independent":
        theirs = planner("sinkhorn" if bridge else "exact", reg=2 * sigma**2).get_map(source, endpoint)
        mine = entropic_plan(source, endpoint, 2 * sigma**2) if bridge else exact_plan(source, endpoint)
        np.testing.assert_allclose(mine, theirs, atol=1e-4)
        source = source[pair(source, endpoint, coupling, regularisation=2 * sigma**2)]
    kind = torchcfm.SchrodingerBridgeConditionalFlowMatcher if bridge else torchcfm.ConditionalFlowMatcher
    matcher = kind(sigma=sigma)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        noise = torch.randn_like(source)
        network = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.SELU(), torch.nn.Linear(16, 3)).double()
    # The pairs are given: both sides take the same.
    theirs_state = matcher.sample_xt(source, endpoint, time, noise)
    theirs_velocity = matcher.compute_conditional_flow(source, endpoint, time, theirs_state)
    state, velocity = conditional_path(source, endpoint, time, noise, sigma=sigma, bridge=bridge)
    torch.testing.assert_close(state, theirs_state, rtol=1e-6, atol=1e-6)

    def loss(state, velocity):
        return torch.mean((network(torch.cat([state, time[:, None]], 1)) - velocity) ** 2).item()

    assert loss(state, velocity) == pytest.approx(loss(theirs_state, theirs_velocity), rel=1e-6)
