"""Checks of the user's input: they raise before any work starts, and say what to do."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

if TYPE_CHECKING:
    from anndata import AnnData

# A stored fraction is a whole number when it is within this of one: float32 counts stay exact far beyond it.
_WHOLE = 1e-6
# log1p of 10,000 counts in one gene is 9.2, of a million 13.8: no library reaches 25.
_LOG1P_MAX = 25.0
# The first values settle what log data are without a pass over everything.
_ENOUGH = 10_000
_OTHER_SCALE = (
    'Data on another scale, such as cytometry after arcsinh, are taken with values="any" by sccalmflow.pp.pca and '
    "sccalmflow.tl.evaluate."
)


def suggest(name: str, options: Iterable[str]) -> str:
    """Close matches of a name as a sentence, or an empty string.

    Parameters
    ----------
    name
        What the user wrote.
    options
        What they could have written.

    Returns
    -------
    A sentence that starts with a space, so that it can be appended to an error message.

    Examples
    --------
    >>> suggest("IFNbeta", ["IFN-beta", "IL-6"])
    " Did you mean 'IFN-beta'?"
    >>> suggest("dose", ["IFN-beta", "IL-6"])
    ''
    """
    by_lower: dict[str, str] = {}
    for option in options:
        by_lower.setdefault(str(option).lower(), str(option))
    # Lower case on both sides, since case is the most common slip and difflib counts it as a difference.
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=3, cutoff=0.6)
    if not close:
        return ""
    return f" Did you mean {' or '.join(repr(by_lower[match]) for match in close)}?"


@contextmanager
def naming(argument: str, obs: str | None = None) -> Iterator[None]:
    """Let the errors of these checks, which speak of ``adata``, name the argument that the user gave."""
    try:
        yield
    except (KeyError, ValueError) as error:
        message = str(error.args[0]).replace("adata.obs[", f"{obs or f'{argument}.obs'}[").replace("adata", argument)
        raise type(error)(message) from error


def one_of(value: str, options: Iterable[str], what: str) -> None:
    """Raise ValueError unless ``value`` is one of ``options``; ``what`` names the argument in the message."""
    known = [str(option) for option in options]
    if value not in known:
        raise ValueError(f"{what} is {value!r}, which is not one of {_listing(known)}.{suggest(value, known)}")


def whole_number(value: Any, what: str, *, least: int | None = None) -> None:
    """Raise TypeError unless ``value`` is a whole number, ValueError where it is less than ``least``."""
    if not isinstance(value, Integral):
        raise TypeError(f"{what}={value!r} must be a whole number.")
    if least is not None and value < least:
        raise ValueError(f"{what}={value} must be at least {least}.")


def obs_keys(adata: AnnData, keys: Sequence[str]) -> None:
    """Raise KeyError unless every key is a column of ``adata.obs``."""
    columns = [str(column) for column in adata.obs.columns]
    for key in keys:
        if key not in columns:
            available = _listing(columns, limit=20) if columns else "none"
            raise KeyError(f"adata.obs has no column {key!r}.{suggest(key, columns)} Available columns: {available}.")


def obs_labels(adata: AnnData, keys: Sequence[str]) -> None:
    """Raise unless every key is an ``obs`` column of strings, none missing, blank or told apart by spaces alone."""
    obs_keys(adata, keys)
    for key in keys:
        column = adata.obs[key]
        missing = int(column.isna().sum())
        if missing:
            raise ValueError(
                f"adata.obs[{key!r}] is missing in {missing} of {len(column)} cells. "
                f"Label them, or drop them with adata = adata[adata.obs[{key!r}].notna()].copy()."
            )
        labels = pd.Series(column.to_numpy(dtype=object)).value_counts(sort=False)
        is_string = np.array([isinstance(label, str) for label in labels.index], dtype=bool)
        if not is_string.all():
            other = labels.index[~is_string]
            raise ValueError(
                f"adata.obs[{key!r}] has labels that are not strings in {labels[~is_string].sum()} cells: "
                f"{_listing(other)}. Labels are words of a sentence; convert them with "
                f"adata.obs[{key!r}] = adata.obs[{key!r}].astype(str).astype('category')."
            )
        is_blank = np.array([not label.strip() for label in labels.index], dtype=bool)
        if is_blank.any():
            blank = labels.index[is_blank]
            raise ValueError(
                f"adata.obs[{key!r}] has blank labels ({_listing(blank)}) in {labels[is_blank].sum()} cells. "
                "Name them, or drop these cells."
            )
        if "nan" in labels.index:
            raise ValueError(
                f"adata.obs[{key!r}] has the label 'nan', which astype(str) makes of missing labels, in "
                f"{labels['nan']} cells. Label them, or drop these cells."
            )
        bare = labels.index.str.strip()
        twins = labels.index[bare.duplicated(keep=False)]
        if len(twins):
            raise ValueError(
                f"adata.obs[{key!r}] has labels that differ in spaces alone: {_listing(twins)}. Make them one with "
                f"adata.obs[{key!r}] = adata.obs[{key!r}].astype(str).str.strip().astype('category')."
            )


def dense_array(sample: Any, *, where: str) -> np.ndarray:
    """The sample as an array; raise TypeError for an AnnData or a sparse matrix, which NumPy would wrap unread."""
    if hasattr(sample, "obsm"):
        raise TypeError(
            f"{where} is an AnnData: give an array of its cells, such as adata.obsm['X_pca'], or compare AnnData with "
            "sccalmflow.tl.evaluate(pred, truth)."
        )
    if sparse.issparse(sample):
        raise TypeError(f"{where} is sparse: give a dense array, {where}.toarray().")
    return np.asarray(sample)


def finite_values(X: Any, *, where: str) -> None:
    """Raise ValueError for NaN or infinite values; ``where`` names the matrix in the message."""
    _finite(_stored(X), where)


def log_values(X: Any, *, where: str, other_scale: str = _OTHER_SCALE) -> None:
    """Raise ValueError unless ``X`` can be log1p-normalised expression: finite, not negative, not raw counts.

    ``other_scale`` says what to do with values that are none of these, where the default is no help.

    Values that are all whole and reach above 1 are counts. Whole values of 0 and 1 only (binarised data) pass, since
    nothing in them tells a count from a log value.
    """
    values = _stored(X)
    _finite(values, where)
    remedy = "Run sc.pp.normalize_total(adata, target_sum=1e4); sc.pp.log1p(adata)"
    _not_negative(
        values, where, f"log1p-normalised expression is never below 0. {remedy} on the raw counts. {other_scale}"
    )
    if values.size and values.max() > 1 and _all_whole(values):
        raise ValueError(
            f"{where} holds raw counts (whole numbers up to {values.max():g}), but log1p-normalised values are "
            f"needed. {remedy}, after keeping the counts with adata.layers['counts'] = adata.X.copy()."
        )
    if values.size and values.max() > _LOG1P_MAX:
        raise ValueError(
            f"{where} reaches {values.max():g}: it is normalised but not on the log scale (log1p values stay below "
            f"{_LOG1P_MAX:g}). Run sc.pp.log1p(adata)."
        )


def warn_of_unscaled_counts(X: Any, *, where: str) -> None:
    """Warn where the values, which :func:`log_values` takes, are log1p of whole numbers: nobody scaled the counts."""
    values = _stored(X)
    values = values[values != 0][:_ENOUGH].astype(float)
    counts = np.expm1(values)
    # What float32 keeps of the logarithm of a count.
    if values.size and np.all(np.abs(counts - np.round(counts)) <= 1e-6 * (1 + counts)):
        warnings.warn(
            f"{where} is log1p of whole numbers: the counts were not scaled to one depth, so that how deep a cell was "
            "sequenced looks like biology. Run sc.pp.normalize_total(adata, target_sum=1e4) on the counts, then "
            "sc.pp.log1p(adata); all is well if the cells were brought to one depth in another way.",
            UserWarning,
            stacklevel=3,
        )


def count_values(X: Any, *, where: str) -> None:
    """Raise ValueError unless ``X`` holds raw counts: finite, not negative, whole numbers."""
    values = _stored(X)
    _finite(values, where)
    _not_negative(values, where, "raw counts are never below 0. Give the counts, e.g. layers['counts'].")
    if not _all_whole(values):
        fractions = values[np.abs(values - np.round(values)) > _WHOLE]
        raise ValueError(
            f"{where} has {fractions.size} values that are not whole numbers (e.g. {fractions[0]:g}): it looks "
            "log-transformed or normalised, but raw counts are needed. Use layers['counts']."
        )


def unique_names(adata: AnnData) -> None:
    """Raise ValueError for duplicated ``obs_names`` or ``var_names``."""
    for axis, names in (("obs", adata.obs_names), ("var", adata.var_names)):
        if not names.is_unique:
            twice = names[names.duplicated()].unique()
            raise ValueError(
                f"adata.{axis}_names has {len(twice)} names that occur more than once: {_listing(twice)}. "
                f"Run adata.{axis}_names_make_unique()."
            )


def in_memory(adata: AnnData) -> None:
    """Raise ValueError when the AnnData is backed by a file."""
    if adata.isbacked:
        raise ValueError(
            f"adata is backed by the file {str(adata.filename)!r}. Load it first: adata = adata.to_memory()."
        )


def not_empty(adata: AnnData) -> None:
    """Raise ValueError when there are no cells or no genes."""
    for count, what in ((adata.n_obs, "cells"), (adata.n_vars, "genes")):
        if count == 0:
            raise ValueError(
                f"adata has no {what} (shape {adata.n_obs} x {adata.n_vars}). Check the filter that made it."
            )


def _stored(X: Any) -> np.ndarray:
    """The values to look at: all of a dense matrix, the stored ones of a sparse one (the others are 0)."""
    if X is None:
        raise ValueError("there is no matrix to check: adata.X is None.")
    values = np.asarray(X.data if sparse.issparse(X) else X).ravel()
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind not in "iuf":
        raise ValueError(f"the matrix holds values of type {values.dtype}, not numbers.")
    return values


def _finite(values: np.ndarray, where: str) -> None:
    if values.dtype.kind != "f":
        return
    missing, infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
    if missing or infinite:
        raise ValueError(
            f"{where} has {missing} NaN and {infinite} infinite values. Remove or replace them, e.g. drop the cells "
            "without counts before normalising (sc.pp.filter_cells(adata, min_counts=1))."
        )


def _not_negative(values: np.ndarray, where: str, consequence: str) -> None:
    if values.size and values.min() < 0:
        raise ValueError(
            f"{where} has {int((values < 0).sum())} negative values (down to {values.min():g}); {consequence}"
        )


def _all_whole(values: np.ndarray) -> bool:
    if values.dtype.kind != "f":
        return True
    head = values[:_ENOUGH]
    return bool(np.all(np.abs(head - np.round(head)) <= _WHOLE) and np.all(np.abs(values - np.round(values)) <= _WHOLE))


def _listing(values: Iterable[Any], limit: int = 5) -> str:
    shown = [repr(value.item() if isinstance(value, np.generic) else value) for value in values]
    more = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + more
