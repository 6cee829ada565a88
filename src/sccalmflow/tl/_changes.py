"""Agreement of the change of mean expression against control."""

from __future__ import annotations

from typing import Literal

import numpy as np

from sccalmflow._checks import one_of

from ._means import ROUNDING, changes, correlation, ranks


def pearson_delta(x: np.ndarray, y: np.ndarray, control: np.ndarray) -> float:
    """Pearson correlation, over genes, of predicted and true change of mean expression against control.

    Both changes are taken against the same *real* control cells of the context (signed, never absolute values). With
    the mean of the training conditions of that context in their place, the correlation says what is specific to this
    perturbation; what all perturbations do, or a batch effect, then earns nothing.

    Parameters
    ----------
    x
        Predicted cells, n x genes, log1p.
    y
        True cells, m x genes, log1p.
    control
        Real control cells of the same context, k x genes, log1p; their mean as one row does as well.

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
    predicted, true, scale = changes(x, y, control)
    return correlation(predicted, true, scale=scale)


def spearman_delta(x: np.ndarray, y: np.ndarray, control: np.ndarray) -> float:
    """Spearman correlation, over genes, of predicted and true change of mean expression against control.

    On the log1p scale the change is the log-fold change, so this is the rank correlation of log-fold changes.

    Parameters
    ----------
    x
        Predicted cells, n x genes, log1p.
    y
        True cells, m x genes, log1p.
    control
        Real control cells of the same context, k x genes, log1p; their mean as one row does as well.

    Returns
    -------
    The correlation; higher is better, 1 is best. 0 when nothing changes in the prediction, NaN when nothing changes in
    the truth.

    Raises
    ------
    ValueError
        Different genes, no cells, values that are not finite, or fewer than two genes.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> control = np.array([[1.0, 1.0, 1.0]])
    >>> round(scf.tl.spearman_delta(control + [1, 2, 9], control + [2, 4, 6], control), 6)
    1.0
    """
    predicted, true, _ = changes(x, y, control)
    return correlation(ranks(predicted), ranks(true))


def delta_slope(x: np.ndarray, y: np.ndarray, control: np.ndarray) -> float:
    """Slope of the predicted on the true change of mean expression (least squares, over genes).

    A correlation is blind to the size of the effect. A slope below 1 says that it is attenuated, as in a prediction
    that plays safe; above 1, exaggerated.

    Parameters
    ----------
    x
        Predicted cells, n x genes, log1p.
    y
        True cells, m x genes, log1p. Noise in their mean pulls the slope down a little; the ceiling shows by how much.
    control
        Real control cells of the same context, k x genes, log1p; their mean as one row does as well.

    Returns
    -------
    The slope; 1 is best, 0 when nothing changes in the prediction. NaN when all genes change alike in the truth.

    Raises
    ------
    ValueError
        Different genes, no cells, values that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> control = np.array([[1.0, 1.0, 1.0]])
    >>> scf.tl.delta_slope(control + [1, 2, 3], control + [2, 4, 6], control)
    0.5
    """
    predicted, true, scale = changes(x, y, control)
    predicted, true = predicted - predicted.mean(), true - true.mean()
    if np.abs(true).max() <= ROUNDING * scale:
        return float("nan")
    return float(predicted @ true / (true @ true))


def sign_agreement(x: np.ndarray, y: np.ndarray, control: np.ndarray) -> float:
    """Share of genes that change in the right direction.

    Parameters
    ----------
    x
        Predicted cells, n x genes, log1p; usually the genes that respond (the report takes the top 100), since the sign
        of no change is a coin's.
    y
        True cells, m x genes, log1p.
    control
        Real control cells of the same context, k x genes, log1p; their mean as one row does as well.

    Returns
    -------
    The share; higher is better, 1 is best. A gene that does not change in the prediction has no right direction, so
    predicting the control gives 0. NaN when no gene changes in the truth.

    Raises
    ------
    ValueError
        Different genes, no cells, or values that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> control = np.array([[1.0, 1.0]])
    >>> scf.tl.sign_agreement(control + [1, 1], control + [2, -1], control)
    0.5
    """
    predicted, true, _ = changes(x, y, control)
    moves = true != 0
    return float(np.mean(np.sign(predicted[moves]) == np.sign(true[moves]))) if moves.any() else float("nan")


def discrimination(
    x: np.ndarray,
    y: np.ndarray,
    control: np.ndarray,
    others: np.ndarray,
    *,
    distance: Literal["l1", "l2", "cosine"] = "l1",
) -> float:
    """Whether the predicted change is nearer to the true one than to that of other conditions.

    1 minus the share of other conditions whose true change is nearer: the perturbation discrimination score of the
    Virtual Cell Challenge (Roohani et al. 2025). A prediction of the mean effect of everything is near to all and gets
    about one half, however good its correlations.

    Parameters
    ----------
    x
        Predicted cells, n x genes, log1p.
    y
        True cells, m x genes, log1p.
    control
        Real control cells of the same context, k x genes, log1p; their mean as one row does as well.
    others
        True changes of mean expression of the other conditions, each against its own control, k x genes.
    distance
        Between changes: sum of absolute differences, Euclidean, or 1 minus the cosine, which is blind to their size.

    Returns
    -------
    The score; higher is better, 1 is best, 0 is worst. A tie counts half. NaN without other conditions.

    Raises
    ------
    ValueError
        Different genes, no cells, values that are not finite, or an unknown distance.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> control, others = np.zeros((1, 2)), np.array([[0.0, 3.0], [4.0, 0.0]])
    >>> scf.tl.discrimination(np.array([[2.0, 0.0]]), np.array([[1.0, 0.0]]), control, others)
    1.0
    """
    one_of(distance, ("l1", "l2", "cosine"), "distance")
    predicted, true, _ = changes(x, y, control)
    others = np.asarray(others, dtype=np.float64)
    if others.ndim != 2 or others.shape[1] != len(true):
        raise ValueError(f"others has shape {others.shape}; give conditions x {len(true)} genes.")
    if not np.isfinite(others).all():
        raise ValueError("others holds NaN or infinite values.")
    if not len(others):
        return float("nan")
    own, rest = _distances(predicted, true[None], distance)[0], _distances(predicted, others, distance)
    return float(1 - np.mean((rest < own) + 0.5 * (rest == own)))


def _distances(change: np.ndarray, others: np.ndarray, distance: str) -> np.ndarray:
    if distance == "l1":
        return np.asarray(np.abs(others - change).sum(axis=1))
    if distance == "l2":
        return np.asarray(np.linalg.norm(others - change, axis=1))
    lengths = np.linalg.norm(others, axis=1) * np.linalg.norm(change)
    # No change has no direction: as far as a right angle.
    return 1 - np.divide(others @ change, lengths, out=np.zeros(len(others)), where=lengths > 0)
