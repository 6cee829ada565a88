"""Which source draw goes with which cell."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Generator, Tensor

CouplingName = Literal["independent", "ot", "schroedinger"]

# The sum of the plan's error in the source's margin is then about 0.001; in the cells' margin there is none, because
# each cell draws its own partner.
_TOLERANCE, _MAX_ITERATIONS = 1e-4, 300


def exact_plan(source: Tensor, endpoint: Tensor) -> np.ndarray:
    """Optimal-transport plan of two equally large uniform samples (B, D), squared Euclidean cost; shape (B, B).

    Rows are sources, columns endpoints. Each row and each column has a single entry, 1 / B.
    """
    return _exact(_cost(source, endpoint))[0]


def entropic_plan(source: Tensor, endpoint: Tensor, regularisation: float) -> np.ndarray:
    """Plan that minimises the squared Euclidean cost minus ``regularisation`` times its entropy, shape (B, B).

    Sinkhorn's iterations on the costs less the potentials of the exact plan. Potentials change the cost of every plan
    by the same amount and so change no plan, but these leave costs of 0 where the mass is: the kernel does not
    underflow, however small the regularisation is.
    """
    import ot

    cost = _cost(source, endpoint)
    _, u, v = _exact(cost)
    uniform = np.full(len(cost), 1 / len(cost))
    return ot.sinkhorn(
        uniform,
        uniform,
        cost - u[:, None] - v,
        regularisation,
        stopThr=_TOLERANCE,
        numItermax=_MAX_ITERATIONS,
        warn=False,
    )


def partners(
    source: Tensor,
    endpoint: Tensor,
    group: Tensor,
    coupling: CouplingName,
    *,
    regularisation: float,
    generator: Generator,
) -> Tensor:
    """The source draw that each endpoint is paired with, inside its own group.

    Pairing across conditions would move labels between cells. An endpoint draws its partner from its column of the
    plan: a pair has the plan's law, and every endpoint is used once.

    Parameters
    ----------
    source, endpoint
        Shape (B, D).
    group
        Condition of each pair, shape (B,).
    coupling
        "independent" leaves the order as it is, "ot" takes the exact plan, "schroedinger" the entropic one.
    regularisation
        Weight of the entropy; ``2 * sigma**2`` for a bridge of that sigma (Tong et al. 2024, section 3.2.4).
    generator
        Draws from the entropic plan.

    Returns
    -------
    Positions in ``source``, shape (B,).

    Examples
    --------
    >>> import torch
    >>> source, endpoint = torch.tensor([[0.0], [5.0], [9.0]]), torch.tensor([[6.0], [1.0], [0.0]])
    >>> group = torch.tensor([0, 0, 1])
    >>> partners(source, endpoint, group, "ot", regularisation=1.0, generator=torch.Generator()).tolist()
    [1, 0, 2]
    """
    index = torch.arange(len(source))
    if coupling == "independent":
        return index
    for value in group.unique():
        members = (group == value).nonzero().squeeze(1)
        if coupling == "ot":
            chosen = torch.as_tensor(exact_plan(source[members], endpoint[members]).argmax(axis=0))
        else:
            plan = torch.as_tensor(entropic_plan(source[members], endpoint[members], regularisation))
            chosen = torch.multinomial(plan.T, 1, generator=generator).squeeze(1)
        index[members] = members[chosen]
    return index


def _cost(source: Tensor, endpoint: Tensor) -> np.ndarray:
    return torch.cdist(source.double(), endpoint.double()).square().numpy()


def _exact(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The exact plan and its potentials."""
    import ot

    plan, log = ot.emd([], [], cost, log=True)
    return plan, log["u"], log["v"]
