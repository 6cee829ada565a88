"""The baseline that predicts each condition's mean from its labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData

from ._baseline import Baseline
from ._control import control_rows, why_not_control
from ._training import Condition, Profile, Training, training

if TYPE_CHECKING:
    from sklearn.linear_model import Ridge, RidgeCV

Term = tuple[str, str]
"""A condition key and one of its labels: a column of the regression."""
# A label occurs in a few to some hundred training conditions: from hardly any shrinkage to hardly any effect left.
_PENALTIES = np.logspace(-3, 3, 13)


def linear(
    adata: AnnData, conditions: pd.DataFrame, *, perturbation_key: str, control: str, split_key: str | None = "split"
) -> AnnData:
    """Predict that labels add up: ridge regression from a condition's labels to its mean, with control cells' spread.

    One column per label (one-hot) and an intercept. A perturbation's column is its effect, and control has none, so
    that the penalty shrinks effects towards nothing. A combination "a+b" that training does not have is the sum of the
    effects of its parts; one that it has is a perturbation of its own. Each training condition counts the same,
    control conditions included. The penalty is the one of 13 between 0.001 and 1,000 with the least squared error on
    training conditions left out one at a time, in genes; PCs, a linear function of genes, take the same one. The
    training control cells of the context, moved by the predicted change from their mean, make the population.
    Expression is not clipped at 0, so that means stay exact.

    Parameters
    ----------
    adata
        Labelled cells x genes, log1p, with ``obsm["X_pca"]`` from :func:`sccalmflow.pp.pca`.
    conditions
        One row per condition to predict; the columns are the condition keys of ``adata.obs``, the perturbation's
        included (what :func:`sccalmflow.pp.hold_out` returns).
    perturbation_key
        The column with the perturbation.
    control
        Its label for control cells.
    split_key
        Column of ``adata.obs``; only cells marked "train" in it are used. The default is where
        :func:`sccalmflow.pp.hold_out` writes; None stands for all cells. Cells of the requested conditions themselves
        are never used.

    Returns
    -------
    An AnnData like any prediction: ``X`` (dense; the expression that ``obsm["X_pca"]`` stands for, or the cells' own
    where ``adata`` has scores without a projection), ``obsm["X_pca"]``, the condition columns in ``obs``. Each
    condition has as many cells as its context has training control cells.

    Raises
    ------
    TypeError
        ``conditions`` is not a DataFrame.
    KeyError
        A key is not a column of ``adata.obs``.
    ValueError
        A context without training control cells, a perturbation never seen in training, a label that does not exist, a
        condition that is a control itself, or missing PCs.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> import sccalmflow as scf
    >>> obs = pd.DataFrame(
    ...     {
    ...         "cell_type": ["B", "B", "NK", "NK", "T"],
    ...         "perturbation": ["none", "IL-6"] * 2 + ["none"],
    ...         "split": "train",
    ...     },
    ...     index=["b0", "b1", "n0", "n1", "t0"],
    ... )
    >>> X = np.array([[1.0, 0.0], [1.0, 2.0], [5.0, 0.0], [5.0, 2.0], [3.0, 0.0]])
    >>> adata = AnnData(X, obs=obs, obsm={"X_pca": X})
    >>> heldout = pd.DataFrame({"cell_type": ["T"], "perturbation": ["IL-6"]})
    >>> scf.baselines.linear(adata, heldout, perturbation_key="perturbation", control="none").X.round(1)
    array([[3., 2.]])
    """
    cells = training(adata, conditions, perturbation_key=perturbation_key, control=control, split_key=split_key)
    return LINEAR.predict(cells)


def linear_change(training: Training, condition: Condition) -> Profile:
    """From the mean of the context's control cells to the predicted mean: what moves these cells there."""
    fit = training.once(_fit)
    design = design_of([terms_of(training, condition)], fit.terms)
    genes, pcs = training.mean(training.control_of(condition))
    # Of a single gene or PC, some versions of scikit-learn give one dimension less.
    return np.ravel(fit.genes.predict(design)) - genes, np.ravel(fit.pcs.predict(design)) - pcs


def why_not_linear(training: Training, condition: Condition) -> str | None:
    """Why the linear baseline cannot predict this condition, or None."""
    # Control cells of the context bring the columns of all its other labels.
    unknown = [part for part in _parts(training, condition) if not training.seen(part)]
    return why_not_control(training, condition) or (training.why_unseen(unknown[0]) if unknown else None)


class _Fit(NamedTuple):
    terms: list[Term]
    genes: RidgeCV
    pcs: Ridge


def _fit(training: Training) -> _Fit:
    """Ridge regression of all training conditions."""
    from sklearn.linear_model import Ridge, RidgeCV

    conditions = sorted(training.rows)
    labels = [terms_of(training, condition) for condition in conditions]
    terms = sorted({term for found in labels for term in found})
    design = design_of(labels, terms)
    genes, pcs = (np.stack(space) for space in zip(*map(training.mean, conditions), strict=True))
    # Without cv, RidgeCV leaves out one row at a time, in closed form.
    best = RidgeCV(alphas=_PENALTIES).fit(design, genes)
    # A penalty of their own would make the PCs those of other genes.
    same = Ridge(alpha=best.alpha_).fit(design, pcs)
    return _Fit(terms, best, same)


def terms_of(training: Training, condition: Condition) -> list[Term]:
    """What a condition is the sum of: its labels by key, the perturbation in its parts, none for control."""
    context = [(key, label) for key, label in zip(training.keys, condition, strict=True)]
    del context[training.position]
    if training.perturbation(condition) == training.control:
        return context
    return context + [(training.perturbation_key, part) for part in _parts(training, condition)]


def _parts(training: Training, condition: Condition) -> list[str]:
    return training.parts(training.perturbation(condition), training.seen)


def design_of(labels: Sequence[Sequence[Term]], terms: Sequence[Term]) -> np.ndarray:
    column = {term: i for i, term in enumerate(terms)}
    design = np.zeros((len(labels), len(terms)))
    for row, found in zip(design, labels, strict=True):
        # Not row[...] = 1: in "a+a" a part counts twice, as in the additive baseline.
        np.add.at(row, [column[term] for term in found], 1)
    return design


LINEAR = Baseline(name="linear", why_not=why_not_linear, rows=control_rows, change=linear_change)
