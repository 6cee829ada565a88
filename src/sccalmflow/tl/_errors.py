"""Size of the error of mean expression."""

from __future__ import annotations

import numpy as np

from ._means import changes, means


def mse(x: np.ndarray, y: np.ndarray) -> float:
    """Mean squared error, over genes, of predicted mean expression.

    Parameters
    ----------
    x
        Predicted cells, n x genes, log1p.
    y
        True cells, m x genes, log1p.

    Returns
    -------
    The error, in squared units of expression; lower is better, 0 is best. Small whenever few genes respond: see
    :func:`relative_mse`.

    Raises
    ------
    ValueError
        Different genes, no cells, or values that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> scf.tl.mse(np.array([[0.0, 3.0]]), np.array([[0.0, 1.0]]))
    2.0
    """
    predicted, true = means(x, y)
    return float(np.mean((predicted - true) ** 2))


def mae(x: np.ndarray, y: np.ndarray) -> float:
    """Mean absolute error, over genes, of predicted mean expression.

    Parameters
    ----------
    x
        Predicted cells, n x genes, log1p.
    y
        True cells, m x genes, log1p.

    Returns
    -------
    The error, in units of expression; lower is better, 0 is best.

    Raises
    ------
    ValueError
        Different genes, no cells, or values that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> scf.tl.mae(np.array([[0.0, 3.0]]), np.array([[0.0, 1.0]]))
    1.0
    """
    predicted, true = means(x, y)
    return float(np.mean(np.abs(predicted - true)))


def relative_mse(x: np.ndarray, y: np.ndarray, control: np.ndarray) -> float:
    """Squared error of mean expression over the squared true change: the share of the effect that is missed.

    Parameters
    ----------
    x
        Predicted cells, n x genes, log1p; usually the genes that respond (the report takes the top 100).
    y
        True cells, m x genes, log1p.
    control
        Real control cells of the same context, k x genes, log1p; their mean as one row does as well.

    Returns
    -------
    The ratio; lower is better, 0 is best, 1 is what predicting the control gives. NaN when nothing changes in the
    truth.

    Raises
    ------
    ValueError
        Different genes, no cells, or values that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> control, truth = np.array([[1.0, 1.0]]), np.array([[3.0, 1.0]])
    >>> scf.tl.relative_mse(control, truth, control), scf.tl.relative_mse(np.array([[2.0, 1.0]]), truth, control)
    (1.0, 0.25)
    """
    predicted, true, _ = changes(x, y, control)
    effect = float(np.sum(true**2))
    return float(np.sum((predicted - true) ** 2)) / effect if effect > 0 else float("nan")
