"""Refusal of arguments of another type."""

from __future__ import annotations

from anndata import AnnData


def kind(value: object) -> str:
    """Its type with the article, for a message."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def need_cells(pred: object, truth: object) -> None:
    """Raise TypeError unless both are AnnData; unlike a report, a figure is of one prediction."""
    for name, value, what in (
        ("pred", pred, "predicted cells, one prediction at a time"),
        ("truth", truth, "all measured cells"),
    ):
        if not isinstance(value, AnnData):
            raise TypeError(f"{name} is {kind(value)}: pass an AnnData of {what}.")
