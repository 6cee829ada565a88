"""Conditional paths: how a source state becomes a data cell over time.

A path draws the states that the language model is shown in training, and advances a state in a rollout. Both paths
have the marginal law of ``(1 - t) x0 + t x1`` at each time; only the coupling across time differs.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

PathName = Literal["straight", "resampled"]
"""Names of the conditional paths: :class:`StraightPath` and :class:`ResampledPath`."""


def time_grid(n_steps: int, *, device: torch.device | str | None = None) -> Tensor:
    """Times of the states that the model reads, ``i / n_steps`` for ``i = 0 .. n_steps - 1``; shape (n_steps,)."""
    return torch.arange(n_steps, device=device) / n_steps


class StraightPath:
    """The paper's path: one source draw for the whole trajectory, ``x_i = (1 - t_i) x0 + t_i x1``.

    Two states in sequence give the endpoint away, ``x1 = x0 + (x_{i+1} - x_i) / dt``, so a model that reads the
    history learns to extrapolate; sampling needs the noise of the variational decoder.

    Examples
    --------
    >>> import torch
    >>> from sccalmflow.flow import StraightPath
    >>> path = StraightPath()
    >>> source, endpoint = torch.zeros(1, path.n_draws(n_steps=4), 2), torch.tensor([[4.0, 8.0]])
    >>> path.trajectory(source, endpoint, n_steps=4)[0].tolist()
    [[0.0, 0.0], [1.0, 2.0], [2.0, 4.0], [3.0, 6.0], [4.0, 8.0]]
    >>> path.start(source).tolist()
    [[0.0, 0.0]]
    """

    name: PathName = "straight"

    def n_draws(self, n_steps: int) -> int:
        """Source draws that one trajectory uses.

        Parameters
        ----------
        n_steps
            Number T of time steps.

        Returns
        -------
        1 on the straight path, T on the resampled one.
        """
        return 1

    def trajectory(self, source: Tensor, endpoint: Tensor, n_steps: int) -> Tensor:
        """States from the source to the data.

        Parameters
        ----------
        source
            Source draws, shape (..., n_draws, D), in scaled scores like all states.
        endpoint
            Data cells, shape (..., D).
        n_steps
            Number T of time steps.

        Returns
        -------
        Tensor of shape (..., T + 1, D); the last state is the endpoint.
        """
        t = time_grid(n_steps, device=endpoint.device)[:, None]
        states = (1 - t) * source + t * endpoint[..., None, :]
        return torch.cat([states, endpoint[..., None, :]], dim=-2)

    def start(self, source: Tensor) -> Tensor:
        """First state of a rollout.

        Parameters
        ----------
        source
            Source draws, shape (..., n_draws, D).

        Returns
        -------
        The first of the draws, shape (..., D).
        """
        return source[..., 0, :]


class ResampledPath(StraightPath):
    """A fresh source draw at every time, ``x_i = (1 - t_i) e_i + t_i x1``.

    Every state is independent evidence about the endpoint, which makes the history worth reading.

    Examples
    --------
    >>> import torch
    >>> from sccalmflow.flow import ResampledPath
    >>> path = ResampledPath()
    >>> path.n_draws(n_steps=4)
    4
    >>> source, endpoint = torch.tensor([[[0.0], [4.0], [8.0], [0.0]]]), torch.tensor([[8.0]])
    >>> path.trajectory(source, endpoint, n_steps=4)[0].tolist()
    [[0.0], [5.0], [8.0], [6.0], [8.0]]

    A rollout knows no endpoint; it draws one at every time, and goes on from there:

    >>> path.start(source).tolist(), path.state(1, source, torch.tensor([[4.0]]), n_steps=4).tolist()
    ([[0.0]], [[4.0]])
    """

    name: PathName = "resampled"

    def n_draws(self, n_steps: int) -> int:
        """Source draws that one trajectory uses; parameters and result as for :meth:`StraightPath.n_draws`."""
        return n_steps

    def state(self, step: int, source: Tensor, endpoint: Tensor, n_steps: int) -> Tensor:
        """State of a rollout at a time.

        Parameters
        ----------
        step
            Number of the time: ``step / n_steps``, below 1.
        source
            Source draws, shape (..., T, D).
        endpoint
            Where the trajectory is now believed to end, shape (..., D).
        n_steps
            Number T of time steps.

        Returns
        -------
        Tensor of shape (..., D).
        """
        t = step / n_steps
        return (1 - t) * source[..., step, :] + t * endpoint


PATHS: dict[PathName, type[StraightPath]] = {"straight": StraightPath, "resampled": ResampledPath}


def pair_by_optimal_transport(source: Tensor, endpoint: Tensor, group: Tensor | None = None) -> Tensor:
    """Reorder source draws so that each is paired with its optimal-transport partner inside the same group.

    The plan between two equally large uniform samples is a permutation, so the exact assignment is the exact plan
    (squared Euclidean cost; Tong et al. 2024). Pairing across conditions would move labels between cells.

    Parameters
    ----------
    source, endpoint
        Shape (B, D).
    group
        Condition of each cell, shape (B,); pairs form only among equal values. Default: all are of one.

    Returns
    -------
    The source draws in their new order, shape (B, D).

    Examples
    --------
    >>> import torch
    >>> from sccalmflow.flow import pair_by_optimal_transport
    >>> source, endpoint = torch.tensor([[9.0], [1.0], [5.0]]), torch.tensor([[0.0], [8.0], [9.0]])
    >>> pair_by_optimal_transport(source, endpoint, group=torch.tensor([0, 0, 1])).tolist()
    [[1.0], [9.0], [5.0]]
    """
    from scipy.optimize import linear_sum_assignment

    if group is None:
        group = torch.zeros(len(source))
    paired = source.clone()
    for value in group.unique():
        members = (group == value).nonzero().squeeze(1)
        cost = torch.cdist(endpoint[members].float(), source[members].float()).square()
        columns = linear_sum_assignment(cost.cpu().numpy())[1]
        paired[members] = source[members[torch.as_tensor(columns, device=members.device)]]
    return paired
