"""Mean expression of a condition and of its control cells, and how far they are apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import stats

from sccalmflow.baselines._training import Condition
from sccalmflow.tl._pair import Cells

from ._facets import Pair


class Moments(NamedTuple):
    """Number of cells, and mean and variance of each gene."""

    n: int
    mean: np.ndarray
    variance: np.ndarray


class Change(NamedTuple):
    """Of each gene: difference of two means, half its 95 % interval, and Welch's t."""

    mean: np.ndarray
    half: np.ndarray
    score: np.ndarray


@dataclass(frozen=True)
class Means:
    """True, predicted and real control cells of one condition."""

    control: Moments
    true: Moments
    predicted: Moments

    @property
    def true_change(self) -> Change:
        """Truth against control."""
        return welch(self.true, self.control)

    @property
    def predicted_change(self) -> Change:
        """Prediction against the same real control cells."""
        return welch(self.predicted, self.control)


def means(pair: Pair) -> dict[Condition, Means]:
    """Means of every predicted condition."""

    # Conditions of one context share their control cells.
    @cache
    def control(condition: Condition) -> Moments:
        return _moments(pair.true, pair.true.rows[condition])

    return {
        condition: Means(
            control(pair.keys.control_of(condition)),
            _moments(pair.true, pair.true.rows[condition]),
            _moments(pair.predicted, rows),
        )
        for condition, rows in pair.predicted.rows.items()
    }


def _moments(cells: Cells, rows: np.ndarray) -> Moments:
    X = cells.values("genes", rows)
    # Float64 sums, whatever the cells are stored in.
    return Moments(len(X), X.mean(axis=0, dtype=np.float64), X.var(axis=0, ddof=1, dtype=np.float64))


def welch(cells: Moments, control: Moments) -> Change:
    """Welch's t-test, which lets both samples have variances of their own."""
    difference = cells.mean - control.mean
    parts = [sample.variance / sample.n for sample in (cells, control)]
    square = parts[0] + parts[1]
    # A gene that varies in neither sample has no score: 0 / 0.
    with np.errstate(divide="ignore", invalid="ignore"):
        score = difference / np.sqrt(square)
        freedom = square**2 / (parts[0] ** 2 / (cells.n - 1) + parts[1] ** 2 / (control.n - 1))
    half = np.sqrt(square) * stats.t.ppf(0.975, np.nan_to_num(freedom, nan=1.0))
    return Change(difference, half, score)
