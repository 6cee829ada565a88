"""Whether a prediction is as diverse as the truth."""

from __future__ import annotations

import numpy as np

from sccalmflow import _checks


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
        Fewer than two cells in a sample, different features, or values that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> scf.tl.std_ratio(np.array([[0.0], [1.0]]), np.array([[0.0], [2.0]]))
    0.5
    """
    predicted, true = _standard_deviations(x, y)
    varies = _varies(y)
    return float(np.mean(predicted[varies] / true[varies])) if varies.any() else float("nan")


def variance_ratio(x: np.ndarray, y: np.ndarray) -> float:
    """Variance of the predicted cells over that of the true cells, the median over features.

    The collapse check of the literature, on genes. Of a prediction that is reconstructed from principal components the
    genes vary less than real ones by construction (what no component holds is measurement noise): there
    :func:`std_ratio` of the components is the fairer question.

    Parameters
    ----------
    x
        Predicted cells, n x genes, log1p.
    y
        True cells, m x genes, log1p.

    Returns
    -------
    The ratio; 1 is best. NaN when no feature varies in the truth.

    Raises
    ------
    ValueError
        Fewer than two cells in a sample, different features, or values that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> scf.tl.variance_ratio(np.array([[0.0], [1.0]]), np.array([[0.0], [2.0]]))
    0.25
    """
    predicted, true = _standard_deviations(x, y)
    varies = _varies(y)
    return float(np.median((predicted[varies] / true[varies]) ** 2)) if varies.any() else float("nan")


def correlation_error(x: np.ndarray, y: np.ndarray) -> float:
    """Error of the correlations between features: root mean square difference over all pairs of features.

    A prediction can have the right mean and spread of every feature and none of their joint variation. What the two
    samples would differ by from chance alone is taken off: a correlation r of n cells has a variance of about
    ``(1 - r²)² / (n - 1)`` (of normal features; heavier tails leave a little more).

    Parameters
    ----------
    x
        Predicted cells, n x d, usually the scaled PCs in ``obsm["X_pca"]``, or a few top genes.
    y
        True cells, m x d.

    Returns
    -------
    The error; lower is better, 0 is best, and below 0 (minus the root) when the samples differ by less than chance.
    Features that do not vary in the truth are left out; one that does not vary in the prediction correlates with
    nothing. NaN with fewer than two features.

    Raises
    ------
    ValueError
        Fewer than two cells in a sample, different features, or values that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> y = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    >>> round(scf.tl.correlation_error(y * [1, -1], y), 6)
    2.0
    """
    _samples(x, y)
    varies = _varies(y)
    n = int(varies.sum())
    if n < 2:
        return float("nan")
    pairs = ~np.eye(n, dtype=bool)
    predicted, true = (_correlations(np.asarray(sample, dtype=np.float64)[:, varies])[pairs] for sample in (x, y))
    chance = [np.mean((1 - r**2) ** 2) / (len(sample) - 1) for r, sample in ((predicted, x), (true, y))]
    square = float(np.mean((predicted - true) ** 2) - sum(chance))
    return float(np.sign(square) * np.sqrt(abs(square)))


def duplicate_rate(x: np.ndarray, y: np.ndarray, *, closeness: float = 0.05) -> float:
    """Share of predicted cells that (nearly) repeat another predicted cell.

    A model that memorises or collapses onto a few cells can still match means, spread and distances. A cell is a near
    duplicate when its nearest predicted neighbour is closer than ``closeness`` times the median distance of a true cell
    to its nearest true neighbour.

    Parameters
    ----------
    x
        Predicted cells, n x d, usually the scaled PCs in ``obsm["X_pca"]``.
    y
        True cells, m x d.
    closeness
        Share of the true distance. In 50 dimensions hardly any real cell has a neighbour at a twentieth of the usual
        distance, so that the truth itself gets 0.

    Returns
    -------
    The share; lower is better, 0 is best.

    Raises
    ------
    ValueError
        Fewer than two cells in a sample, different features, values that are not finite, or ``closeness`` that is not
        positive.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> y = np.random.default_rng(0).normal(size=(20, 5))
    >>> scf.tl.duplicate_rate(y, y), scf.tl.duplicate_rate(np.concatenate([y, y[:10]]), y)
    (0.0, 0.6666666666666666)
    """
    if not closeness > 0:
        raise ValueError(f"closeness is {closeness}; give a positive number.")
    x, y = _samples(x, y)
    return float(np.mean(_nearest(x) < closeness * np.median(_nearest(y))))


def _standard_deviations(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = _samples(x, y)
    return x.std(axis=0, ddof=1, dtype=np.float64), y.std(axis=0, ddof=1, dtype=np.float64)


def _varies(y: np.ndarray) -> np.ndarray:
    """Features with two values or more; the standard deviation of equal float64 values is rounding, not 0."""
    return np.asarray(np.ptp(np.asarray(y), axis=0) > 0)


def _samples(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = _checks.dense_array(x, where="x"), _checks.dense_array(y, where="y")
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"give cells x features with the same features; the shapes are {x.shape} and {y.shape}.")
    if min(len(x), len(y)) < 2:
        raise ValueError(f"a standard deviation needs at least 2 cells; there are {len(x)} and {len(y)}.")
    # Features without a number as their deviation would pass for features that do not vary, and be left out.
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("the samples hold NaN or infinite values.")
    return x, y


def _correlations(cells: np.ndarray) -> np.ndarray:
    centred = cells - cells.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=0)
    unit = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 0)
    return np.asarray(unit.T @ unit)


def _nearest(cells: np.ndarray) -> np.ndarray:
    """Distance of each cell to its nearest neighbour."""
    from sklearn.neighbors import NearestNeighbors

    # In many dimensions comparing all pairs, in chunks, beats any tree.
    return NearestNeighbors(n_neighbors=1, algorithm="brute").fit(cells).kneighbors()[0][:, 0]
