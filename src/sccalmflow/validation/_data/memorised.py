"""Whether generated samples are copies of what the model was trained on."""

from __future__ import annotations

import numpy as np


def nearest_distance(x: np.ndarray, train: np.ndarray, *, max_samples: int = 500) -> float:
    """Median distance of samples to the nearest training sample.

    Divided by that of the truth it is 1 for samples as new as the truth, and 0 for copies of the training samples.

    Parameters
    ----------
    x, train
        Samples, n x D each.
    max_samples
        Only the first so many of ``x`` are looked at.
    """
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(train)
    return float(np.median(nearest.kneighbors(x[:max_samples])[0]))
