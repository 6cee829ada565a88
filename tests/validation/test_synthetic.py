import json

import numpy as np
import pytest
import torch

from sccalmflow.validation import synthetic
from sccalmflow.validation._competitors import Competitor
from sccalmflow.validation._synthetic.ablation import FOLLOWED, ablations
from sccalmflow.validation._synthetic.competitors import N_LAYERS, train_competitor
from sccalmflow.validation._synthetic.experiment import Effort, Experiment
from sccalmflow.validation._synthetic.models import train_flow
from sccalmflow.validation._synthetic.over_time import errors_over_time, states_over_time
from sccalmflow.validation._synthetic.paper import PRINTED, Number, Printed
from sccalmflow.validation._synthetic.recipes import PRESETS, default
from sccalmflow.validation._synthetic.report import Result, markdown_table
from sccalmflow.validation._synthetic.scores import Evaluation, floors, scores
from sccalmflow.validation._synthetic.table_models import MODELS, entries
from sccalmflow.validation._synthetic.tasks import TABLES, TASKS
from sccalmflow.validation._synthetic.tuning import tuning

TINY = Effort(Evaluation(n_samples=20, n_pairs=1), n_updates=2, batch_size=4)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(synthetic, "QUICK", TINY)


def run(folder, *arguments):
    synthetic.main([*arguments, "--quick", "--out", str(folder)])


def test_distances_of_the_truth_to_itself_are_the_floor():
    evaluation = Evaluation(n_samples=400, n_pairs=2)
    rows = list(floors(TASKS["gaussian_to_moons"], evaluation).values())
    assert rows[0]["w2"] < rows[1]["w2"] < 1
    assert rows[0]["variance_ratio"] == pytest.approx(1, abs=0.04)
    assert len(floors(TASKS["gaussian_to_8gaussians"], evaluation)) == 1


def test_scores_see_a_collapse_that_the_distance_in_many_dimensions_rewards():
    task, generator = TASKS["gaussian_to_8gaussians_100d"], torch.Generator().manual_seed(0)
    truth, other = (task.target.draw(300, generator).numpy() for _ in range(2))
    collapsed = (truth @ task.plane.numpy()) @ task.plane.numpy().T
    good, bad = (scores(x, other, task, gamma=2.0) for x in (truth, collapsed))
    assert bad["w2"] < good["w2"]
    assert bad["variance_ratio"] < 0.8 < 0.9 < good["variance_ratio"]
    assert bad["mmd_scaled"] > 1.5 * good["mmd_scaled"]


@pytest.mark.parametrize(
    ("table", "task"), [(number, table.tasks[-1].replace("1000d", "100d")) for number, table in TABLES.items()]
)
def test_each_table_runs_at_toy_size(tiny, tmp_path, capsys, table: str, task: str):
    run(tmp_path / "out", "--table", table, "--tasks", task)
    text = (tmp_path / "out" / f"table-{table}-quick.md").read_text()
    assert text in capsys.readouterr().out
    lines = text.splitlines()[2:]
    n_trajectories = TABLES[table].n_trajectories
    n_floors = 1 if "gaussians" in task.split("_to_")[1] else 2
    n_printed = sum(row.task == task for row in PRINTED)
    assert len(lines) == n_floors + n_printed + len(PRESETS) * len(n_trajectories) + len(MODELS) - len(PRESETS)
    labels = ("`paper`", "`paper`, paired", "`default`", "CFM-SB, as large as `default`", "DDPM, width 64")
    assert all(label in text for label in labels)
    assert (tmp_path / "out" / f"table-{table}-quick.png").stat().st_size > 1_000
    stored = json.loads((tmp_path / "out" / f"{task}-paper-m1-seed0-quick.json").read_text())
    assert stored["settings"]["recipe"]["flow"]["path"] == "straight"
    assert set(stored["results"]["plane_w2_by_temperature"]) == {"0.2", "0.5", "1.0", "1.5", "2.0"}


def test_tables_of_finished_runs_train_nothing_and_leave_the_others_out(tiny, tmp_path, monkeypatch, capsys):
    task = "moons_to_8gaussians"
    run(tmp_path, "--table", "7", "--models", "paper", "--tasks", task)
    whole = (tmp_path / "table-7-quick.md").read_text().splitlines()
    (tmp_path / f"{task}-paper-m4-seed0-quick.json").unlink()
    monkeypatch.setattr(Experiment, "_train", None)
    run(tmp_path, "--finished")
    found = (tmp_path / "table-7-quick.md").read_text().splitlines()
    assert found == [line for line in whole if "`paper`, 4 trajectories" not in line]
    assert not (tmp_path / "table-1-quick.md").exists()
    assert not list(tmp_path.glob("ablation*"))
    with pytest.raises(SystemExit):
        run(tmp_path, "--finished", "--figure", "4")
    assert "a figure needs all of its runs" in capsys.readouterr().err


