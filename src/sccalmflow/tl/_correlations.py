"""Agreement of mean expression."""

from __future__ import annotations

import numpy as np

from ._means import correlation, means, ranks


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
        Different genes, no cells, values that are not finite, or fewer than two genes.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> round(scf.tl.pearson(np.array([[0.0, 1.0, 2.0]]), np.array([[1.0, 3.0, 5.0], [1.0, 3.0, 5.0]])), 6)
    1.0
    """
    return correlation(*means(x, y))


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman correlation, over genes, of predicted and true mean expression: Pearson's of the ranks.

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
        Different genes, no cells, values that are not finite, or fewer than two genes.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> round(scf.tl.spearman(np.array([[0.0, 1.0, 9.0]]), np.array([[1.0, 2.0, 3.0]])), 6)
    1.0
    """
    predicted, true = means(x, y)
    return correlation(ranks(predicted), ranks(true))


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
        Different genes, no cells, values that are not finite, or fewer than two genes.

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
    predicted, true = means(x, y)
    variation = float(np.sum((true - true.mean()) ** 2))
    return 1 - float(np.sum((true - predicted) ** 2)) / variation if variation > 0 else float("nan")
