import logging
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sccalmflow.model import _fit, _training

CONDITION = pd.DataFrame({"cell_type": ["B"], "perturbation": ["IFN"], "chronicity": ["acute"]})


def weights(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.module.state_dict().items()}


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], *, same: bool = True) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first) is same


def scripted(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    """Let validation report these E-distances, one an epoch."""
    remaining = iter(values)
    monkeypatch.setattr(_training.Validation, "edistance", lambda self, flow: next(remaining))


def stop_in(monkeypatch: pytest.MonkeyPatch, epoch: int, *, fit: int = 1) -> None:
    """Let a run die at the start of an epoch of its n-th fit, as if the machine went down."""
    original, fits = _training.FlowTrainingPlan.on_train_epoch_start, []

    def die(plan) -> None:
        if plan not in fits:
            fits.append(plan)
        if len(fits) == fit and plan.current_epoch == epoch:
            raise SystemError("power cut")
        original(plan)

    monkeypatch.setattr(_training.FlowTrainingPlan, "on_train_epoch_start", die)


# The curves, and what comes of them


def test_training_in_mixed_precision_comes_near_the_same_loss_and_keeps_whole_weights(cells_of, build, train) -> None:
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        model = train(build(cells_of()), max_epochs=3, validation_size=0.2, patience=None, precision=precision)
        assert {value.dtype for value in weights(model).values()} == {torch.float32}
        losses.append(model.history["train_loss"]["train_loss"].to_numpy(dtype=float))
    np.testing.assert_allclose(*losses, rtol=0.05)
    assert not np.array_equal(*losses)


def test_history_has_one_value_an_epoch_and_the_loss_falls(trained) -> None:
    loss = trained.history["train_loss"]["train_loss"]
    assert list(loss.index) == [0, 1, 2]
    assert loss.iloc[-1] < 0.7 * loss.iloc[0]


def test_validation_curves_are_those_of_the_held_out_conditions(cells_of, build, train) -> None:
    model = train(build(cells_of()), validation_size=0.2, patience=None)
    for name in ("validation_loss", "validation_edistance"):
        curve = model.history[name][name]
        assert list(curve.index) == [0, 1]
        assert np.isfinite(curve.astype(float)).all()


def test_training_stops_after_epochs_without_improvement_and_repeats_the_best_number_on_all_conditions(
    cells_of, build, train, monkeypatch
) -> None:
    scripted(monkeypatch, [3.0, 2.0, 2.5, 2.4, 0.1])
    model = train(build(cells_of()), max_epochs=9, min_epochs=1, validation_size=0.1, patience=2, refit=True)
    assert len(model.history["validation_edistance"]) == 4  # best in the second, then two without improvement
    assert len(model.history["train_loss"]) == 4
    assert len(model.history["refit_loss"]) == 2


def test_no_epoch_is_best_before_the_fewest_have_passed(cells_of, build, train, monkeypatch) -> None:
    for values, n_searched, n_best in (([0.1, 1.0, 3.0, 2.0, 2.5, 2.6], 6, 4), ([0.1, 1.0, 3.0, 4.0, 5.0], 5, 3)):
        scripted(monkeypatch, values)
        model = train(build(cells_of()), max_epochs=9, min_epochs=3, validation_size=0.1, patience=2, refit=True)
        assert len(model.history["validation_edistance"]) == n_searched
        assert len(model.history["refit_loss"]) == n_best


def test_refit_is_where_the_conditions_held_out_are_many_of_the_contexts_of_a_perturbation(
    cells_of, build, train
) -> None:
    from sccalmflow.model._fit import choose_validation

    model = build(cells_of())
    data, schema = model._data, model._state.schema
    which = schema.keys.index(schema.perturbation_key)
    n_contexts = Counter(condition.labels[which] for condition in data.conditions)
    found = set()
    for share in (0.05, 0.5):
        held = Counter(labels[which] for labels in choose_validation(data, schema, share, seed=0))
        is_missed = any(n / n_contexts[perturbation] > 1 / 6 for perturbation, n in held.items())
        trained = train(build(cells_of()), max_epochs=1, validation_size=share)
        assert ("refit_loss" in trained.history) == is_missed
        found.add(is_missed)
    assert True in found


def test_without_refit_the_weights_of_the_best_epoch_stay(cells_of, build, train, monkeypatch) -> None:
    best = []
    for values, patience in (([1.0, 2.0, 3.0], None), ([1.0, 1.5], 1)):
        scripted(monkeypatch, values)
        model = build(cells_of())
        train(model, max_epochs=3, min_epochs=1, validation_size=0.1, patience=patience, refit=False)
        best.append(weights(model))
    assert_same(best[0], best[1])
    scripted(monkeypatch, [3.0, 2.0, 1.0])
    last = train(build(cells_of()), max_epochs=3, validation_size=0.1, patience=None, refit=False)
    assert_same(best[0], weights(last), same=False)


@given(seed=st.integers(0, 100), share=st.floats(0.01, 0.9), drop=st.sets(st.integers(0, 17), max_size=6))
def test_validation_conditions_are_perturbed_and_each_of_their_labels_stays_in_training(
    seed: int, share: float, drop: set[int]
) -> None:
    from sccalmflow.model._data import Condition, TrainingData
    from sccalmflow.model._schema import Schema

    schema = Schema("cell_type", "perturbation", "chronicity", (), "control", None, None, "X_pca")
    every = list(product(("B", "T", "NK"), ("control", "IFN", "IL-6"), ("acute", "chronic")))
    labels = [row for number, row in enumerate(every) if number not in drop]
    members = [torch.arange(19 if number % 5 == 0 else 20) for number in range(len(labels))]
    data = TrainingData(torch.zeros(20, 5), [Condition(row) for row in labels], members, {})
    held = _fit.choose_validation(data, schema, share, seed)
    rest = [row for row in labels if row not in held]
    perturbed = [row for row in labels if row[1] != "control"]
    assert len(held) <= max(1, round(share * len(perturbed)))
    assert len(set(held)) == len(held)
    for row in held:
        assert row in perturbed
        assert len(members[labels.index(row)]) >= 20
        assert any(other[1] == row[1] for other in rest)
        assert (row[0], "control", row[2]) in rest


def test_conditions_too_small_to_validate_on_are_said_so_and_training_goes_on(cells_of, build, train, caplog) -> None:
    with caplog.at_level("INFO", logger="sccalmflow"):
        model = train(build(cells_of(n=6)), validation_size=0.1)
    assert "No training condition can be held out" in caplog.text
    assert list(model.history) == ["train_loss"]
    assert model.is_trained_


# What weights depend on


def test_the_same_seed_gives_the_same_weights_whatever_the_global_random_state(cells_of, build, train) -> None:
    results = []
    for state in (1, 2):
        torch.manual_seed(state)
        np.random.seed(state)
        results.append(weights(train(build(cells_of(), dropout=0.5), validation_size=0.1)))
    assert_same(*results)


def test_another_seed_gives_other_weights(cells_of, build, train) -> None:
    start = [weights(build(cells_of(), seed=seed)) for seed in (0, 1)]
    assert_same(*start, same=False)
    assert_same(*(weights(train(build(cells_of()), seed=seed)) for seed in (0, 1)), same=False)


def test_labels_in_another_order_give_the_same_model(cells_of, build, train, predict) -> None:
    usual, permuted = cells_of(), cells_of()
    for key in ("cell_type", "perturbation", "chronicity"):
        permuted.obs[key] = permuted.obs[key].cat.reorder_categories(permuted.obs[key].cat.categories[::-1])
    strings = cells_of()
    strings.obs = strings.obs.astype(str)
    models = [train(build(adata), max_epochs=1) for adata in (usual, permuted, strings)]
    for other in models[1:]:
        assert_same(weights(models[0]), weights(other))
        np.testing.assert_array_equal(predict(other, CONDITION).X, predict(models[0], CONDITION).X)


def test_dropout_is_active_in_training_and_off_in_prediction(cells_of, build, train, predict) -> None:
    models = [build(cells_of(), dropout=dropout) for dropout in (0.0, 0.5)]
    assert_same(*map(weights, models))
    for model in models:
        train(model, max_epochs=1)
    assert_same(*map(weights, models), same=False)
    assert not any(part.training for part in models[1].module.modules())
    np.testing.assert_array_equal(predict(models[1], CONDITION).X, predict(models[1], CONDITION).X)


def test_the_cell_type_alone_is_left_out_of_about_the_share_of_sentences_that_was_asked_for(cells_of, build) -> None:
    from sccalmflow.model._data import BatchSampler

    for share in (0.0, 0.3):
        model = build(cells_of(), omit_probability=share)
        state = model._state
        sampler = BatchSampler(model._data, state.flow, state.schema, state.settings, model._book)
        batch = sampler.draw(4000, torch.Generator().manual_seed(0))
        sentences = [state.tokenizer.decode(ids[mask].tolist()) for ids, mask in zip(*batch.prompts[:2], strict=True)]
        counts = Counter(sentences[i] for i in batch.prompt_index.tolist())
        without_type = sum(n for text, n in counts.items() if text.startswith("Generate a cell"))
        assert without_type / 4000 == pytest.approx(share, abs=0.04)
        assert all("and exposure" in text for text in counts)


def test_a_batch_pairs_cells_of_a_condition_with_its_sentence_and_control_cells_of_its_context(cells_of, build) -> None:
    from sccalmflow.model._data import BatchSampler

    adata = cells_of()
    model = build(adata, omit_probability=0.0, n_trajectories=2, n_context_cells=3)
    state = model._state
    sampler = BatchSampler(model._data, state.flow, state.schema, state.settings, model._book)
    batch = sampler.draw(64, torch.Generator().manual_seed(0))
    assert batch.endpoint.shape == (64, 2, 5)
    assert batch.source.shape == (64, 2, 2, 5)
    rows = {tuple(np.round(score, 5)): labels for score, labels in zip(
        adata.obsm["X_pca"], adata.obs[["cell_type", "perturbation", "chronicity"]].itertuples(index=False), strict=True
    )}  # fmt: skip
    of = lambda x: rows[tuple(np.round(x.numpy(), 5))]
    for b in range(64):
        labels = of(batch.endpoint[b, 0])
        assert adata.obs.loc[(adata.obs[list(labels._fields)] == labels).all(axis=1), "split"].eq("train").all()
        prompt = batch.prompt_index[b]
        sentence = state.tokenizer.decode(batch.prompts.ids[prompt][batch.prompts.mask[prompt]].tolist())
        told = "with no stimulation" if labels.perturbation == "control" else f"stimulated with {labels.perturbation}"
        assert sentence == f"Generate a {labels.cell_type} cell {told} and exposure {labels.chronicity}:"
        assert of(batch.endpoint[b, 1]) == labels
        for source in [*batch.source[b].flatten(0, 1), *batch.prompts.context[prompt]]:
            assert of(source) == labels._replace(perturbation="control")


# Interruptions


@pytest.mark.parametrize(("fit", "epoch"), [(1, 1), (1, 2), (2, 1)])
def test_resuming_gives_the_weights_and_curves_of_an_uninterrupted_run(
    cells_of, build, train, tmp_path: Path, monkeypatch, fit: int, epoch: int
) -> None:
    options = {"max_epochs": 3, "validation_size": 0.1, "patience": None, "refit": fit == 2, "lr": 1e-2}
    whole = build(cells_of(), dropout=0.2)
    scripted(monkeypatch, [3.0, 2.0, 1.0])
    train(whole, **options)
    with monkeypatch.context() as patch:
        scripted(patch, [3.0, 2.0, 1.0])
        stop_in(patch, epoch, fit=fit)
        with pytest.raises(SystemError, match="power cut"):
            train(build(cells_of(), dropout=0.2), checkpoint_dir=str(tmp_path), **options)
    resumed = build(cells_of(), dropout=0.2)
    scripted(monkeypatch, [3.0, 2.0, 1.0][epoch:])
    train(resumed, checkpoint_dir=str(tmp_path), resume=True, **options)
    assert_same(weights(whole), weights(resumed))
    for name in ("train_loss", "validation_loss", "validation_edistance"):
        pd.testing.assert_frame_equal(whole.history[name], resumed.history[name])


def test_resuming_a_finished_run_gives_its_weights(cells_of, build, train, tmp_path: Path) -> None:
    first = train(build(cells_of()), checkpoint_dir=str(tmp_path), validation_size=0.1)
    again = train(build(cells_of()), checkpoint_dir=str(tmp_path), validation_size=0.1, resume=True)
    assert_same(weights(first), weights(again))
    assert again.is_trained_


def test_a_run_that_starts_anew_forgets_the_checkpoints_of_an_earlier_one(
    cells_of, build, train, tmp_path: Path, monkeypatch
) -> None:
    options = {"checkpoint_dir": str(tmp_path), "validation_size": 0.1, "lr": 1e-2}
    train(build(cells_of(), width=8), **options)
    with monkeypatch.context() as patch:
        stop_in(patch, 0)
        with pytest.raises(SystemError, match="power cut"):
            train(build(cells_of()), **options)
    resumed = train(build(cells_of()), resume=True, **options)
    assert_same(weights(resumed), weights(train(build(cells_of()), **{**options, "checkpoint_dir": None})))


@pytest.mark.parametrize(
    ("model", "options", "cells", "message"),
    [
        ({}, {"lr": 2e-2}, {}, "lr=0.01 there and 0.02 here"),
        ({"n_layers": 2}, {}, {}, "n_layers=1 there and 2 here; the initial weights differ"),
        ({"seed": 1}, {}, {}, "the initial weights differ"),
        ({}, {}, {"seed": 1}, "the cells differ"),
    ],
)
def test_a_run_goes_on_from_its_own_checkpoints_only(
    cells_of, build, train, tmp_path: Path, model, options, cells, message: str
) -> None:
    first = {"checkpoint_dir": str(tmp_path), "lr": 1e-2}
    train(build(cells_of()), **first)
    another = build(cells_of(**cells), **model)
    with pytest.raises(ValueError, match=rf"holds another run: {message}\. .*resume=False"):
        train(another, **{**first, **options}, resume=True)
    assert not another.is_trained_
    # What the folder holds is still there for the run that wrote it, on a processor that rounds otherwise too.
    again = build(cells_of())
    again._data.scores.mul_(1 + 1e-6)
    train(again, **first, resume=True)


def test_the_first_of_all_runs_can_ask_to_be_resumed(cells_of, build, train, tmp_path: Path) -> None:
    model = train(build(cells_of()), checkpoint_dir=str(tmp_path / "new"), resume=True)
    assert_same(weights(model), weights(train(build(cells_of()))))


def test_a_context_of_few_control_cells_does_not_make_validation_judge_all_by_as_few(cells_of, build, train) -> None:
    seen = []

    class Watched(_training.Validation):
        def edistance(self, flow) -> float:
            seen.append(self.n_cells)
            return super().edistance(flow)

    adata = cells_of(60)
    keys = ["cell_type", "perturbation", "chronicity"]
    controls = adata.obs.index[(adata.obs[keys] == ("B", "control", "acute")).all(axis=1)]
    few = adata[~adata.obs_names.isin(controls[4:])].copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_fit, "Validation", Watched)
        patch.setattr(_fit, "choose_validation", lambda *_: [("B", "IFN", "acute"), ("NK", "IFN", "acute")])
        for cells in (adata, few):
            train(build(cells), max_epochs=1, validation_size=0.1, refit=False)
    assert seen == [60, 50]


