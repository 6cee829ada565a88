import tracemalloc
import warnings

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import rbf_kernel

import sccalmflow as scf
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


@pytest.mark.parametrize("metric", [scf.tl.edistance, scf.tl.mmd])
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


@pytest.mark.parametrize("metric", [scf.tl.edistance, scf.tl.mmd, scf.tl.wasserstein, scf.tl.std_ratio])
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
    for metric in (scf.tl.edistance, scf.tl.mmd, scf.tl.std_ratio):
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
