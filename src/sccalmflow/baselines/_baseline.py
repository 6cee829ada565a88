"""What every baseline is: training cells, as they are or all moved by one change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from ._training import Condition, Matrix, Profile, Training, dense


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A baseline, and how it makes its cells.

    Parameters
    ----------
    name
        Its name in the report.
    why_not
        Why it cannot predict a condition, or None. Asked before the next two.
    rows
        Positions of the training cells that it takes for a condition.
    change
        What is added to all of them, in genes and in PCs; None leaves them as they are.
    """

    name: str
    why_not: Callable[[Training, Condition], str | None]
    rows: Callable[[Training, Condition], np.ndarray]
    change: Callable[[Training, Condition], Profile] | None = None

    def cells(self, training: Training, condition: Condition) -> tuple[Matrix, np.ndarray]:
        """Expression and PCs of one condition.

        Where there is a projection, expression is that of the PCs. A model of components predicts it so too, and as its
        reconstruction differs from the real control cells by their noise, which the true change contains as well, any
        such prediction correlates with the true change: this one shows by how much.
        """
        X, pcs = training.cells(self.rows(training, condition))
        change = None if self.change is None else self.change(training, condition)
        if change is not None:
            pcs = _moved(pcs, change[1])
        if training.projection is not None:
            return training.projection.inverse(pcs), pcs
        return (X if change is None else _moved(dense(X), change[0])), pcs

    def predict(self, training: Training) -> AnnData:
        """Predict all conditions, after checking that each of them can be."""
        conditions = training.without
        for condition in conditions:
            reason = self.why_not(training, condition)
            if reason is not None:
                raise ValueError(f"baselines.{self.name} cannot predict {', '.join(condition)!r}: {reason}")
        expression, scores = zip(*(self.cells(training, condition) for condition in conditions), strict=True)
        made = {
            "condition_keys": list(training.keys),
            "perturbation_key": training.perturbation_key,
            "control": training.control,
            "split_key": training.split_key or "",
            "method": self.name,
        }
        return AnnData(
            sparse.vstack(expression, format="csr") if sparse.issparse(expression[0]) else np.concatenate(expression),
            obs=self._obs(training),
            var=pd.DataFrame(index=training.adata.var_names),
            obsm={"X_pca": np.concatenate(scores)},
            uns={"sccalmflow": made},
        )

    def _obs(self, training: Training) -> pd.DataFrame:
        """Labels of the predicted cells, which are named after the training cells that they come from."""
        rows = [self.rows(training, condition) for condition in training.without]
        numbers = np.repeat(np.arange(len(rows)), [len(found) for found in rows])
        labels = zip(training.keys, np.array(training.without, dtype=object).T, strict=True)
        obs = pd.DataFrame({key: pd.Categorical(values[numbers]) for key, values in labels})
        names = training.adata.obs_names[np.concatenate(rows)]
        # One training cell can serve several conditions: the number keeps the names unique.
        obs.index = [f"{i}-{cell}" for i, cell in zip(numbers, names, strict=True)]
        return obs


def _moved(cells: np.ndarray, change: np.ndarray) -> np.ndarray:
    # The data's own precision: float64 statistics must not double the memory of float32 cells.
    dtype = cells.dtype if cells.dtype.kind == "f" else np.float64
    return (cells + change).astype(dtype, copy=False)
