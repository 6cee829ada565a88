"""Training curves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd

from ._style import BLACK, BLUE, SKY, VERMILLION, as_axes, new_axes, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {"train": BLUE, "validation": VERMILLION, "refit": SKY, "": BLACK}


class HasHistory(Protocol):
    """A trained model of scvi-tools."""

    @property
    def history_(self) -> Mapping[str, pd.DataFrame]:
        """One table per quantity, indexed by epoch or step."""


def history(
    model: HasHistory | Mapping[str, pd.DataFrame] | pd.DataFrame,
    *,
    quantities: Sequence[str] | None = None,
    axes: Axes | Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Training curves, one panel per quantity, training and validation together.

    ``train_loss_epoch`` and ``validation_loss`` are both the quantity "loss", ``elbo_train`` and ``elbo_validation``
    both "elbo". Curves per step (``train_loss_step``) are drawn only where there is none per epoch.

    Parameters
    ----------
    model
        A trained model, its ``history_`` (name to table), or one table with a column per curve, indexed by epoch.
    quantities
        Which to draw, in this order; all by default.
    axes
        One Axes per quantity. By default a new figure.

    Returns
    -------
    Array of Axes, one per quantity. Nothing is shown or saved.

    Raises
    ------
    TypeError
        ``model`` is none of the three.
    ValueError
        There are no curves (the model is not trained yet), a quantity that does not exist, or too few ``axes``.

    Examples
    --------
    >>> import pandas as pd
    >>> import sccalmflow as scf
    >>> axes = scf.pl.history(pd.DataFrame({"train_loss": [3.0, 2.0, 1.5], "validation_loss": [3.1, 2.4, 2.2]}))
    >>> axes[0].get_ylabel()
    'loss'
    """
    from sccalmflow._checks import one_of

    panels = _panels(_curves(model))
    if not panels:
        raise ValueError("there are no curves to draw; train the model first.")
    for quantity in quantities or ():
        one_of(quantity, panels, "quantities")
    chosen = list(quantities) if quantities else list(panels)
    axes = (
        new_axes(len(chosen), min(len(chosen), 4), (3.4, 2.6))
        if axes is None
        else as_axes(axes, len(chosen), "quantities")
    )
    for ax, quantity in zip(axes, chosen, strict=True):
        for part, curve in panels[quantity].items():
            # A single epoch is a point, which a line without markers would not show.
            marker = "o" if len(curve) < 2 else None
            ax.plot(curve.index, curve.to_numpy(), color=_COLOURS[part], marker=marker, label=part or quantity)
        ax.set(xlabel=panels[quantity][next(iter(panels[quantity]))].index.name or "epoch", ylabel=quantity)
        if len(panels[quantity]) > 1:
            ax.legend(frameon=False)
        tidy(ax)
    return axes


def _curves(model: HasHistory | Mapping[str, pd.DataFrame] | pd.DataFrame) -> dict[str, pd.Series]:
    tables = model if isinstance(model, Mapping | pd.DataFrame) else getattr(model, "history_", None)
    if tables is None and hasattr(model, "history_"):
        return {}
    if not isinstance(tables, Mapping | pd.DataFrame):
        raise TypeError(f"model is a {type(model).__name__}; give a trained model, its history_, or a DataFrame.")
    if isinstance(tables, pd.DataFrame):
        columns = {str(name): tables[name] for name in tables.columns}
    else:
        columns = {str(name): pd.DataFrame(table).iloc[:, 0] for name, table in tables.items()}
    curves = {name: pd.to_numeric(curve, errors="coerce").dropna() for name, curve in columns.items()}
    return {name: curve for name, curve in curves.items() if len(curve)}


def _panels(curves: Mapping[str, pd.Series]) -> dict[str, dict[str, pd.Series]]:
    """Curves by quantity, then by "train", "validation", "refit" (training once more on all conditions) or neither."""
    panels: dict[str, dict[str, pd.Series]] = {}
    # Curves per epoch come first, and keep the place from their noisy per-step namesakes.
    for name in sorted(curves, key=lambda name: name.endswith("_step")):
        words = re.sub(r"_(epoch|step)$", "", name).split("_")
        part = next((part for part in ("train", "validation", "refit") if part in (words[0], words[-1])), "")
        quantity = "_".join(word for word in words if word != part) or name
        panels.setdefault(quantity, {}).setdefault(part, curves[name])
    return panels
