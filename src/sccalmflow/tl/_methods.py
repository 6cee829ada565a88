"""Whose cells are compared with the truth: predictions, baselines, and the truth's own halves."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from sccalmflow.baselines._baseline import Baseline
from sccalmflow.baselines._registry import BASELINES
from sccalmflow.baselines._training import Condition, Training, dense

from ._pair import Cells
from ._target import ConditionTarget, Pair, Sample, size, take

CEILING = "ceiling"
# One split of few cells is a matter of luck.
_HALVINGS = 5
# Of a baseline, which can pool all cells of a perturbation.
_MOST_CELLS = 5_000


def generator(seed: int, *names: str) -> np.random.Generator:
    """A generator of its own for each name: no result depends on what else is evaluated."""
    return np.random.default_rng([seed, zlib.crc32("\0".join(names).encode())])


def warn_of_missing(training: Training, conditions: Sequence[Condition]) -> None:
    """One warning about the conditions that baselines cannot predict."""
    missing = [line for condition in conditions if (line := _missing(training, condition))]
    if missing:
        warnings.warn("\n".join(["the report lacks some baselines.", *missing]), stacklevel=3)


def _missing(training: Training, condition: Condition) -> str:
    """Which baselines cannot predict a condition, those with the same reason together; empty when all can."""
    names: dict[str, list[str]] = {}
    for name, baseline in BASELINES.items():
        if (reason := _why_not(baseline, training, condition)) is not None:
            names.setdefault(reason, []).append(name)
    reasons = [f"no {', '.join(found)}: {reason}" for reason, found in names.items()]
    return f"{', '.join(condition)!r} has {' And '.join(reasons)}" if reasons else ""


def _why_not(baseline: Baseline, training: Training, condition: Condition) -> str | None:
    reason = baseline.why_not(training, condition)
    # A rare condition of training must not stop the report: distances need pairs of cells.
    if reason is None and len(baseline.rows(training, condition)) < 2:
        return "training has a single cell to predict it with."
    return reason


def compared(
    target: ConditionTarget, predicted: Mapping[str, Cells], training: Training | None, seed: int
) -> Iterator[tuple[str, list[Pair]]]:
    """Each method with its cells and the true ones; where there are baselines, the ceiling with its pairs of halves."""
    for name, sample in _samples(target, predicted, training, seed):
        yield name, [Pair(target, sample, target.cells)]
    if training is not None:
        yield CEILING, _halves(target, seed)


def _samples(
    target: ConditionTarget, predicted: Mapping[str, Cells], training: Training | None, seed: int
) -> Iterator[tuple[str, Sample]]:
    """Cells of each method that predicts this condition, in the spaces needed; of baselines a bounded number."""
    for name, cells in predicted.items():
        if target.condition in cells.rows:
            rows = cells.rows[target.condition]
            yield name, {space: cells.values(space, rows) for space in target.spaces}
    if training is None:
        return
    for name, baseline in BASELINES.items():
        if _why_not(baseline, training, target.condition) is None:
            X, pcs = baseline.cells(training, target.condition)
            if len(pcs) > _MOST_CELLS:
                # Of pooled baselines: distances take as long as the product of the two sizes.
                rng = generator(seed, *target.condition, name, "cells")
                chosen = np.sort(rng.choice(len(pcs), _MOST_CELLS, replace=False))
                X, pcs = X[chosen], pcs[chosen]
            yield name, {space: dense(X) if space == "genes" else pcs for space in target.spaces}


def _halves(target: ConditionTarget, seed: int) -> list[Pair]:
    """Random halves of the true cells, in pairs. The one that stands for the truth alone chooses the top genes."""
    n = size(target.cells)
    if n < 4:
        warnings.warn(f"{', '.join(target.condition)!r} has {n} true cells, too few for a ceiling.", stacklevel=4)
        return []
    rng = generator(seed, *target.condition, "halves")
    pairs = []
    for _ in range(_HALVINGS):
        first, second = np.array_split(rng.permutation(n), 2)
        judge = target.of(second)
        pairs.append(Pair(judge, take(target.cells, first), judge.cells))
    return pairs