def test_more_validation_conditions_than_fit_into_one_batch_are_taken_in_several(
    cells_of, build, train, monkeypatch
) -> None:
    held, sizes, scored = [("B", "IFN", "acute"), ("NK", "IFN", "acute"), ("NK", "IL-6", "acute")], [], []
    original, edistance = _training.FlowTrainingPlan.validation_step, _training.Validation.edistance

    def step(plan, batch, batch_idx) -> None:
        sizes.append(len(batch.endpoint))
        original(plan, batch, batch_idx)

    def score(validation, flow) -> float:
        scored.append(len(validation.requests))
        return edistance(validation, flow)

    monkeypatch.setattr(_training.FlowTrainingPlan, "validation_step", step)
    monkeypatch.setattr(_training.Validation, "edistance", score)
    monkeypatch.setattr(_training, "_VALIDATION_CELLS_EACH", 50)
    monkeypatch.setattr(_fit, "choose_validation", lambda *_: held)
    losses = []
    for n_cells in (2000, 100):
        monkeypatch.setattr(_training, "_VALIDATION_CELLS", n_cells)
        model = train(build(cells_of(60)), max_epochs=1, validation_size=0.1, refit=False)
        losses.append(float(model.history["validation_loss"]["validation_loss"].iloc[0]))
    assert sizes == [150, 100, 50]
    assert scored == [3, 3]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


