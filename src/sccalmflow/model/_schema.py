"""Which columns of ``obs`` make a condition, and what its sentence is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
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
        roles = {"cell_type": self.cell_type_key, "perturbation": self.perturbation_key}
        if self.chronicity_key is not None:
            roles["chronicity"] = self.chronicity_key
        return roles | {key: key for key in self.covariate_keys}

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

    def sentence(self, labels: Labels, omitted: Collection[str] = ()) -> str:
        """The sentence of a condition, without the roles in ``omitted``."""
        by_key = dict(zip(self.keys, labels, strict=True))
        words = {role: by_key[key] for role, key in self.roles.items() if role not in omitted}
        return self.template.sentence(words, control=self.is_control(labels))

    def sentence_to_predict(self, labels: Labels, *, name_cell_type: bool) -> str:
        """The sentence that asks for a condition, with its cell type or, where it can do without, not."""
        return self.sentence(labels, () if name_cell_type else self.omissible_roles)

    def control_sentence(self, labels: Labels, *, name_cell_type: bool) -> str:
        """The sentence that asks for the control cells of a condition's context."""
        position = self.keys.index(self.perturbation_key)
        return self.sentence_to_predict(
            (*labels[:position], self.control, *labels[position + 1 :]), name_cell_type=name_cell_type
        )

    @property
    def omissible_roles(self) -> tuple[str, ...]:
        """The cell type, which control cells show, where both sentences can do without it."""
        others = dict.fromkeys(set(self.roles) - {"cell_type"}, "x")
        if "cell_type" not in self.template.placeholders:
            return ()
        try:
            self.template.sentence(others)
            self.template.sentence(others, control=True)
        except ValueError:
            return ()
        return ("cell_type",)

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
    roles = schema.omissible_roles
    subsets = [[role for bit, role in enumerate(roles) if code >> bit & 1] for code in range(2 ** len(roles))]
    return [schema.sentence(labels, omitted) for labels in conditions for omitted in subsets]
