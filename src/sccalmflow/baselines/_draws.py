"""Where the generative baselines draw their training pairs and their starting points from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from scipy import sparse
from torch import Generator, Tensor

from sccalmflow import _checks

Draw = Callable[[int, Generator], "Tensor | np.ndarray"]
"""Independent draws, (n, generator) to (n, D): data that never runs out."""
Source: TypeAlias = "np.ndarray | Tensor | Sequence[np.ndarray] | Draw | None"


class Pools:
    """Cells to start from, and the pool (n,) that each row takes them from."""

    def __init__(self, cells: Sequence[Tensor], of: Tensor) -> None:
        self.flat, self.of = torch.cat(list(cells)), of
        self.size = torch.tensor([len(pool) for pool in cells])
        self.offset = self.size.cumsum(0) - self.size

    def random(self, rows: Tensor, generator: Generator) -> Tensor:
        """A cell for each of these rows, with replacement; shape (len(rows), D)."""
        pool = self.of[rows]
        within = (torch.rand(len(rows), generator=generator, dtype=torch.float64) * self.size[pool]).long()
        return self.flat[self.offset[pool] + within]

    def evenly(self, generator: Generator) -> Tensor:
        """A cell for each row, none used again before all of its pool are used; shape (n, D)."""
        index = torch.empty_like(self.of)
        for number, size in enumerate(self.size.tolist()):
            rows = (self.of == number).nonzero().squeeze(1)
            rounds = [torch.randperm(size, generator=generator) for _ in range(-(-len(rows) // size))]
            index[rows] = self.offset[number] + torch.cat([self.of[:0], *rounds])[: len(rows)]
        return self.flat[index]


def read_cells(values: Any, what: str, dim: int | None = None) -> Tensor:
    """An n x D array as float32, after checking it; ``what`` names it in messages."""
    array = np.asarray(values)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{what} has the shape {array.shape}; give cells x features, at least one of each.")
    if dim is not None and array.shape[1] != dim:
        raise ValueError(f"{what} has {array.shape[1]} features, but the data has {dim}.")
    _checks.finite_values(array, where=what)
    return torch.tensor(array, dtype=torch.float32)


def drawn(draw: Draw, n: int, generator: Generator) -> Tensor:
    """What a function draws, in the precision of the networks."""
    return torch.as_tensor(draw(n, generator), dtype=torch.float32)


def read_conditions(values: Any, n: int, *, whole: bool) -> Tensor:
    """Conditions n x c; ``whole`` keeps integers as they are, for an encoder that looks them up."""
    if sparse.issparse(values):
        raise TypeError("condition is sparse; give a dense array, as condition.toarray() is.")
    array = np.asarray(values)
    if array.ndim != 2 or len(array) != n or array.shape[1] == 0:
        raise ValueError(f"condition has the shape {array.shape}; give one vector a cell, {n} x c.")
    _checks.finite_values(array, where="condition")
    keep = whole and array.dtype.kind in "iu"
    return torch.tensor(array, dtype=torch.long if keep else torch.float32)


def read_pools(source: Any, n: int, dim: int) -> Pools:
    """An array is one pool for all of n rows; a sequence has an array for each row, the same object where shared."""
    if isinstance(source, np.ndarray | Tensor):
        return Pools([read_cells(source, "source", dim)], torch.zeros(n, dtype=torch.long))
    if not isinstance(source, Sequence) or isinstance(source, str):
        raise TypeError(
            f"source is a {type(source).__name__}; give None (noise), an array, one array for each cell, or a function."
        )
    if len(source) != n:
        raise ValueError(f"source has {len(source)} arrays for {n} cells; give one for each, or a single array.")
    numbers: dict[int, int] = {}
    of = torch.tensor([numbers.setdefault(id(pool), len(numbers)) for pool in source])
    first = {id(pool): pool for pool in reversed(source)}
    return Pools([read_cells(first[key], "source", dim) for key in numbers], of)


def start_points(source: Source, n: int, dim: int, generator: Generator) -> Tensor:
    """Points for n samples to start from, shape (n, D)."""
    if source is None:
        return torch.randn(n, dim, generator=generator)
    return drawn(source, n, generator) if callable(source) else read_pools(source, n, dim).evenly(generator)


class Batch(NamedTuple):
    """Source draws and cells (B, D), conditions (B, c) or None, and the group (B,) inside which pairs may form."""

    source: Tensor
    endpoint: Tensor
    condition: Tensor | None
    group: Tensor


class TrainingDraws:
    """Batches of training cells, given as an array or as a function that draws them.

    Parameters
    ----------
    x, condition, source, weight
        See :meth:`GenerativeModel.fit`.
    whole
        Whether conditions that are integers stay so.
    """

    def __init__(self, x: Any, condition: Any, source: Source, weight: Any, *, whole: bool) -> None:
        self.fresh: Draw | None = x if callable(x) else None
        if self.fresh is not None and (condition is not None or weight is not None):
            raise ValueError("condition and weight belong to the rows of an array; x is a function without rows.")
        self.x = read_cells(x(2, Generator().manual_seed(0)) if callable(x) else x, "x")
        n, self.dim = self.x.shape
        self.condition = None if condition is None else read_conditions(condition, n, whole=whole)
        self.source: Draw | Pools | None = source if source is None or callable(source) else None
        groups = torch.zeros(n, 1) if self.condition is None else self.condition.double()
        if source is not None and not callable(source):
            if self.fresh is not None and not isinstance(source, np.ndarray | Tensor):
                raise ValueError("source has an array for each cell, but x is a function without rows.")
            self.source = read_pools(source, n, self.dim)
            groups = torch.cat([groups, self.source.of[:, None]], dim=1)
        self.group = groups.unique(dim=0, return_inverse=True)[1]
        self.cumulative = _cumulative(weight, n)

    def batch(self, size: int, generator: Generator) -> Batch:
        """One batch of independent pairs."""
        if self.fresh is not None:
            rows, endpoint = torch.zeros(size, dtype=torch.long), drawn(self.fresh, size, generator)
        else:
            level = torch.rand(size, generator=generator, dtype=torch.float64) * self.cumulative[-1]
            rows = torch.searchsorted(self.cumulative, level, right=True).clamp(max=len(self.x) - 1)
            endpoint = self.x[rows]
        if self.source is None:
            source = torch.randn(size, self.dim, generator=generator)
        elif isinstance(self.source, Pools):
            source = self.source.random(rows, generator)
        else:
            source = drawn(self.source, size, generator)
        return Batch(source, endpoint, None if self.condition is None else self.condition[rows], self.group[rows])


def _cumulative(weight: Any, n: int) -> Tensor:
    values = np.ones(n) if weight is None else np.asarray(weight, dtype=np.float64)
    if values.shape != (n,) or not np.all(values >= 0) or not 0 < values.sum() < np.inf:
        raise ValueError(f"weight must be one number a cell ({n} of them), not negative and not all 0.")
    return torch.as_tensor(values.cumsum())
