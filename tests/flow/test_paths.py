from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sccalmflow.flow import ResampledPath, StraightPath, pair_by_optimal_transport
from sccalmflow.flow.paths import PATHS, time_grid

N, T = 40_000, 4
# Five standard errors of a mean, or of a variance up to sqrt(2), of N draws.
TOLERANCE = 5 * (2 / N) ** 0.5


def trajectories(path: StraightPath, endpoint: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(N, path.n_draws(T), 1, generator=generator)
    return path.trajectory(source, torch.full((N, 1), endpoint), T)[..., 0]


def test_the_grid_has_every_time_but_the_last() -> None:
    assert time_grid(4).tolist() == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("name", PATHS)
def test_mean_and_variance_at_each_time_are_those_of_the_interpolation(name: str) -> None:
    states = trajectories(PATHS[name](), endpoint=3.0)
    assert states.shape == (N, T + 1)
    for i in range(T + 1):
        t = i / T
        assert states[:, i].mean().item() == pytest.approx(3 * t, abs=TOLERANCE)
        assert states[:, i].var().item() == pytest.approx((1 - t) ** 2, abs=TOLERANCE)


@pytest.mark.parametrize("name", PATHS)
def test_covariance_across_times_is_full_on_the_straight_path_and_none_on_the_resampled(name: str) -> None:
    covariance = torch.cov(trajectories(PATHS[name](), endpoint=3.0).T)
    for i in range(T):
        for j in range(i):
            expected = (1 - i / T) * (1 - j / T) if name == "straight" else 0.0
            assert covariance[i, j].item() == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("name", PATHS)
def test_last_state_is_the_endpoint_and_first_the_source(name: str) -> None:
    path = PATHS[name]()
    source, endpoint = torch.randn(5, 2, path.n_draws(T), 3), torch.randn(5, 2, 3)
    states = path.trajectory(source, endpoint, T)
    torch.testing.assert_close(states[..., -1, :], endpoint, rtol=0, atol=0)
    torch.testing.assert_close(states[..., 0, :], source[..., 0, :], rtol=0, atol=0)
    torch.testing.assert_close(path.start(source), source[..., 0, :], rtol=0, atol=0)


def test_two_states_of_a_straight_path_give_the_endpoint_away() -> None:
    source, endpoint = torch.randn(5, 1, 3), torch.randn(5, 3)
    states = StraightPath().trajectory(source, endpoint, T)
    torch.testing.assert_close(source[:, 0] + (states[:, 2] - states[:, 1]) * T, endpoint)


def test_a_rollout_that_knows_the_endpoint_walks_the_training_path() -> None:
    path = ResampledPath()
    source, endpoint = torch.randn(5, 2, T, 3), torch.randn(5, 2, 3)
    states = path.trajectory(source, endpoint, T)
    for step in range(T):
        torch.testing.assert_close(path.state(step, source, endpoint, T), states[..., step, :])


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3), seed=st.integers(0, 1000))
def test_optimal_transport_equals_brute_force_over_permutations_inside_each_group(sizes: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    group = torch.cat([torch.full((n,), 7 * g) for g, n in enumerate(sizes)])
    group = group[torch.randperm(len(group), generator=generator)]
    source = torch.randn(len(group), 2, generator=generator)
    endpoint = torch.randn(len(group), 2, generator=generator)
    before = source.clone()
    paired = pair_by_optimal_transport(source, endpoint, group)
    torch.testing.assert_close(source, before, rtol=0, atol=0)
    for value in group.unique():
        rows = (group == value).nonzero()[:, 0].tolist()
        cheapest = min(
            sum((source[j] - endpoint[i]).square().sum().item() for i, j in zip(rows, order, strict=True))
            for order in permutations(rows)
        )
        assert (paired[rows] - endpoint[rows]).square().sum().item() == pytest.approx(cheapest, rel=1e-4, abs=1e-5)
        # Sorted rows: the same cells as before, none from another group.
        assert sorted(paired[rows].tolist()) == sorted(source[rows].tolist())
