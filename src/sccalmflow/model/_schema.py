"""Which columns of ``obs`` make a condition, and what its sentence is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from sccalmflow.prompts import PromptTemplate

Labels = tuple[str, ...]
"""One label for each condition key, in the order of :attr:`Schema.keys`."""


@dataclass(frozen=True)
class Schema:
    """The roles of the columns of ``obs``, and the template that turns labels into a sentence."""

    cell_type_key: str
    perturbation_key: str
    chronicity_key: str | None
    covariate_keys: tuple[str, ...]
    control: str
    split_key: str | None
    prompt_key: str | None
    obsm_key: str
    template: PromptTemplate = field(default_factory=PromptTemplate)

    @property
    def roles(self) -> dict[str, str]:
        """Placeholder of the template to column of ``obs``; two roles may share a column."""
        return self.own_roles | {key: key for key in self.covariate_keys}

    @property
    def own_roles(self) -> dict[str, str]:
        """The :attr:`roles` that have names of their own; a covariate goes by the name of its column."""
        roles = {"cell_type": self.cell_type_key, "perturbation": self.perturbation_key}
        return roles if self.chronicity_key is None else roles | {"chronicity": self.chronicity_key}

    @property
    def keys(self) -> tuple[str, ...]:
        """Condition keys, each column once."""
        return tuple(dict.fromkeys(self.roles.values()))

    @property
    def context_keys(self) -> tuple[str, ...]:
        """Condition keys but the perturbation."""
        return tuple(key for key in self.keys if key != self.perturbation_key)

    def context(self, labels: Labels) -> Labels:
        """The labels but the perturbation's."""
        return tuple(label for key, label in zip(self.keys, labels, strict=True) if key != self.perturbation_key)

    def is_control(self, labels: Labels) -> bool:
        """Whether these are control cells."""
        return labels[self.keys.index(self.perturbation_key)] == self.control

    def describe(self, labels: Labels) -> str:
        """Labels as a readable phrase, for messages and names."""
        return ", ".join(labels)

    def sentence(self, labels: Labels, *, name_cell_type: bool = True) -> str:
        """The sentence of a condition, with its cell type or, where the template can do without, not."""
        by_key = dict(zip(self.keys, labels, strict=True))
        words = {role: by_key[key] for role, key in self.roles.items()}
        if not name_cell_type and self.can_omit_cell_type:
            del words["cell_type"]
        return self.template.sentence(words, control=self.is_control(labels))

    def control_sentence(self, labels: Labels, *, name_cell_type: bool) -> str:
        """The sentence that asks for the control cells of a condition's context."""
        position = self.keys.index(self.perturbation_key)
        control = (*labels[:position], self.control, *labels[position + 1 :])
        return self.sentence(control, name_cell_type=name_cell_type)

    @cached_property
    def can_omit_cell_type(self) -> bool:
        """Whether the sentences of cells and of control cells name the type, and can do without it."""
        others = dict.fromkeys(set(self.roles) - {"cell_type"}, "x")
        if "cell_type" not in self.template.placeholders:
            return False
        try:
            self.template.sentence(others)
            self.template.sentence(others, control=True)
        except ValueError:
            return False
        return True

    def rows(self, frame: pd.DataFrame) -> list[Labels]:
        """The labels of each row."""
        return list(frame[list(self.keys)].astype(str).itertuples(index=False, name=None))

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Schema:
        """Undo :meth:`to_dict`."""
        return cls(
            **{
                **values,
                "covariate_keys": tuple(values["covariate_keys"]),
                "template": PromptTemplate(**values["template"]),
            }
        )


def novelty(schema: Schema, labels: Labels, seen: Iterable[Labels]) -> str:
    """What of a condition training has not seen.

    Returns
    -------
    ``"seen"``, ``"unseen combination"`` (every label seen, not together), or the labels that are new, such as
    ``"unseen cell type"`` or ``"unseen cell type, unseen perturbation"``.
    """
    seen = set(seen)
    if labels in seen:
        return "seen"
    new: list[str] = []
    for position, key in enumerate(schema.keys):
        if labels[position] not in {other[position] for other in seen}:
            role = next(role for role, column in schema.roles.items() if column == key)
            new.append(f"unseen {role.replace('_', ' ')}")
    return ", ".join(new) if new else "unseen combination"


def sentences_of(schema: Schema, conditions: Sequence[Labels]) -> list[str]:
    """Every sentence that training can show for these conditions, also with the cell type left out."""
    named = (True, False) if schema.can_omit_cell_type else (True,)
    return [schema.sentence(labels, name_cell_type=names) for labels in conditions for names in named]
