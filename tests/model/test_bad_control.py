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


def test_control_cells_without_the_column_of_perturbations_are_all_taken_with_a_warning(
    trained, predict, conditions, control
) -> None:
    renamed = control.copy()
    renamed.obs = renamed.obs.rename(columns={"perturbation": "perturbations"})
    expected = predict(trained, conditions, control=control)
    with pytest.warns(UserWarning, match=r"no column 'perturbation', so all \d+ cells.*Did you mean 'perturbations'"):
        found = predict(trained, conditions, control=renamed)
    np.testing.assert_array_equal(found.X, expected.X)


def test_control_cells_of_no_context_that_is_asked_for_give_a_warning(trained, predict, conditions, control) -> None:
    asked = conditions[conditions["cell_type"] == conditions["cell_type"].iloc[0]]
    others = control[control.obs["cell_type"] != asked["cell_type"].iloc[0]].copy()
    with pytest.warns(UserWarning, match="none of which is asked for: predictions start from the model's own"):
        found = predict(trained, asked, control=others)
    np.testing.assert_array_equal(found.X, predict(trained, asked).X)


def test_a_free_sentence_from_cells_of_several_contexts_gives_a_warning(trained, predict, control) -> None:
    with pytest.warns(UserWarning, match="cells of 6 contexts .* a free sentence starts from all of them"):
        predict(trained, ["A quite different sentence"], control=control)


@pytest.mark.parametrize("slip", ["without its colon", "in lower case", "with more spaces"])
def test_a_sentence_that_is_nearly_the_templates_is_free_text_with_a_warning(trained, predict, control, slip) -> None:
    known = "Generate a B cell stimulated with IFN and exposure acute:"
    sentence = {
        "without its colon": known[:-1],
        "in lower case": known.lower(),
        "with more spaces": known.replace("cell", "cell "),
    }[slip]
    one = control[(control.obs["cell_type"] == "B") & (control.obs["chronicity"] == "acute")].copy()
    with pytest.warns(UserWarning, match=f"free text: the sentence that the model knows is {known!r}"):
        predict(trained, [sentence], control=one)
