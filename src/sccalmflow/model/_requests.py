"""What a user asks to predict, turned into sentences, control cells and novelty."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from sccalmflow import _checks
from sccalmflow.pp import PCA

from ._folder import ModelState
from ._sampling import Request
from ._schema import Labels, Schema, novelty

_SENTENCES = (Sequence, np.ndarray, pd.Series, pd.Index, pd.Categorical)


class Asked(NamedTuple):
    """One condition to predict: labels where they are known, the sentence, what of it is new.

    ``control_sentence`` is that of its control condition, where the sentence is the template's.
    """

    labels: Labels | None
    sentence: str
    novelty: str
    control_sentence: str | None = None


def read_conditions(
    conditions: pd.DataFrame | Sequence[str] | AnnData, state: ModelState, name_cell_type: bool | None = None
) -> list[Asked]:
    """The distinct conditions that were asked for, in their order.

    Raises
    ------
    KeyError
        A condition key is not a column.
    ValueError
        There is no condition, or a label or sentence is missing, blank or not a string.
    TypeError
        Neither a DataFrame, nor sentences, nor an AnnData.
    """
    schema = state.schema
    if name_cell_type is False and not schema.can_omit_cell_type:
        raise ValueError("name_cell_type=False: the template's sentences cannot do without the cell type.")
    frame = conditions.obs if isinstance(conditions, AnnData) else conditions
    if isinstance(frame, str):
        frame = [frame]
    if isinstance(frame, pd.Series) and set(schema.keys) <= set(frame.index):
        frame = frame.to_frame().T  # a row of a DataFrame
    if isinstance(frame, pd.DataFrame):
        with _checks.naming("conditions", "conditions" if frame is conditions else "conditions.obs"):
            asked = _from_frame(frame, state, name_cell_type)
    elif isinstance(frame, _SENTENCES) and all(isinstance(item, str) for item in frame):
        known = _known_sentences(state)
        asked = [_from_sentence(sentence, known, state) for sentence in dict.fromkeys(frame)]
    else:
        raise TypeError(
            f"conditions is a {type(conditions).__name__}: give a DataFrame with the columns {list(schema.keys)}, a "
            "list of sentences, or an AnnData."
        )
    if not asked:
        raise ValueError("conditions is empty: there is nothing to predict.")
    return asked


def _from_frame(frame: pd.DataFrame, state: ModelState, name_cell_type: bool | None) -> list[Asked]:
    schema = state.schema
    # The set-up's own column of sentences replaces the template also here, or the model would read what it never saw.
    prompt_key = "prompt" if "prompt" in frame else schema.prompt_key
    if prompt_key in frame and not set(schema.keys) & set(frame.columns):
        return read_conditions(frame[prompt_key].tolist(), state)
    columns = list(schema.keys) if prompt_key is None else [*schema.keys, prompt_key]
    for key in columns:
        if key not in frame:
            found = [str(column) for column in frame.columns]
            raise KeyError(f"conditions has no column {key!r}.{_checks.suggest(key, found)} It has {found}.")
    _checks.obs_labels(AnnData(obs=frame[columns].reset_index(drop=True).rename(index=str)), columns)
    rows = list(dict.fromkeys(frame[columns].astype(str).itertuples(index=False, name=None)))
    asked = []
    for row in rows:
        labels = row[: len(schema.keys)]
        named = (
            state.settings.names_cell_type(is_seen=labels in state.seen) if name_cell_type is None else name_cell_type
        )
        new = novelty(schema, labels, state.seen)
        if prompt_key is not None:
            asked.append(Asked(labels, row[-1], new))
            continue
        sentence, control = (of(labels, name_cell_type=named) for of in (schema.sentence, schema.control_sentence))
        asked.append(Asked(labels, sentence, new, control))
    return asked


def _known_sentences(state: ModelState) -> dict[str, Labels]:
    """Sentences that the template makes of labels seen in training, together or not, with their labels.

    A template need not name all labels: a sentence that fits several conditions is of none of them. A model with
    sentences of its own (``prompt_key``) has read none of the template's.
    """
    if state.schema.prompt_key is not None:
        return {}
    found: dict[str, list[Labels]] = {}
    for labels in product(*_known_labels(state)):
        found.setdefault(state.schema.sentence(labels), []).append(labels)
    return {sentence: fits[0] for sentence, fits in found.items() if len(fits) == 1}


def _known_labels(state: ModelState) -> list[list[str]]:
    """The labels of each condition key that training has read."""
    return [sorted({labels[position] for labels in state.seen}) for position in range(len(state.schema.keys))]


def _from_sentence(sentence: str, known: dict[str, Labels], state: ModelState) -> Asked:
    if not sentence.strip():
        raise ValueError("A prompt is empty: write a sentence that names the condition.")
    labels = known.get(sentence)
    if labels is not None:
        control = state.schema.control_sentence(labels, name_cell_type=True)
        return Asked(labels, sentence, novelty(state.schema, labels, state.seen), control)
    if sentence in state.seen_sentences:
        return Asked(None, sentence, "seen")
    like = next((one for one in known if _bare(one) == _bare(sentence)), None)
    if like is not None:
        warnings.warn(
            f"{sentence!r} is read as free text: the sentence that the model knows is {like!r}.", stacklevel=4
        )
    return Asked(None, sentence, "free text")


def _bare(sentence: str) -> str:
    """Without what is easily mistyped: capitals, spaces, and the sign at the end."""
    return " ".join(sentence.casefold().rstrip(" :.").split())


def warn_of_new_labels(asked: Sequence[Asked], state: ModelState) -> None:
    """Warn of labels that training has never read, misspelt ones among them; a new cell type has its control cells."""
    schema = state.schema
    for position, (key, known) in enumerate(zip(schema.keys, _known_labels(state), strict=True)):
        new = sorted({a.labels[position] for a in asked if a.labels is not None}.difference(known))
        if new and key != schema.cell_type_key:
            hints = "".join(_checks.suggest(label, known) for label in new)
            names = ", ".join(map(repr, new))
            warnings.warn(
                f"Training has read no cell with {key} {names}: what a sentence calls it is all that the model knows."
                f"{hints} The prediction's obs['novelty'] says which conditions these are.",
                stacklevel=3,
            )


def control_scores(control: AnnData, schema: Schema, pca: PCA) -> dict[Labels, torch.Tensor]:
    """Scores (n, D) of a user's control cells by context.

    Raises
    ------
    TypeError
        It is no AnnData.
    KeyError
        A context key is not in ``obs``.
    ValueError
        The genes differ from the model's, values are not finite or raw counts, or there is no control cell.
    """
    if not isinstance(control, AnnData):
        raise TypeError(f"control is a {type(control).__name__}: give an AnnData of control cells.")
    with _checks.naming("control"):
        _checks.not_empty(control)
        _checks.in_memory(control)
        _checks.unique_names(control)
        _checks.obs_labels(control, schema.context_keys)
    if schema.perturbation_key not in control.obs:
        columns = [str(column) for column in control.obs.columns]
        warnings.warn(
            f"control.obs has no column {schema.perturbation_key!r}, so all {control.n_obs} cells are taken for "
            f"control cells.{_checks.suggest(schema.perturbation_key, columns)} If some are perturbed, leave them out.",
            stacklevel=4,
        )
    else:
        is_control = (control.obs[schema.perturbation_key].astype(str) == schema.control).to_numpy()
        if not is_control.any():
            raise ValueError(
                f"control has no cell with obs[{schema.perturbation_key!r}] == {schema.control!r}; it has "
                f"{sorted(control.obs[schema.perturbation_key].astype(str).unique())[:5]}."
            )
        control = control[is_control]
    scores = torch.as_tensor(pca.transform(_model_genes(control, pca).X))
    contexts = control.obs[list(schema.context_keys)].astype(str).itertuples(index=False, name=None)
    rows: dict[Labels, list[int]] = {}
    for row, context in enumerate(contexts):
        rows.setdefault(context, []).append(row)
    return {context: scores[members] for context, members in rows.items()}


def _model_genes(control: AnnData, pca: PCA) -> AnnData:
    """The model's genes in the model's order."""
    missing = [gene for gene in pca.var_names if gene not in control.var_names]
    if missing:
        raise ValueError(
            f"control lacks {len(missing)} of the model's {len(pca.var_names)} genes, such as {missing[:5]}; its own "
            f"are called {list(control.var_names[:3])} and so on. Predictions need the genes that the model was "
            "trained on, under the same names."
        )
    control = control[:, list(pca.var_names)]
    _checks.finite_values(control.X, where="control.X")
    if pca.values == "log1p":
        _checks.log_values(control.X, where="control.X")
    return control


def make_requests(
    asked: Sequence[Asked], state: ModelState, control: AnnData | None, *, anchor: bool = False
) -> list[Request]:
    """Requests with control cells from the user's AnnData where given, else from the model's pool.

    With ``anchor``, those of conditions that training has not seen are anchored in them, if the model starts from
    control cells and the control condition has a sentence.

    Raises
    ------
    ValueError
        The model starts from control cells, and there are none for a condition's context.
    """
    schema, settings = state.schema, state.settings
    given = {} if control is None else control_scores(control, schema, state.pca)
    if settings.source == "noise" and not settings.n_context_cells:
        return [Request(a.sentence, f"{a.labels}{a.sentence}", None) for a in asked]
    pool = {**state.controls, **given}
    _warn_of_contexts(asked, schema, given)
    requests = []
    for labels, sentence, new, control_sentence in asked:
        if labels is not None:
            scores = pool.get(schema.context(labels))
        else:
            # A free sentence names no context that could be looked up: the cells given are the context.
            scores = torch.cat(list(given.values())) if given else None
        if scores is None:
            raise ValueError(_no_controls(labels, sentence, schema, pool))
        is_anchored = anchor and new != "seen" and settings.source == "control"
        name = f"{labels}{sentence}"
        requests.append(Request(sentence, name, scores, control_sentence if is_anchored else None))
    return requests


def _warn_of_contexts(asked: Sequence[Asked], schema: Schema, given: dict[Labels, torch.Tensor]) -> None:
    """Warn where the user's control cells are of none of the contexts asked for, or of several for one sentence."""
    if not given:
        return
    held = "; ".join(map(schema.describe, list(given)[:5]))
    if any(one.labels is None for one in asked):
        if len(given) > 1:
            warnings.warn(
                f"control holds cells of {len(given)} contexts ({held}), and a free sentence starts from all of them. "
                "Select those of the context that it means.",
                stacklevel=4,
            )
    elif not any(schema.context(one.labels) in given for one in asked if one.labels is not None):
        warnings.warn(
            f"control holds cells of {held}, none of which is asked for: predictions start from the model's own "
            "control cells.",
            stacklevel=4,
        )


def _no_controls(labels: Labels | None, sentence: str, schema: Schema, pool: dict[Labels, torch.Tensor]) -> str:
    if labels is None:
        return (
            f"The sentence {sentence!r} is not one that the template makes of known labels, or fits several, so the "
            "model cannot tell which control cells it starts from. Pass control=adata with control cells of that "
            f"context, or give a DataFrame with the columns {list(schema.keys)} and 'prompt'."
        )
    context = schema.describe(schema.context(labels))
    if not pool:
        return (
            "This model was saved without control cells, and starts its predictions from them. Pass control=adata "
            f"with control cells ({schema.control!r}) of {context}."
        )
    known = [schema.describe(other) for other in pool]
    return (
        f"There are no control cells of {context}, which the prediction starts from.{_checks.suggest(context, known)} "
        f"Known contexts: {'; '.join(known[:8])}. For a new one pass control=adata with its control cells "
        f"({schema.control!r})."
    )
