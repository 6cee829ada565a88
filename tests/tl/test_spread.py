import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sccalmflow as scf


def draw(n, d=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ np.random.default_rng(99).normal(size=(d, d))


def test_ratios_are_those_of_numpy_and_leave_constant_features_out():
    x, y = draw(40, seed=1), draw(50, seed=2)
    # The standard deviation of many 0.7 is not 0 in float64.
    x[:, 3] = y[:, 3] = 0.7
    varies = np.arange(8) != 3
    assert scf.tl.std_ratio(x, y) == pytest.approx((x.std(0, ddof=1)[varies] / y.std(0, ddof=1)[varies]).mean())
    assert scf.tl.variance_ratio(x, y) == pytest.approx(np.median(x.var(0, ddof=1)[varies] / y.var(0, ddof=1)[varies]))
    assert np.isnan(scf.tl.variance_ratio(x, np.full_like(y, 0.7)))
    assert scf.tl.correlation_error(x, y) == pytest.approx(scf.tl.correlation_error(x[:, varies], y[:, varies]))


def test_correlation_error_is_that_of_numpy_less_what_chance_gives():
    x, y = draw(200, seed=1), draw(300, seed=2) * [1, 1, 1, 1, -1, 1, 1, 1]
    a, b = np.corrcoef(x.T), np.corrcoef(y.T)
    pairs = [(i, j) for i in range(8) for j in range(8) if i != j]
    square = np.mean([(a[i, j] - b[i, j]) ** 2 for i, j in pairs])
    chance = np.mean([(1 - a[i, j] ** 2) ** 2 / 199 + (1 - b[i, j] ** 2) ** 2 / 299 for i, j in pairs])
    assert scf.tl.correlation_error(x, y) == pytest.approx(np.sqrt(square - chance))


def test_correlation_error_of_the_same_population_is_zero_on_average():
    errors = [scf.tl.correlation_error(draw(60, seed=i), draw(90, seed=100 + i)) for i in range(60)]
    squares = np.sign(errors) * np.square(errors)
    # The mean is 0 within its own uncertainty; without the correction it would be 20 of these.
    assert abs(np.mean(squares)) < 4 * np.std(squares) / np.sqrt(60)
    assert np.mean(squares) + 0.5 * (1 / 59 + 1 / 89) > 0


def test_a_prediction_without_joint_variation_is_found():
    y = draw(300)
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.permutation(column) for column in y.T])
    assert scf.tl.std_ratio(x, y) == pytest.approx(1)
    assert scf.tl.correlation_error(x, y) > 0.2


@given(share=st.floats(0, 1), seed=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_duplicate_rate_is_the_share_of_cells_with_a_near_copy(share, seed):
    y, x = draw(60, seed=seed), draw(60, seed=seed + 1000)
    n = int(share * 30)
    x[30 : 30 + n] = x[:n] + 1e-6
    slow = np.array([np.sort(np.linalg.norm(x - cell, axis=1))[1] for cell in x])
    usual = np.median([np.sort(np.linalg.norm(y - cell, axis=1))[1] for cell in y])
    assert scf.tl.duplicate_rate(x, y) == pytest.approx(np.mean(slow < 0.05 * usual))
    assert scf.tl.duplicate_rate(x, y) >= 2 * n / 60


def test_real_cells_are_no_duplicates_and_constant_ones_all_are():
    y = draw(200)
    assert scf.tl.duplicate_rate(draw(200, seed=5), y) == 0
    assert scf.tl.duplicate_rate(np.zeros((10, 8)), y) == 1


@pytest.mark.parametrize(
    "metric",
    [scf.tl.std_ratio, scf.tl.variance_ratio, scf.tl.correlation_error, scf.tl.duplicate_rate],
    ids=lambda metric: metric.__name__,
)
def test_order_and_precision_do_not_matter_and_bad_input_is_refused(metric):
    x, y = draw(40, seed=1), draw(50, seed=2)
    assert metric(x[::-1], y[::-1]) == pytest.approx(metric(x, y))
    assert metric(x.astype("float32"), y.astype("float32")) == pytest.approx(metric(x, y), abs=1e-5)
    with pytest.raises(ValueError, match="same features"):
        metric(x[:, :2], y)
    with pytest.raises(ValueError, match="at least 2 cells"):
        metric(x[:1], y)
    holed = y.copy()
    holed[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        metric(x, holed)
    with pytest.raises(ValueError, match="NaN"):
        metric(holed, y)
    if metric is scf.tl.duplicate_rate:
        with pytest.raises(ValueError, match="closeness"):
            metric(x, y, closeness=0)
