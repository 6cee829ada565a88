"""Training curves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd

from ._inputs import kind
from ._style import BLACK, BLUE, SKY, VERMILLION, as_axes, literal, new_axes, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_REMEDY = "pass a trained model, its history_, or a DataFrame with a column per curve, indexed by epoch."
_COLOURS = {"train": BLUE, "validation": VERMILLION, "refit": SKY, "": BLACK}


class HasHistory(Protocol):
    """A trained model of scvi-tools."""

    @property
    def history_(self) -> Mapping[str, pd.DataFrame]:
        """One table per quantity, indexed by epoch or step."""


def history(
    model: HasHistory | Mapping[str, pd.DataFrame] | pd.DataFrame,
    *,
    quantities: str | Sequence[str] | None = None,
    axes: Axes | Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Training curves, one panel per quantity, training and validation together.

    ``train_loss_epoch`` and ``validation_loss`` are both the quantity "loss", ``elbo_train`` and ``elbo_validation``
    both "elbo". Curves per step (``train_loss_step``) are drawn only where there is none per epoch.

    Parameters
    ----------
    model
        A trained model, its ``history_`` (name to table), or one table with a column per curve, indexed by epoch.
        Epochs that are counted from 0, as scvi-tools does, are drawn from 1 on, as its progress bar counts them.
    quantities
        Which to draw, one or several in this order; all by default.
    axes
        One Axes per quantity. By default a new figure.

    Returns
    -------
    Array of Axes, one per quantity. Nothing is shown or saved.

    Raises
    ------
    TypeError
        ``model`` is none of the three, or a table of something else than numbers, such as an evaluation.
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
    if isinstance(quantities, str):
        quantities = [quantities]
    for quantity in quantities or ():
        one_of(quantity, panels, "quantities")
    chosen = list(quantities) if quantities else list(panels)
    axes = (
        new_axes(len(chosen), min(len(chosen), 4), (3.4, 2.6))
        if axes is None
        else as_axes(axes, len(chosen), "quantities")
    )
    for ax, quantity in zip(axes, chosen, strict=True):
        _panel(ax, quantity, panels[quantity])
    return axes


def _panel(ax: Axes, quantity: str, curves: Mapping[str, pd.Series]) -> None:
    for part, curve in curves.items():
        # A single epoch is a point, which a line without markers would not show.
        marker = "o" if len(curve) < 2 else None
        ax.plot(curve.index, curve.to_numpy(), color=_COLOURS[part], marker=marker, label=part or quantity)
    literal(ax.set_xlabel(_counted(next(iter(curves.values())))), ax.set_ylabel(quantity))
    _scales(ax)
    if len(curves) > 1:
        ax.legend(frameon=False)
    tidy(ax)


def _scales(ax: Axes) -> None:
    """Whole epochs, the first of them at the left, and numbers that are read without adding an offset."""
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    for axis in (ax.xaxis, ax.yaxis):
        # The user's Axes may have another scale.
        if isinstance(formatter := axis.get_major_formatter(), ScalarFormatter):
            formatter.set_useOffset(False)
    if ax.get_xscale() == "linear":
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
        ax.set_xlim(ax.dataLim.x0 - 0.5, ax.dataLim.x1 + 0.5)


def _counted(curve: pd.Series) -> str:
    """What the index counts."""
    return str(curve.index.name or "epoch")


def _curves(model: HasHistory | Mapping[str, pd.DataFrame] | pd.DataFrame) -> dict[str, pd.Series]:
    tables = model if isinstance(model, Mapping | pd.DataFrame) else getattr(model, "history_", None)
    if tables is None and hasattr(model, "history_"):
        return {}
    if not isinstance(tables, Mapping | pd.DataFrame):
        raise TypeError(f"model is {kind(model)}; {_REMEDY}")
    if isinstance(tables, pd.DataFrame):
        columns = {str(name): tables[name] for name in tables.columns}
    else:
        columns = {str(name): _column(name, table) for name, table in tables.items()}
    curves = {name: _numbers(name, column.dropna()) for name, column in columns.items()}
    return _from_one({name: curve for name, curve in curves.items() if len(curve)})


def _column(name: str, table: object) -> pd.Series:
    if not isinstance(table, pd.DataFrame | pd.Series):
        raise TypeError(f"model[{name!r}] is {kind(table)}; {_REMEDY}")
    return pd.DataFrame(table).iloc[:, 0]


def _numbers(name: str, column: pd.Series) -> pd.Series:
    """A curve; scvi-tools keeps its numbers as objects."""
    try:
        curve = pd.to_numeric(column)
        return curve.set_axis(pd.Index(pd.to_numeric(curve.index.to_series())))
    except (TypeError, ValueError):
        raise TypeError(f"model holds no numbers by epoch in {name!r}; {_REMEDY}") from None


def _from_one(curves: dict[str, pd.Series]) -> dict[str, pd.Series]:
    """Epochs as progress bars count them, and steps as they are; the first curve to begin tells for all."""
    epochs = {name for name, curve in curves.items() if _counted(curve) == "epoch"}
    if min((curves[name].index.min() for name in epochs), default=1) != 0:
        return curves
    return {name: curve.set_axis(curve.index + (name in epochs)) for name, curve in curves.items()}


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
