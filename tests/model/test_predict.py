import warnings
from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch

import sccalmflow as scf
from sccalmflow.model._sampling import anchored

KEYS = ["cell_type", "perturbation", "chronicity"]
SENTENCE = "Generate a NK cell stimulated with IL-6 and exposure chronic:"


def scores(pred: ad.AnnData, row: pd.Series) -> np.ndarray:
    """Predicted scores of one condition."""
    return pred.obsm["X_pca"][(pred.obs[KEYS].astype(str) == row).all(axis=1).to_numpy()]


def control_scores(adata: ad.AnnData, cell_type: str, chronicity: str) -> np.ndarray:
    obs = adata.obs
    rows = (obs["perturbation"] == "control") & (obs["cell_type"] == cell_type) & (obs["chronicity"] == chronicity)
    return adata.obsm["X_pca"][rows.to_numpy()]


def is_among(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether each row of x is a row of y."""
    return (np.abs(x[:, None] - y[None]).max(-1) < 1e-5).any(1)


# What a prediction is


def test_prediction_has_the_genes_labels_and_provenance_of_the_model(trained, predict, cells, conditions) -> None:
    pred = predict(trained, conditions, n_cells=7, seed=5, temperature=0.5)
    assert pred.shape == (21, 12)
    assert list(pred.var_names) == list(cells.var_names)
    assert pred.obs_names.is_unique
    expected = [tuple(row) for row in conditions.itertuples(index=False) for _ in range(7)]
    assert list(pred.obs[KEYS].astype(str).itertuples(index=False, name=None)) == expected
    assert pred.obs["prompt"].iloc[7] == "Generate a B cell stimulated with IFN and exposure acute:"
    assert pred.obs["prompt"].iloc[-1] == "Generate a CD4 T cell with no stimulation and exposure chronic:"
    made = pred.uns["sccalmflow"]
    assert made["version"] == scf.__version__
    assert (made["sampling"]["seed"], made["sampling"]["temperature"]) == (5, 0.5)
    assert list(made["condition_keys"]) == KEYS


def test_expression_is_the_inverse_projection_of_the_scores(trained, predict, cells, conditions) -> None:
    pred = predict(trained, conditions)
    stored = cells.uns["pca"]
    expected = stored["mean"] + stored["scale"] * pred.obsm["X_pca"] @ cells.varm["PCs"].T
    np.testing.assert_allclose(pred.X, expected, atol=1e-5)
    np.testing.assert_allclose(scf.pp.reconstruct(pred), pred.X, atol=1e-6)


def test_trajectories_start_at_control_cells_of_the_context_and_end_at_the_prediction(
    trained, predict, cells, conditions
) -> None:
    pred = predict(trained, conditions, return_trajectory=True)
    path = pred.obsm["trajectory"]
    assert path.shape == (60, 3, 5)
    np.testing.assert_array_equal(path[:, -1], pred.obsm["X_pca"])
    for row, (cell_type, _, chronicity) in enumerate(conditions.itertuples(index=False)):
        start = path[20 * row : 20 * row + 20, 0]
        assert is_among(start, control_scores(cells, cell_type, chronicity)).all()
        assert len(np.unique(start, axis=0)) > 5
    np.testing.assert_array_equal(predict(trained, conditions).obsm["X_pca"], pred.obsm["X_pca"])


def test_training_taught_what_perturbations_do(trained, predict, cells) -> None:
    """The model is tiny, but must be closer to the truth than the control cells that it starts from."""
    seen = cells.obs.loc[(cells.obs["split"] == "train") & (cells.obs["perturbation"] != "control"), KEYS]
    pred = predict(trained, seen, n_cells=100)
    ours, none = [], []
    for _, row in seen.drop_duplicates().astype(str).iterrows():
        truth = cells.obsm["X_pca"][(cells.obs[KEYS].astype(str) == row).all(axis=1).to_numpy()].mean(0)
        ours.append(np.linalg.norm(scores(pred, row).mean(0) - truth))
        none.append(np.linalg.norm(control_scores(cells, row["cell_type"], row["chronicity"]).mean(0) - truth))
    assert np.mean(ours) < 0.7 * np.mean(none)


@pytest.mark.parametrize("free_text", [False, True])
def test_a_prediction_survives_a_file(trained, predict, cells, conditions, tmp_path: Path, free_text: bool) -> None:
    if free_text:
        pred = predict(trained, ["Show me something else:"], control=cells, return_trajectory=True)
    else:
        pred = predict(trained, conditions, return_trajectory=True)
    pred.write_h5ad(tmp_path / "pred.h5ad")
    read = ad.read_h5ad(tmp_path / "pred.h5ad")
    np.testing.assert_array_equal(read.X, pred.X)
    np.testing.assert_array_equal(read.obsm["trajectory"], pred.obsm["trajectory"])
    pd.testing.assert_frame_equal(read.obs, pred.obs)


# What a predicted cell depends on


@pytest.mark.parametrize("batch_size", [1, 64, 100, 200])
def test_a_cell_does_not_depend_on_the_batch_size(trained, predict, conditions, batch_size: int) -> None:
    expected = predict(trained, conditions, n_cells=130).obsm["X_pca"]
    pred = predict(trained, conditions, n_cells=130, batch_size=batch_size)
    np.testing.assert_allclose(pred.obsm["X_pca"], expected, atol=1e-5)


@pytest.mark.parametrize("n_cells", [1, 63, 64, 65])
def test_a_cell_does_not_depend_on_how_many_follow(trained, predict, conditions, n_cells: int) -> None:
    many, few = predict(trained, conditions, n_cells=130), predict(trained, conditions, n_cells=n_cells)
    for _, row in conditions.iterrows():
        np.testing.assert_allclose(scores(few, row), scores(many, row)[:n_cells], atol=1e-5)


def test_a_cell_does_not_depend_on_order_or_the_other_conditions(trained, predict, conditions) -> None:
    together, reversed_ = predict(trained, conditions, n_cells=70), predict(trained, conditions[::-1], n_cells=70)
    for number, (_, row) in enumerate(conditions.iterrows()):
        alone = predict(trained, conditions.iloc[[number]], n_cells=70)
        np.testing.assert_allclose(scores(alone, row), scores(together, row), atol=1e-5)
        np.testing.assert_allclose(scores(reversed_, row), scores(together, row), atol=1e-5)


def test_the_same_seed_gives_the_same_cells_and_another_seed_others(trained, predict, conditions) -> None:
    first, again, other = (predict(trained, conditions, seed=seed).obsm["X_pca"] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not is_among(other, first).any()


def test_conditions_draw_their_own_control_cells_and_noise(trained, predict) -> None:
    frame = pd.DataFrame({"cell_type": "B", "perturbation": ["IFN", "IL-6"], "chronicity": "acute"})
    path = predict(trained, frame, return_trajectory=True).obsm["trajectory"]
    assert (np.abs(path[:20, 0] - path[20:, 0]).max(1) < 1e-5).mean() < 0.5


def test_cells_of_unseen_conditions_alone_vary_as_new_cells_do(trained, predict, monkeypatch) -> None:
    frame = pd.DataFrame({"cell_type": "NK", "perturbation": "IL-6", "chronicity": ["acute", "chronic"]})
    made = {}
    for factor in (1.0, 0.5):
        shrunk = replace(trained._state.pca, shrinkage=np.full(5, factor))
        monkeypatch.setattr(trained._state, "pca", shrunk)
        made[factor] = predict(trained, frame, n_cells=128, return_trajectory=True)
    seen, unseen = (made[1.0].obs["novelty"] == name for name in ("seen", "unseen combination"))
    as_drawn, drawn_in = made[1.0].obsm["X_pca"], made[0.5].obsm["X_pca"]
    np.testing.assert_array_equal(drawn_in[seen], as_drawn[seen])
    mean = as_drawn[unseen].mean(axis=0)
    np.testing.assert_allclose(drawn_in[unseen], mean + 0.5 * (as_drawn[unseen] - mean), atol=1e-5)
    np.testing.assert_array_equal(made[0.5].obsm["trajectory"][:, -1], drawn_in)


def test_a_lower_temperature_narrows_the_cells(trained, predict, conditions) -> None:
    options = {"n_cells": 300, "anchor": False}
    spread = [predict(trained, conditions[:1], temperature=t, **options).obsm["X_pca"].std(0).mean() for t in (0, 1)]
    assert spread[0] < 0.9 * spread[1]


# What can be asked for


def test_conditions_may_be_a_frame_an_anndata_or_sentences(trained, predict, cells, conditions) -> None:
    seen = conditions[1:]
    expected = predict(trained, seen)
    subset = cells[pd.MultiIndex.from_frame(cells.obs[KEYS].astype(str)).isin(pd.MultiIndex.from_frame(seen))]
    for other in (subset, subset.obs, seen.astype("category"), expected.obs["prompt"].tolist()):
        pred = predict(trained, other)
        assert pred.n_obs == 40  # repeated rows count once
        for _, row in seen.iterrows():
            np.testing.assert_allclose(scores(pred, row), scores(expected, row), atol=1e-5)


def test_a_single_sentence_is_a_condition(trained, predict) -> None:
    pred = predict(trained, SENTENCE)
    assert pred.obs["cell_type"].unique().tolist() == ["NK"]
    assert pred.obs["novelty"].unique().tolist() == ["unseen combination"]


def test_a_column_of_prompts_replaces_the_sentence_and_keeps_the_labels(trained, predict, conditions) -> None:
    pred = predict(trained, conditions.assign(prompt="Generate a cell stimulated with IFN:"))
    assert pred.obs["prompt"].unique().tolist() == ["Generate a cell stimulated with IFN:"]
    assert pred.obs["cell_type"].unique().tolist() == conditions["cell_type"].tolist()
    usual = predict(trained, conditions)
    assert np.abs(pred.obsm["X_pca"] - usual.obsm["X_pca"]).max() > 1e-3


def test_prompts_alone_are_sentences(trained, predict) -> None:
    pred = predict(trained, pd.DataFrame({"prompt": [SENTENCE]}))
    np.testing.assert_array_equal(pred.obsm["X_pca"], predict(trained, [SENTENCE]).obsm["X_pca"])


@pytest.mark.parametrize(
    ("labels", "novelty"),
    [
        (("B", "IFN", "acute"), "seen"),
        (("NK", "control", "chronic"), "seen"),
        (("NK", "IL-6", "chronic"), "unseen combination"),
        (("Mono", "IFN", "acute"), "unseen cell type"),
        (("B", "TNF", "acute"), "unseen perturbation"),
        (("B", "IFN", "repeated"), "unseen chronicity"),
        (("Mono", "TNF", "acute"), "unseen cell type, unseen perturbation"),
        (("Mono", "TNF", "repeated"), "unseen cell type, unseen perturbation, unseen chronicity"),
    ],
)
def test_novelty_says_what_training_has_not_seen(
    trained, predict, cells, labels: tuple[str, ...], novelty: str
) -> None:
    frame = pd.DataFrame([labels], columns=KEYS)
    control = cells[cells.obs["perturbation"] == "control"].copy()
    control.obs["cell_type"], control.obs["chronicity"] = labels[0], labels[2]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        pred = predict(trained, frame, control=control)
    assert pred.obs["novelty"].unique().tolist() == [novelty]
    # Control cells show what a new type is like; of any other new label there is only its name.
    warned = [str(one.message) for one in caught if "Training has read no cell" in str(one.message)]
    assert len(warned) == ("unseen perturbation" in novelty) + ("unseen chronicity" in novelty)


def test_a_misspelt_perturbation_is_predicted_with_a_warning_that_knows_better(trained, predict) -> None:
    frame = pd.DataFrame([("NK", "Il6", "chronic")], columns=KEYS)
    with pytest.warns(UserWarning, match=r"no cell with perturbation 'Il6'.*Did you mean 'IL-6'\?"):
        predict(trained, frame)


@pytest.mark.parametrize(
    ("name_cell_type", "held_out", "seen"), [(None, "", "B "), (True, "NK ", "B "), (False, "", "")]
)
def test_sentences_name_the_cell_type_of_seen_combinations_or_as_asked_for(
    trained, predict, conditions, name_cell_type: bool | None, held_out: str, seen: str
) -> None:
    pred = predict(trained, conditions[:2], n_cells=1, name_cell_type=name_cell_type)
    assert pred.obs["prompt"].tolist() == [
        f"Generate a {held_out}cell stimulated with IL-6 and exposure chronic:",
        f"Generate a {seen}cell stimulated with IFN and exposure acute:",
    ]
    assert pred.obs["novelty"].tolist() == ["unseen combination", "seen"]
    assert pred.obs["cell_type"].tolist() == ["NK", "B"]


def test_free_text_starts_from_the_control_cells_given_and_is_marked(trained, predict, cells) -> None:
    sentence = "Show me a B cell after a night out:"
    with pytest.raises(ValueError, match="night out.*control=adata.*'prompt'"):
        predict(trained, [sentence])
    control = cells[cells.obs["cell_type"] == "B"]
    pred = predict(trained, [sentence], control=control, return_trajectory=True)
    assert pred.obs["novelty"].unique().tolist() == ["free text"]
    assert pred.obs["cell_type"].isna().all()
    both = np.concatenate([control_scores(cells, "B", chronicity) for chronicity in ("acute", "chronic")])
    assert is_among(pred.obsm["trajectory"][:, 0], both).all()


def test_control_cells_of_a_new_cell_type_are_the_start_of_its_prediction(trained, predict, cells) -> None:
    frame = pd.DataFrame({"cell_type": ["Mono"], "perturbation": ["IFN"], "chronicity": ["acute"]})
    with pytest.raises(ValueError, match="no control cells of Mono, acute.*Known contexts: .*control=adata"):
        predict(trained, frame)
    control = cells[(cells.obs["perturbation"] == "control") & (cells.obs["cell_type"] == "B")].copy()
    control.X = control.X + np.float32(0.3)
    control.obs["cell_type"] = "Mono"
    # Genes in another order and more of them: the model takes its own.
    control = ad.concat(
        [control, ad.AnnData(control.X[:, :1], obs=control.obs, var=pd.DataFrame(index=["more"]))], axis=1, merge="same"
    )[:, ::-1]
    pred = predict(trained, frame, control=control, return_trajectory=True)
    stored = cells.uns["pca"]
    X = control[control.obs["chronicity"] == "acute", list(cells.var_names)].X
    expected = (X - stored["mean"]) @ cells.varm["PCs"] / stored["scale"]
    assert is_among(pred.obsm["trajectory"][:, 0], expected).all()
    assert pred.uns["sccalmflow"]["sampling"]["control"] == "given"


def test_prediction_changes_neither_the_conditions_nor_the_control_cells(trained, predict, cells) -> None:
    for given in (cells.copy(), cells.obs[KEYS].copy()):
        control = cells.copy()
        before, control_before = given.copy(), control.copy()
        predict(trained, given, n_cells=2, control=control)
        for now, then in ((given, before), (control, control_before)):
            if isinstance(now, pd.DataFrame):
                pd.testing.assert_frame_equal(now, then)
            else:
                pd.testing.assert_frame_equal(now.obs, then.obs)
                np.testing.assert_array_equal(now.X, then.X)
                assert [*now.obsm, *now.varm, *now.uns] == [*then.obsm, *then.varm, *then.uns]


# Other set-ups


def test_without_chronicity_and_with_covariates_in_the_template(cells_of, build, train, predict) -> None:
    adata = cells_of()
    adata.obs["donor"] = pd.Categorical(np.where(np.arange(adata.n_obs) % 2, "d1", "d2"))
    setup = {
        "chronicity_key": None,
        "covariate_keys": ["donor"],
        "prompt_template": "{donor}: {cell_type} with {perturbation}",
        "control_template": "{donor}: {cell_type} alone",
    }
    model = train(build(adata, setup=setup))
    frame = pd.DataFrame({"cell_type": ["B", "B"], "perturbation": ["IFN", "control"], "donor": ["d1", "d2"]})
    pred = predict(model, frame)
    assert pred.obs["prompt"].unique().tolist() == ["d1: B with IFN", "d2: B alone"]
    with pytest.raises(KeyError, match="donor"):
        predict(model, frame.drop(columns="donor"))


def test_two_roles_may_name_the_same_column(cells_of, build, train, predict) -> None:
    model = train(build(cells_of(), setup={"chronicity_key": "cell_type"}))
    pred = predict(model, pd.DataFrame({"cell_type": ["B"], "perturbation": ["IFN"]}))
    assert pred.obs["prompt"].unique().tolist() == ["Generate a B cell stimulated with IFN and exposure B:"]


def test_ready_sentences_replace_the_template_in_training_and_prediction(cells_of, build, train, predict) -> None:
    adata = cells_of()
    adata.obs["sentence"] = [f"{c}+{p}!" for c, p in adata.obs[["cell_type", "perturbation"]].itertuples(index=False)]
    model = train(build(adata, setup={"prompt_key": "sentence"}))
    # The AnnData's own column of sentences is used, and a sentence of training needs no labels.
    from_anndata = predict(model, adata[adata.obs["cell_type"] == "B"])
    assert sorted(from_anndata.obs["prompt"].unique()) == ["B+IFN!", "B+IL-6!", "B+control!"]
    assert set(from_anndata.obs["novelty"]) == {"seen"}
    usual = predict(model, adata.obs[[*KEYS, "sentence"]].rename(columns={"sentence": "prompt"}))
    assert set(usual.obs["prompt"]) == set(adata.obs["sentence"])
    with pytest.raises(KeyError, match="no column 'sentence'"):
        predict(model, adata.obs[KEYS])


# Anchored in control cells


def test_without_a_predicted_change_anchored_cells_are_control_cells() -> None:
    made, controls = torch.randn(40, 3), torch.randn(40, 3) + 5
    cells = anchored(made, made, controls)
    np.testing.assert_allclose(cells.sort(dim=0).values, controls.sort(dim=0).values, atol=1e-5)


def test_by_default_no_control_cell_is_used_twice(trained, predict, cells, conditions) -> None:
    n_controls = len(control_scores(cells, "NK", "chronic"))
    default = predict(trained, conditions, n_cells=None)
    assert [len(scores(default, row)) for _, row in conditions.iterrows()] == [n_controls, 500, 500]
    for n_cells, row in zip((n_controls, 500, 500), (row for _, row in conditions.iterrows()), strict=True):
        asked = predict(trained, row.to_frame().T, n_cells=n_cells)
        np.testing.assert_allclose(scores(default, row), scores(asked, row), atol=1e-5)


def test_a_change_moves_the_control_cells_whose_partners_it_moves() -> None:
    # Two clusters, which the model puts in the wrong place and one of which it moves.
    is_far = torch.arange(20) >= 10
    controls = torch.where(is_far, 8.0, 0.0)[:, None] + 0.01 * torch.arange(20.0)[:, None]
    control_cells = (controls + 1).flip(0)
    moved = anchored(control_cells + 3 * is_far.flip(0)[:, None], control_cells, controls)
    np.testing.assert_allclose(moved, (controls + 3 * is_far[:, None]).flip(0), atol=1e-5)


def test_each_control_cell_is_used_once_before_one_is_used_again(
    trained, predict, cells, conditions, monkeypatch
) -> None:
    pool, blocks = control_scores(cells, "NK", "chronic"), []

    def watched(made, control_cells, controls):
        blocks.append(controls.numpy())
        return anchored(made, control_cells, controls)

    monkeypatch.setattr("sccalmflow.model._sampling.anchored", watched)
    predict(trained, conditions[:1], n_cells=2 * len(pool) + 1)
    assert [len(block) for block in blocks[:3]] == 3 * [len(pool)]
    for block in blocks:
        np.testing.assert_array_equal(np.sort(block, axis=0), np.sort(pool, axis=0))


def test_unseen_combinations_alone_are_anchored(trained, predict, conditions) -> None:
    plain, pred = (predict(trained, conditions, anchor=anchor) for anchor in (False, True))
    new, *others = (scores(pred, row) - scores(plain, row) for _, row in conditions.iterrows())
    assert np.abs(new).max() > 0.01
    assert all(np.abs(other).max() == 0 for other in others)
    assert (plain.uns["sccalmflow"]["sampling"]["anchor"], pred.uns["sccalmflow"]["sampling"]["anchor"]) == (0, 1)


def test_anchored_cells_have_the_mean_change_that_the_model_predicts(trained, predict, cells, conditions) -> None:
    held, n = conditions[:1], 512
    unchanged = predict(trained, held.assign(perturbation="control"), n_cells=n, name_cell_type=False)
    change = predict(trained, held, n_cells=n, anchor=False).obsm["X_pca"].mean(0) - unchanged.obsm["X_pca"].mean(0)
    moved = predict(trained, held, n_cells=n).obsm["X_pca"].mean(0) - control_scores(cells, "NK", "chronic").mean(0)
    np.testing.assert_allclose(moved, change, atol=0.1)


def test_a_model_that_starts_from_noise_and_sentences_of_ones_own_are_not_anchored(
    build, train, predict, cells, conditions
) -> None:
    model = train(build(cells.copy(), source="noise", n_steps=2))
    own = conditions[:1].assign(prompt=SENTENCE)
    for asked in (conditions[:1], own):
        plain, pred = (predict(model, asked, anchor=anchor).X for anchor in (False, True))
        np.testing.assert_array_equal(pred, plain)


def test_a_row_of_a_frame_is_a_condition_and_columns_of_sentences_are_taken(trained, predict, conditions) -> None:
    whole = predict(trained, conditions.iloc[[0]])
    np.testing.assert_array_equal(predict(trained, conditions.iloc[0]).X, whole.X)
    sentences = [trained._state.schema.sentence(tuple(row)) for row in conditions.itertuples(index=False)]
    expected = predict(trained, sentences)
    for kind in (pd.Index, pd.Categorical, pd.Series):
        np.testing.assert_array_equal(predict(trained, kind(sentences)).X, expected.X)


def test_a_sentence_that_fits_several_conditions_is_of_none_of_them(cells_of, build, train, predict) -> None:
    setup = {"prompt_template": "Treated with {perturbation}:", "control_template": "Untreated:"}
    model = train(build(cells_of(), setup=setup))
    with pytest.raises(ValueError, match="or fits several"):
        predict(model, "Treated with IFN:")
    with pytest.raises(ValueError, match="cannot do without the cell type"):
        predict(model, ["Untreated:"], name_cell_type=False)


@pytest.mark.parametrize("factor", [20.0, -1.0])
def test_control_cells_on_any_scale_are_taken_where_the_projection_was_fitted_on_it(
    cells_of, build, train, predict, conditions, factor, tmp_path
) -> None:
    adata = cells_of()
    adata.X = adata.X * factor
    scf.pp.pca(adata, 5, values="any")
    model = train(build(adata))
    expected = predict(model, conditions.iloc[[0]], control=adata)
    model.save(tmp_path, control_pool=False)
    loaded = scf.CaLMFlowModel.load(tmp_path)
    np.testing.assert_array_equal(predict(loaded, conditions.iloc[[0]], control=adata).X, expected.X)


def test_a_model_shares_nothing_with_its_cells_and_its_predictions(cells_of, build, train, predict, conditions) -> None:
    adata = cells_of()
    model = train(build(adata))
    before = predict(model, conditions)
    expected = before.X.copy()
    for cells in (adata, before):
        cells.uns["pca"]["mean"][:] = 100
        cells.varm["PCs"][:] = 0
    np.testing.assert_array_equal(predict(model, conditions).X, expected)


@pytest.mark.parametrize("n_trajectories", [1, 8])
def test_no_more_cells_than_asked_for_go_through_together(
    cells_of, build, train, predict, conditions, monkeypatch, n_trajectories
) -> None:
    from sccalmflow.model import _sampling

    model = train(build(cells_of(), n_trajectories=n_trajectories))
    sizes, rollout = [], _sampling.rollout

    def watched(flow, start, *arguments, **options):
        sizes.append(len(start) * n_trajectories)
        return rollout(flow, start, *arguments, **options)

    monkeypatch.setattr(_sampling, "rollout", watched)
    few = predict(model, conditions, 100, batch_size=24)
    assert max(sizes) == 24
    np.testing.assert_allclose(few.X, predict(model, conditions, 100).X, atol=1e-5)
