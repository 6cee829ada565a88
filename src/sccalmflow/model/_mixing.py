"""Contexts between the measured ones, for training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ._data import CellGroups, TrainingData


class ContextMixing:
    """Moves cells of a condition some of the way to another context under the same perturbation.

    Both go the same share of the way, uniform between 0 and 1: source draws along the difference between the means of
    the two contexts' control cells, endpoints along that between the means of the perturbed ones.

    Parameters
    ----------
    data
        The training cells.
    context_of
        Position of each condition's context among ``data.controls``, (C,).
    others
        Positions of the conditions that share a sentence without the cell type, in groups.
    group_of
        The group of each condition, (C,).
    """

    def __init__(self, data: TrainingData, context_of: Tensor, others: CellGroups, group_of: Tensor) -> None:
        self.endpoint_mean = torch.stack([data.scores[rows].mean(dim=0) for rows in data.members])
        self.source_mean = torch.stack([data.scores[rows].mean(dim=0) for rows in data.controls.values()])[context_of]
        self.others, self.group_of = others, group_of

    def draw(self, condition: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """How far the endpoint and the source draws of each sequence move, each (B, D), for its condition (B,)."""
        other = self.others.draw(self.group_of[condition], 1, generator)[:, 0]
        share = torch.rand(len(condition), 1, generator=generator)
        endpoint, source = (share * (mean[other] - mean[condition]) for mean in (self.endpoint_mean, self.source_mean))
        return endpoint, source
