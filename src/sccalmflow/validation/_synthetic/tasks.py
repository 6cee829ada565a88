"""Which transports the synthetic experiments run, and which tables they fill."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .distributions import (
    EIGHT_GAUSSIANS,
    FOUR_GAUSSIANS,
    GAUSSIAN,
    MOONS,
    NOISY_MOONS,
    THREE_GAUSSIANS,
    TWO_GAUSSIANS,
    Distribution,
    in_dimensions,
    plane_in,
)


@dataclass(frozen=True)
class Task:
    """Transport from one distribution to another in ``dim`` dimensions."""

    label: str
    source: Distribution
    target: Distribution
    dim: int = 2

    @property
    def plane(self) -> Tensor:
        """Directions in which the target has its shape, (dim, 2)."""
        return plane_in(self.dim)


def _task(source: str, target: str, dim: int) -> Task:
    laws = {
        "Gaussian": GAUSSIAN,
        "2 Gaussians": TWO_GAUSSIANS,
        "3 Gaussians": THREE_GAUSSIANS,
        "4 Gaussians": FOUR_GAUSSIANS,
        "8 Gaussians": EIGHT_GAUSSIANS,
        "moons": MOONS,
        "noisy moons": NOISY_MOONS,
    }
    where = "" if dim == 2 else f", D = {dim:,}"
    start, end = (in_dimensions(laws[name], dim) for name in (source, target))
    return Task(f"{source} → {target}{where}", start, end, dim)


def _named(source: str, target: str, dim: int = 2) -> tuple[str, Task]:
    parts = [part.lower().replace(" ", "") for part in (source, target)]
    return "_to_".join(parts) + ("" if dim == 2 else f"_{dim}d"), _task(source, target, dim)


_TABLE_1 = dict(
    _named("Gaussian", target, dim) for dim in (2, 100, 1000) for target in ("2 Gaussians", "8 Gaussians", "moons")
)
_TABLE_2 = dict(_named("2 Gaussians", target, 100) for target in ("3 Gaussians", "4 Gaussians"))
_TABLE_7 = dict([_named("moons", "8 Gaussians")])
_PLANE = dict([_named("8 Gaussians", "moons"), _named("Gaussian", "noisy moons")])
TASKS: dict[str, Task] = _TABLE_1 | _TABLE_2 | _TABLE_7 | _PLANE


@dataclass(frozen=True)
class Table:
    """Tasks of a table of the paper, and the numbers of trajectories that share a sequence in it."""

    tasks: tuple[str, ...]
    n_trajectories: tuple[int, ...] = (1,)


TABLES = {
    "1": Table(tuple(_TABLE_1)),
    "2": Table(tuple(_TABLE_2), (1, 8)),
    "7": Table(tuple(_TABLE_7), (1, 4, 10)),
    "plane": Table(("gaussian_to_moons", *_PLANE)),
}
FIGURE_TASK = "8gaussians_to_moons"
ABLATION_TASKS = ("gaussian_to_moons", "8gaussians_to_moons")
