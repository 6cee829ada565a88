"""Which columns of ``obs`` make a condition: given, or read from the predictions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anndata import AnnData

from sccalmflow import _checks


@dataclass(frozen=True)
class Keys:
    """The condition keys, and what two of them are for."""

    condition: tuple[str, ...]
    perturbation: str
    control: str
    split: str | None

    @property
    def position(self) -> int:
        """Where the perturbation stands among the condition keys."""
        return self.condition.index(self.perturbation)

    def control_of(self, condition: tuple[str, ...]) -> tuple[str, ...]:
        """The control condition of the same context."""
        return (*condition[: self.position], self.control, *condition[self.position + 1 :])


def resolve_keys(
    preds: Mapping[str, AnnData],
    truth: AnnData,
    *,
    condition_keys: Sequence[str] | None,
    perturbation_key: str | None,
    control: str | None,
    split_key: str | None,
) -> Keys:
    """Take what was given, the rest from ``uns["sccalmflow"]`` of the predictions, and check it against the truth."""
    if isinstance(condition_keys, str):
        raise ValueError(f"condition_keys is the string {condition_keys!r}; give a list of columns of obs.")
    keys = condition_keys if condition_keys is not None else _stored(preds, "condition_keys")
    condition = tuple(str(key) for key in _required(keys, "condition_keys", "['cell_type', 'perturbation']"))
    stored = perturbation_key or _stored(preds, "perturbation_key")
    perturbation = str(_required(stored, "perturbation_key", "'perturbation'"))
    label = str(_required(control or _stored(preds, "control"), "control", "'control'"))
    split = split_key or _stored(preds, "split_key")
    if split_key is None and split is not None and split not in truth.obs:
        warnings.warn(
            f"truth.obs has no column {split!r}, by which the prediction was made: all its cells are taken for "
            "measured ones but those of the predicted conditions.",
            stacklevel=3,
        )
        split = None
    if split is None and "split" in truth.obs:
        split = "split"

    with _checks.naming("truth"):
        _checks.obs_labels(truth, condition)
    _checks.one_of(perturbation, condition, "perturbation_key")
    found = truth.obs[perturbation].astype(str).unique()
    if label not in found:
        raise ValueError(
            f"truth has no control cells: no obs[{perturbation!r}] is {label!r} (control)."
            f"{_checks.suggest(label, found)} truth holds the training, the control and the held-out cells."
        )
    if split:
        with _checks.naming("truth"):
            _checks.obs_keys(truth, [str(split)])
    return Keys(condition, perturbation, label, str(split) if split else None)


def _stored(preds: Mapping[str, AnnData], name: str) -> Any:
    """The entry of ``uns["sccalmflow"]`` that all predictions having one agree on."""
    said = [pred.uns.get("sccalmflow", {}).get(name) for pred in preds.values()]
    found = [value for value in said if value is not None]
    # h5ad gives lists back as arrays.
    values = [value if isinstance(value, str) else [str(part) for part in value] for value in found]
    if any(value != values[0] for value in values):
        raise ValueError(f"the predictions disagree on {name} ({values}); pass {name}=... to settle it.")
    return values[0] if values else None


def _required(value: Any, name: str, example: str) -> Any:
    if value is None or len(value) == 0:
        raise ValueError(
            f"the prediction does not say its {name} (uns['sccalmflow']['{name}'] is missing); pass "
            f"{name}=..., for example {name}={example}."
        )
    return value
