"""Runs of an experiment in a folder: train, measure, and keep what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator

from sccalmflow import __version__
from sccalmflow._device import device_name
from sccalmflow.validation._competitors import Competitor
from sccalmflow.validation._effort import Limits
from sccalmflow.validation._runs import finished, once, run_file
from sccalmflow.validation._training import Recipe, choose_temperature

from .competitors import train_competitor
from .models import Trained, train_flow
from .report import Result
from .scores import REPORT_SEED, Evaluation, compare, floors
from .tasks import TASKS, Task

AnyRecipe = Recipe | Competitor
Measure = Callable[[Trained, Task, Evaluation, int], dict[str, Any]]
# Draws for choosing a temperature come from another generator than those for the numbers reported.
_CHOICE_SEED = 1_000


@dataclass(frozen=True)
class Effort(Limits):
    """At most how much training a run is, and how its samples are compared."""

    evaluation: Evaluation


def best_scores(
    trained: Trained, task: Task, evaluation: Evaluation, seed: int, *, temperatures: tuple[float, ...], points: Path
) -> dict[str, Any]:
    """Choose the temperature, evaluate on other draws, and keep a sample on the plane in the file ``points``."""
    choice = replace(evaluation, n_pairs=1)

    def score(temperature: float) -> float:
        return compare(trained.at(temperature), task, choice, _CHOICE_SEED + seed)["plane_w2"]

    temperature, by_temperature = choose_temperature(temperatures, score)
    sample = trained.at(temperature)(evaluation.n_samples, Generator().manual_seed(REPORT_SEED + seed))
    np.save(points, (sample @ task.plane).numpy())
    return compare(trained.at(temperature), task, evaluation, REPORT_SEED + seed) | {
        "temperature": temperature,
        "plane_w2_by_temperature": by_temperature,
    }


class Entry(NamedTuple):
    """Name for files, name for readers, and recipe."""

    key: str
    label: str
    recipe: AnyRecipe


@dataclass(frozen=True)
class Experiment:
    """Runs in a folder, each in a file of its own; a trial (``tag``) has other files than the full runs.

    With ``finished_only``, :meth:`with_floors` has the runs that the folder has, and trains nothing.
    """

    folder: Path
    effort: Effort
    tag: str = ""
    finished_only: bool = False
    _trained: dict[tuple[str, int, AnyRecipe], Trained] = field(default_factory=dict, repr=False, compare=False)

    def file(self, *parts: str, suffix: str = ".json") -> Path:
        """A file of the folder."""
        return run_file(self.folder, *parts, self.tag, suffix=suffix)

    def floors(self, name: str) -> list[Result]:
        """Scores of the truth itself."""
        task, evaluation = TASKS[name], self.effort.evaluation
        scores = once(self.file(name, "floor"), self._settings(name), partial(floors, task, evaluation))
        return [Result(task.label, model, value) for model, value in scores.items()]

    def with_floors(self, name: str, rows: Sequence[Entry], seeds: Sequence[int]) -> list[Result]:
        """What the truth itself scores, then every row's run with each seed; nothing where no run is finished."""
        runs = [(row, seed) for row in rows for seed in dict.fromkeys(seeds) if self._wants(name, row, seed)]
        floors = self.floors(name) if runs else []
        return floors + [self.scores(name, *row, seed) for row, seed in runs]

    def scores(self, name: str, key: str, label: str, recipe: AnyRecipe, seed: int) -> Result:
        """Scores of one run, under ``key`` in the name of its file and ``label`` in the table."""
        points = self.file(name, key, f"seed{seed}", suffix=".npy")
        temperatures = recipe.temperatures if isinstance(recipe, Recipe) else (1.0,)
        measure = partial(best_scores, temperatures=temperatures, points=points)
        return Result(TASKS[name].label, label, self.measure(name, key, recipe, seed, measure), points)

    def measure(self, name: str, key: str, recipe: AnyRecipe, seed: int, measure: Measure) -> dict[str, Any]:
        """Train and measure, unless the same has been done."""
        task, recipe = TASKS[name], self.effort.limit(recipe)

        def work() -> dict[str, Any]:
            trained = self._train(name, recipe, seed, f"{task.label}, {key}, seed {seed}")
            return measure(trained, task, self.effort.evaluation, seed) | {
                "n_parameters": trained.n_parameters,
                "n_evaluations": trained.n_evaluations,
                "mflop": trained.mflop,
                "training_seconds": trained.training_seconds,
                "torch": torch.__version__,
                "device": device_name(),
            }

        return once(self.file(name, key, f"seed{seed}"), self._run_settings(name, key, recipe, seed), work)

    def _train(self, name: str, recipe: AnyRecipe, seed: int, title: str) -> Trained:
        """Train, once for all tables and figures of a command that ask for the same."""
        # The temperature is chosen after training.
        alike = replace(recipe, temperatures=()) if isinstance(recipe, Recipe) else recipe
        if (name, seed, alike) not in self._trained:
            self._trained[name, seed, alike] = (
                train_flow(recipe, TASKS[name], seed, progress=title)
                if isinstance(recipe, Recipe)
                else train_competitor(recipe, TASKS[name], seed, progress=True)
            )
        return self._trained[name, seed, alike]

    def _settings(self, name: str) -> dict[str, Any]:
        """What all results of a task depend on."""
        return {"version": __version__, "task": name, "evaluation": asdict(self.effort.evaluation)}

    def _run_settings(self, name: str, key: str, recipe: AnyRecipe, seed: int) -> dict[str, Any]:
        return self._settings(name) | {"model": key, "seed": seed, "recipe": asdict(recipe)}

    def _wants(self, name: str, row: Entry, seed: int) -> bool:
        if not self.finished_only:
            return True
        settings = self._run_settings(name, row.key, self.effort.limit(row.recipe), seed)
        return finished(self.file(name, row.key, f"seed{seed}"), settings) is not None
