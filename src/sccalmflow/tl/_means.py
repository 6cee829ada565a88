"""Means of two samples, and the correlation of two vectors, with the traps of each in one place."""

from __future__ import annotations

import numpy as np

from sccalmflow import _checks

# A change smaller than this share of the largest expression is rounding, not a direction: cells that have been through
# components and back in single precision are off by a millionth.
ROUNDING = 1e-5


def means(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean expression of both samples; float64 sums, whatever the cells are stored in."""
    x, y = _checks.dense_array(x, where="x"), _checks.dense_array(y, where="y")
    if x.ndim != 2 or y.ndim != 2:
        raise ValueError(f"give cells x genes; the arrays have {x.ndim} and {y.ndim} dimensions.")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"the arrays have {x.shape[1]} and {y.shape[1]} genes; they must be the same ones.")
    if not len(x) or not len(y):
        raise ValueError(f"there are no cells in one of the arrays ({len(x)} and {len(y)}).")
    both = x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
    if not all(np.isfinite(mean).all() for mean in both):
        raise ValueError("the arrays hold NaN or infinite values.")
    return both


def correlation(predicted: np.ndarray, true: np.ndarray, *, scale: float | None = None) -> float:
    """Pearson correlation; 0 where the prediction does not vary, NaN where the truth does not.

    Variation below rounding, relative to ``scale`` or to the largest value, is none.
    """
    if predicted.size < 2:
        raise ValueError(f"a correlation needs at least 2 genes, not {predicted.size}.")
    a, b = predicted - predicted.mean(), true - true.mean()
    smallest = [ROUNDING * (np.abs(raw).max() if scale is None else scale) for raw in (predicted, true)]
    if np.abs(b).max() <= smallest[1]:
        return float("nan")
    if np.abs(a).max() <= smallest[0]:
        return 0.0
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1, 1))


def changes(x: np.ndarray, y: np.ndarray, control: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Predicted and true change of the means against the same control, and the scale of expression for rounding.

    Changes within rounding are exactly 0: float32 cells that were only copied or averaged have changed nothing.
    """
    predicted, true = means(x, y)
    reference = means(control, y)[0]
    scale = float(np.abs(reference).max())
    both = [
        np.where(np.abs(change) > ROUNDING * scale, change, 0.0) for change in (predicted - reference, true - reference)
    ]
    return both[0], both[1], scale


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks, ties sharing their mean."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(values))
