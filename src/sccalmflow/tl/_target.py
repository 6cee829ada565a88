"""What the prediction of one condition is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from anndata import AnnData

from sccalmflow.baselines._training import Condition

from ._keys import Keys
from ._pair import Cells, Space
from ._registry import Metric

Sample = Mapping[Space, np.ndarray]


@dataclass(frozen=True)
class Target:
    """True cells of one condition, and the real control cells of its context."""

    truth: Cells
    keys: Keys
    condition: Condition
    spaces: Sequence[Space]

    @cached_property
    def cells(self) -> Sample:
        """The true cells, in each space that a metric needs."""
        rows = self.truth.rows[self.condition]
        return {space: self.truth.values(space, rows) for space in self.spaces}

    @cached_property
    def _control(self) -> np.ndarray:
        return self.truth.values("genes", self.truth.rows[self.keys.control_of(self.condition)])

    @cached_property
    def control_mean(self) -> np.ndarray:
        """Mean expression of the real control cells, 1 x genes."""
        mean: np.ndarray = self._control.mean(axis=0, dtype=np.float64, keepdims=True)
        return mean

    @cached_property
    def ranked_genes(self) -> np.ndarray:
        """Genes by how surely they differ between truth and control, ups and downs alike; the prediction has no say.

        Welch's t-test, as ``scanpy.tl.rank_genes_groups(method="t-test", rankby_abs=True)``.
        """
        return rank_genes(self.cells["genes"], self._control)

    def evaluate(self, metric: Metric, x: np.ndarray, y: np.ndarray) -> float:
        """Value of a metric on cells in its own space; one row each stands for their mean."""
        if metric.n_top_genes is None:
            return metric.function(x, y, self.control_mean) if metric.needs_control else metric.function(x, y)
        genes = self.top(metric.n_top_genes)
        x, y = x[:, genes], y[:, genes]
        return metric.function(x, y, self.control_mean[:, genes]) if metric.needs_control else metric.function(x, y)

    def top(self, n: int) -> np.ndarray:
        """The n genes that differ most; never more than half of all, or "top" would mean nothing."""
        return self.ranked_genes[: max(2, min(n, len(self.ranked_genes) // 2))]


def rank_genes(cells: np.ndarray, control: np.ndarray) -> np.ndarray:
    """Indices of genes by the absolute score of scanpy's t-test of cells against control."""
    import scanpy as sc

    group = pd.Categorical(["cells"] * len(cells) + ["control"] * len(control))
    both = AnnData(
        np.concatenate([cells, control]),
        obs=pd.DataFrame({"group": group}, index=[str(i) for i in range(len(group))]),
        var=pd.DataFrame(index=[str(i) for i in range(cells.shape[1])]),
    )
    # Genes that never vary have no score (0 / 0), and scanpy ranks them last.
    with np.errstate(divide="ignore", invalid="ignore"):
        sc.tl.rank_genes_groups(both, "group", groups=["cells"], reference="control", method="t-test", rankby_abs=True)
    return both.uns["rank_genes_groups"]["names"]["cells"].astype(int)
