"""What a user can get wrong: an error before any work, which names the value and says what to do."""

import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import sccalmflow as scf

KEYS = {"cell_type_key": "cell_type", "perturbation_key": "perturbation", "chronicity_key": "chronicity"}


def setup(adata: ad.AnnData, **arguments: object) -> None:
    scf.CaLMFlowModel.setup_anndata(adata, **{**KEYS, **arguments})


def assert_untouched(adata: ad.AnnData) -> None:
    assert not [key for key in [*adata.obs, *adata.uns] if "_scvi" in key]


@pytest.fixture
def adata(cells) -> ad.AnnData:
    return cells.copy()


# Set-up


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cell_type_key": "cell_typ"}, "no column 'cell_typ'.*Did you mean 'cell_type'.*Available columns: .*'split'"),
        ({"perturbation_key": "cytokine"}, "no column 'cytokine'.*Available columns: 'cell_type', 'perturbation'"),
        ({"chronicity_key": "Chronicity"}, "no column 'Chronicity'. Did you mean 'chronicity'"),
        ({"covariate_keys": ["donor"]}, "no column 'donor'"),
        ({"prompt_key": "sentence"}, "no column 'sentence'"),
        ({"split_key": "splits"}, "no column 'splits'. Did you mean 'split'.*split_key=None"),
        ({"obsm_key": "X_pcs"}, "obsm has no 'X_pcs'. Did you mean 'X_pca'.*pp.pca"),
    ],
    ids=str,
)
def test_an_unknown_key_lists_close_matches(adata, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(KeyError, match=message):
        setup(adata, **arguments)
    assert_untouched(adata)


def test_a_string_of_covariates_is_not_taken_for_its_letters(adata) -> None:
    adata.obs["d"] = "x"
    with pytest.raises(TypeError, match=r"covariate_keys='d'.*\['d'\]"):
        setup(adata, covariate_keys="d")


def test_a_missing_control_label_lists_close_matches(adata) -> None:
    with pytest.raises(ValueError, match="control is 'Controls'.*'IFN', 'IL-6', 'control'.*Did you mean 'control'"):
        setup(adata, control="Controls")
    assert_untouched(adata)


@pytest.mark.parametrize("key", ["cell_type", "perturbation", "chronicity"])
def test_labels_that_are_not_strings_are_refused_with_the_conversion(adata, key: str) -> None:
    adata.obs[key] = np.where(np.arange(adata.n_obs) < 3, 1.5, 2.0)
    with pytest.raises(ValueError, match=rf"obs\['{key}'\] has labels that are not strings.*astype\(str\)"):
        setup(adata)


@pytest.mark.parametrize("label", [None, float("nan"), "", "  "])
def test_missing_and_empty_labels_are_refused(adata, label: object) -> None:
    adata.obs["cell_type"] = adata.obs["cell_type"].astype(object)
    adata.obs.iloc[:4, adata.obs.columns.get_loc("cell_type")] = label
    with pytest.raises(ValueError, match=r"obs\['cell_type'\].*(missing in 4 of 432|blank labels).*drop"):
        setup(adata)


def test_missing_sentences_are_refused(adata) -> None:
    adata.obs["sentence"] = ["A sentence:", *[" "] * (adata.n_obs - 1)]
    with pytest.raises(ValueError, match=r"obs\['sentence'\] has blank labels"):
        setup(adata, prompt_key="sentence")


@pytest.mark.parametrize(("axis", "remedy"), [("obs", "obs_names_make_unique"), ("var", "var_names_make_unique")])
def test_duplicated_names_are_refused_with_the_remedy(adata, axis: str, remedy: str) -> None:
    names = getattr(adata, f"{axis}_names").tolist()
    setattr(adata, f"{axis}_names", [names[1], *names[1:]])
    with pytest.raises(ValueError, match=f"{axis}_names has 1 names that occur more than once: '{names[1]}'.*{remedy}"):
        setup(adata)


def test_an_empty_anndata_is_refused(adata) -> None:
    for empty in (adata[:0].copy(), adata[:, :0].copy()):
        with pytest.raises(ValueError, match="adata has no (cells|genes)"):
            setup(empty)


def test_a_view_is_refused_with_the_remedy(adata) -> None:
    with pytest.raises(ValueError, match=r"view.*adata = adata\.copy\(\)"):
        setup(adata[10:])


def test_a_backed_anndata_is_refused_with_the_remedy(adata, tmp_path: Path) -> None:
    adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    with pytest.raises(ValueError, match=r"backed by the file.*cells\.h5ad.*adata\.to_memory\(\)"):
        setup(backed)


def test_an_anndata_that_comes_back_from_a_file_works(adata, build, tmp_path: Path) -> None:
    adata.write_h5ad(tmp_path / "cells.h5ad")
    build(ad.read_h5ad(tmp_path / "cells.h5ad"))


def test_a_split_without_training_cells_is_refused(adata) -> None:
    adata.obs["split"] = "test"
    with pytest.raises(ValueError, match=r"obs\['split'\] marks no cell as 'train'; it holds 'test'"):
        setup(adata)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(adata, value: float) -> None:
    adata.obsm["X_pca"][3, 2] = value
    with pytest.raises(ValueError, match=r"adata\.obsm\['X_pca'\] has [01] NaN and [01] infinite values"):
        setup(adata)


def test_scores_that_pp_pca_did_not_write_are_refused(adata) -> None:
    del adata.uns["pca"]
    with pytest.raises(KeyError, match=r"no projection of sccalmflow under 'X_pca'.*sccalmflow\.pp\.pca\(adata\)"):
        setup(adata)


def test_scores_of_another_projection_are_refused(adata) -> None:
    adata.obsm["X_pca"] = adata.obsm["X_pca"][:, :4]
    with pytest.raises(ValueError, match=r"has 4 components and its projection 5.*pp\.pca\(adata\) again"):
        setup(adata)


def test_genes_dropped_after_the_projection_are_refused(adata) -> None:
    with pytest.raises(ValueError, match=r"11 genes.*the 12 that.*run it again"):
        setup(adata[:, 1:].copy())


def test_a_template_with_an_unknown_name_is_refused(adata) -> None:
    with pytest.raises(ValueError, match=r"asks for {donor}.*covariate_keys"):
        setup(adata, prompt_template="{donor}: {perturbation}")


# Values, before a model is thought of


def test_counts_where_log_values_are_expected_are_refused(adata) -> None:
    adata.X = np.random.default_rng(0).poisson(5, adata.shape).astype(np.float32)
    for X in (adata.X, sparse.csr_matrix(adata.X)):
        counts = ad.AnnData(X, obs=adata.obs, var=adata.var)
        with pytest.raises(ValueError, match=r"adata\.X holds raw counts.*log1p"):
            scf.pp.pca(counts, 5)


def test_log_values_where_counts_are_expected_are_refused(adata, tmp_path: Path) -> None:
    from sccalmflow import _checks

    with pytest.raises(ValueError, match=r"layers\['counts'\] has .* not whole numbers.*raw counts are needed"):
        _checks.count_values(adata.X, where="layers['counts']")


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "1 NaN"), (np.inf, "1 infinite"), (-0.5, "negative values"), (99.0, "log scale")]
)
def test_values_that_are_no_log_expression_are_refused(adata, value: float, message: str) -> None:
    adata.X[5, 5] = value
    with pytest.raises(ValueError, match=rf"adata\.X.*{message}"):
        scf.pp.pca(adata, 5)


