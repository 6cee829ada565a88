"""Control cells that a user gives and a prediction cannot take; other bad input is in ``test_bad_input.py``."""

import anndata as ad
import numpy as np
import pytest
from scipy import sparse


@pytest.fixture
def adata(cells) -> ad.AnnData:
    return cells.copy()


@pytest.fixture
def control(adata) -> ad.AnnData:
    return adata[adata.obs["perturbation"] == "control"].copy()


def test_genes_that_differ_are_refused_by_name(trained, predict, conditions, control) -> None:
    control.var_names = ["GENE0", "GENE1", *control.var_names[2:]]
    with pytest.raises(ValueError, match=r"control lacks 2 of the model's 12 genes, such as \['gene0', 'gene1'\]"):
        predict(trained, conditions, control=control)


def test_genes_that_occur_twice_are_refused(trained, predict, conditions, control) -> None:
    control.var_names = ["gene1", *control.var_names[1:]]
    with pytest.raises(ValueError, match="var_names.*'gene1'"):
        predict(trained, conditions, control=control)


def test_counts_as_control_cells_are_refused(trained, predict, conditions, control) -> None:
    control.X = np.random.default_rng(0).poisson(5, control.shape).astype(np.float32)
    with pytest.raises(ValueError, match=r"control\.X holds raw counts"):
        predict(trained, conditions, control=control)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_control_cells_that_are_not_finite_are_refused(trained, predict, conditions, control, value: float) -> None:
    control.X[0, 0] = value
    with pytest.raises(ValueError, match=r"control\.X has"):
        predict(trained, conditions, control=control)


def test_control_cells_without_the_control_label_are_refused(trained, predict, conditions, adata) -> None:
    with pytest.raises(
        ValueError, match=r"control has no cell with obs\['perturbation'\] == 'control'; it has \['IFN'"
    ):
        predict(trained, conditions, control=adata[adata.obs["perturbation"] != "control"])


def test_control_cells_without_their_context_are_refused(trained, predict, conditions, control) -> None:
    with pytest.raises(ValueError, match=r"control\.obs\['chronicity'\] has blank labels"):
        predict(trained, conditions, control=ad.AnnData(control.X, obs=control.obs.assign(chronicity=" ")))
    del control.obs["chronicity"]
    with pytest.raises(KeyError, match=r"control\.obs has no column 'chronicity'"):
        predict(trained, conditions, control=control)


def test_backed_control_cells_are_refused_with_the_remedy(trained, predict, conditions, control, tmp_path) -> None:
    control.write_h5ad(tmp_path / "control.h5ad")
    with pytest.raises(ValueError, match=r"backed.*to_memory"):
        predict(trained, conditions, control=ad.read_h5ad(tmp_path / "control.h5ad", backed="r"))


def test_control_cells_may_be_a_view_or_sparse(trained, predict, conditions, adata) -> None:
    expected = predict(trained, conditions, control=adata).X
    other = adata.copy()
    other.X = sparse.csr_matrix(other.X)
    for control in (adata[adata.obs["perturbation"] == "control"], other):
        np.testing.assert_allclose(predict(trained, conditions, control=control).X, expected, atol=1e-5)


def test_control_of_another_kind_is_refused(trained, predict, conditions) -> None:
    with pytest.raises(TypeError, match="control is a DataFrame.*AnnData"):
        predict(trained, conditions, control=conditions)
