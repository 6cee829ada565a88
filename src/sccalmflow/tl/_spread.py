"""Whether a prediction is as diverse as the truth."""

from __future__ import annotations

import numpy as np


def std_ratio(x: np.ndarray, y: np.ndarray) -> float:
    """Standard deviation of the predicted cells over that of the true cells, the mean over features.

    Each feature (principal component) counts the same. Below 1 the prediction has collapsed towards its mean, above 1
    it is too noisy. Features that do not vary in the truth are left out.

    Parameters
    ----------
    x
        Predicted cells, n x d, usually the scaled PCs in ``obsm["X_pca"]``.
    y
        True cells, m x d.

    Returns
    -------
    The ratio; 1 is best. NaN when no feature varies in the truth.

    Raises
    ------
    ValueError
        Fewer than two cells in a sample, or different features.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> scf.tl.std_ratio(np.array([[0.0], [1.0]]), np.array([[0.0], [2.0]]))
    0.5
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"give cells x features with the same features; the shapes are {x.shape} and {y.shape}.")
    if min(len(x), len(y)) < 2:
        raise ValueError(f"a standard deviation needs at least 2 cells; there are {len(x)} and {len(y)}.")
    predicted, true = (sample.std(axis=0, ddof=1, dtype=np.float64) for sample in (x, y))
    varies = true > 0
    return float(np.mean(predicted[varies] / true[varies])) if varies.any() else float("nan")
