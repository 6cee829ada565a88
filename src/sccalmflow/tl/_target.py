"""What the prediction of one condition, or of all together, is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from sccalmflow.baselines._training import Condition

from ._de import rank_genes
from ._keys import Keys
from ._pair import Cells
from ._pair import Space as CellSpace
from ._references import References
from ._registry import Metric, Space

Sample = Mapping[Space, np.ndarray]
"""The same cells in each space."""


def size(sample: Sample) -> int:
    """Number of cells."""
    return len(next(iter(sample.values())))


def take(sample: Sample, rows: np.ndarray) -> Sample:
    """Some of the cells."""
    return {space: values[rows] for space, values in sample.items()}


class Target(Protocol):
    """What a row of the report is about."""

    condition: Condition

    def evaluate(self, metric: Metric, x: np.ndarray, y: np.ndarray) -> float | None:
        """Value of a metric on cells in its own space, None where it has none; one row each stands for their mean."""


class Pair(NamedTuple):
    """Predicted cells, true ones, and what judges them."""

    target: Target
    x: Sample
    y: Sample


class ConditionTarget:
    """True cells of one condition, and the real control cells of its context."""

    def __init__(
        self, truth: Cells, keys: Keys, condition: Condition, spaces: Sequence[CellSpace], references: References
    ) -> None:
        self.condition = condition
        self.spaces = spaces
        self._truth, self._keys, self._references = truth, keys, references

    @cached_property
    def cells(self) -> Sample:
        """The true cells, in each space that a metric needs."""
        rows = self._truth.rows[self.condition]
        return {space: self._truth.values(space, rows) for space in self.spaces}

    def of(self, rows: np.ndarray) -> ConditionTarget:
        """The same with some of the true cells alone: what they choose, the others must have no say in."""
        some = ConditionTarget(self._truth, self._keys, self.condition, self.spaces, self._references)
        some.cells, some.control_cells = take(self.cells, rows), self.control_cells
        return some

    @cached_property
    def control_cells(self) -> np.ndarray:
        """The real control cells, k x genes."""
        return self._truth.values("genes", self._truth.rows[self._keys.control_of(self.condition)])

    @cached_property
    def _ranked_genes(self) -> np.ndarray:
        """Genes by how surely truth and control differ; the prediction has no say."""
        return rank_genes(self.cells["genes"], self.control_cells)

    @cached_property
    def _others(self) -> np.ndarray:
        return self._references.others(self.condition)

    @cached_property
    def _training_mean(self) -> np.ndarray | None:
        return self._references.training_mean(self.condition)

    def _needed(self, need: str) -> np.ndarray | None:
        if need == "control":
            return self._references.control_mean(self.condition)[None]
        if need == "control_cells":
            return self.control_cells
        if need == "others":
            return self._others
        return None if self._training_mean is None else self._training_mean[None]

    def evaluate(self, metric: Metric, x: np.ndarray, y: np.ndarray) -> float | None:
        """As :meth:`Target.evaluate`; None where the context has no training condition to compare with."""
        if metric.space != "genes":
            needed = [self._references.classifier for _ in metric.needs]
            return metric.function(x, y, *needed)
        samples = [x, y]
        for need in metric.needs:
            found = self._needed(need)
            if found is None:
                return None
            samples.append(found)
        if metric.n_top_genes is not None:
            genes = self.top(metric.n_top_genes)
            samples = [sample[:, genes] for sample in samples]
        return metric.function(*samples)

    def top(self, n: int) -> np.ndarray:
        """The n genes that differ most; never more than half of all, or "top" would mean nothing."""
        return self._ranked_genes[: max(2, min(n, len(self._ranked_genes) // 2))]
