import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData

import sccalmflow as scf
from sccalmflow.tl._de import rank_genes, welch_t


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    control = rng.gamma(1.0, size=(40, 60))
    y = rng.gamma(1.0, size=(30, 60)) + np.linspace(-0.2, 1, 60)
    control[:, 5] = y[:, 5] = 2.0
    return y, control


def test_scores_and_ranks_are_those_of_scanpy(cells):
    y, control = cells
    both = AnnData(
        np.concatenate([y, control]),
        obs=pd.DataFrame({"group": ["y"] * 30 + ["control"] * 40}, index=[str(i) for i in range(70)], dtype="category"),
        var=pd.DataFrame(index=[str(i) for i in range(60)]),
    )
    sc.tl.rank_genes_groups(both, "group", groups=["y"], reference="control", method="t-test", rankby_abs=True)
    names = both.uns["rank_genes_groups"]["names"]["y"].astype(int)
    np.testing.assert_array_equal(rank_genes(y, control), names)
    np.testing.assert_allclose(welch_t(y, control)[names], both.uns["rank_genes_groups"]["scores"]["y"], rtol=1e-5)


def test_overlap_counts_the_genes_that_both_call(cells):
    y, control = cells
    top = set(rank_genes(y, control)[:10].tolist())
    x = control.copy()
    for gene in [*list(top)[:7], *[g for g in range(60) if g not in top and g != 5][:3]]:
        x[:, gene] += 5
    assert scf.tl.de_overlap(x, y, control, n_top=10) == pytest.approx(0.7)
    # Half of the genes at most, however many are asked for.
    assert scf.tl.de_overlap(y, y, control, n_top=60) == scf.tl.de_overlap(y, y, control, n_top=30) == 1


def test_overlap_does_not_mind_that_a_prediction_is_smooth(cells):
    y, control = cells
    smooth = y.mean(axis=0) + 0.01 * (y - y.mean(axis=0))
    assert scf.tl.de_overlap(smooth, y, control, n_top=20) == 1


def test_bad_input_is_refused(cells):
    y, control = cells
    with pytest.raises(ValueError, match="n_top"):
        scf.tl.de_overlap(y, y, control, n_top=0)
    with pytest.raises(ValueError, match="control has 1 cells"):
        scf.tl.de_overlap(y, y, control[:1])
    with pytest.raises(ValueError, match="same ones"):
        scf.tl.de_overlap(y[:, :3], y, control)
