"""The paper's two sweeps, and the error over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sccalmflow.validation._training import Recipe

from .ablation import FOLLOWED, ablations
from .curves import Curves
from .experiment import Experiment
from .models import Trained
from .over_time import errors_over_time
from .recipes import PRESET_LABELS, PRESETS, n_states, with_flow
from .scores import REPORT_SEED, Evaluation, compare
from .tasks import FIGURE_TASK, TASKS, Task

TEMPERATURES = (0.0, 0.2, 0.5, 1.0, 1.5, 2.0)
TIME_POINTS = (2, 4, 8, 16, 32)
_METRICS = {"W2": "w2", "MMD": "mmd"}


def _by_temperature(trained: Trained, task: Task, evaluation: Evaluation, seed: int) -> dict[str, Any]:
    return {
        "by_temperature": {
            str(temperature): compare(trained.at(temperature), task, evaluation, REPORT_SEED + seed)
            for temperature in TEMPERATURES
        }
    }


def figure_4(experiment: Experiment, seeds: Sequence[int]) -> Curves:
    """Scores at several temperatures, with and without the variational decoder, and of the default."""
    variants = ablations(TASKS[FIGURE_TASK].dim)
    lines = {"paper": "paper", "paper-regression": "paper, no variational decoder", "default": "default"}

    def scores(key: str, seed: int) -> dict[float, dict[str, float]]:
        found = experiment.measure(FIGURE_TASK, f"figure4-{key}", variants[key][1], seed, _by_temperature)
        return {float(temperature): value for temperature, value in found["by_temperature"].items()}

    return _curves(experiment, "temperature", {label: [scores(key, s) for s in seeds] for key, label in lines.items()})


def figure_8(experiment: Experiment, seeds: Sequence[int]) -> Curves:
    """Scores with several numbers of time points; the paper's configuration, in both readings, at its best temperature.

    The default reads as many states in training whatever their number in a sequence, so it has fewer updates with more.
    """
    dim = TASKS[FIGURE_TASK].dim

    def recipe(preset: str, n_steps: int) -> Recipe:
        found = PRESETS[preset](dim)
        n_updates = n_states(dim) // n_steps if preset == "default" else found.n_updates
        return replace(with_flow(found, n_steps=n_steps), n_updates=n_updates)

    def scores(preset: str, seed: int) -> dict[float, dict[str, float]]:
        return {
            float(n): experiment.scores(FIGURE_TASK, f"figure8-{preset}-t{n}", preset, recipe(preset, n), seed).scores
            for n in TIME_POINTS
        }

    lines = {label.replace("`", ""): [scores(preset, s) for s in seeds] for preset, label in PRESET_LABELS.items()}
    return _curves(experiment, "time points", lines)


def over_time(experiment: Experiment, name: str, seeds: Sequence[int]) -> Curves:
    """Error of a rollout at each time, beside that of a step from the true history."""
    task = TASKS[name]
    variants = ablations(task.dim)
    legend = {"rollout": "rollout", "teacher": "one step from the true history", "floor": "two samples of the truth"}
    values: dict[str, dict[str, dict[float, list[float]]]] = {}
    for key in FOLLOWED:
        label, recipe = variants[key]
        runs = [experiment.measure(name, f"over-time-{key}", recipe, seed, errors_over_time) for seed in seeds]
        times = [(step + 1) / recipe.flow.n_steps for step in range(recipe.flow.n_steps)]
        values[f"{task.label}: {label}"] = {
            legend[line]: {time: [run[line][i] for run in runs] for i, time in enumerate(times)} for line in legend
        }
    return Curves("time", values, {})


def _curves(experiment: Experiment, setting: str, lines: dict[str, list[dict[float, dict[str, float]]]]) -> Curves:
    """From line -> one {setting: scores} a seed, to metric -> line -> {setting: one score a seed}."""
    floor = experiment.floors(FIGURE_TASK)[-1].scores
    values = {
        title: {
            line: {value: [run[value][metric] for run in runs] for value in runs[0]} for line, runs in lines.items()
        }
        for title, metric in _METRICS.items()
    }
    return Curves(setting, values, {title: floor[metric] for title, metric in _METRICS.items()})
