"""The models in a table: the paper's configuration in two readings, the default, and the competitors at two sizes."""

from __future__ import annotations

from collections.abc import Sequence

from sccalmflow.validation._competitors import LABELS
from sccalmflow.validation._training import size

from .competitors import competitor
from .experiment import Entry
from .recipes import PRESET_LABELS, PRESETS, default

MODELS = (*PRESETS, *LABELS, *(f"{method}-equal" for method in LABELS))


def entries(names: Sequence[str], dim: int, n_trajectories: Sequence[int]) -> list[Entry]:
    """Rows of a table for a task of ``dim`` dimensions, flows once for each number of trajectories in a sequence."""
    found = []
    for name in names:
        if name in PRESETS:
            found += [
                Entry(
                    f"{name}-m{n}",
                    PRESET_LABELS[name] + (f", {n} trajectories" if n > 1 else ""),
                    PRESETS[name](dim, n),
                )
                for n in n_trajectories
            ]
            continue
        method = next(method for method in LABELS if name in (method, f"{method}-equal"))
        recipe = competitor(method, dim)
        if name == method:
            found.append(Entry(name, f"{LABELS[method]}, width {recipe.width}", recipe))
        else:
            recipe = recipe.with_parameters(size(default(dim)), dim)
            found.append(Entry(name, f"{LABELS[method]}, as large as `default`", recipe))
    return found
