import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import r2_score

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


def test_pearson_delta_equals_scipy_on_all_and_on_chosen_genes(cells):
    x, y, control = cells
    dx, dy = x.mean(0) - control.mean(0), y.mean(0) - control.mean(0)
    genes = np.array([3, 7, 20, 31])
    assert scf.tl.pearson_delta(x, y, control) == pytest.approx(stats.pearsonr(dx, dy).statistic)
    assert scf.tl.pearson_delta(x, y, control, genes=genes) == pytest.approx(
        stats.pearsonr(dx[genes], dy[genes]).statistic
    )


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
        scf.tl.pearson_delta(x, y, control, genes=np.array([0]))
    with pytest.raises(ValueError, match="dimensions"):
        scf.tl.pearson(x[0], y)
