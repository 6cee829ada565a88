"""How samples of a model are compared with the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Generator

from sccalmflow.tl import mmd, wasserstein

from .distributions import Draw
from .tasks import Task

REPORT_SEED = 2_000


@dataclass(frozen=True)
class Evaluation:
    """Means over several pairs of samples of this size; ``gamma`` is the kernel of the paper's group."""

    n_samples: int = 2_000
    n_pairs: int = 5
    gamma: float = 2.0


def scores(x: np.ndarray, y: np.ndarray, task: Task, gamma: float) -> dict[str, float]:
    """Scores of a prediction.

    Parameters
    ----------
    x, y
        Samples of the prediction and of the truth, (n, D).
    task
        Says on which plane the truth has its shape.
    gamma
        Kernel of ``mmd``.

    Returns
    -------
    ``w2``
        Exact 2-Wasserstein distance.
    ``plane_w2``
        The same on the plane of the truth: in many dimensions ``w2`` is nearly all noise, and a collapsed prediction
        may go below its floor.
    ``mmd``
        Squared and biased, with the paper's group's kernel. In many dimensions that kernel sees a point and hardly
        any other: truth and any prediction that is not collapsed score 2 / n.
    ``mmd_scaled``
        Squared and biased, over kernels about the median distance of the truth, which does see the others.
    ``variance_ratio``
        Total variance of the prediction over that of the truth.
    """
    plane, w2 = task.plane.numpy(), wasserstein(x, y)
    return {
        "w2": w2,
        "plane_w2": w2 if task.dim == 2 else wasserstein(x @ plane, y @ plane),
        "mmd": mmd(x, y, gamma=gamma, estimator="biased"),
        "mmd_scaled": mmd(x, y, estimator="biased"),
        "variance_ratio": float(x.var(0).sum() / y.var(0).sum()),
    }


def compare(predict: Draw, task: Task, evaluation: Evaluation, seed: int) -> dict[str, float]:
    """Mean scores of fresh samples of a prediction, a function (n, generator) to (n, D), against fresh samples."""
    generator = Generator().manual_seed(seed)
    rows = []
    for _ in range(evaluation.n_pairs):
        x, y = (draw(evaluation.n_samples, generator).numpy() for draw in (predict, task.target.sample))
        rows.append(scores(x, y, task, evaluation.gamma))
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def floors(task: Task, evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """What the truth itself scores: two of its samples, and independent draws against a sample.

    A sample of moons is evenly spaced, draws of a model are independent: the second is what a perfect model gets.
    Where the two are the same there is one row.
    """
    found = {"independent draws of the truth": compare(task.target.draw, task, evaluation, REPORT_SEED)}
    if task.target.draw is task.target.sample:
        return found
    return {"two samples of the truth": compare(task.target.sample, task, evaluation, REPORT_SEED)} | found
