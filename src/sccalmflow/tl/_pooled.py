"""All conditions of a method together, as many predicted as true cells of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sccalmflow.baselines._training import Condition

from ._methods import generator
from ._references import References
from ._registry import Metric
from ._target import Pair, Sample
from ._umap import joint_umap

ALL = "all conditions"
# Of each side; the exact 2-Wasserstein distance and ten dimensions of UMAP then take some ten seconds a method.
_MOST_CELLS = 3_000
_UMAP_DIMENSIONS = 10


class PooledTarget:
    """Stands for all conditions; the cells it compares are chosen anew for each method."""

    def __init__(self, n_keys: int, references: References) -> None:
        self.condition: Condition = ("all",) * n_keys
        self._references = references

    def evaluate(self, metric: Metric, x: np.ndarray, y: np.ndarray) -> float:
        """As :meth:`Target.evaluate`."""
        needed = [self._references.classifier for _ in metric.needs]
        return metric.function(x, y, *needed)


class Pool:
    """Collects the scores of one method's cells, condition by condition."""

    def __init__(self, seed: int, n_conditions: int, *, with_umap: bool) -> None:
        self._seed, self._n_conditions, self._with_umap = seed, n_conditions, with_umap
        self._found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}

    def add(self, method: str, condition: Condition, pairs: Sequence[Pair]) -> None:
        """Keep as many predicted as true cells of a condition; of several halvings, the first."""
        if pairs:
            rng = generator(self._seed, *condition, method, "pool")
            samples = [sample["pcs"] for sample in (pairs[0].x, pairs[0].y)]
            n = min(*map(len, samples), max(2, _MOST_CELLS // self._n_conditions))
            first, second = (sample[rng.choice(len(sample), n, replace=False)] for sample in samples)
            self._found.setdefault(method, []).append((first, second))

    @property
    def methods(self) -> list[str]:
        """Methods that have all conditions: those without some are not comparable."""
        return [method for method, pairs in self._found.items() if len(pairs) == self._n_conditions]

    def samples(self, method: str) -> tuple[Sample, Sample]:
        """Predicted and true cells of a method."""
        x, y = (np.concatenate(side) for side in zip(*self._found[method], strict=True))
        if not self._with_umap:
            return {"pcs": x}, {"pcs": y}
        first, second = joint_umap(x, y, _UMAP_DIMENSIONS, self._seed)
        return {"pcs": x, "umap": first}, {"pcs": y, "umap": second}
