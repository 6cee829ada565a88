"""The cells a simple baseline may learn from, and what it takes from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from sccalmflow import _checks

Condition = tuple[str, ...]
"""One label per condition key, in their order."""


def dense(X: Any) -> np.ndarray:
    """A dense array, whatever the cells are stored in."""
    return X.toarray() if sparse.issparse(X) else np.asarray(X)


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

    @cached_property
    def perturbations(self) -> set[str]:
        """Perturbations with cells and control cells of one context in training."""
        return {
            self.perturbation(condition)
            for condition in self.rows
            if condition != self.control_of(condition) and self.control_of(condition) in self.rows
        }

    def parts(self, perturbation: str) -> list[str]:
        """The perturbations whose changes are added: itself when training has it, else the parts of "a+b"."""
        if perturbation in self.perturbations:
            return [perturbation]
        return [part.strip() for part in perturbation.split("+")]

    def delta(self, perturbation: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean over training contexts of the change against their controls, in genes and in PCs."""
        changes = []
        for condition in self.rows:
            if self.perturbation(condition) == perturbation and self.control_of(condition) in self.rows:
                perturbed, control = self._means(condition), self._means(self.control_of(condition))
                changes.append([after - before for after, before in zip(perturbed, control, strict=True)])
        genes, pcs = (np.mean(space, axis=0) for space in zip(*changes, strict=True))
        return genes, pcs

    @cached_property
    def _known_means(self) -> dict[Condition, tuple[np.ndarray, np.ndarray]]:
        return {}

    def _means(self, condition: Condition) -> tuple[np.ndarray, np.ndarray]:
        if condition not in self._known_means:
            X, pcs = self.cells(condition)
            # X.mean of a sparse matrix sums in float64 only when told; of a dense one likewise.
            genes = np.asarray(X.mean(axis=0, dtype=np.float64)).ravel()
            self._known_means[condition] = genes, pcs.mean(axis=0, dtype=np.float64)
        return self._known_means[condition]

    def cells(self, condition: Condition) -> tuple[np.ndarray | sparse.csr_matrix, np.ndarray]:
        """Expression and PCs of the training cells of a condition."""
        rows = self.rows[condition]
        return self.adata.X[rows], np.asarray(self.adata.obsm["X_pca"])[rows]

    def why_not_control(self, condition: Condition) -> str | None:
        """Why control cells of this context cannot be had, or None."""
        control = self.control_of(condition)
        if control in self.rows:
            return None
        context = ", ".join(label for i, label in enumerate(condition) if i != self.position)
        known = {
            ", ".join(label for i, label in enumerate(other) if i != self.position)
            for other in self.rows
            if self.perturbation(other) == self.control
        }
        return f"the context {context!r} has no training control cells.{_checks.suggest(context, known - {context})}"

    def why_not_additive(self, condition: Condition) -> str | None:
        """Why the additive baseline cannot predict this condition, or None."""
        reason = self.why_not_control(condition)
        if reason is not None:
            return reason
        perturbation = self.perturbation(condition)
        unknown = [part for part in self.parts(perturbation) if part not in self.perturbations]
        if not unknown:
            return None
        hint = _checks.suggest(unknown[0], self.perturbations)
        return (
            f"the perturbation {unknown[0]!r} was never seen in training beside control cells of the same context."
            f"{hint}"
        )


def training(
    adata: AnnData,
    conditions: pd.DataFrame,
    *,
    perturbation_key: str,
    control: str,
    split_key: str | None,
) -> Training:
    """Check the input of a baseline and find its training cells."""
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