@pytest.mark.parametrize("figure", ["4", "8"])
def test_each_figure_runs_at_toy_size(tiny, tmp_path, figure: str):
    run(tmp_path, "--figure", figure)
    text = (tmp_path / f"figure-{figure}-quick.md").read_text()
    assert "temperature 0.2" in text if figure == "4" else "time points 32" in text
    assert "paper, no variational decoder" in text if figure == "4" else "| default |" in text
    assert (tmp_path / f"figure-{figure}-quick.png").exists()


def test_without_the_variational_decoder_the_temperature_changes_nothing(tiny, tmp_path):
    run(tmp_path, "--figure", "4")
    for key, constant in (("paper-regression", True), ("paper", False)):
        path = tmp_path / f"8gaussians_to_moons-figure4-{key}-seed0-quick.json"
        found = json.loads(path.read_text())["results"]["by_temperature"].values()
        assert (len({row["w2"] for row in found}) == 1) == constant


def test_the_ablation_runs_at_toy_size(tiny, tmp_path):
    run(tmp_path, "--ablation", "--tasks", "gaussian_to_moons")
    text = (tmp_path / "ablation-quick.md").read_text()
    assert all(f"| {label} |" in text for label, _ in ablations(2).values())
    over_time = (tmp_path / "over-time-gaussian_to_moons-quick.md").read_text()
    assert over_time.count("one step from the true history") == len(FOLLOWED)
    assert (tmp_path / "over-time-gaussian_to_moons-quick.png").exists()


def test_open_settings_are_tried_at_toy_size_with_a_seed_of_their_own(tiny, tmp_path):
    run(tmp_path, "--tuning", "--tasks", "8gaussians_to_moons")
    lines = (tmp_path / "tuning-quick.md").read_text().splitlines()
    assert sum("CFM, learning rate" in line for line in lines) == 4
    found = [json.loads(path.read_text())["settings"] for path in tmp_path.glob("*-seed*.json")]
    assert {run["seed"] for run in found} == {10}
    assert {run["recipe"]["lr"] for run in found if run["recipe"]["method"] == "cfm_ot"} == {3e-4, 1e-3, 3e-3}
    assert len(tuning()["moons_to_8gaussians"]) == 4 * 3 + 3 * 3


def test_a_finished_run_is_not_repeated(tiny, tmp_path, monkeypatch):
    arguments = ["--table", "1", "--tasks", "gaussian_to_moons", "--models", "default", "cfm"]
    run(tmp_path, *arguments)
    table = (tmp_path / "table-1-quick.md").read_text()
    for name in ("train_flow", "train_competitor"):
        monkeypatch.setattr(
            f"sccalmflow.validation._synthetic.experiment.{name}", lambda *_, **__: pytest.fail("trained again")
        )
    run(tmp_path, *arguments)
    assert (tmp_path / "table-1-quick.md").read_text() == table
    # Without its sample, the run is left out of the picture.
    (tmp_path / "gaussian_to_moons-cfm-seed0-quick.npy").unlink()
    before = (tmp_path / "table-1-quick.png").read_bytes()
    run(tmp_path, *arguments)
    assert (tmp_path / "table-1-quick.md").read_text() == table
    assert (tmp_path / "table-1-quick.png").read_bytes() != before


def test_figures_share_the_trainings_that_both_ask_for(tiny, tmp_path, monkeypatch):
    trained = []

    def counted(recipe, *arguments, **options):
        trained.append(recipe)
        return train_flow(recipe, *arguments, **options)

    monkeypatch.setattr("sccalmflow.validation._synthetic.experiment.train_flow", counted)
    run(tmp_path, "--figure", "4", "8")
    # Figure 4 has three models, Figure 8 has three at five numbers of time points; two of them are those of Figure 4.
    different = {(recipe.flow, recipe.backbone, recipe.ot_pairing) for recipe in trained}
    assert len(trained) == len(different) == 3 + 3 * 5 - 2


def test_a_trial_and_a_full_run_have_files_of_their_own(tmp_path):
    full, trial = (Experiment(tmp_path, TINY, tag).file("a", "seed0") for tag in ("", "quick"))
    assert (full.name, trial.name) == ("a-seed0.json", "a-seed0-quick.json")


def test_effort_counts_trajectories_and_never_adds_work():
    limited = TINY.limit(default(2, 8))
    assert (limited.n_updates, limited.batch_size) == (2, 1)
    assert synthetic.FULL.limit(default(2)) == default(2)


@pytest.mark.parametrize("dim", [2, 100])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_batch_holds_as_many_trajectories_whatever_shares_a_sequence(preset: str, dim: int):
    for n_trajectories in (1, 4, 8, 10):
        recipe = PRESETS[preset](dim, n_trajectories)
        assert 0.9 * 128 <= recipe.batch_size * n_trajectories <= 128
        assert recipe.flow.dim == dim


