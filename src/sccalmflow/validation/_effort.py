"""How much training a run may be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from ._competitors import Competitor
from ._training import Recipe

_AnyRecipe = TypeVar("_AnyRecipe", bound=Recipe | Competitor)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """At most so many updates, of at most so many trajectories."""

    n_updates: int = 1_000_000
    batch_size: int = 1_000_000

    def limit(self, recipe: _AnyRecipe) -> _AnyRecipe:
        """The recipe with no more work than this."""
        per_sequence = recipe.flow.n_trajectories if isinstance(recipe, Recipe) else 1
        size = min(recipe.batch_size, max(1, self.batch_size // per_sequence))
        return replace(recipe, n_updates=min(recipe.n_updates, self.n_updates), batch_size=size)
