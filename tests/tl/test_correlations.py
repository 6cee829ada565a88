import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

import sccalmflow as scf


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    base = rng.gamma(1.0, size=40)
    control = base + rng.normal(0, 0.1, (25, 40))
    y = base + np.linspace(-1, 1, 40) + rng.normal(0, 0.1, (30, 40))
    x = base + np.linspace(-0.5, 0.8, 40) + rng.normal(0, 0.3, (20, 40))
    return x, y, control


def test_pearson_and_its_square_equal_scipy(cells):
    x, y, _ = cells
    expected = stats.pearsonr(x.mean(0), y.mean(0)).statistic
    assert scf.tl.pearson(x, y) == pytest.approx(expected)
    assert scf.tl.r2_corr(x, y) == pytest.approx(expected**2)


def test_r2_equals_scikit_learn(cells):
    x, y, _ = cells
    assert scf.tl.r2(x, y) == pytest.approx(r2_score(y.mean(0), x.mean(0)))
    assert scf.tl.r2(x + 1, y) < scf.tl.r2(x, y)


def test_spearman_equals_scipy(cells):
    x, y, control = cells
    assert scf.tl.spearman(x, y) == pytest.approx(stats.spearmanr(x.mean(0), y.mean(0)).statistic)
    dx, dy = x.mean(0) - control.mean(0), y.mean(0) - control.mean(0)
    assert scf.tl.spearman_delta(x, y, control) == pytest.approx(stats.spearmanr(dx, dy).statistic)


def test_changes_equal_scipy(cells):
    x, y, control = cells
    dx, dy = x.mean(0) - control.mean(0), y.mean(0) - control.mean(0)
    assert scf.tl.pearson_delta(x, y, control) == pytest.approx(stats.pearsonr(dx, dy).statistic)
    assert scf.tl.delta_slope(x, y, control) == pytest.approx(stats.linregress(dy, dx).slope)
    assert scf.tl.sign_agreement(x, y, control) == pytest.approx(np.mean(dx * dy > 0))


def test_errors_equal_scikit_learn(cells):
    x, y, control = cells
    assert scf.tl.mse(x, y) == pytest.approx(mean_squared_error(y.mean(0), x.mean(0)))
    assert scf.tl.mae(x, y) == pytest.approx(mean_absolute_error(y.mean(0), x.mean(0)))
    assert scf.tl.relative_mse(control, y, control) == pytest.approx(1)
    assert scf.tl.relative_mse((y + control.mean(0)) / 2, y, control) == pytest.approx(0.25)


@pytest.mark.parametrize(("distance", "metric"), [("l1", "cityblock"), ("l2", "euclidean"), ("cosine", "cosine")])
def test_discrimination_is_the_rank_of_the_own_change_among_all(cells, distance, metric):
    x, y, control = cells
    others = np.random.default_rng(1).normal(0, 0.5, (30, 40))
    dx, dy = x.mean(0) - control.mean(0), y.mean(0) - control.mean(0)
    for change in (dx, others.mean(0), -dy, others[3]):
        far = cdist([change], [dy, *others], metric)[0]
        rank = stats.rankdata(far)[0] - 1
        found = scf.tl.discrimination(control + change, y, control, others, distance=distance)
        assert found == pytest.approx(1 - rank / 30)


def test_discrimination_of_no_change_and_without_others(cells):
    _, y, control = cells
    assert np.isnan(scf.tl.discrimination(y, y, control, np.empty((0, 40))))
    # No change is as far, by its cosine, from everything: a tie throughout.
    assert scf.tl.discrimination(control, y, control, np.eye(40), distance="cosine") == 0.5
    with pytest.raises(ValueError, match="Did you mean 'l1'"):
        scf.tl.discrimination(y, y, control, np.eye(40), distance="L1")
    with pytest.raises(ValueError, match="conditions x 40"):
        scf.tl.discrimination(y, y, control, np.eye(3))


def test_the_direction_of_a_change_counts_not_its_size_alone(cells):
    _, y, control = cells
    opposite = 2 * control.mean(0, keepdims=True) - y.mean(0)
    assert scf.tl.pearson_delta(opposite, y, control) == pytest.approx(-1)


def test_no_change_scores_zero_and_a_truth_without_change_has_no_score(cells):
    x, y, control = cells
    reordered = control[::-1]
    assert scf.tl.pearson_delta(reordered, y, control) == 0
    assert np.isnan(scf.tl.pearson_delta(x, reordered, control))
    assert scf.tl.pearson(np.ones((2, 40)), y) == 0
    for metric in (scf.tl.spearman_delta, scf.tl.delta_slope, scf.tl.sign_agreement, scf.tl.de_overlap):
        assert metric(reordered, y, control) == 0
        assert np.isnan(metric(x, reordered, control))
    assert np.isnan(scf.tl.relative_mse(x, reordered, control))
    # All genes alike: a slope over genes has nothing to go by, whatever rounding leaves.
    profile = np.array([[0.3, 0.7, 0.2]])
    assert np.isnan(scf.tl.delta_slope(profile * 2, profile + 0.1, profile))


def test_float32_and_float64_agree(cells):
    small = [values.astype("float32") for values in cells]
    assert scf.tl.pearson_delta(*small) == pytest.approx(scf.tl.pearson_delta(*cells), abs=1e-5)
    assert scf.tl.r2(*small[:2]) == pytest.approx(scf.tl.r2(*cells[:2]), abs=1e-5)


def test_bad_arrays_are_refused(cells):
    x, y, control = cells
    with pytest.raises(ValueError, match="same ones"):
        scf.tl.r2(x[:, :3], y)
    with pytest.raises(ValueError, match="no cells"):
        scf.tl.pearson(x[:0], y)
    with pytest.raises(ValueError, match="NaN"):
        scf.tl.pearson(np.full_like(x, np.nan), y)
    with pytest.raises(ValueError, match="at least 2 genes"):
        scf.tl.pearson_delta(x[:, :1], y[:, :1], control[:, :1])
    with pytest.raises(ValueError, match="dimensions"):
        scf.tl.pearson(x[0], y)
    with pytest.raises(ValueError, match="others holds NaN"):
        scf.tl.discrimination(x, y, control, np.full((4, 40), np.nan))