def test_a_loss_that_is_not_finite_stops_with_epoch_and_condition_and_keeps_the_best_weights(
    cells_of, build, train, predict, monkeypatch
) -> None:
    model = build(cells_of())
    poisoned = [c.labels for c in model._data.conditions].index(("B", "IFN", "acute"))
    kept = []
    start, end = _training.FlowTrainingPlan.on_train_epoch_start, _training.KeepBest.on_train_epoch_end

    def poison(plan) -> None:
        start(plan)
        if plan.current_epoch == 2:
            model._data.scores[model._data.members[poisoned]] = float("nan")

    def remember(callback, trainer, plan) -> None:
        end(callback, trainer, plan)
        kept.append({name: value.clone() for name, value in plan.averaged.module.state_dict().items()})

    monkeypatch.setattr(_training.FlowTrainingPlan, "on_train_epoch_start", poison)
    monkeypatch.setattr(_training.KeepBest, "on_train_epoch_end", remember)
    with pytest.raises(FloatingPointError, match=r"epoch 2 .*B, IFN, acute.*best weights.*lower `lr`"):
        train(model, max_epochs=4, batch_size=128)
    assert len(kept) == 2
    assert_same(weights(model), kept[-1])
    assert model.is_trained_
    assert len(model.history["train_loss"]) == 2
    assert np.isfinite(predict(model, CONDITION).X).all()


