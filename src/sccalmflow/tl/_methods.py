"""Whose cells are compared with the truth: predictions, baselines, and the truth's own halves."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from anndata import AnnData

from sccalmflow.baselines._additive import additive_cells
from sccalmflow.baselines._control import control_cells
from sccalmflow.baselines._training import Condition, Training, dense, training

from ._keys import Keys
from ._pair import Cells
from ._target import Sample, Target

BASELINES = {
    "control": (control_cells, Training.why_not_control),
    "additive": (additive_cells, Training.why_not_additive),
}
CEILING = "ceiling"
# One split of few cells is a matter of luck.
_HALVINGS = 5


def generator(seed: int, *names: str) -> np.random.Generator:
    """A generator of its own for each name: no result depends on what else is evaluated."""
    return np.random.default_rng([seed, zlib.crc32("\0".join(names).encode())])


def references(truth: AnnData, conditions: Sequence[Condition], keys: Keys) -> Training:
    """What the baselines may see, with one warning about the conditions that they cannot predict."""
    frame = pd.DataFrame(conditions, columns=list(keys.condition))
    cells = training(truth, frame, perturbation_key=keys.perturbation, control=keys.control, split_key=keys.split)
    missing = [
        f"{name} for {', '.join(condition)!r}: {reason}"
        for name, (_, why_not) in BASELINES.items()
        for condition in conditions
        if (reason := why_not(cells, condition)) is not None
    ]
    if missing:
        warnings.warn("the report lacks some baselines. " + " ".join(missing), stacklevel=3)
    return cells


def samples(target: Target, predicted: Mapping[str, Cells], training: Training | None) -> Iterator[tuple[str, Sample]]:
    """Cells of each method that predicts this condition, in the spaces needed."""
    for name, cells in predicted.items():
        if target.condition in cells.rows:
            rows = cells.rows[target.condition]
            yield name, {space: cells.values(space, rows) for space in target.spaces}
    if training is None:
        return
    for name, (cells_of, why_not) in BASELINES.items():
        if why_not(training, target.condition) is None:
            X, pcs = cells_of(training, target.condition)
            both = {"genes": dense(X), "pcs": pcs}
            yield name, {space: both[space] for space in target.spaces}


def halves(target: Target, seed: int) -> list[tuple[Sample, Sample]]:
    """Random halves of the true cells, in pairs."""
    n = size(target.cells)
    if n < 4:
        warnings.warn(f"{', '.join(target.condition)!r} has {n} true cells, too few for a ceiling.", stacklevel=3)
        return []
    rng = generator(seed, *target.condition, "halves")
    pairs = []
    for _ in range(_HALVINGS):
        first, second = np.array_split(rng.permutation(n), 2)
        pairs.append((_take(target.cells, first), _take(target.cells, second)))
    return pairs


def _take(sample: Sample, rows: np.ndarray) -> Sample:
    return {space: values[rows] for space, values in sample.items()}


def size(sample: Sample) -> int:
    return len(next(iter(sample.values())))
