"""Train a generative model on training cells, stopped where it is best, and let it make the cells of conditions."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sccalmflow.pp._hold_out import draw_validation

from ._baseline import Baseline
from ._generative_model import GenerativeModel
from ._linear import design_of, terms_of
from ._training import Condition, Matrix, Training

logger = logging.getLogger(__name__)

SourceName = Literal["noise", "control"]
Encode = Callable[[Mapping[str, str]], Sequence[float]]

# A validation condition with fewer cells says little, and more cells than this make its E-distance slow.
_MIN_CELLS, _MAX_CELLS = 20, 300


@dataclass(frozen=True, kw_only=True, eq=False)
class Generated(Baseline):
    """A baseline whose cells a generative model makes; arguments as in :func:`sccalmflow.baselines.generative`."""

    model: GenerativeModel
    source: SourceName
    encode: Encode | None
    validation_size: float
    score_every: int
    seed: int
    show_progress: bool

    def cells(self, training: Training, condition: Condition) -> tuple[Matrix, np.ndarray]:
        """Expression and PCs of one condition, as many as its context has training control cells.

        The cells of a condition that training did not have are drawn in towards their mean by the projection's
        ``shrinkage``, as those of :class:`sccalmflow.CaLMFlowModel` are.
        """
        assert training.projection is not None  # generative refuses
        pcs = self.sample(training.once(self.fitted), training, condition, len(self.rows(training, condition)))
        pcs = training.projection.as_new_cells(pcs, pcs.mean(axis=0))
        return training.projection.inverse(pcs), pcs

    def fitted(self, training: Training) -> GenerativeModel:
        """The model after training on all conditions; ``scores_`` is the curve that said for how long."""
        conditions = [c for c in training.rows if self.source == "noise" or training.control_of(c) in training.rows]
        held = _choose_validation(training, conditions, self.validation_size, self.seed)
        if not held:
            if self.validation_size:
                logger.info("No training condition can be left out: training for all %d updates.", self.model.n_updates)
            return self._fit(training, conditions)
        logger.info("Stopping by %s.", "; ".join(", ".join(condition) for condition in held))
        search = self._fit(training, [c for c in conditions if c not in held], score=self._score(training, held))
        logger.info("Best after %d updates; training on all conditions for as long.", search.n_updates_)
        model = self._fit(training, conditions, stop_after=search.n_updates_)
        model.scores_ = search.scores_
        return model

    def sample(self, model: GenerativeModel, training: Training, condition: Condition, n: int) -> np.ndarray:
        """PCs of a condition, n x D; they do not depend on what else is predicted."""
        name = zlib.crc32(",".join(condition).encode())
        seed = int(np.random.SeedSequence((self.seed, name)).generate_state(1)[0])
        source = None
        if self.source == "control":
            source = training.cells(training.rows[training.control_of(condition)])[1]
        return model.sample(n, self._vectors(training, [condition])[0], source, seed=seed)

    def _fit(self, training: Training, conditions: Sequence[Condition], **options: Any) -> GenerativeModel:
        sizes = [len(training.rows[condition]) for condition in conditions]
        source = None
        if self.source == "control":
            controls = {c: training.control_of(c) for c in conditions}
            pools = {c: training.cells(training.rows[c])[1] for c in set(controls.values())}
            # The same array for every cell of a context.
            source = [pools[controls[c]] for c, size in zip(conditions, sizes, strict=True) for _ in range(size)]
        return copy(self.model).fit(
            np.concatenate([training.cells(training.rows[condition])[1] for condition in conditions]),
            np.repeat(self._vectors(training, conditions), sizes, axis=0),
            source,
            # Conditions then count with the square root of their cells, as in training the main model.
            weight=np.repeat(1 / np.sqrt(sizes), sizes),
            score_every=self.score_every,
            seed=self.seed,
            show_progress=self.show_progress,
            **options,
        )

    def _score(self, training: Training, held: Sequence[Condition]) -> Callable[[GenerativeModel], float]:
        """Mean E-distance to the cells of some conditions."""
        # tl makes its reports with the baselines: imported at the top, the two would wait for each other.
        from sccalmflow.tl import edistance

        rng = np.random.default_rng(self.seed)
        truth = {c: training.cells(rng.permutation(training.rows[c])[:_MAX_CELLS])[1] for c in held}

        def score(model: GenerativeModel) -> float:
            return float(
                np.mean([edistance(self.sample(model, training, c, len(cells)), cells) for c, cells in truth.items()])
            )

        return score

    def _vectors(self, training: Training, conditions: Sequence[Condition]) -> np.ndarray:
        """What the model is told about each condition, (len(conditions), c)."""
        if self.encode is None:
            terms = sorted({term for condition in training.rows for term in terms_of(training, condition)})
            return design_of([terms_of(training, condition) for condition in conditions], terms).astype(np.float32)
        vectors = [np.asarray(self.encode(dict(zip(training.keys, c, strict=True)))) for c in conditions]
        if any(vector.ndim != 1 or vector.shape != vectors[0].shape for vector in vectors):
            raise ValueError("encode must return one vector a condition, all of one length; pad token ids.")
        return np.stack(vectors)


def _choose_validation(training: Training, conditions: Sequence[Condition], share: float, seed: int) -> list[Condition]:
    if not share:
        return []
    n_cells = {condition: len(training.rows[condition]) for condition in conditions}
    return draw_validation(n_cells, training.position, training.control, share=share, min_cells=_MIN_CELLS, seed=seed)