# Building


def test_building_without_set_up_says_to_call_it(adata) -> None:
    with pytest.raises(ValueError, match="setup_anndata"):
        scf.CaLMFlowModel(adata)


def test_building_without_an_anndata_says_so() -> None:
    with pytest.raises(TypeError, match="adata"):
        scf.CaLMFlowModel()
    with pytest.raises(ValueError, match="adata"):
        scf.CaLMFlowModel(None)


def test_what_went_wrong_since_the_set_up_is_noticed(adata) -> None:
    setup(adata)
    adata.obsm["X_pca"][0, 0] = np.nan
    with pytest.raises(ValueError, match="1 NaN"):
        scf.CaLMFlowModel(adata)


def test_a_condition_with_one_cell_is_refused_by_name(adata, build) -> None:
    rows = (adata.obs["cell_type"] == "B") & (adata.obs["perturbation"] == "IFN") & (adata.obs["chronicity"] == "acute")
    keep = ~rows.to_numpy()
    keep[np.flatnonzero(rows)[0]] = True
    with pytest.raises(ValueError, match=r"1 of 17 training conditions have a single cell.*B, IFN, acute.*drop"):
        build(adata[keep].copy())


def test_the_remedy_against_small_conditions_works(adata, build) -> None:
    rows = (adata.obs["cell_type"] == "B") & (adata.obs["perturbation"] == "IFN") & (adata.obs["chronicity"] == "acute")
    keep = ~rows.to_numpy()
    keep[np.flatnonzero(rows)[0]] = True
    adata = adata[keep].copy()
    with pytest.raises(ValueError, match="single cell") as error:
        build(adata)
    remedy = str(error.value).split("with adata = ")[1].rstrip(".")
    build(eval(remedy, {"adata": adata}))


