"""What metrics compare with besides the true cells of a condition; each made once, when a metric first asks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import cast

import numpy as np
import pandas as pd

from sccalmflow.baselines._training import Condition, Training, mean_of, training

from ._keys import Keys
from ._leiden import LeidenClassifier
from ._pair import Cells

# More would sharpen the discrimination of large screens little, and cost time and memory.
_MOST_OTHERS = 200
# Leiden and the network take a minute for this many cells; their clusters hardly change with more.
_MOST_CLUSTERED = 20_000


class References:
    """Means and clusters of the truth."""

    def __init__(self, truth: Cells, keys: Keys, predicted: Sequence[Condition], seed: int) -> None:
        self._truth, self._keys, self._predicted, self._seed = truth, keys, predicted, seed
        self._known_means: dict[Condition, np.ndarray] = {}

    def mean(self, condition: Condition) -> np.ndarray:
        """Mean expression of the true cells of a condition, in float64."""
        if condition not in self._known_means:
            self._known_means[condition] = mean_of(self._truth.adata.X[self._truth.rows[condition]])
        return self._known_means[condition]

    def control_mean(self, condition: Condition) -> np.ndarray:
        """Mean expression of the real control cells of its context."""
        return self.mean(self._keys.control_of(condition))

    def change(self, condition: Condition) -> np.ndarray:
        """True change of mean expression against control."""
        return self.mean(condition) - self.control_mean(condition)

    def effect_size(self, condition: Condition) -> float:
        """Length of the true change, NaN without control cells or for all conditions together."""
        rows = self._truth.rows
        has_both = condition in rows and self._keys.control_of(condition) in rows
        return float(np.linalg.norm(self.change(condition))) if has_both else float("nan")

    def others(self, condition: Condition) -> np.ndarray:
        """True changes of the other conditions, conditions x genes."""
        return np.array([self.change(other) for other in self._compared if other != condition])

    @cached_property
    def _compared(self) -> list[Condition]:
        """The predicted conditions, and other perturbed ones beside controls up to a bound."""
        keys, rows = self._keys, self._truth.rows
        found = [c for c in rows if c != keys.control_of(c) and keys.control_of(c) in rows and c not in self._predicted]
        room = max(0, _MOST_OTHERS - len(self._predicted))
        if len(found) > room:
            # Sorted first: the choice must not depend on the order of the cells.
            chosen = np.random.default_rng(self._seed).choice(len(found), room, replace=False)
            found = [sorted(found)[i] for i in sorted(chosen)]
        return [*self._predicted, *found]

    @cached_property
    def training(self) -> Training:
        """Training cells: those that the baselines may see."""
        frame = pd.DataFrame(self._predicted, columns=list(self._keys.condition))
        keys = self._keys
        return training(
            self._truth.adata, frame, perturbation_key=keys.perturbation, control=keys.control, split_key=keys.split
        )

    def training_mean(self, condition: Condition) -> np.ndarray | None:
        """Mean over the training conditions of the same context, controls left out, of their mean expression."""
        control = self._keys.control_of(condition)
        means = [
            self.training.mean(other)[0]
            for other in self.training.rows
            if other != control and self._keys.control_of(other) == control
        ]
        return np.mean(means, axis=0) if means else None

    @cached_property
    def classifier(self) -> LeidenClassifier:
        """Leiden clusters of the true cells of the predicted conditions."""
        rows = np.concatenate([self._truth.rows[condition] for condition in self._predicted])
        if len(rows) > _MOST_CLUSTERED:
            rows = np.random.default_rng(self._seed).choice(rows, _MOST_CLUSTERED, replace=False)
        return LeidenClassifier.fit(cast(np.ndarray, self._truth.pcs)[rows], seed=self._seed)
