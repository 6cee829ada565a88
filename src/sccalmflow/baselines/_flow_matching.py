"""Conditional flow matching: an ordinary differential equation from source draws to cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Generator, Tensor

from sccalmflow import _checks

from ._coupling import CouplingName, partners
from ._draws import Batch
from ._generative_model import GenerativeModel
from ._network import ConditionalMLP

SolverName = Literal["dopri5", "euler"]

# As in torchcfm's examples.
_TOLERANCE = 1e-4


@dataclass(kw_only=True, eq=False)
class FlowMatching(GenerativeModel):
    """Conditional flow matching (Tong et al. 2024): CFM, CFM-OT and CFM-SB.

    A multilayer perceptron learns the velocity of conditional paths from a source draw x0 to a cell x1, and cells are
    what its ordinary differential equation makes of source draws. The defaults are a network and a length of training
    that suit 50 components of a few thousand cells; the paper's are ``width=64`` on the plane and ``width=1024,
    n_layers=4`` on 1,000 components.

    Parameters
    ----------
    coupling
        "independent" pairs a cell with any source draw. "ot" pairs the cells and the source draws of a batch by exact
        optimal transport, inside a condition (and, from given cells, a context). "schroedinger" draws the pairs from
        the entropic plan, regularised by ``2 * sigma**2``, inside a condition too, and follows a Brownian bridge; cells
        come from the bridge's probability flow. (torchcfm's own default takes the exact plan there.)
    sigma
        Standard deviation of the path about the straight line, in units of the features: constant in time, or at most
        ``sigma / 2`` in the middle of the bridge. By default 0, and 1 for "schroedinger", as in torchcfm.
    solver
        "dopri5" of torchdiffeq (``pip install "sccalmflow[baselines]"``) adapts its steps to tolerances of 1e-4,
        "euler" takes ``n_solver_steps`` equal ones.
    n_solver_steps
        Steps of "euler".
    width, n_layers
        Units of a hidden layer, and how many layers.
    activation
        "selu", torchcfm's, or "gelu".
    condition_encoder
        Module that turns a batch of conditions, B x c, into vectors, B x e, and is trained with the rest; None takes
        one-hot labels and the like as they are. Integers reach it as integers: for sentences as padded token ids,
        ``torch.nn.EmbeddingBag(n_tokens, 64, padding_idx=0)`` does.
    n_updates
        Updates of the weights, over which the learning rate rises and falls.
    batch_size
        Cells of an update.
    lr
        Highest learning rate of AdamW. Weights are averaged over about the last 2 % of the updates.

    Raises
    ------
    TypeError, ValueError
        An unknown name, a number out of bounds, or one that should be whole.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> x = np.random.default_rng(0).normal(3.0, 0.5, size=(500, 1))
    >>> model = scf.baselines.FlowMatching(width=32, n_updates=100, solver="euler")
    >>> model.fit(x).sample(1000).shape
    (1000, 1)
    >>> model.n_evaluations_
    100
    """

    coupling: CouplingName = "independent"
    sigma: float | None = None
    solver: SolverName = "dopri5"
    n_solver_steps: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.one_of(self.coupling, get_args(CouplingName), "coupling")
        _checks.one_of(self.solver, get_args(SolverName), "solver")
        _checks.whole_number(self.n_solver_steps, "n_solver_steps", least=1)
        if not 0 <= self._sigma < np.inf or (self.coupling == "schroedinger" and self._sigma == 0):
            raise ValueError(f"sigma={self.sigma} must not be negative, nor 0 for a bridge.")

    @property
    def name(self) -> str:
        """What the paper calls it, in lower case."""
        return {"independent": "cfm", "ot": "cfm_ot", "schroedinger": "cfm_sb"}[self.coupling]

    @property
    def _sigma(self) -> float:
        return float(self.coupling == "schroedinger") if self.sigma is None else self.sigma

    def _loss(self, network: ConditionalMLP, batch: Batch, generator: Generator) -> Tensor:
        index = partners(
            batch.source,
            batch.endpoint,
            batch.group,
            self.coupling,
            regularisation=2 * self._sigma**2,
            generator=generator,
        )
        source, endpoint = batch.source[index], batch.endpoint
        time = torch.rand(len(endpoint), generator=generator)
        noise = torch.randn(endpoint.shape, generator=generator)
        bridge = self.coupling == "schroedinger"
        state, velocity = conditional_path(source, endpoint, time, noise, sigma=self._sigma, bridge=bridge)
        found = network(state, time, network.encode(batch.condition))
        return torch.nn.functional.mse_loss(found, velocity.to(found.device))

    def _transport(self, start: Tensor, encoded: Tensor | None, generator: Generator) -> Tensor:
        if self.solver == "euler":
            state = start
            for step in range(self.n_solver_steps):
                state = state + self._evaluate(state, step / self.n_solver_steps, encoded) / self.n_solver_steps
            return state
        odeint = _import_odeint()
        path = odeint(
            lambda time, state: self._evaluate(state, time, encoded),
            start,
            torch.tensor([0.0, 1.0], device=start.device),
            method="dopri5",
            rtol=_TOLERANCE,
            atol=_TOLERANCE,
        )
        return path[-1]


def conditional_path(
    source: Tensor, endpoint: Tensor, time: Tensor, noise: Tensor, *, sigma: float, bridge: bool
) -> tuple[Tensor, Tensor]:
    """State and velocity of the conditional path at a time (Tong et al. 2024, eq. 14 and 15; of a bridge, 20 and 21).

    Parameters
    ----------
    source, endpoint
        Shape (B, D).
    time
        Between 0 and 1, shape (B,).
    noise
        Standard normal, shape (B, D).
    sigma
        Standard deviation of the state about the straight line: this, or ``sigma * sqrt(t (1 - t))`` of a bridge.
    bridge
        Whether it is a Brownian bridge.

    Returns
    -------
    State and velocity, both (B, D).
    """
    t = time[:, None]
    state, velocity = (1 - t) * source + t * endpoint, endpoint - source
    if not bridge:
        return state + sigma * noise, velocity
    spread = t * (1 - t)
    deviation = sigma * spread.sqrt() * noise
    # The velocity is infinite at both ends, where the deviation is 0; the small number is torchcfm's.
    return state + deviation, velocity + (1 - 2 * t) / (2 * spread + 1e-8) * deviation


def _import_odeint():  # type: ignore[no-untyped-def]
    try:
        from torchdiffeq import odeint
    except ImportError as error:
        raise ImportError(
            "solver='dopri5' needs torchdiffeq: pip install \"sccalmflow[baselines]\". solver='euler' does not."
        ) from error
    return odeint
