"""Settings that the paper leaves open, or that competitors need, tried with a seed that no table has."""

from __future__ import annotations

from dataclasses import replace

from sccalmflow.validation._competitors import LABELS, MethodName
from sccalmflow.validation._training import size

from .competitors import competitor
from .experiment import Entry
from .recipes import default, paired, paper, with_flow
from .tasks import FIGURE_TASK, TABLES

SEED = 10
_RATES: dict[MethodName, tuple[float, ...]] = {"cfm": (3e-4, 1e-3, 3e-3, 1e-2), "cfm_ot": (3e-4, 1e-3, 3e-3)}
_WEIGHTS = (0.05, 0.1, 0.2, 0.3)
_TIME_POINTS = (4, 8, 16)


def tuning() -> dict[str, list[Entry]]:
    """Rows by task: learning rates on the plane's hardest, and what the paper leaves open on that of Table 7."""
    rates = [_rate(method, lr) for method, values in _RATES.items() for lr in values]
    (task,), numbers = TABLES["7"].tasks, TABLES["7"].n_trajectories
    weights = [_weight(weight, n) for weight in _WEIGHTS for n in numbers]
    return {FIGURE_TASK: rates, task: weights + [_time_points(number, n) for number in _TIME_POINTS for n in numbers]}


def _rate(method: MethodName, lr: float) -> Entry:
    recipe = replace(competitor(method, 2).with_parameters(size(default(2)), 2), lr=lr)
    return Entry(f"{method.removeprefix('cfm_')}{lr:g}", f"{LABELS[method]}, learning rate {lr:g}", recipe)


def _weight(weight: float, n_trajectories: int) -> Entry:
    recipe = with_flow(paper(2, n_trajectories), kl_weight=weight)
    label = f"`paper`, {_trajectories(n_trajectories)}, divergence weighted {weight}"
    return Entry(f"kl{weight}m{n_trajectories}", label, recipe)


def _time_points(n_steps: int, n_trajectories: int) -> Entry:
    recipe = with_flow(paired(2, n_trajectories), n_steps=n_steps)
    label = f"`paper`, paired, {_trajectories(n_trajectories)}, {n_steps} time points"
    return Entry(f"paired-t{n_steps}m{n_trajectories}", label, recipe)


def _trajectories(n: int) -> str:
    return "1 trajectory" if n == 1 else f"{n} trajectories"
