"""Means over pairs of cells, computed in blocks so that no full distance matrix is ever kept."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sccalmflow import _checks

Contrast = Callable[[np.ndarray], np.ndarray]
"""A function of squared distances, elementwise: how different two cells are."""

# 2**22 float64 entries are 32 MiB: large enough for BLAS, small enough for a laptop.
_BLOCK_ENTRIES = 2**22


def two_samples(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Check and centre two samples: float64, n x d and m x d, moved together so that y has mean 0.

    Centring changes no distance, and keeps the cancellation in ``|x|² + |y|² - 2xy`` near machine precision.
    """
    x, y = (np.asarray(_checks.dense_array(s, where=name), np.float64) for name, s in (("x", x), ("y", y)))
    for name, sample in (("x", x), ("y", y)):
        if sample.ndim != 2:
            raise ValueError(f"{name} has {sample.ndim} dimensions; give cells x features.")
        if len(sample) == 0:
            raise ValueError(f"{name} has no cells.")
        if not np.isfinite(sample).all():
            raise ValueError(f"{name} holds NaN or infinite values.")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x has {x.shape[1]} features and y {y.shape[1]}; they must be the same ones.")
    centre = y.mean(axis=0)
    return x - centre, y - centre


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances, n x m, of centred float64 samples."""
    squares = x @ y.T
    squares *= -2
    squares += np.einsum("ij,ij->i", x, x)[:, None]
    squares += np.einsum("ij,ij->i", y, y)[None, :]
    return np.maximum(squares, 0, out=squares)


def mean_between(x: np.ndarray, y: np.ndarray, contrast: Contrast, *, block_entries: int = _BLOCK_ENTRIES) -> float:
    """Mean contrast over all pairs of a cell of x and a cell of y."""
    step = max(1, block_entries // len(y))
    total = sum(contrast(squared_distances(x[i : i + step], y)).sum() for i in range(0, len(x), step))
    return float(total) / (len(x) * len(y))


def mean_within(x: np.ndarray, contrast: Contrast, *, block_entries: int = _BLOCK_ENTRIES) -> float:
    """Mean contrast over all pairs of two different cells of x (the U-statistic)."""
    n, total = len(x), 0.0
    step = max(1, block_entries // n)
    for i in range(0, n, step):
        rows = x[i : i + step]
        own = squared_distances(rows, rows)
        values = contrast(own)
        np.fill_diagonal(values, 0)
        total += float(values.sum())
        if i + step < n:
            # The contrast is symmetric: the blocks to the right of the diagonal count twice.
            total += 2 * float(contrast(squared_distances(rows, x[i + step :])).sum())
    return total / (n * (n - 1))
