"""The benchmark's own machinery at toy size."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import sccalmflow as scf
from sccalmflow._files import write_json
from sccalmflow.model._presets import resolve_settings

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import heldout, hindsight, methods, pace, report, splits, tune, unseen  # noqa: E402

TINY = {
    "default": {"model": {"width": 32, "n_layers": 1, "n_heads": 2}, "train": {"max_epochs": 1, "steps_per_epoch": 2}},
    "cfm-noise": {"width": 16, "n_updates": 4},
    "cfm-control": {"width": 16, "n_updates": 4, "names_cell_type": False},
    "ddpm": {"width": 16, "n_updates": 4, "n_diffusion_steps": 3},
    "scvi": {"n_hidden": 8},
}


@pytest.fixture
def cells_per_condition() -> int:
    """Cells of each condition of the toy simulation, too few to be validated on."""
    return 8


@pytest.fixture
def simulation(monkeypatch, cells_per_condition):
    """The simulation, small enough to train on in a second."""

    def read():
        adata = scf.datasets.simulated_cytokines(cells_per_condition=cells_per_condition, n_genes=100)
        adata = adata[adata.obs["cell_type"].isin(["B", "NK", "DC"])].copy()
        adata.obs["total_counts"] = np.asarray(adata.layers["counts"].sum(axis=1)).ravel()
        return adata

    monkeypatch.setitem(splits._SOURCES, "simulated", splits._Source(read, "control", n_comps=5))
    hold_out = scf.pp.hold_out
    monkeypatch.setattr(scf.pp, "hold_out", lambda adata, **options: hold_out(adata, **{**options, "min_cells": 4}))


def test_validation_never_holds_out_what_the_benchmark_does() -> None:
    for name, held in splits.HELD_OUT.items():
        for fold in splits.VALIDATION[name]:
            assert not set(fold) & set(held)


def test_a_validation_fold_has_no_cell_of_the_held_out_combinations(simulation) -> None:
    held = splits.load("simulated").heldout
    fold = splits.load("simulated", 0)
    labels = set(fold.adata.obs[list(fold.keys)].astype(str).itertuples(index=False, name=None))
    assert not labels & set(held.itertuples(index=False, name=None))
    assert len(fold.heldout) == len(held)


@pytest.mark.parametrize("name", TINY)
def test_a_method_predicts_every_held_out_combination_and_says_what_it_cost(simulation, name, monkeypatch) -> None:
    import scvi

    train = scvi.model.SCVI.train
    monkeypatch.setattr(scvi.model.SCVI, "train", lambda self, **options: train(self, max_epochs=1, **options))
    split = splits.load("simulated")
    result, table = heldout.run(split, name, TINY[name], 0)
    assert result["method"] == name
    assert table.loc[table["method"] == name, "condition"].nunique() == len(split.heldout)
    assert ("ceiling" in set(table["method"])) == (name == heldout.WITH_BASELINES)
    assert np.isfinite(result["metrics"][name]["edistance"])
    assert result["parameters"] > 100
    assert result["training_seconds"] > 0
    assert result["cells_per_second"] > 0
    json.dumps(result)


def test_scvi_without_counts_says_why_it_is_not_run(simulation) -> None:
    split = splits.load("simulated")
    del split.adata.layers["counts"]
    with pytest.raises(methods.NotAvailable, match="scVI is a model of counts, and simulated has none"):
        methods.scvi(split, {}, 0, 10)


def test_tuning_takes_the_settings_that_validation_likes_best(simulation, monkeypatch, tmp_path) -> None:
    worse, better, ran = {"by": 3.0}, {"by": 0.0}, []

    def predict(split, settings, seed, n_cells):
        ran.append((settings["by"], seed))
        held = split.adata[split.adata.obs["split"] == "heldout"].copy()
        held.obsm["X_pca"] = held.obsm["X_pca"] + settings["by"]
        return held, {"training_seconds": 1.0}

    monkeypatch.setitem(methods.METHODS, "toy", methods.Method("toy", predict, (worse, better)))
    monkeypatch.setitem(methods.METHODS, "like-toy", methods.Method("like toy", predict, tuned_as="toy"))
    assert heldout.chosen("simulated", "toy", tmp_path) == worse  # nothing has been tuned there
    file = tmp_path / "simulated-toy.json"
    tune.tune("simulated", "toy", [0], [0, 1], file)
    found = json.loads(file.read_text())
    assert found["chosen"] == better
    assert [len(one["runs"]) for one in found["tried"]] == [2, 2]
    assert ran == [(3.0, 0), (0.0, 0), (3.0, 1), (0.0, 1)]
    first = {**found["tried"][0], "runs": found["tried"][0]["runs"][:1]}
    dropped = {"settings": {"by": -1.0}, "runs": [{"fold": 0, "seed": 0, "edistance": -1.0}]}
    write_json(file, {**found, "tried": [first, found["tried"][1], dropped]})
    tune.tune("simulated", "toy", [0], [0, 1], file)  # interrupted before one run: only that one
    assert ran[4:] == [(3.0, 1)]
    # What has left the grid stays, and has no say, however lucky.
    assert json.loads(file.read_text()) == {**found, "tried": [*found["tried"], dropped]}
    assert heldout.chosen("simulated", "toy", tmp_path) == better
    assert heldout.chosen("simulated", "like-toy", tmp_path) == better


def test_a_run_is_finished_only_with_the_settings_that_are_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    assert heldout.finished(file, {}) is None
    write_json(file, {"asked": {"lr": 1.0}, "seed": 0})
    assert heldout.finished(file, {"lr": 1.0}) == {"asked": {"lr": 1.0}, "seed": 0}
    assert heldout.finished(file, {}) is None


def test_a_run_of_an_earlier_default_is_not_finished(tmp_path: Path) -> None:
    file, asked = tmp_path / "run.json", {"model": {"n_steps": 2}}
    today = {"asked": asked, "settings": asdict(resolve_settings("default", {"n_steps": 2}))}
    write_json(file, today)
    assert heldout.finished(file, asked, "default") == today
    write_json(file, {**today, "settings": {**today["settings"], "n_layers": 99}})
    assert heldout.finished(file, asked, "default") is None
    assert heldout.finished(file, asked) is not None


@pytest.mark.parametrize("error", [TimeoutError("longer than 3600 s"), RuntimeError("failed with exit status 1")])
def test_a_peer_that_fails_leaves_the_others_to_be_run(simulation, monkeypatch, error) -> None:
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(methods.peers, "predict", fail)
    with pytest.raises(methods.NotAvailable, match=str(error)):
        methods.METHODS["scgen"].predict(splits.load("simulated"), {}, 0, 10)


def test_settings_are_compared_on_the_runs_that_all_of_them_have() -> None:
    """An interrupted choice would prefer whatever had the easier fold or the luckier seed."""

    def runs(*values: float) -> list[dict[str, float]]:
        return [{"fold": 0, "seed": seed, "edistance": value} for seed, value in enumerate(values)]

    tried = [{"settings": {"a": 1}, "runs": runs(1.0, 0.1)}, {"settings": {"a": 2}, "runs": runs(0.9)}]
    assert tune._best(tried) == tried[1]
    tried[1]["runs"] = runs(0.9, 0.4)
    assert tune._best(tried) == tried[0]


def test_a_type_that_was_left_out_is_in_nothing_that_is_fitted(simulation) -> None:
    split = splits.load_without("simulated", "cell_type", "NK")
    obs = split.adata.obs
    assert set(obs.loc[obs["cell_type"] == "NK", "split"]) == {"heldout"}
    given = obs[(obs["cell_type"] == "NK") & (obs["given"] == "train")]
    assert set(given["perturbation"]) == {"control"}
    assert (split.heldout["perturbation"] != "control").all()


@pytest.mark.parametrize(("key", "label"), [("cell_type", "NK"), ("perturbation", "IL-6")])
def test_the_table_of_unseen_labels_has_the_model_and_what_it_has_to_beat(simulation, monkeypatch, key, label) -> None:
    class Tiny(scf.CaLMFlowModel):
        def __init__(self, adata, **options):
            super().__init__(adata, **options, width=32, n_layers=1, n_heads=2)

        def train(self, **options):
            super().train(**options, max_epochs=1, steps_per_epoch=2)

    monkeypatch.setattr(scf, "CaLMFlowModel", Tiny)
    case = unseen.Case("simulated", key, label)
    result = unseen.run(case, splits.load_without(**vars(case)), 0)
    assert result["novelty"] == [f"unseen {key.replace('_', ' ')}"]
    beside = "additive" if key == "cell_type" else "perturbed_mean"
    assert {"default", "control", beside, "ceiling"} <= set(result["metrics"])


def test_the_report_has_a_row_for_each_method(tmp_path: Path) -> None:
    of = {"default": 0.2, "control": 1.0, "additive": 0.6, "ceiling": 0.0}
    costs = {"training_seconds": 10.0, "cells_per_second": 5.0, "parameters": 1000}
    for seed in (0, 1):
        metrics = {name: {"edistance": value + 0.1 * seed * (name == "default")} for name, value in of.items()}
        run = {"data": "kang", "method": "default", "asked": {}, "metrics": metrics, **costs}
        (tmp_path / f"kang-default-{seed}.json").write_text(json.dumps(run))
    metrics = {"cfm-control": {"edistance": 0.3}}
    run = {"data": "kang", "method": "cfm-control", "asked": {}, "metrics": metrics, **costs}
    (tmp_path / "kang-cfm-control-0.json").write_text(json.dumps(run))
    text = report.table(report.read(tmp_path, "kang"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    table = pd.DataFrame(rows[2:], columns=rows[0]).set_index("")
    assert list(table.index) == ["`control`", "`additive`", "CFM, from control cells", "**CaLMFlow**", "`ceiling`"]
    assert table.loc["**CaLMFlow**", "E-distance ↓"] == "0.250 ± 0.071"
    # From the best simple baseline at 0.6 to the ceiling at 0.
    assert table.loc["**CaLMFlow**", "skill in E-distance"] == f"{(0.25 - 0.6) / (0 - 0.6):.2f}"
    assert table.loc["CFM, from control cells", "E-distance ↓"] == "0.300"
    (tmp_path / "kang-cfm-control-1.json").write_text(json.dumps({**run, "asked": {"lr": 1.0}}))
    with pytest.raises(ValueError, match="kang, cfm-control: seeds have different settings"):
        report.read(tmp_path, "kang")


def test_the_cost_is_counted_to_the_score_that_the_competitor_has_at_its_best() -> None:
    ours = {"seed": 0, "history": {"validation_edistance": [0.9, 0.3, 0.1, 0.2], "refit_loss": [1.0]}}
    cfm = {"seed": 0, "method": "cfm-control", "n_updates": 100, "history": {"100": 0.5, "200": 0.35, "300": 0.4}}
    out_of_reach = {**cfm, "history": {"100": 0.05}}
    other_seed = {**cfm, "seed": 1}
    runs = {"kang": {"default": [ours], "cfm-control": [cfm, out_of_reach, other_seed]}}
    seconds = {"kang": {"default": [10.0, 90.0, 9.0], "cfm-control": [0.2, 0.1, 0.9], "cfm-noise": [1.0]}}
    rows = report.cost_table(runs, seconds).splitlines()[2:]
    # 200 updates of 0.2 s, and two epochs of 10 s.
    assert [row.split(" | ")[3:] for row in rows] == [
        ["0.350", "40", "20", "0.5 |"],
        ["0.050", "20", "not reached", "– |"],
    ]


def test_steps_of_a_run_are_epochs_or_updates_and_count_training_again() -> None:
    ours = {"history": {"validation_edistance": [0.9, 0.3], "refit_loss": [1.0, 1.0, 1.0]}}
    assert pace.curve(ours) == {1: 0.9, 2: 0.3}
    assert pace.n_steps(ours) == 5
    cfm = {"n_updates": 50, "history": {"50": 0.3, "100": 0.4}}
    assert pace.curve(cfm) == {50: 0.3, 100: 0.4}
    assert pace.n_steps(cfm) == 150


@pytest.mark.parametrize("cells_per_condition", [20])
def test_the_pace_is_of_trainings_in_turns(simulation, monkeypatch, tmp_path) -> None:
    trained: list[str] = []
    names = ["default", "cfm-noise"]
    monkeypatch.setattr(pace, "_SHORT", {name: TINY[name] for name in names})
    for name in names:
        method = methods.METHODS[name]

        def predict(*arguments, name=name, method=method):
            trained.append(name)
            return method.predict(*arguments)

        monkeypatch.setitem(methods.METHODS, name, replace(method, predict=predict))
    of = pace.paces("simulated", 2, tmp_path)
    assert trained == names * 2
    assert {name: len(seconds) for name, seconds in of.items()} == {"default": 2, "cfm-noise": 2}
    assert all(seconds > 0 for found in of.values() for seconds in found)


def test_a_variant_stands_beside_the_default_on_the_runs_that_both_have(tmp_path: Path) -> None:
    def runs(*values: float) -> list[dict[str, float]]:
        return [{"fold": i, "seed": 0, "edistance": value} for i, value in enumerate(values)]

    unanchored: dict[str, object] = {"predict": {"anchor": False}}
    shorter: dict[str, object] = {"model": {"n_steps": 2}}
    other_seed = [{"fold": 0, "seed": 1, "edistance": 9.0}]
    of = {
        "kang": [({}, runs(0.3, 0.5, 0.7)), (unanchored, other_seed), (shorter, runs(0.4, 0.8) + other_seed)],
        "simulated": [(shorter, runs(0.2))],
    }
    for data, rows in of.items():
        tried = [{"settings": settings, "runs": found} for settings, found in rows]
        (tmp_path / f"{data}-variants.json").write_text(json.dumps({"tried": tried}))
    assert report.variants_table(tmp_path).splitlines()[2:] == [
        "| defaults | 0.500 (3) | – |",
        "| n_steps=2 | 0.600 / 0.400 (2) | – |",
    ]


def test_hindsight_finds_the_combination_that_the_truth_was_made_of() -> None:
    generator = np.random.default_rng(0)
    changes = {"A": [2.0, 0.0, 0.0], "B": [0.0, 4.0, 0.0], "C": [1.0, 1.0, 1.0]}
    cells, labels = [], []
    for cell_type, change in changes.items():
        controls = generator.normal(size=(40, 3))
        for perturbation, moved in (("none", controls), ("drug", controls + change)):
            cells.append(moved)
            labels += [(cell_type, perturbation)] * len(moved)
    obs = pd.DataFrame(labels, columns=["cell_type", "perturbation"]).rename(index=str)
    adata = ad.AnnData(np.zeros((len(labels), 1)), obs=obs)
    adata.obsm["X_pca"] = np.concatenate(cells)
    heldout = pd.DataFrame([("C", "drug")], columns=["cell_type", "perturbation"])
    row = hindsight.hindsight(splits.Split("toy", adata, heldout, "none")).loc["C, drug"]
    assert row["other contexts"] == 2
    # Half of A's change and a quarter of B's make two of three parts of the true change.
    assert row["explained"] == pytest.approx(2 / 3)
    # The mean change is (1, 2, 0), the best combination (1, 1, 0).
    assert row["true change"] < row["best combination"] < row["mean change"] < row["control cells"]
    # The cells of a condition are its control cells, moved: nothing is left.
    assert row["true change"] <= 0


def test_hindsight_stands_beside_the_mean_of_the_defaults_runs(tmp_path: Path) -> None:
    for seed, value in enumerate((0.1, 0.3)):
        rows = [("C, drug", "default", "edistance", value), ("C, drug", "additive", "edistance", 9.0)]
        table = pd.DataFrame(rows, columns=["condition", "method", "metric", "value"])
        table.to_csv(tmp_path / f"toy-default-{seed}.csv", index=False)
    assert hindsight.ours("toy", tmp_path).to_dict() == {"C, drug": pytest.approx(0.2)}
    assert hindsight.ours("other", tmp_path).empty