def test_a_loss_that_is_not_finite_while_training_on_all_conditions_keeps_the_weights_of_the_search(
    cells_of, build, train, predict, monkeypatch
) -> None:
    model = build(cells_of())
    scripted(monkeypatch, [1.0, 2.0])
    kept, plans = [], []
    start, end = _training.FlowTrainingPlan.on_train_epoch_start, _training.KeepBest.on_train_epoch_end

    def poison(plan) -> None:
        start(plan)
        plans.append(plan)
        if plan is not plans[0]:
            model._data.scores.fill_(float("nan"))

    def remember(callback, trainer, plan) -> None:
        end(callback, trainer, plan)
        kept.append({name: value.clone() for name, value in plan.averaged.module.state_dict().items()})

    monkeypatch.setattr(_training.FlowTrainingPlan, "on_train_epoch_start", poison)
    monkeypatch.setattr(_training.KeepBest, "on_train_epoch_end", remember)
    with pytest.raises(FloatingPointError, match="epoch 0"):
        train(model, max_epochs=2, min_epochs=1, validation_size=0.1, refit=True, patience=None)
    assert model.is_trained_
    assert_same(weights(model), kept[0])


def test_a_loss_that_is_never_finite_leaves_the_model_untrained_with_its_first_weights(
    cells_of, build, train, predict
) -> None:
    model = build(cells_of())
    before = weights(model)
    model._data.scores.fill_(float("inf"))
    with pytest.raises(FloatingPointError, match=r"epoch 0 \(step 0\)"):
        train(model)
    assert not model.is_trained_
    assert_same(weights(model), before)
    with pytest.raises(RuntimeError, match="not been trained"):
        predict(model, CONDITION)


