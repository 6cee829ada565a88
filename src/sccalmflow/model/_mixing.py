"""Contexts between the measured ones, for training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ._data import TrainingData


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
    sentences
        Of each condition, without the cell type: other contexts are those that share it.
    """

    def __init__(self, data: TrainingData, context_of: Tensor, sentences: Sequence[str]) -> None:
        self.endpoint_mean = torch.stack([data.scores[rows].mean(dim=0) for rows in data.members])
        self.source_mean = torch.stack([data.scores[rows].mean(dim=0) for rows in data.controls.values()])[context_of]
        number = {sentence: position for position, sentence in enumerate(dict.fromkeys(sentences))}
        group = torch.tensor([number[sentence] for sentence in sentences])
        size = group.bincount()
        # Conditions in the order of their groups; where that of each condition starts, and how many it has.
        self.grouped, self.first, self.size = group.argsort(), (size.cumsum(0) - size)[group], size[group]

    def draw(self, condition: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """How far the endpoint and the source draws of each sequence move, each (B, D), for its condition (B,)."""
        size = self.size[condition]
        within = (torch.rand(len(condition), generator=generator, dtype=torch.float64) * size).long()
        other = self.grouped[self.first[condition] + within]
        share = torch.rand(len(condition), 1, generator=generator)
        endpoint, source = (share * (mean[other] - mean[condition]) for mean in (self.endpoint_mean, self.source_mean))
        return endpoint, source
