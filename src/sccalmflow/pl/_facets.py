"""One facet for each predicted condition: the cells it compares, and its place in the figure."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from anndata import AnnData

from sccalmflow.baselines._training import Condition
from sccalmflow.tl._keys import Keys, resolve_keys
from sccalmflow.tl._pair import Cells, Space, check_controls, predicted_cells, true_cells

from ._inputs import need_cells
from ._style import as_axes, literal, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More facets than this are drawn smaller.
_FEW = 9
# Inches beside a facet that its width allows for.
_BESIDE = 0.5


@dataclass(frozen=True)
class Pair:
    """Prediction and truth, checked against each other."""

    true: Cells
    predicted: Cells
    keys: Keys

    @property
    def conditions(self) -> list[Condition]:
        """The predicted conditions in the order of the prediction, a facet each."""
        return list(self.predicted.rows)

    def control_rows(self, condition: Condition) -> np.ndarray:
        """Rows of the real control cells of a condition's context; there may be none."""
        return self.true.rows.get(self.keys.control_of(condition), np.array([], dtype=int))


def read_pair(
    pred: AnnData,
    truth: AnnData,
    space: Space,
    *,
    condition_keys: Sequence[str] | None,
    perturbation_key: str | None,
    control: str | None,
    split_key: str | None,
    with_control: bool = False,
) -> Pair:
    """Check both; ``with_control`` asks for control cells of every context, without which there is no change."""
    need_cells(pred, truth)
    keys = resolve_keys(
        {"pred": pred},
        truth,
        condition_keys=condition_keys,
        perturbation_key=perturbation_key,
        control=control,
        split_key=split_key,
    )
    true = true_cells(truth, keys, [space], "any")
    pair = Pair(true, predicted_cells(pred, "pred", true, keys, [space], "any"), keys)
    if with_control:
        remedy = "Add control cells, or leave the condition out with pred = pred[...].copy()."
        check_controls(pair.conditions, true, keys, f"a change against control needs at least 2. {remedy}")
    return pair


def facet_axes(
    axes: Axes | Sequence[Axes] | np.ndarray | None,
    n: int,
    *,
    few: tuple[float, float] = (3.2, 3.2),
    many: tuple[float, float] = (1.7, 1.7),
) -> np.ndarray:
    """The Axes that were given, or those of a new figure: ``few`` and ``many`` are the width and height of a facet."""
    if axes is not None:
        return as_axes(axes, n, "conditions")
    columns = min(n, 3) if n <= _FEW else math.ceil(math.sqrt(1.6 * n))
    return new_axes(n, columns, few if n <= _FEW else many, around=(0, 0.6))


def inches(ax: Axes) -> float:
    """Width of a facet, to which points and letters are fitted."""
    return float(ax.get_window_extent().width / ax.figure.dpi)


def is_small(ax: Axes) -> bool:
    """Whether a facet is one of many."""
    return inches(ax) < 2


def title(ax: Axes, condition: Condition) -> None:
    """Name a facet, in as many lines as its width makes necessary."""
    width = max(14, int(13 * inches(ax)))
    literal(ax.set_title("\n".join(textwrap.wrap(", ".join(condition), width)), fontsize=7 if is_small(ax) else 9))


def make_room(axes: np.ndarray) -> None:
    """Let a new figure grow by what long titles and names beside the scales would take from its facets."""
    figure, columns = axes[0].figure, axes[0].get_gridspec().ncols
    names = [text.get_window_extent().width / figure.dpi for ax in axes for text in ax.get_yticklabels()]
    # A row of facets is as much higher as its longest title has lines after the first.
    lines = [_further_lines(ax) for ax in axes]
    above = sum(max(lines[start : start + columns]) for start in range(0, len(lines), columns))
    beside = columns * max(0.0, max(names, default=0.0) - _BESIDE)
    figure.set_size_inches(figure.get_figwidth() + beside, figure.get_figheight() + above)


def _further_lines(ax: Axes) -> float:
    """Inches of all lines of a title but one."""
    further = ax.get_title().count("\n")
    return float(ax.title.get_window_extent().height / ax.figure.dpi * further / (further + 1))


def outer_labels(axes: np.ndarray, x: str, y: str | None = None) -> None:
    """Label the scales once a column and once a row of facets, as long as they stand in one grid."""
    specs = [ax.get_subplotspec() for ax in axes]
    places = [(None, 0, 0) if s is None else (s.get_gridspec(), s.rowspan.start, s.colspan.start) for s in specs]
    for i, (ax, (grid, row, column)) in enumerate(zip(axes, places, strict=True)):
        others = [place for j, place in enumerate(places) if j != i and grid is not None and place[0] is grid]
        size = 7 if is_small(ax) else 8
        if not any(other[1] > row and other[2] == column for other in others):
            ax.set_xlabel(x, fontsize=size)
        if y is not None and not any(other[2] < column and other[1] == row for other in others):
            ax.set_ylabel(y, fontsize=size)