@pytest.mark.parametrize("refit", [False, True])
def test_conditions_that_the_weights_have_not_been_trained_on_are_unseen(
    cells_of, build, train, predict, refit
) -> None:
    model = build(cells_of())
    held = pd.DataFrame(_fit.choose_validation(model._data, model._state.schema, 0.1, 0), columns=list(CONDITION))
    train(model, validation_size=0.1, refit=refit)
    pred = predict(model, held)
    assert set(pred.obs["novelty"]) == {"seen" if refit else "unseen combination"}
    # As of any unseen combination, the type is not named.
    assert {prompt.startswith("Generate a cell ") for prompt in pred.obs["prompt"]} == {not refit}
    assert set(predict(model, CONDITION).obs["novelty"]) == {"seen"}
    train(model, validation_size=0)
    assert set(predict(model, held).obs["novelty"]) == {"seen"}
    # What they once were trained on stays seen.
    train(model, validation_size=0.1, refit=False)
    assert set(predict(model, held).obs["novelty"]) == {"seen"}


@pytest.mark.parametrize("n_alone", [1, 24 * 18])
def test_sentences_of_single_cells_do_not_stop_validation(cells_of, build, train, n_alone) -> None:
    adata = cells_of(heldout=None)
    rows = adata.obs[["cell_type", "perturbation", "chronicity"]].itertuples(index=False, name=None)
    adata.obs["sentence"] = [f"{' '.join(row)} {i if i < n_alone else 'x'}" for i, row in enumerate(rows)]
    model = train(build(adata, setup={"prompt_key": "sentence"}), validation_size=0.1)
    assert ("validation_edistance" in model.history) == (n_alone == 1)


