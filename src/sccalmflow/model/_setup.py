"""From a set-up AnnData to training data: which cells, in which groups, and whether they will do."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from anndata import AnnData

from sccalmflow import _checks
from sccalmflow.pp import PCA
from sccalmflow.pp._split import training_cells
from sccalmflow.prompts import check_placeholders

from ._data import Condition, TrainingData
from ._presets import Settings
from ._schema import Labels, Schema

# Of a score, whose deviation is about 1; that of the cells of the fit is rounding.
_LARGEST_MEAN = 1e-3


def check_anndata(adata: AnnData, schema: Schema) -> None:
    """Raise for anything in an AnnData that training would stumble over, before any work."""
    _checks.not_empty(adata)
    if adata.is_view:
        raise ValueError("adata is a view of another AnnData. Make it one of its own with adata = adata.copy().")
    _checks.in_memory(adata)
    _checks.unique_names(adata)
    _check_names(schema)
    _checks.obs_labels(adata, schema.keys)
    _checks.one_of(schema.control, sorted(adata.obs[schema.perturbation_key].astype(str).unique()), "control")
    if schema.prompt_key is not None:
        _checks.obs_labels(adata, [schema.prompt_key])
    else:
        check_placeholders(schema.template, list(schema.roles))
    training_cells(adata, schema.split_key)
    if schema.obsm_key not in adata.obsm:
        raise KeyError(
            f"adata.obsm has no {schema.obsm_key!r}.{_checks.suggest(schema.obsm_key, adata.obsm.keys())} "
            "Run sccalmflow.pp.pca(adata) first."
        )
    pca = PCA.from_anndata(adata, schema.obsm_key)
    scores = np.asarray(adata.obsm[schema.obsm_key])
    _checks.finite_values(scores, where=f"adata.obsm[{schema.obsm_key!r}]")
    if scores.shape[1] != pca.n_comps:
        raise ValueError(
            f"adata.obsm[{schema.obsm_key!r}] has {scores.shape[1]} components and its projection {pca.n_comps}. "
            "Run sccalmflow.pp.pca(adata) again."
        )


def _check_names(schema: Schema) -> None:
    """Raise where a covariate has the name of something else: of a placeholder, or of what predictions add to obs."""
    own = schema.own_roles
    for key in schema.covariate_keys:
        if own.get(key, key) != key:
            raise ValueError(
                f"covariate_keys names {key!r}, which stands for the column {own[key]!r} in the template. Rename it "
                f"with adata.obs = adata.obs.rename(columns={{{key!r}: ...}})."
            )
    for key in schema.keys:
        if key in ("novelty", "prompt"):
            raise ValueError(f"predictions write obs[{key!r}] themselves: rename this column of adata.obs.")


def training_data(adata: AnnData, schema: Schema) -> TrainingData:
    """The cells of the training split by condition, in the order of their labels.

    Raises
    ------
    ValueError
        A condition has a single training cell.
    """
    mask = training_cells(adata, schema.split_key)
    obs = adata.obs.loc[mask]
    labels = schema.rows(obs)
    sentences = [""] * len(labels) if schema.prompt_key is None else obs[schema.prompt_key].astype(str).tolist()
    groups: dict[tuple[Labels, str], list[int]] = {}
    for row, key in enumerate(zip(labels, sentences, strict=True)):
        groups.setdefault(key, []).append(row)
    # Sorted, so that neither the order of categories nor that of the cells decides how conditions are numbered.
    conditions = [Condition(condition, sentence or None) for condition, sentence in sorted(groups)]
    members = [torch.tensor(groups[key]) for key in sorted(groups)]
    _check_sizes(conditions, members, schema)
    if all(schema.is_control(condition.labels) for condition in conditions):
        raise ValueError(
            f"all {len(labels)} training cells are control cells ({schema.control!r}): there is no perturbation to "
            f"learn. {'Hold fewer cells out.' if schema.split_key else 'Add perturbed cells.'}"
        )
    controls: dict[Labels, list[torch.Tensor]] = {}
    for group, rows in zip(conditions, members, strict=True):
        if schema.is_control(group.labels):
            controls.setdefault(schema.context(group.labels), []).append(rows)
    scores = torch.as_tensor(np.ascontiguousarray(adata.obsm[schema.obsm_key][mask], dtype=np.float32))
    _check_fit(scores, schema)
    return TrainingData(scores, conditions, members, {context: torch.cat(rows) for context, rows in controls.items()})


def check_controls(data: TrainingData, schema: Schema, settings: Settings) -> None:
    """Raise where a training condition has no control cells of its context and the model starts from such cells."""
    if settings.source == "noise" and not settings.n_context_cells:
        unnamed = [key for key in schema.covariate_keys if key not in schema.template.placeholders]
        if unnamed and schema.prompt_key is None:
            warnings.warn(
                f"No sentence names {', '.join(unnamed)}, and this model starts from noise, so it cannot tell their "
                f"labels apart. Name them in prompt_template and control_template, as {{{unnamed[0]}}}.",
                stacklevel=3,
            )
        return
    lacking = sorted({schema.context(c.labels) for c in data.conditions} - set(data.controls))
    if lacking:
        names = "; ".join(map(schema.describe, lacking[:5]))
        which = "1 context has" if len(lacking) == 1 else f"{len(lacking)} contexts have"
        raise ValueError(
            f"{which} no control cells ({schema.control!r}) in training: {names}. The model starts from control cells "
            "of the same context. Drop the cells of these contexts, merge labels, or build the model with "
            'source="noise" (and n_context_cells=0).'
        )


def _check_fit(scores: torch.Tensor, schema: Schema) -> None:
    """Warn where the components were not fitted on just these cells, whose scores would then have a mean of 0."""
    if float(scores.mean(dim=0).abs().max()) > _LARGEST_MEAN:
        warnings.warn(
            f"The components in obsm[{schema.obsm_key!r}] were fitted on other cells than the training split's. If "
            "cells were held out after sccalmflow.pp.pca(adata), it has seen them: run it again.",
            stacklevel=4,
        )


def _check_sizes(conditions: list[Condition], members: list[torch.Tensor], schema: Schema) -> None:
    cells: dict[Labels, int] = {}
    for condition, rows in zip(conditions, members, strict=True):
        cells[condition.labels] = cells.get(condition.labels, 0) + len(rows)
    single = [schema.describe(labels) for labels, n in cells.items() if n == 1]
    if single:
        keys = list(schema.keys)
        raise ValueError(
            f"{len(single)} of {len(cells)} training conditions have a single cell, which shows no distribution: "
            f"{'; '.join(single[:5])}. Merge labels, or drop small conditions with "
            f"adata = adata[adata.obs.groupby({keys}, observed=True)[{keys[0]!r}].transform('size') >= 10].copy()."
        )
