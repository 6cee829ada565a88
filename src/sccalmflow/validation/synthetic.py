"""The paper's experiments on the plane: ``python -m sccalmflow.validation.synthetic --out FOLDER``.

Trains the paper's configuration and the default one on each task, three seeds, and writes to the folder one JSON file a
run with all its settings, ``table.md`` and ``figure.png``. Run it again to go on after an interruption.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator

from sccalmflow import __version__
from sccalmflow.flow import FlowConfig, VolterraFlow
from sccalmflow.tl import mmd, std_ratio, wasserstein

from ._distributions import EIGHT_GAUSSIANS, GAUSSIAN, MOONS, NOISY_MOONS, Distribution
from ._report import Result, draw_figure, markdown_table
from ._runs import once
from ._training import Draw, Recipe, generate, train


@dataclass(frozen=True)
class Task:
    """Transport from one distribution to another."""

    label: str
    source: Distribution
    target: Distribution


@dataclass(frozen=True)
class Evaluation:
    """Means over several pairs of samples; MMD as in the paper's group's code, gamma 2 and the biased estimator."""

    n_samples: int = 2_000
    n_pairs: int = 10
    gamma: float = 2.0


TASKS = {
    "gaussian_to_moons": Task("Gaussian → moons", GAUSSIAN, MOONS),
    "8gaussians_to_moons": Task("8 Gaussians → moons", EIGHT_GAUSSIANS, MOONS),
    "gaussian_to_noisy_moons": Task("Gaussian → noisy moons", GAUSSIAN, NOISY_MOONS),
}
_RESAMPLED = Recipe(
    flow=FlowConfig(dim=2, path="resampled", decoder="gaussian", n_steps=16, n_hidden=128),
    backbone="gpt_neox",
    width=64,
    n_layers=3,
    n_heads=4,
    n_updates=2_000,
    batch_size=128,
    lr=2e-3,
)
PRESETS = {
    # Network as in the paper's appendix A.2. Time points and the weight of the divergence as in public research code
    # of its group; the temperature is chosen for each task, as there.
    "paper": Recipe(
        flow=FlowConfig(dim=2, path="straight", decoder="variational", n_steps=16, n_hidden=32, n_latent=16),
        backbone="gpt2",
        width=32,
        n_layers=4,
        n_heads=1,
        n_updates=2_000,
        batch_size=128,
        lr=1e-3,
        temperatures=(0.2, 0.5, 1.0, 1.5, 2.0),
    ),
    # The default of the package from noise, at the size that the plane needs.
    "gaussian": _RESAMPLED,
    # The posterior of an endpoint has two moons to choose from for half of the time.
    "default": replace(_RESAMPLED, flow=replace(_RESAMPLED.flow, decoder="mixture", n_components=4)),
}
_QUICK_UPDATES = 300
# Draws for choosing a temperature, and those for the numbers reported, come from generators of their own.
_CHOICE, _REPORT = 1_000, 2_000


def compare(predict: Draw, truth: Draw, evaluation: Evaluation, seed: int) -> dict[str, float]:
    """Mean distances between fresh samples of a prediction and of the truth.

    Parameters
    ----------
    predict, truth
        Functions (n, generator) to samples (n, D).
    evaluation
        How many, and the kernel.
    seed
        Seed of the samples.

    Returns
    -------
    ``w2`` (exact), ``mmd`` (squared, biased) and ``std_ratio``.
    """
    generator = Generator().manual_seed(seed)
    scores = []
    for _ in range(evaluation.n_pairs):
        x, y = (draw(evaluation.n_samples, generator).numpy() for draw in (predict, truth))
        distance = mmd(x, y, gamma=evaluation.gamma, estimator="biased")
        scores.append((wasserstein(x, y), distance, std_ratio(x, y)))
    return dict(zip(("w2", "mmd", "std_ratio"), np.mean(scores, axis=0).tolist(), strict=True))


def floors(task: Task, evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """What the truth itself scores: two of its samples, and independent draws against a sample.

    A sample of moons is evenly spaced, draws of a model are independent: the second is what a perfect model gets.
    """
    return {
        "two samples of the truth": compare(task.target.sample, task.target.sample, evaluation, _REPORT),
        "independent draws of the truth": compare(task.target.draw, task.target.sample, evaluation, _REPORT),
    }


def sampler(flow: VolterraFlow, task: Task, temperature: float) -> Draw:
    """The flow as a function (n, generator) to samples (n, D)."""
    return lambda n, generator: generate(flow, task.source.draw, n, generator, temperature=temperature)


def run(
    task: Task, recipe: Recipe, evaluation: Evaluation, seed: int, points: Path, *, progress: str | None = None
) -> dict[str, Any]:
    """Train, choose the temperature, evaluate on other draws, and keep one sample in the file ``points``."""
    flow, seconds = train(recipe, task.source.draw, task.target.draw, seed, progress=progress)
    by_temperature = {
        temperature: compare(
            sampler(flow, task, temperature), task.target.sample, replace(evaluation, n_pairs=1), _CHOICE + seed
        )["w2"]
        for temperature in recipe.temperatures
        if len(recipe.temperatures) > 1
    }
    temperature = min(by_temperature, key=by_temperature.__getitem__, default=recipe.temperatures[0])
    predict = sampler(flow, task, temperature)
    np.save(points, predict(evaluation.n_samples, Generator().manual_seed(_REPORT + seed)).numpy())
    return compare(predict, task.target.sample, evaluation, _REPORT + seed) | {
        "temperature": temperature,
        "w2_by_temperature": {str(key): value for key, value in by_temperature.items()},
        "n_parameters": sum(parameter.numel() for parameter in flow.parameters()),
        "training_seconds": seconds,
        "torch": torch.__version__,
    }


@dataclass(frozen=True)
class Experiment:
    """Runs of tasks and presets in a folder; ``quick`` cuts training and samples down to a trial."""

    folder: Path
    quick: bool = False

    @property
    def evaluation(self) -> Evaluation:
        """How samples are compared."""
        return Evaluation(n_samples=500, n_pairs=1) if self.quick else Evaluation()

    def path(self, *parts: str) -> Path:
        """File of a run; trials have files of their own."""
        return self.folder / ("-".join([*parts, "quick"] if self.quick else parts) + ".json")

    def settings(self, name: str) -> dict[str, Any]:
        """What all results of a task depend on."""
        return {"version": __version__, "task": name, "evaluation": asdict(self.evaluation)}

    def floors(self, name: str) -> list[Result]:
        """Scores of the truth itself."""
        task = TASKS[name]
        scores = once(self.path(name, "floor"), self.settings(name), partial(floors, task, self.evaluation))
        return [Result(task.label, model, value) for model, value in scores.items()]

    def run(self, name: str, preset: str, seed: int) -> Result:
        """One run."""
        task, path = TASKS[name], self.path(name, preset, f"seed{seed}")
        recipe = replace(PRESETS[preset], n_updates=_QUICK_UPDATES) if self.quick else PRESETS[preset]
        settings = self.settings(name) | {"preset": preset, "seed": seed, "recipe": asdict(recipe)}
        points = path.with_suffix(".npy")
        title = f"{task.label}, {preset}, seed {seed}"
        work = partial(run, task, recipe, self.evaluation, seed, points, progress=title)
        return Result(task.label, preset, once(path, settings, work), points)

    def write(self, results: Sequence[Result], names: Sequence[str]) -> str:
        """Write ``table.md`` and ``figure.png``, and return the table."""
        generator = Generator().manual_seed(_REPORT)
        n = self.evaluation.n_samples
        truth = {TASKS[name].label: TASKS[name].target.sample(n, generator).numpy() for name in names}
        table = markdown_table(results)
        (self.folder / "table.md").write_text(table)
        draw_figure(results, truth).savefig(self.folder / "figure.png")
        return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m sccalmflow.validation.synthetic", description=__doc__)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=["paper", "default"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true", help="a tenth of the training and fewer samples: a trial")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    experiment = Experiment(options.out, options.quick)
    results = []
    for name in options.tasks:
        results += experiment.floors(name)
        results += [experiment.run(name, preset, seed) for preset in options.presets for seed in options.seeds]
    print(experiment.write(results, options.tasks))
    print(f"Table, figure and runs are in {options.out}.")


if __name__ == "__main__":
    main()