def test_resuming_a_run_that_stopped_early_changes_nothing(cells_of, build, train, monkeypatch, tmp_path: Path) -> None:
    options = {"max_epochs": 9, "min_epochs": 1, "patience": 2, "validation_size": 0.1, "refit": False}
    scripted(monkeypatch, [9.0, 1.0, 2.0, 3.0])
    whole = train(build(cells_of()), checkpoint_dir=str(tmp_path), **options)
    scripted(monkeypatch, [0.5] * 9)
    again = train(build(cells_of()), checkpoint_dir=str(tmp_path), resume=True, **options)
    assert_same(weights(again), weights(whole))
    assert len(again.history["validation_edistance"]) == 4


def test_training_prints_no_notes_of_lightning_and_leaves_its_log_as_it_was(cells_of, build, train, capfd) -> None:
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    train(build(cells_of()))
    assert capfd.readouterr() == ("", "")
    assert log.level == level


def test_beside_its_bars_training_says_what_it_validates_on_and_that_it_starts_again(
    cells_of, build, train, capfd
) -> None:
    train(build(cells_of()), validation_size=0.1, max_epochs=2, refit=True, show_progress=True)
    said = capfd.readouterr().out
    assert "Validating on " in said
    assert "Best after 2 epochs; training on all conditions for as long." in said


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork", "ddp_notebook"])
def test_strategies_that_would_leave_the_weights_in_another_process_are_refused(cells_of, build, train, strategy):
    with pytest.raises(ValueError, match=r"processes of its own.*devices=1"):
        train(build(cells_of()), accelerator="cpu", devices=2, strategy=strategy)
