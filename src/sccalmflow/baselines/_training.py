"""The cells a simple baseline may learn from, and what it takes from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from sccalmflow import _checks
from sccalmflow.pp import PCA

Condition = tuple[str, ...]
"""One label per condition key, in their order."""
Matrix: TypeAlias = np.ndarray | sparse.csr_matrix
Profile = tuple[np.ndarray, np.ndarray]
"""One value per gene, and one per PC."""
T = TypeVar("T")


def dense(X: Any) -> np.ndarray:
    """A dense array, whatever the cells are stored in."""
    return X.toarray() if sparse.issparse(X) else np.asarray(X)


def mean_of(X: Any) -> np.ndarray:
    """Mean of each column, in float64: a sparse matrix sums in its own precision, whatever dtype is asked for."""
    X = X.astype(np.float64) if sparse.issparse(X) else X
    return np.asarray(X.mean(axis=0, dtype=np.float64)).ravel()


def conditions_of(frame: pd.DataFrame, keys: Sequence[str]) -> list[Condition]:
    """The distinct conditions of a table, in order of appearance."""
    return list(rows_by_condition(frame, keys))


def rows_by_condition(frame: pd.DataFrame, keys: Sequence[str]) -> dict[Condition, np.ndarray]:
    """Row positions of each condition of a table, in order of appearance."""
    labels = pd.MultiIndex.from_frame(frame[list(keys)].astype(str))
    codes, conditions = labels.factorize()
    order = np.argsort(codes, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(codes, minlength=len(conditions)))[:-1])
    return dict(zip(map(tuple, conditions), rows, strict=True))


@dataclass(frozen=True)
class Training:
    """Training cells by condition: never a held-out cell, never a cell of a condition to predict."""

    adata: AnnData
    keys: tuple[str, ...]
    perturbation_key: str
    control: str
    split_key: str | None
    without: tuple[Condition, ...]

    @cached_property
    def rows(self) -> dict[Condition, np.ndarray]:
        """Positions of the training cells of each condition."""
        obs = self.adata.obs
        allowed = np.flatnonzero(obs[self.split_key] == "train") if self.split_key else np.arange(len(obs))
        found = rows_by_condition(obs.iloc[allowed], self.keys)
        return {condition: allowed[rows] for condition, rows in found.items() if condition not in self.without}

    @property
    def position(self) -> int:
        """Where the perturbation stands in a condition."""
        return self.keys.index(self.perturbation_key)

    def perturbation(self, condition: Condition) -> str:
        """The perturbation of a condition."""
        return condition[self.position]

    def control_of(self, condition: Condition) -> Condition:
        """The control condition of the same context."""
        return (*condition[: self.position], self.control, *condition[self.position + 1 :])

    def context(self, condition: Condition) -> str:
        """All labels of a condition but its perturbation, for messages."""
        return ", ".join(label for i, label in enumerate(condition) if i != self.position)

    @cached_property
    def by_perturbation(self) -> dict[str, list[Condition]]:
        """Training conditions of each perturbation other than control."""
        found: dict[str, list[Condition]] = {}
        # Sorted, so that nothing (ties, the last digits of sums) depends on the order of the cells.
        for condition in sorted(self.rows):
            if self.perturbation(condition) != self.control:
                found.setdefault(self.perturbation(condition), []).append(condition)
        return found

    def seen(self, perturbation: str) -> list[Condition]:
        """Training conditions of a perturbation."""
        return self.by_perturbation.get(perturbation, [])

    def seen_beside_control(self, perturbation: str) -> list[Condition]:
        """Those whose context has control cells in training too."""
        return [condition for condition in self.seen(perturbation) if self.control_of(condition) in self.rows]

    def parts(self, perturbation: str, seen: Callable[[str], list[Condition]]) -> list[str]:
        """The perturbations whose effects are added: itself when it was seen, else the parts of "a+b"."""
        return [perturbation] if seen(perturbation) else [part.strip() for part in perturbation.split("+")]

    def why_unseen(self, perturbation: str) -> str:
        """What to say about a perturbation that training does not have, or not beside control cells."""
        if self.seen(perturbation):
            return f"the perturbation {perturbation!r} has no training cells beside control cells of the same context."
        return (
            f"the perturbation {perturbation!r} was never seen in training."
            f"{_checks.suggest(perturbation, self.by_perturbation)}"
        )

    def cells(self, rows: np.ndarray) -> tuple[Matrix, np.ndarray]:
        """Expression and PCs of some cells."""
        return self._X[rows], self._pcs[rows]

    def mean(self, condition: Condition) -> Profile:
        """Mean expression and mean PCs of the training cells of a condition, taken once."""
        if condition not in self._means:
            X, pcs = self.cells(self.rows[condition])
            self._means[condition] = mean_of(X), pcs.mean(axis=0, dtype=np.float64)
        return self._means[condition]

    @cached_property
    def projection(self) -> PCA | None:
        """What :func:`sccalmflow.pp.pca` left, if it was run."""
        try:
            return PCA.from_anndata(self.adata)
        except KeyError:
            return None

    def once(self, learn: Callable[[Training], T]) -> T:
        """What a baseline learns from all training cells, learned when it is first asked for."""
        if learn not in self._learned:
            self._learned[learn] = learn(self)
        return self._learned[learn]

    @cached_property
    def _means(self) -> dict[Condition, Profile]:
        return {}

    @cached_property
    def _learned(self) -> dict[Callable[[Training], Any], Any]:
        return {}

    # Of a view, adata.X and adata.obsm copy everything at each access, and there is one access per condition.
    @cached_property
    def _X(self) -> Matrix:
        return self.adata.X

    @cached_property
    def _pcs(self) -> np.ndarray:
        return np.asarray(self.adata.obsm["X_pca"])


def training(
    adata: AnnData,
    conditions: pd.DataFrame,
    *,
    perturbation_key: str,
    control: str,
    split_key: str | None,
) -> Training:
    """Check the input of a baseline and find its training cells."""
    if isinstance(conditions, AnnData):
        # Its obs has other columns too, and only the caller knows which of them make up a condition.
        raise TypeError(
            f"conditions is an AnnData: give the columns of its obs that make up a condition, "
            f"conditions.obs[[..., {perturbation_key!r}]]."
        )
    if not isinstance(conditions, pd.DataFrame):
        raise TypeError(
            f"conditions is a {type(conditions).__name__}: give a DataFrame, one condition a row, with a column for "
            f"each key of a condition, {perturbation_key!r} among them."
        )
    keys = tuple(str(key) for key in conditions.columns)
    _checks.in_memory(adata)
    _checks.not_empty(adata)
    _checks.one_of(perturbation_key, keys, "perturbation_key")
    _checks.obs_labels(adata, keys)
    if conditions.empty:
        raise ValueError("conditions is empty; give one row per condition.")
    if conditions.isna().any(axis=None):
        raise ValueError("conditions has missing labels; every condition needs all of them.")
    _checks.one_of(control, adata.obs[perturbation_key].astype(str).unique(), "control")
    if (conditions[perturbation_key].astype(str) == control).any():
        raise ValueError(
            f"conditions asks for {control!r}, but control cells are what the baselines start from. Drop these rows."
        )
    if "X_pca" not in adata.obsm:
        raise ValueError("adata.obsm has no 'X_pca'. Run sccalmflow.pp.pca(adata) first.")
    if split_key:
        _checks.obs_keys(adata, [split_key])
        if not (adata.obs[split_key] == "train").any():
            raise ValueError(f"adata.obs[{split_key!r}] marks no cell as 'train'; nothing could be learned.")
    return Training(
        adata=adata,
        keys=keys,
        perturbation_key=perturbation_key,
        control=control,
        split_key=split_key or None,
        without=tuple(conditions_of(conditions, keys)),
    )
