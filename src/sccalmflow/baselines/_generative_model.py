"""What all generative baselines share: fit and sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Generator, Tensor, nn

from sccalmflow import _checks
from sccalmflow._device import best_device, forked_random_state

from ._draws import Batch, Draw, Source, TrainingDraws, read_conditions, start_points
from ._network import ACTIVATIONS, ActivationName, ConditionalMLP
from ._optimise import optimise


@dataclass(kw_only=True, eq=False)
class GenerativeModel(ABC):
    """A network that turns source draws into cells; its settings are documented where it is subclassed.

    Attributes
    ----------
    network_
        The trained network, with averaged weights; None before :meth:`fit`.
    scores_
        What ``score`` said, by number of updates.
    n_updates_
        The number of updates that the kept weights have had.
    n_evaluations_
        How often the last :meth:`sample` asked the network, all cells at once.
    """

    _needs_noise: ClassVar[bool] = False

    width: int = 512
    n_layers: int = 3
    activation: ActivationName = "selu"
    condition_encoder: nn.Module | None = None
    n_updates: int = 2_000
    batch_size: int = 256
    lr: float = 1e-3

    network_: ConditionalMLP | None = field(default=None, init=False, repr=False)
    scores_: dict[int, float] = field(default_factory=dict, init=False, repr=False)
    n_updates_: int = field(default=0, init=False, repr=False)
    n_evaluations_: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("width", "n_layers", "n_updates", "batch_size"):
            _checks.whole_number(getattr(self, name), name, least=1)
        if not 0 < self.lr < np.inf:
            raise ValueError(f"lr={self.lr} must be a positive number.")
        _checks.one_of(self.activation, ACTIVATIONS, "activation")

    def fit(
        self,
        x: np.ndarray | Tensor | Draw,
        condition: np.ndarray | Tensor | None = None,
        source: Source = None,
        *,
        weight: np.ndarray | None = None,
        score: Callable[[Self], float] | None = None,
        score_every: int = 50,
        stop_after: int | None = None,
        seed: int = 0,
        show_progress: bool = False,
    ) -> Self:
        """Train on cells, on a GPU where PyTorch finds one; a second call starts from scratch.

        Parameters
        ----------
        x
            Cells to learn, n x D, in scaled scores (noise has variance 1 in each feature), or a function
            (n, generator) that draws n x D afresh.
        condition
            What is known of each cell, n x c: one-hot labels, token ids, ...; None without conditions.
        source
            Where trajectories start: None for standard normal noise; cells to draw from, m x D; one such array for
            each row of ``x`` (the control cells of its context; rows may share an array); or a function
            (n, generator) that draws n x D.
        weight
            How often each cell is drawn, relative to the others, (n,); all the same by default.
        score
            Judges the model, averaged weights and all; lower is better. The best weights are kept. Without it they are
            those of the last update: trained for too long, these models learn the training cells by heart.
        score_every
            Updates between two scores.
        stop_after
            Updates to do, of the ``n_updates`` that the learning rate falls over; all by default.
        seed
            Seed of the first weights and of all draws. The global random state stays as it is.
        show_progress
            Whether to show a progress bar.

        Returns
        -------
        The model itself, with ``scores_`` (the score by number of updates) and ``n_updates_`` (the number that the
        kept weights have had).

        Raises
        ------
        ValueError, TypeError
            Arrays that do not fit together or are not finite, or an argument out of bounds.
        FloatingPointError
            The loss of an update is not finite.
        """
        if seed < 0:
            raise ValueError(f"seed={seed} must not be negative.")
        _checks.whole_number(score_every, "score_every", least=1)
        if stop_after is not None and not 1 <= stop_after <= self.n_updates:
            raise ValueError(f"stop_after={stop_after} must be at least 1 and at most n_updates={self.n_updates}.")
        self._check_source(source)
        draws = TrainingDraws(x, condition, source, weight, whole=self.condition_encoder is not None)
        # Weights and an encoder's dropout draw from the global state, which is the user's.
        with forked_random_state(int(seed)):
            self._start(draws)
            self._train(draws, source, score, score_every, stop_after, seed, show_progress)
        return self

    def sample(
        self, n: int, condition: np.ndarray | Tensor | None = None, source: Source = None, *, seed: int = 0
    ) -> np.ndarray:
        """Draw cells.

        Parameters
        ----------
        n
            How many.
        condition
            What they should be: one vector (c,) for all, or one each, n x c. As in training, or None as there.
        source
            Where to start, as in :meth:`fit`; an array for each cell has n entries. By default the source of the
            training, if that does not depend on the cell. Given cells are all used once before one is used again.
        seed
            Seed of all draws.

        Returns
        -------
        Cells n x D, float32; ``n_evaluations_`` says how often the network was asked.

        Raises
        ------
        RuntimeError
            The model has not been trained.
        ValueError, TypeError
            A condition or a source that does not fit the training, or an argument out of bounds.
        """
        if self.network_ is None:
            raise RuntimeError("The model has not been trained: call fit before sample.")
        _checks.whole_number(n, "n", least=1)
        if seed < 0:
            raise ValueError(f"seed={seed} must not be negative.")
        if source is None:
            if isinstance(self._source, Sequence):
                raise ValueError("Training started each cell from its own context; say in source where these start.")
            source = self._source
        self._check_source(source)
        conditions = self._read_conditions(condition, n)
        generator = Generator().manual_seed(int(seed))
        start = start_points(source, n, self._dim, generator)
        if start.shape != (n, self._dim):
            raise ValueError(f"source gave {tuple(start.shape)}, but {n} x {self._dim} was needed.")
        self.n_evaluations_ = 0
        with torch.no_grad():
            encoded = self.network_.encode(conditions)
            return self._transport(start.to(self.network_.device), encoded, generator).cpu().numpy()

    @property
    @abstractmethod
    def name(self) -> str:
        """What the paper calls it, in lower case."""

    @abstractmethod
    def _loss(self, network: ConditionalMLP, batch: Batch, generator: Generator) -> Tensor:
        """Training loss of a batch, a scalar."""

    @abstractmethod
    def _transport(self, start: Tensor, encoded: Tensor | None, generator: Generator) -> Tensor:
        """Cells (n, D) from starting points (n, D) and encoded conditions (n, e)."""

    def _check_source(self, source: Source) -> None:
        if self._needs_noise and source is not None:
            raise ValueError(f"{type(self).__name__} starts from noise: leave source out, or take FlowMatching.")

    def _evaluate(self, state: Tensor, time: float | Tensor, encoded: Tensor | None) -> Tensor:
        """Ask the network at one time for all states, and count it."""
        assert self.network_ is not None  # sample refuses
        self.n_evaluations_ += 1
        return self.network_(state, torch.as_tensor(time, dtype=state.dtype).expand(len(state)), encoded)

    def _start(self, draws: TrainingDraws) -> None:
        """A network with its first weights, and what sampling has to know of the training."""
        self._dim = draws.dim
        self._condition_size = None if draws.condition is None else draws.condition.shape[1]
        # A copy: a second fit must not go on from the first, nor train the user's module.
        self._network = ConditionalMLP(
            dim=draws.dim,
            width=self.width,
            n_layers=self.n_layers,
            activation=self.activation,
            encoder=deepcopy(self.condition_encoder),
            example=None if draws.condition is None else draws.condition[:2],
        )
        self._network.to(best_device()).train()

    def _train(
        self,
        draws: TrainingDraws,
        source: Source,
        score: Callable[[Self], float] | None,
        score_every: int,
        stop_after: int | None,
        seed: int,
        show_progress: bool,
    ) -> None:
        network, generator = self._network, Generator().manual_seed(int(seed))
        self._source, self.scores_ = source, {}
        best: dict[str, Any] | None = None
        for done, averaged in optimise(
            network,
            lambda: self._loss(network, draws.batch(self.batch_size, generator), generator),
            n_updates=self.n_updates,
            lr=self.lr,
            stop_after=stop_after,
            progress=type(self).__name__ if show_progress else None,
        ):
            assert isinstance(averaged, ConditionalMLP)
            self.network_, last = averaged, done
            if score is not None and (done % score_every == 0 or done == (stop_after or self.n_updates)):
                # A score that is not a number is no reason to keep anything.
                value = float(np.nan_to_num(score(self), nan=np.inf))
                if best is None or value < min(self.scores_.values()):
                    best = deepcopy(averaged.state_dict())
                self.scores_[done] = value
        self.n_updates_ = min(self.scores_, key=self.scores_.__getitem__) if self.scores_ else last
        if best is not None:
            averaged.load_state_dict(best)

    def _read_conditions(self, condition: np.ndarray | Tensor | None, n: int) -> Tensor | None:
        if (condition is None) != (self._condition_size is None):
            raise ValueError(
                f"The model was trained {'without' if self._condition_size is None else 'with'} conditions."
            )
        if condition is None:
            return None
        each = np.broadcast_to(condition, (n, len(condition))) if np.ndim(condition) == 1 else condition
        read = read_conditions(each, n, whole=self.condition_encoder is not None)
        if read.shape[1] != self._condition_size:
            raise ValueError(
                f"condition has {read.shape[1]} numbers a cell, but {self._condition_size} were trained on."
            )
        return read
