"""Differential expression against control."""

from __future__ import annotations

import numpy as np

from ._means import changes


def welch_t(cells: np.ndarray, control: np.ndarray) -> np.ndarray:
    """Welch's t of every gene, cells against control; 0 where neither varies or nothing changes.

    The score of ``scanpy.tl.rank_genes_groups(method="t-test")``.
    """
    from scipy.stats import ttest_ind_from_stats

    moments = []
    for sample in (cells, control):
        sample = np.asarray(sample)
        spread = sample.std(axis=0, ddof=1, dtype=np.float64) if len(sample) > 1 else np.zeros(sample.shape[1])
        moments += [sample.mean(axis=0, dtype=np.float64), spread, len(sample)]
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = ttest_ind_from_stats(*moments, equal_var=False).statistic
    return np.nan_to_num(scores, nan=0.0, posinf=np.inf, neginf=-np.inf)


def rank_genes(cells: np.ndarray, control: np.ndarray) -> np.ndarray:
    """Indices of genes by how surely they differ, ups and downs alike."""
    return np.argsort(-np.abs(welch_t(cells, control)), kind="stable")


def de_overlap(x: np.ndarray, y: np.ndarray, control: np.ndarray, *, n_top: int = 50) -> float:
    """Share of the most differentially expressed genes that the prediction finds.

    The ``n_top`` genes of the truth against control by the absolute score of Welch's t-test, and those of the
    prediction by its change over the *truth's* standard error; the share that both have. Were the prediction's own
    scatter used, cells without measurement noise would differ from real controls in almost every gene, and true cells
    that have only been through 50 principal components would find hardly any of their own genes
    (``benchmarks/cell_eval_check.py``).

    Parameters
    ----------
    x
        Predicted cells, n x genes, log1p; their mean alone counts.
    y
        True cells, m x genes, log1p.
    control
        Real control cells of the same context, k x genes, log1p; at least two, since their spread counts.
    n_top
        How many genes; never more than half of all, which a random choice would often hit.

    Returns
    -------
    The share; higher is better, 1 is best. Genes that do not change at all are never found: predicting the control
    gives 0. NaN when nothing changes in the truth. Genes that vary neither in the truth nor in control take no part.

    Raises
    ------
    ValueError
        Different genes, values that are not finite, fewer than two true or control cells, or ``n_top`` below 1.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> control = np.random.default_rng(0).normal(size=(50, 4))
    >>> scf.tl.de_overlap(control + [0, 0, 0, 2], control + [0, 0, 0, 1], control, n_top=1)
    1.0
    """
    if n_top < 1:
        raise ValueError(f"n_top is {n_top}; give at least 1.")
    predicted, true, _ = changes(x, y, control)
    for name, sample in (("y", y), ("control", control)):
        if len(sample) < 2:
            raise ValueError(f"{name} has {len(sample)} cells; a t-test needs at least 2.")
    squares = [np.var(sample, axis=0, ddof=1, dtype=np.float64) / len(sample) for sample in (y, control)]
    error = np.sqrt(squares[0] + squares[1])
    n = max(1, min(n_top, len(true) // 2))
    found, wanted = (_top(np.divide(c, error, out=np.zeros_like(c), where=error > 0), n) for c in (predicted, true))
    return len(found & wanted) / len(wanted) if wanted else float("nan")


def _top(scores: np.ndarray, n: int) -> set[int]:
    return {int(gene) for gene in np.argsort(-np.abs(scores), kind="stable")[:n] if scores[gene] != 0}
