import tracemalloc
import warnings

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.metrics.pairwise import rbf_kernel

import sccalmflow as scf
from sccalmflow.tl import _adaptive_mmd
from sccalmflow.tl._distances import rbf_contrast
from sccalmflow.tl._pairs import mean_between, mean_within, two_samples

seeds = st.integers(0, 2**32 - 1)


def samples(seed, n=30, m=40, d=5, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) + shift, rng.normal(size=(m, d))


def slow_energy(x, y, cost):
    """The definition, one pair at a time."""
    between = np.mean([cost(a, b) for a in x for b in y])
    within = [np.mean([cost(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j]) for s in (x, y)]
    return 2 * between - sum(within)


def test_edistance_equals_a_slow_loop():
    x, y = samples(0, 12, 17, shift=0.7)
    assert scf.tl.edistance(x, y) == pytest.approx(slow_energy(x, y, lambda a, b: np.linalg.norm(a - b)))


@pytest.mark.parametrize("gamma", [0.3, [0.1, 1.0]])
def test_unbiased_mmd_equals_a_slow_loop(gamma):
    x, y = samples(1, 12, 17, shift=0.7)
    kernel = lambda a, b: np.mean([np.exp(-g * np.sum((a - b) ** 2)) for g in np.atleast_1d(gamma)])
    assert scf.tl.mmd(x, y, gamma=gamma) == pytest.approx(slow_energy(x, y, lambda a, b: -kernel(a, b)))


def test_biased_mmd_equals_the_kernels_of_scikit_learn():
    x, y = samples(2, shift=0.5)
    expected = rbf_kernel(x, x, 0.4).mean() + rbf_kernel(y, y, 0.4).mean() - 2 * rbf_kernel(x, y, 0.4).mean()
    assert scf.tl.mmd(x, y, gamma=0.4, estimator="biased") == pytest.approx(expected)


def test_default_widths_are_multiples_of_the_squared_median_distance_of_the_truth():
    x, y = samples(3, shift=0.5)
    median = np.median(cdist(y, y)[np.triu_indices(len(y), 1)])
    assert scf.tl.mmd(x, y) == pytest.approx(scf.tl.mmd(x, y, gamma=np.array([0.25, 0.5, 1, 2, 4]) / median**2))


@pytest.mark.parametrize("metric", [scf.tl.edistance, scf.tl.mmd], ids=lambda metric: metric.__name__)
def test_unbiased_distances_of_equal_populations_are_zero_on_average(metric):
    values = [metric(*samples(seed, 20, 20)) for seed in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_distances_are_symmetric_and_ignore_the_order_of_cells(seed):
    x, y = samples(seed, 15, 12, shift=0.3)
    shuffled = np.random.default_rng(seed).permutation(x)
    for metric in (scf.tl.edistance, lambda a, b: scf.tl.mmd(a, b, gamma=0.2), scf.tl.wasserstein):
        assert metric(x, y) == pytest.approx(metric(y, x), abs=1e-12)
        assert metric(shuffled, y) == pytest.approx(metric(x, y), abs=1e-12)


@given(seeds, st.integers(1, 2_000))
@settings(max_examples=25, deadline=None)
def test_means_over_pairs_do_not_depend_on_the_size_of_blocks(seed, block_entries):
    x, y = two_samples(*samples(seed, 23, 31))
    for contrast in (np.sqrt, rbf_contrast(y, 0.3)):
        assert mean_between(x, y, contrast, block_entries=block_entries) == pytest.approx(mean_between(x, y, contrast))
        assert mean_within(x, contrast, block_entries=block_entries) == pytest.approx(mean_within(x, contrast))


EVERY = [
    scf.tl.edistance,
    scf.tl.mmd,
    scf.tl.adaptive_mmd,
    scf.tl.wasserstein,
    scf.tl.sinkhorn_divergence,
    scf.tl.std_ratio,
]


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.__name__)
def test_float32_and_float64_agree_far_from_the_origin(metric):
    x, y = (sample + 100 for sample in samples(4, shift=0.5))
    assert metric(x.astype("float32"), y.astype("float32")) == pytest.approx(metric(x, y), rel=1e-4, abs=1e-5)


def test_memory_stays_far_below_a_full_distance_matrix():
    x, y = samples(5, 8_000, 8_000, d=3)
    tracemalloc.start()
    scf.tl.edistance(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000**2 * 8 / 3


def test_wasserstein_equals_pot():
    x, y = samples(6, 30, 45, shift=0.5)
    assert scf.tl.wasserstein(x, y) == pytest.approx(np.sqrt(ot.emd2([], [], ot.dist(x, y))))


def test_wasserstein_of_a_shifted_copy_is_the_shift():
    x, _ = samples(7)
    assert scf.tl.wasserstein(x + 2, x) == pytest.approx(2 * np.sqrt(5))


def test_wasserstein_says_that_it_subsamples_and_does_so_reproducibly():
    x, y = samples(8)
    with pytest.warns(UserWarning, match="20 of the 30 cells of x"), pytest.warns(UserWarning, match="of y"):
        first = scf.tl.wasserstein(x, y, max_cells=20, seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert scf.tl.wasserstein(x, y, max_cells=20, seed=3) == first
        assert scf.tl.wasserstein(x, y, max_cells=20, seed=4) != first


def test_a_collapsed_prediction_fools_wasserstein_but_not_the_ratio_of_std():
    x, y = samples(9, 200, 200, d=100)
    collapsed = 0.05 * x
    assert scf.tl.wasserstein(collapsed, y) < scf.tl.wasserstein(x, y)
    assert scf.tl.std_ratio(collapsed, y) < 0.1
    assert scf.tl.edistance(collapsed, y) > scf.tl.edistance(x, y)


def test_std_ratio_is_the_mean_ratio_over_features_that_vary():
    x, y = samples(10)
    x, y = np.c_[x, np.ones(len(x))], np.c_[y, np.zeros(len(y))]
    assert scf.tl.std_ratio(x, y) == pytest.approx(np.mean(x[:, :5].std(0, ddof=1) / y[:, :5].std(0, ddof=1)))
    assert np.isnan(scf.tl.std_ratio(x, np.zeros_like(y)))


def test_bad_samples_are_refused():
    x, y = samples(11)
    for metric in (scf.tl.edistance, scf.tl.mmd, scf.tl.adaptive_mmd, scf.tl.std_ratio):
        with pytest.raises(ValueError, match="at least 2"):
            metric(x[:1], y)
        with pytest.raises(ValueError, match="features"):
            metric(x[:, :3], y)
    with pytest.raises(ValueError, match="NaN"):
        scf.tl.edistance(np.full_like(x, np.nan), y)
    with pytest.raises(ValueError, match="no cells"):
        scf.tl.wasserstein(x[:0], y)
    with pytest.raises(ValueError, match="gamma"):
        scf.tl.mmd(x, y, gamma=-1)
    with pytest.raises(ValueError, match="estimator"):
        scf.tl.mmd(x, y, estimator="u")
    with pytest.raises(ValueError, match="max_cells"):
        scf.tl.wasserstein(x, y, max_cells=0)
    for metric in (scf.tl.sinkhorn_divergence, scf.tl.wasserstein):
        with pytest.raises(ValueError, match="max_cells"):
            metric(x, y, max_cells=0)
        for reg in (0, -1, np.nan, np.inf):
            with pytest.raises(ValueError, match="reg is"):
                metric(x, y, reg=reg)
    with pytest.raises(ValueError, match="n_neighbors is 0"):
        scf.tl.adaptive_mmd(x, y, n_neighbors=0)
    with pytest.raises(ValueError, match="estimator"):
        scf.tl.adaptive_mmd(x, y, estimator="u")
    with pytest.raises(ValueError, match="NaN"):
        scf.tl.adaptive_mmd(np.full_like(x, np.inf), y)


def slow_adaptive_mmd(x, y, k):
    """The definition, one pair at a time: widths by the k-th nearest true cell, a true cell's own row left out."""
    widths_x = [np.sort(np.linalg.norm(y - a, axis=1))[k - 1] for a in x]
    widths_y = [np.sort(np.linalg.norm(y - a, axis=1))[k] for a in y]
    cells = [*zip(x, widths_x, strict=True)], [*zip(y, widths_y, strict=True)]
    return slow_energy(*cells, lambda a, b: -np.exp(-np.sum((a[0] - b[0]) ** 2) / (a[1] * b[1])))


@pytest.mark.parametrize("k", [1, 5])
def test_adaptive_mmd_equals_a_slow_loop(k):
    x, y = samples(12, 14, 18, shift=0.7)
    assert scf.tl.adaptive_mmd(x, y, n_neighbors=k) == pytest.approx(slow_adaptive_mmd(x, y, k))


def test_biased_adaptive_mmd_is_the_unbiased_one_with_the_diagonal():
    x, y = samples(13, 14, 18, shift=0.7)
    k = 4
    widths = np.sort(cdist(x, y), axis=1)[:, k - 1], np.sort(cdist(y, y), axis=1)[:, k]
    kernel = lambda a, b: np.exp(-cdist((x, y)[a], (x, y)[b], "sqeuclidean") / np.outer(widths[a], widths[b])).mean()
    expected = kernel(0, 0) + kernel(1, 1) - 2 * kernel(0, 1)
    assert scf.tl.adaptive_mmd(x, y, n_neighbors=k, estimator="biased") == pytest.approx(expected)


def test_adaptive_mmd_of_equal_populations_is_zero_on_average():
    values = [scf.tl.adaptive_mmd(*samples(seed, 60, 60, d=3), n_neighbors=5) for seed in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0


@given(seeds, st.booleans())
@settings(max_examples=25, deadline=None)
def test_biased_adaptive_mmd_of_a_copy_is_zero(seed, repeated):
    _, y = samples(seed, m=40, d=8)
    y = np.concatenate([y, y[:25], y[:3], y[:3]]) if repeated else y
    assert scf.tl.adaptive_mmd(y[::-1], y, n_neighbors=5, estimator="biased") == pytest.approx(0, abs=1e-10)


@given(seeds, st.integers(1, 2_000))
@settings(max_examples=25, deadline=None)
def test_adaptive_mmd_depends_on_neither_the_order_of_cells_nor_the_unit_nor_the_size_of_blocks(seed, block_entries):
    x, y = samples(seed, 23, 31, shift=0.4)
    rng, value = np.random.default_rng(seed), scf.tl.adaptive_mmd(x, y, n_neighbors=5)
    assert scf.tl.adaptive_mmd(rng.permutation(x), rng.permutation(y), n_neighbors=5) == pytest.approx(value, abs=1e-12)
    assert scf.tl.adaptive_mmd(100 * x + 7, 100 * y + 7, n_neighbors=5) == pytest.approx(value, abs=1e-10)
    wx, wy = rng.uniform(0.5, 2, len(x)), rng.uniform(0.5, 2, len(y))
    x, y = two_samples(x, y)
    for mean, cells in ((_adaptive_mmd._mean_between, (x, wx, y, wy)), (_adaptive_mmd._mean_within, (x, wx))):
        assert mean(*cells, block_entries=block_entries) == pytest.approx(mean(*cells))


def test_adaptive_mmd_of_few_or_repeated_cells_is_finite_and_uses_as_many_neighbours_as_there_are():
    x, y = samples(14, 6, 5)
    assert scf.tl.adaptive_mmd(x, y) == scf.tl.adaptive_mmd(x, y, n_neighbors=4)
    same = np.zeros((30, 3))
    assert scf.tl.adaptive_mmd(same, same) == 0
    assert scf.tl.adaptive_mmd(same + 100, same) == pytest.approx(2)
    binary = np.random.default_rng(0).integers(0, 2, (60, 3)).astype(float)
    assert np.isfinite(scf.tl.adaptive_mmd(binary[:30], binary))
    assert np.isfinite(scf.tl.adaptive_mmd(np.repeat(binary[:1], 30, axis=0), binary))


@pytest.mark.parametrize("d", [2, 50])
def test_a_collapsed_prediction_does_not_choose_a_kernel_that_forgives_it(d):
    x, y = samples(15, 200, 200, d=d)
    assert scf.tl.adaptive_mmd(0.05 * x, y) > scf.tl.adaptive_mmd(0.5 * x, y) > 10 * abs(scf.tl.adaptive_mmd(x, y))
    assert scf.tl.adaptive_mmd(0.05 * x, y) > 0.3


def slow_sinkhorn(x, y, epsilon, steps=300):
    """Entropic transport by its dual, in logarithms, one potential after the other."""
    cost = cdist(x, y, "sqeuclidean")
    g = np.zeros(len(y))
    for _ in range(steps):
        f = -epsilon * (logsumexp((g - cost) / epsilon, axis=1) - np.log(len(y)))
        g = -epsilon * (logsumexp((f[:, None] - cost) / epsilon, axis=0) - np.log(len(x)))
    return f.mean() + g.mean()


@pytest.mark.parametrize("reg", [0.1, 0.5, 2.0])
def test_sinkhorn_divergence_equals_a_plain_iteration_of_the_dual(reg):
    x, y = samples(16, 25, 30, shift=0.5)
    epsilon = reg * np.median(cdist(y, y)[np.triu_indices(len(y), 1)]) ** 2
    within = slow_sinkhorn(x, x, epsilon) + slow_sinkhorn(y, y, epsilon)
    assert scf.tl.sinkhorn_divergence(x, y, reg=reg) == pytest.approx(
        slow_sinkhorn(x, y, epsilon) - within / 2, abs=1e-6
    )


def test_entropic_wasserstein_equals_pot_and_is_not_exact():
    x, y = samples(17, 25, 30, shift=0.5)
    median = np.median(cdist(y, y)[np.triu_indices(len(y), 1)])
    expected = ot.sinkhorn2([], [], ot.dist(x, y), 0.1 * median**2, method="sinkhorn_log", stopThr=1e-12)
    assert scf.tl.wasserstein(x, y, reg=0.1) == pytest.approx(np.sqrt(expected), rel=1e-4)
    assert scf.tl.wasserstein(y, y, reg=0.1) > 0.1 > scf.tl.wasserstein(y, y)
    assert scf.tl.wasserstein(x, y, reg=0.01) == pytest.approx(scf.tl.wasserstein(x, y), rel=0.02)


def test_sinkhorn_divergence_of_two_gaussians_is_near_its_closed_form():
    # Janati et al. 2020, theorem 1, in one dimension; their epsilon is 2 sigma². More than 1,000 cells: POT's default
    # for absorbing scalings would never converge.
    cells = np.random.default_rng(0).normal(size=(2, 1_200, 1))
    x, y = ((sample - sample.mean()) / sample.std() for sample in cells)
    x = 1.5 * x + 1
    epsilon = 0.5 * np.median(cdist(y, y)[np.triu_indices(len(y), 1)]) ** 2

    def entropic(a, b):
        d = np.sqrt(4 * a * b + epsilon**2 / 4)
        return a + b - d + epsilon / 2 * np.log(d + epsilon / 2)

    a, b = 1.5**2, 1.0
    expected = 1 + entropic(a, b) - (entropic(a, a) + entropic(b, b)) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scf.tl.sinkhorn_divergence(x, y) == pytest.approx(expected, rel=0.02)


@given(seeds)
@settings(max_examples=15, deadline=None)
def test_sinkhorn_divergence_is_zero_on_a_copy_and_the_square_of_a_shift(seed):
    _, y = samples(seed, m=20)
    assert scf.tl.sinkhorn_divergence(y[::-1], y) == pytest.approx(0, abs=1e-7)
    assert scf.tl.sinkhorn_divergence(y + 2, y) == pytest.approx(4 * 5, abs=1e-6)
    x, y = samples(seed, 15, 20, shift=0.3)
    assert scf.tl.sinkhorn_divergence(3 * x, 3 * y) == pytest.approx(9 * scf.tl.sinkhorn_divergence(x, y), rel=1e-5)
    assert scf.tl.sinkhorn_divergence(x[::-1], y) == pytest.approx(scf.tl.sinkhorn_divergence(x, y), abs=1e-7)


def test_sinkhorn_divergence_survives_a_cell_very_far_away():
    x, y = samples(18)
    x[0] = 100
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scf.tl.sinkhorn_divergence(x, y) > scf.tl.wasserstein(x, y) ** 2 / 2


def test_sinkhorn_divergence_at_its_default_sees_a_collapse_that_a_small_reg_rewards():
    x, y = samples(19, 200, 200, d=50)
    collapsed = 0.5 * x
    assert scf.tl.sinkhorn_divergence(collapsed, y, reg=0.1) < scf.tl.sinkhorn_divergence(x, y, reg=0.1)
    assert scf.tl.sinkhorn_divergence(0.05 * x, y) > scf.tl.sinkhorn_divergence(x, y)


def test_sinkhorn_divergence_subsamples_and_says_so_and_says_when_it_has_not_converged():
    x, y = samples(20)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        first = scf.tl.sinkhorn_divergence(x, y, max_cells=20, seed=3)
    assert [str(warning.message)[:47] for warning in caught] == [
        "sinkhorn_divergence uses 20 of the 30 cells of ",
        "sinkhorn_divergence uses 20 of the 40 cells of ",
    ]
    assert {warning.filename for warning in caught} == {__file__}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert scf.tl.sinkhorn_divergence(x, y, max_cells=20, seed=3) == first
        assert scf.tl.sinkhorn_divergence(x, y, max_cells=20, seed=4) != first
    with pytest.warns(UserWarning, match="not converged"):
        scf.tl.sinkhorn_divergence(x, y, reg=1e-5)
