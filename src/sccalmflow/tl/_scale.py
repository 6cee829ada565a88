"""The length scale of the true cells, which every kernel and every smoothing here is measured in."""

from __future__ import annotations

import numpy as np

# Above this many cells the median distance of the truth is taken over a random subsample.
_MEDIAN_CELLS = 2_000


def median_square(y: np.ndarray) -> float:
    """Squared median distance between two different cells; above 2,000 cells, of 2,000 drawn with a fixed seed."""
    from scipy.spatial.distance import pdist

    y = np.asarray(y, dtype=np.float64)
    if len(y) > _MEDIAN_CELLS:
        y = y[np.random.default_rng(0).choice(len(y), _MEDIAN_CELLS, replace=False)]
    distances = pdist(y)
    if not distances.any():
        return 1.0
    median = float(np.median(distances))
    # Most true cells can be one and the same (binary features): then the mean still has a scale.
    return (median if median > 0 else float(distances.mean())) ** 2
