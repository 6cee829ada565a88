"""Prediction and truth, validated together before any work starts."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from sccalmflow import _checks
from sccalmflow.baselines._training import Condition, dense, rows_by_condition

from ._keys import Keys

Space = Literal["genes", "pcs"]
"""What an AnnData holds of each cell."""


@dataclass(frozen=True)
class Cells:
    """Cells of one AnnData by condition, read in the truth's order of genes."""

    adata: AnnData
    rows: dict[Condition, np.ndarray]
    pcs: np.ndarray | None
    gene_order: np.ndarray | None = None

    def values(self, space: Space, rows: np.ndarray) -> np.ndarray:
        """Dense values of some cells."""
        if space == "pcs":
            return cast(np.ndarray, self.pcs)[rows]
        X = dense(self.adata.X[rows])
        return X if self.gene_order is None else X[:, self.gene_order]

    def novelty(self, condition: Condition) -> str:
        """What the prediction says about how new a condition is; nothing if it does not have it."""
        if "novelty" not in self.adata.obs or condition not in self.rows:
            return ""
        labels = self.adata.obs["novelty"].iloc[self.rows[condition]].dropna().astype(str).unique()
        return "; ".join(sorted(labels))


def true_cells(truth: AnnData, keys: Keys, spaces: Sequence[Space], values: Literal["log1p", "any"]) -> Cells:
    """Check the truth. Of a condition with held-out cells, only those are what a prediction is compared with."""
    _check_matrix(truth, "truth", values)
    if "pcs" in spaces and "X_pca" not in truth.obsm:
        raise ValueError("truth.obsm has no 'X_pca', which some metrics need. Run sccalmflow.pp.pca(truth) first.")
    rows = rows_by_condition(truth.obs, keys.condition)
    if keys.split:
        is_train = (truth.obs[keys.split].astype(str) == "train").to_numpy()
        heldout = {condition: found[~is_train[found]] for condition, found in rows.items()}
        rows = {
            condition: heldout[condition] if len(heldout[condition]) else found for condition, found in rows.items()
        }
    return Cells(truth, rows, _scores(truth, "truth") if "pcs" in spaces else None)


def predicted_cells(
    pred: AnnData, name: str, truth: Cells, keys: Keys, spaces: Sequence[Space], values: Literal["log1p", "any"]
) -> Cells:
    """Check a prediction against the truth. Predicted control cells are set aside: nothing is compared with them."""
    _check_matrix(pred, name, values)
    with _checks.naming(name):
        _checks.obs_labels(pred, keys.condition)
    rows = rows_by_condition(pred.obs, keys.condition)
    controls = [condition for condition in rows if condition == keys.control_of(condition)]
    if controls:
        warnings.warn(
            f"{name} holds predicted control cells, which are left out: the control is always the real one.",
            stacklevel=3,
        )
    rows = {condition: found for condition, found in rows.items() if condition not in controls}
    if not rows:
        raise ValueError(f"{name} predicts no condition other than {keys.control!r}; there is nothing to evaluate.")
    for condition, found in rows.items():
        _check_condition(condition, len(found), name, truth, keys)
    pcs = _pcs(pred, name, truth) if "pcs" in spaces else None
    return Cells(pred, rows, pcs, _gene_order(pred, name, truth.adata))


def _check_matrix(adata: AnnData, name: str, values: Literal["log1p", "any"]) -> None:
    with _checks.naming(name):
        _checks.in_memory(adata)
        _checks.not_empty(adata)
        if not adata.var_names.is_unique:
            _checks.unique_names(adata)
    where = f"{name}.X"
    _checks.finite_values(adata.X, where=where)
    if values == "any":
        return
    X = adata.X
    if name != "truth":
        # A linear projection back to genes scatters around 0: negative predictions are no mistake.
        X = X.maximum(0) if sparse.issparse(X) else np.maximum(X, 0)
    _checks.log_values(X, where=where)


def _check_condition(condition: Condition, n_pred: int, name: str, truth: Cells, keys: Keys) -> None:
    label = ", ".join(condition)
    if condition not in truth.rows:
        for key, value in zip(keys.condition, condition, strict=True):
            known = truth.adata.obs[key].astype(str).unique()
            if value not in known:
                hint = _checks.suggest(value, known)
                raise ValueError(f"{name} predicts {label!r}, but truth.obs[{key!r}] has no {value!r}.{hint}")
        raise ValueError(
            f"{name} predicts {label!r}, but truth has no cells of that combination. Leave it out with "
            "pred = pred[...].copy(); without true cells there is nothing to evaluate."
        )
    for count, where in ((len(truth.rows[condition]), "truth"), (n_pred, name)):
        if count < 2:
            raise ValueError(f"{label!r} has {count} cell in {where}; at least 2 are needed.")


def check_controls(conditions: Iterable[Condition], truth: Cells, keys: Keys, but: str) -> None:
    """Raise unless every context has real control cells; the message says what needs them and what to do."""
    for condition in conditions:
        n_control = len(truth.rows.get(keys.control_of(condition), ()))
        if n_control < 2:
            raise ValueError(
                f"truth has {n_control} control cells ({keys.control!r}) for the context of {', '.join(condition)!r}, "
                f"but {but}"
            )


def _gene_order(pred: AnnData, name: str, truth: AnnData) -> np.ndarray | None:
    """Where the truth's genes are in the prediction, which may have more; None where they are the same."""
    if pred.var_names.equals(truth.var_names):
        return None
    position = pd.Index(pred.var_names).get_indexer(truth.var_names)
    missing = truth.var_names[position < 0]
    if len(missing):
        raise ValueError(
            f"{name} has {pred.n_vars} genes and truth {truth.n_vars}, and {len(missing)} of truth's are not in {name} "
            f"({', '.join(map(repr, missing[:5]))}), whose genes are called {', '.join(map(repr, pred.var_names[:3]))} "
            "and so on. Select the common ones in truth before sccalmflow.pp.pca."
        )
    return position


def _pcs(pred: AnnData, name: str, truth: Cells) -> np.ndarray:
    """Scores of the prediction in the truth's components."""
    order = _gene_order(pred, name, truth.adata)
    is_other = _has_other_projection(pred, truth.adata, order)
    if is_other:
        warnings.warn(
            f"{name}.obsm['X_pca'] are scores of another projection than truth's, so {name}.X is projected again.",
            stacklevel=4,
        )
    if "X_pca" in pred.obsm and not is_other:
        scores, expected = _scores(pred, name), cast(np.ndarray, truth.pcs).shape[1]
        if scores.shape[1] != expected:
            raise ValueError(f"{name}.obsm['X_pca'] has {scores.shape[1]} components and truth's {expected}.")
        return scores
    from sccalmflow.pp import PCA

    return PCA.from_anndata(truth.adata).transform(pred.X if order is None else pred.X[:, order])


def _has_other_projection(pred: AnnData, truth: AnnData, order: np.ndarray | None) -> bool:
    """Whether both say how their scores were made, and say different things."""
    loadings, expected = (
        one.varm["PCs"] if "PCs" in one.varm and "values" in one.uns.get("pca", {}) else None for one in (pred, truth)
    )
    if loadings is None or expected is None or "X_pca" not in pred.obsm:
        return False
    loadings = loadings if order is None else loadings[order]
    return loadings.shape != expected.shape or not np.allclose(loadings, expected, atol=1e-6)


def _scores(adata: AnnData, name: str) -> np.ndarray:
    scores = np.asarray(adata.obsm["X_pca"])
    _checks.finite_values(scores, where=f"{name}.obsm['X_pca']")
    return scores