@pytest.mark.parametrize("method", ["cfm", "cfm_ot", "cfm_sb", "ddpm"])
def test_competitors_train_have_the_parameters_that_are_reported_and_sample_reproducibly(method):
    task = TASKS["moons_to_8gaussians"]
    recipe = Competitor(method, width=12, n_layers=N_LAYERS, n_updates=2, batch_size=8)
    trained = train_competitor(recipe, task, seed=0)
    first, again, other = (trained.sample(10, torch.Generator().manual_seed(seed), 1.0) for seed in (0, 0, 1))
    assert first.shape == (10, 2)
    assert torch.equal(first, again) and not torch.equal(first, other)
    sizes = [task.dim + 1, *[12] * N_LAYERS, task.dim]
    layers = [torch.nn.Linear(before, after) for before, after in zip(sizes[:-1], sizes[1:], strict=True)]
    counted = sum(parameter.numel() for layer in layers for parameter in layer.parameters())
    assert trained.n_parameters == counted
    assert trained.mflop == pytest.approx(2e-6 * counted * trained.n_evaluations)


@pytest.mark.parametrize("dim", [2, 100, 1_000])
def test_competitors_can_be_as_large_as_the_default(dim: int):
    rows = {entry.key: entry.recipe for entry in entries(["cfm", "cfm-equal"], dim, [1])}
    assert rows["cfm"].width == 64
    size = rows["cfm"].with_parameters(400_000, dim).n_parameters(dim)
    assert size == pytest.approx(400_000, rel=0.02)
    assert rows["cfm-equal"].width > 64


@pytest.mark.parametrize("key", FOLLOWED)
def test_errors_over_time_start_and_end_where_they_must(key: str):
    task = TASKS["gaussian_to_moons"]
    recipe = ablations(2)[key][1]
    n_steps = recipe.flow.n_steps
    trained = train_flow(TINY.limit(recipe), task, seed=0)
    generator = torch.Generator().manual_seed(0)
    states = states_over_time(trained.flow, task.source.draw, task.target.draw, 400, generator)
    assert all(value.shape == (400, n_steps, 2) for value in states.values())
    # The first step of a rollout is one from a true state.
    means = [states[name][:, 0].mean(0) for name in ("rollout", "teacher")]
    torch.testing.assert_close(*means, atol=0.25, rtol=0)
    truth = task.target.draw(400, generator).mean(0)
    torch.testing.assert_close(states["truth"][:, -1].mean(0), truth, atol=0.5, rtol=0)
    errors = errors_over_time(trained, task, Evaluation(n_samples=50), seed=0)
    assert {name: len(line) for name, line in errors.items()} == dict.fromkeys(("rollout", "teacher", "floor"), n_steps)


def test_the_table_gives_spread_over_runs_multiples_of_the_floor_and_what_the_paper_prints(tmp_path):
    score = {"w2": 1.0, "plane_w2": 1.0, "mmd": 0.5, "mmd_scaled": 0.5, "variance_ratio": 1.0}
    runs = [Result("task", "model", score | {"w2": w2}, tmp_path) for w2 in (1.0, 2.0, 3.0)]
    printed = Printed("key", "CFM", Number(6.4344, 0.2738), Number(0.0293, 0.0008))
    lines = markdown_table([Result("task", "truth", score), *runs], [("task", printed)]).splitlines()
    assert lines[2].startswith("| task | printed in the paper: CFM | – | 6.4344 ± 0.2738 | – | 0.0293 ± 0.0008 |")
    assert lines[3].startswith("| task | truth | – | 1.000 | 1.000 |")
    assert lines[4].startswith("| task | model | 3 | 2.000 ± 1.000 (2.00×) | 1.000 ± 0.000 (1.00×) |")


def test_what_the_paper_prints_belongs_to_tasks_of_its_tables():
    tasks = {name for number in ("1", "2", "7") for name in TABLES[number].tasks}
    assert {row.task for row in PRINTED} <= tasks
    assert len(PRINTED) == 6 + 6 + 3


def test_tasks_of_no_table_that_is_asked_for_are_refused(tiny, tmp_path, capsys):
    with pytest.raises(ValueError, match="no table that was asked for has one of these --tasks"):
        run(tmp_path, "--table", "1", "--tasks", "moons_to_8gaussians")
    assert "are in" not in capsys.readouterr().out


def test_unknown_names_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        synthetic.main(["--tasks", "circles", "--out", str(tmp_path / "new")])
    assert "gaussian_to_moons" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_scatter_points_lie_on_the_plane(tiny, tmp_path):
    run(tmp_path, "--table", "1", "--tasks", "gaussian_to_2gaussians_100d", "--models", "default")
    points = np.load(tmp_path / "gaussian_to_2gaussians_100d-default-m1-seed0-quick.npy")
    assert points.shape == (20, 2)
