"""Agreement of mean expression, and of its change against control."""

from __future__ import annotations

import numpy as np

# A change smaller than this share of the expression itself is rounding, not a direction.
_ROUNDING = 1e-9


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson correlation, over genes, of predicted and true mean expression.

    High for almost any prediction, since most of it is what every cell shares; :func:`pearson_delta` asks for the
    change.

    Parameters
    ----------
    x
        Predicted cells, n x genes, log1p.
    y
        True cells, m x genes, log1p.

    Returns
    -------
    The correlation; higher is better, 1 is best. 0 when the predicted means are constant, NaN when the true ones are.

    Raises
    ------
    ValueError
        Different genes, no cells, or values that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> round(scf.tl.pearson(np.array([[0.0, 1.0, 2.0]]), np.array([[1.0, 3.0, 5.0], [1.0, 3.0, 5.0]])), 6)
    1.0
    """
    return _correlation(*_means(x, y))


def r2_corr(x: np.ndarray, y: np.ndarray) -> float:
    """Squared Pearson correlation, over genes, of predicted and true mean expression.

    What the CaLMFlow paper and most of the field print as R². It forgives any shift and scaling, which :func:`r2` does
    not.

    Parameters
    ----------
    x
        Predicted cells, n x genes, log1p.
    y
        True cells, m x genes, log1p.

    Returns
    -------
    The squared correlation; higher is better, 1 is best.

    Raises
    ------
    ValueError
        Different genes, no cells, or values that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> x, y = np.array([[0.0, 1.0, 2.0]]), np.array([[1.0, 3.0, 5.0]])
    >>> round(scf.tl.r2_corr(x, y), 6), scf.tl.r2(x, y)
    (1.0, -0.75)
    """
    return pearson(x, y) ** 2


def r2(x: np.ndarray, y: np.ndarray) -> float:
    """Coefficient of determination, over genes, of predicted for true mean expression.

    1 minus the squared error over the variance of the true means across genes.

    Parameters
    ----------
    x
        Predicted cells, n x genes, log1p.
    y
        True cells, m x genes, log1p.

    Returns
    -------
    The coefficient; higher is better, 1 is best, below 0 is worse than one number for all genes. NaN when the true
    means are constant.

    Raises
    ------
    ValueError
        Different genes, no cells, or values that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> scf.tl.r2(np.array([[1.0, 1.0, 3.0]]), np.array([[0.0, 1.0, 2.0]]))
    0.0
    """
    predicted, true = _means(x, y)
    variation = float(np.sum((true - true.mean()) ** 2))
    return 1 - float(np.sum((true - predicted) ** 2)) / variation if variation > 0 else float("nan")


def pearson_delta(x: np.ndarray, y: np.ndarray, control: np.ndarray, *, genes: np.ndarray | None = None) -> float:
    """Pearson correlation, over genes, of predicted and true change of mean expression against control.

    Both changes are taken against the same *real* control cells of the context (signed, never absolute values).

    Parameters
    ----------
    x
        Predicted cells, n x genes, log1p.
    y
        True cells, m x genes, log1p.
    control
        Real control cells of the same context, k x genes, log1p; their mean as one row does as well.
    genes
        Which columns to use (indices or a mask), e.g. the most differentially expressed ones. All by default.

    Returns
    -------
    The correlation; higher is better, 1 is best. 0 when nothing changes in the prediction, which has no direction and
    therefore no correlation: a mean over conditions must not skip it. NaN when nothing changes in the truth.

    Raises
    ------
    ValueError
        Different genes, no cells, values that are not finite, or fewer than two genes.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> control = np.array([[1.0, 1.0, 1.0]])
    >>> round(scf.tl.pearson_delta(control + [1, 2, 3], control + [2, 4, 6], control), 6)
    1.0
    >>> scf.tl.pearson_delta(control, control + [2, 4, 6], control)
    0.0
    """
    predicted, true = _means(x, y)
    reference = _means(control, y)[0]
    if genes is not None:
        predicted, true, reference = predicted[genes], true[genes], reference[genes]
    return _correlation(predicted - reference, true - reference, scale=float(np.abs(reference).max()))


def _means(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean expression of both samples; float64 sums, whatever the cells are stored in."""
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim != 2 or y.ndim != 2:
        raise ValueError(f"give cells x genes; the arrays have {x.ndim} and {y.ndim} dimensions.")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"the arrays have {x.shape[1]} and {y.shape[1]} genes; they must be the same ones.")
    if not len(x) or not len(y):
        raise ValueError(f"there are no cells in one of the arrays ({len(x)} and {len(y)}).")
    means = x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
    if not all(np.isfinite(mean).all() for mean in means):
        raise ValueError("the arrays hold NaN or infinite values.")
    return means


def _correlation(predicted: np.ndarray, true: np.ndarray, *, scale: float | None = None) -> float:
    if predicted.size < 2:
        raise ValueError(f"a correlation needs at least 2 genes, not {predicted.size}.")
    a, b = predicted - predicted.mean(), true - true.mean()
    smallest = [_ROUNDING * (np.abs(raw).max() if scale is None else scale) for raw in (predicted, true)]
    if np.abs(b).max() <= smallest[1]:
        return float("nan")
    if np.abs(a).max() <= smallest[0]:
        return 0.0
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1, 1))
