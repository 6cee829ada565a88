"""Whether a prediction falls into the clusters of the truth, in the right shares."""

from __future__ import annotations

import numpy as np

from ._leiden import LeidenClassifier
from ._pairs import two_samples


def leiden_kld(
    x: np.ndarray,
    y: np.ndarray,
    *,
    classifier: LeidenClassifier | None = None,
    pseudocount: float = 0.5,
    seed: int = 0,
) -> float:
    r"""Divergence of the predicted cells' shares of Leiden clusters from those of the true cells.

    :math:`KL(p\,\|\,q) = \sum_l p_l \log(p_l / q_l)` with p the shares of the truth and q those of the prediction
    (CaLMFlow, appendix A.1.1). Both are counted by the classifier, the truth's too: its mistakes are then the same on
    both sides. It sees how many cells are where, nothing of what they look like inside a cluster.

    Parameters
    ----------
    x
        Predicted cells, n x d, usually the scaled PCs in ``obsm["X_pca"]``.
    y
        True cells, m x d.
    classifier
        Fitted on true cells; by default on ``y``, which takes seconds: with several predictions, fit one for all.
    pseudocount
        Added to the count of every cluster on both sides, so that a cluster without predicted cells gives a finite
        value. 0.5 is Jeffreys' prior; 0 gives infinity there.
    seed
        Seed of the classifier, if it is fitted here.

    Returns
    -------
    The divergence, in nats; lower is better, 0 is best. 0 for whatever prediction if the truth is one cluster.

    Raises
    ------
    ValueError
        No cells, fewer than three true cells to fit a classifier on, different features, values that are not finite,
        or a negative pseudocount.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> rng = np.random.default_rng(0)
    >>> y = np.concatenate([rng.normal(-5, 1, size=(50, 4)), rng.normal(5, 1, size=(50, 4))])
    >>> scf.tl.leiden_kld(y, y)
    0.0
    >>> round(scf.tl.leiden_kld(y[:50], y), 2)
    1.62
    """
    if not pseudocount >= 0:
        raise ValueError(f"pseudocount is {pseudocount!r}; give 0 or a positive number.")
    two_samples(x, y)
    classifier = LeidenClassifier.fit(y, seed=seed) if classifier is None else classifier
    counts = [np.bincount(classifier.predict(cells), minlength=classifier.n_clusters) for cells in (y, x)]
    true, predicted = ((count + pseudocount) / (count + pseudocount).sum() for count in counts)
    return float(_relative_entropy(true, predicted))


def inception_score(
    x: np.ndarray, y: np.ndarray, *, classifier: LeidenClassifier | None = None, seed: int = 0
) -> float:
    r"""Inception score of the predicted cells, by clusters of the true ones.

    :math:`\exp E_x KL(p(l|x)\,\|\,E_x p(l|x))` (Salimans et al. 2016, with the classifier of :func:`leiden_kld`): high
    when each cell belongs clearly to one cluster and all clusters are met equally often. It never looks at the shares
    of the true cells, and a prediction can have more than the truth: read it beside the ceiling.

    Parameters
    ----------
    x
        Predicted cells, n x d, usually the scaled PCs in ``obsm["X_pca"]``.
    y
        True cells, m x d; only the classifier is fitted on them.
    classifier
        Fitted on true cells; by default on ``y``, which takes seconds: with several predictions, fit one for all.
    seed
        Seed of the classifier, if it is fitted here.

    Returns
    -------
    The score, from 1 to the number of clusters; higher is better. 1 for whatever prediction if the truth is one
    cluster.

    Raises
    ------
    ValueError
        No cells, fewer than three true cells to fit a classifier on, different features, or values that are not
        finite.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> rng = np.random.default_rng(0)
    >>> y = np.concatenate([rng.normal(-5, 1, size=(50, 4)), rng.normal(5, 1, size=(50, 4))])
    >>> round(scf.tl.inception_score(y, y), 1), round(scf.tl.inception_score(y[:50], y), 1)
    (1.9, 1.0)
    """
    two_samples(x, y)
    classifier = LeidenClassifier.fit(y, seed=seed) if classifier is None else classifier
    probabilities = classifier.probabilities(x)
    return float(np.exp(_relative_entropy(probabilities, probabilities.mean(axis=0)).mean()))


def _relative_entropy(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """KL divergence in nats over the last axis, 0 log 0 = 0."""
    from scipy.special import rel_entr

    return rel_entr(p, q).sum(axis=-1)