def test_a_context_without_control_cells_is_refused_by_name(adata, build) -> None:
    none = (adata.obs["cell_type"] == "NK") & (adata.obs["perturbation"] == "control")
    with pytest.raises(
        ValueError, match=r"2 contexts have no control cells \('control'\).*NK, acute; NK, chronic.*Drop"
    ):
        build(adata[~none].copy())


def test_a_prompt_longer_than_the_context_is_refused(adata, build) -> None:
    with pytest.raises(ValueError, match=r"tokens, but the language model has room for 3.*max_prompt_tokens"):
        build(adata, max_prompt_tokens=3)


@pytest.mark.parametrize("label", ["{x}", "{", "a}b", "[donor]", "{perturbation}", "%s {0}"])
def test_braces_and_brackets_in_labels_work(cells_of, build, train, predict, label: str) -> None:
    model = train(build(cells_of(types=("B", label), heldout=None)))
    frame = pd.DataFrame({"cell_type": [label], "perturbation": ["IFN"], "chronicity": ["acute"]})
    pred = predict(model, frame)
    assert pred.obs["prompt"].unique().tolist() == [f"Generate a {label} cell stimulated with IFN and exposure acute:"]


# Prediction


def test_prediction_before_training_says_to_train(adata, build, predict, conditions) -> None:
    with pytest.raises(RuntimeError, match=r"not been trained.*model\.train\(\)"):
        predict(build(adata), conditions)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_cells": 0}, "n_cells=0 must be at least 1"),
        ({"n_cells": -5}, "n_cells=-5"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"temperature": -0.1}, "temperature=-0.1 must be a number of at least 0"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"temperature": float("inf")}, "temperature=inf"),
        ({"seed": -1}, "seed=-1"),
    ],
    ids=str,
)
def test_arguments_of_a_prediction_out_of_bounds_are_refused(trained, predict, conditions, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        predict(trained, conditions, **options)


def test_cells_that_are_no_whole_number_are_refused(trained, predict, conditions) -> None:
    with pytest.raises(TypeError, match="n_cells=2.5.*whole number"):
        predict(trained, conditions, n_cells=2.5)


def test_a_column_that_conditions_lack_lists_close_matches(trained, predict, conditions) -> None:
    with pytest.raises(KeyError, match="no column 'cell_type'. Did you mean 'celltype'"):
        predict(trained, conditions.rename(columns={"cell_type": "celltype"}))


@pytest.mark.parametrize("empty", [[], pd.DataFrame({"cell_type": [], "perturbation": [], "chronicity": []})], ids=type)
def test_no_conditions_are_refused(trained, predict, empty: object) -> None:
    with pytest.raises(ValueError, match="conditions is empty"):
        predict(trained, empty)


@pytest.mark.parametrize("label", [None, "", 3])
def test_conditions_without_a_label_are_refused(trained, predict, conditions, label: object) -> None:
    with pytest.raises(ValueError, match="cell_type.*(missing|blank|not strings)") as error:
        predict(trained, conditions.astype(object).assign(cell_type=label))
    assert "conditions['cell_type']" in str(error.value)
    assert "adata" not in str(error.value)


@pytest.mark.parametrize("prompt", ["", "  "])
def test_empty_sentences_are_refused(trained, predict, conditions, prompt: str) -> None:
    with pytest.raises(ValueError, match="prompt.*empty"):
        predict(trained, [prompt])
    with pytest.raises(ValueError, match="prompt.*blank"):
        predict(trained, conditions.assign(prompt=prompt))


def test_a_sentence_longer_than_the_context_is_refused(trained, predict, conditions) -> None:
    with pytest.raises(ValueError, match=r"A prompt has \d+ tokens.*room for 128.*Shorten it"):
        predict(trained, conditions.assign(prompt="very " * 200))


@pytest.mark.parametrize("conditions", [3, [1, 2], {"cell_type": "B"}, None])
def test_conditions_of_another_kind_are_refused(trained, predict, conditions: object) -> None:
    with pytest.raises(TypeError, match="conditions is a .*: give a DataFrame with the columns.*sentences.*AnnData"):
        predict(trained, conditions)


@pytest.mark.parametrize(
    ("setup", "message"),
    [
        ({"cell_type_key": "fine", "covariate_keys": ["cell_type"]}, "names 'cell_type', which stands for .* 'fine'"),
        ({"chronicity_key": "fine", "covariate_keys": ["chronicity"]}, "names 'chronicity', which stands for"),
        ({"covariate_keys": ["novelty"]}, r"predictions write obs\['novelty'\] themselves"),
    ],
)
def test_a_covariate_by_the_name_of_something_else_is_refused(adata, build, setup, message: str) -> None:
    adata.obs["fine"] = adata.obs["novelty"] = adata.obs["cell_type"]
    with pytest.raises(ValueError, match=message):
        build(adata, setup=setup)


# What is no error, or not at once


def test_components_that_were_fitted_before_cells_were_held_out_give_a_warning(adata) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        setup(adata)
        scf.CaLMFlowModel(adata, width=16, n_layers=1, n_heads=2)
    adata.obs["split"] = np.where(adata.obs["cell_type"] == "B", "heldout", "train")
    setup(adata)
    with pytest.warns(UserWarning, match=r"fitted on other cells than the training split's.*run it again"):
        scf.CaLMFlowModel(adata, width=16, n_layers=1, n_heads=2)


def test_training_cells_that_are_all_control_cells_are_refused(adata) -> None:
    adata.obs["split"] = np.where(adata.obs["perturbation"] == "control", "train", "heldout")
    setup(adata)
    with pytest.raises(ValueError, match=r"training cells are control cells \('control'\): there is no perturbation"):
        scf.CaLMFlowModel(adata)


@pytest.mark.parametrize("is_named", [False, True])
def test_covariates_that_neither_a_sentence_nor_a_source_shows_give_a_warning(adata, is_named: bool) -> None:
    adata.obs["donor"] = np.where(np.arange(adata.n_obs) % 2, "D1", "D2")
    names = {
        "prompt_template": "A {cell_type} cell of {donor} under {perturbation}",
        "control_template": "A {cell_type} cell of {donor}",
    }
    setup(adata, covariate_keys=["donor"], **(names if is_named else {}))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scf.CaLMFlowModel(adata, source="noise", width=16, n_layers=1, n_heads=2)
    assert any("No sentence names donor" in str(one.message) for one in caught) != is_named
