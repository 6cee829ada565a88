"""Labels to sentences, and sentences to token ids."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING

from . import _checks

if TYPE_CHECKING:
    from tokenizers import Tokenizer

logger = logging.getLogger(__name__)

PERTURBED = "Generate a[ {cell_type}] cell stimulated with {perturbation}[ and exposure {chronicity}]:"
CONTROL = "Generate a[ {cell_type}] cell with no stimulation[ and exposure {chronicity}]:"

_PAD = "<pad>"
# A part in square brackets, or the text up to the next one.
_PART = re.compile(r"\[([^\[\]]*)\]|([^\[\]]+)")


@dataclass(frozen=True)
class PromptTemplate:
    """Sentences for perturbed and for control cells.

    A placeholder such as ``{cell_type}`` takes a label. A part in square brackets is left out, brackets and all,
    where its label is unknown or is omitted in training. Labels are inserted as they are: braces and brackets in a
    label mean nothing.

    Parameters
    ----------
    perturbed
        Sentence for perturbed cells. The default is the paper's, which ends before ``and exposure`` where there is no
        chronicity. Placeholders: ``{cell_type}``, ``{perturbation}``, ``{chronicity}`` and the names of further
        covariates.
    control
        Sentence for control cells, without ``{perturbation}``.

    Raises
    ------
    ValueError
        Brackets do not match or are nested, ``{perturbation}`` is missing or may be left out, or the control sentence
        names it.

    Examples
    --------
    >>> from sccalmflow.prompts import PromptTemplate
    >>> template = PromptTemplate()
    >>> template.sentence({"cell_type": "CD4 T", "perturbation": "IL-6", "chronicity": "acute"})
    'Generate a CD4 T cell stimulated with IL-6 and exposure acute:'
    >>> template.sentence({"cell_type": "B", "chronicity": "chronic"}, control=True)
    'Generate a B cell with no stimulation and exposure chronic:'
    >>> template.sentence({"perturbation": "IL-6"})
    'Generate a cell stimulated with IL-6:'
    """

    perturbed: str = PERTURBED
    control: str = CONTROL

    def __post_init__(self) -> None:
        for name, text in (("perturbed", self.perturbed), ("control", self.control)):
            if "".join(match[0] for match in _PART.finditer(text)) != text:
                raise ValueError(f"The {name} template has brackets that do not match or are nested: {text!r}.")
            try:
                fields = [field for _, part in _parts(text) for field in _fields(part)]
            except ValueError as error:
                raise ValueError(f"The {name} template cannot be read ({error}): {text!r}.") from error
            if "" in fields:
                raise ValueError(f"The {name} template has a placeholder without a name: {text!r}.")
        required = [field for optional, part in _parts(self.perturbed) if not optional for field in _fields(part)]
        if "perturbation" not in required:
            raise ValueError(
                f"The perturbed template must name {{perturbation}} outside of square brackets: {self.perturbed!r}."
            )
        if "perturbation" in _fields(self.control):
            raise ValueError(f"The control template must not name {{perturbation}}: {self.control!r}.")

    @property
    def placeholders(self) -> set[str]:
        """Names that the two sentences ask for."""
        return {*_fields(self.perturbed), *_fields(self.control)}

    def sentence(self, labels: Mapping[str, str | None], *, control: bool = False) -> str:
        """The sentence of a condition.

        Parameters
        ----------
        labels
            Label of each placeholder; None or absent leaves its part out.
        control
            Whether these are control cells.

        Returns
        -------
        The sentence, as the language model reads it.

        Raises
        ------
        ValueError
            A label is missing for a placeholder outside of square brackets.
        """
        words = []
        for optional, part in _parts(self.control if control else self.perturbed):
            missing = [field for field in _fields(part) if labels.get(field) is None]
            if missing and not optional:
                raise ValueError(f"The prompt needs a label for {missing[0]!r}; put its part in [ ] to leave it out.")
            if not missing:
                words.append(_fill(part, labels))
        return "".join(words)


def _parts(text: str) -> list[tuple[bool, str]]:
    return [(match[1] is not None, match[1] if match[1] is not None else match[2]) for match in _PART.finditer(text)]


def _fields(text: str) -> list[str]:
    fields = []
    for _, field, form, conversion in Formatter().parse(text):
        if form or conversion:
            raise ValueError(f"{field!r} has a format or conversion, and labels are inserted as they are")
        if field is not None:
            fields.append(field)
    return fields


def _fill(part: str, labels: Mapping[str, str | None]) -> str:
    # Not str.format: a label with braces must not be read as a template again.
    return "".join(
        literal + (str(labels[field]) if field is not None else "") for literal, field, _, _ in Formatter().parse(part)
    )


def build_tokenizer(sentences: Sequence[str], vocab_size: int = 1024) -> Tokenizer:
    """Train a byte-level tokenizer on the training prompts, so that no label, seen or not, is unknown.

    Parameters
    ----------
    sentences
        Training prompts.
    vocab_size
        Most tokens to learn, the 256 bytes included. Words of the training prompts become tokens of their own well
        below the default; other words are spelt from pieces.

    Returns
    -------
    The tokenizer. The order of the sentences, and how often each occurs, change nothing.

    Examples
    --------
    >>> from sccalmflow.prompts import build_tokenizer
    >>> tokenizer = build_tokenizer(["Generate a cell stimulated with IL-6:", "Generate a cell with no stimulation:"])
    >>> ids = tokenizer.encode("Generate a cell stimulated with IL-10:").ids
    >>> tokenizer.decode(ids)
    'Generate a cell stimulated with IL-10:'
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[_PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # Sorted and unique: neither the order of the labels nor the number of cells may change the tokens.
    tokenizer.train_from_iterator(sorted(set(sentences)), trainer)
    logger.info(
        "Built a byte-level tokenizer of %d tokens from %d training prompts (give `tokenizer` or `pretrained` for "
        "another).",
        tokenizer.get_vocab_size(),
        len(set(sentences)),
    )
    return tokenizer


def load_tokenizer(name_or_path: str) -> Tokenizer:
    """Load a tokenizer from a ``tokenizer.json``, a folder that holds one, or a hub id (needs the network).

    Parameters
    ----------
    name_or_path
        The file, the folder or the hub id. What exists here is never looked for on the hub.

    Returns
    -------
    The tokenizer.

    Raises
    ------
    ValueError
        The hub's tokenizer has no fast version.
    OSError
        Neither a local file or folder nor a name that the hub can serve now.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from sccalmflow.prompts import build_tokenizer, load_tokenizer
    >>> built = build_tokenizer(["Generate a cell stimulated with IL-6:"])
    >>> with TemporaryDirectory() as folder:
    ...     built.save(f"{folder}/tokenizer.json")
    ...     loaded = load_tokenizer(folder)
    >>> loaded.get_vocab() == built.get_vocab()
    True
    >>> load_tokenizer("EleutherAI/pythia-160m").get_vocab_size()  # doctest: +SKIP
    50277
    """
    from tokenizers import Tokenizer

    path = Path(name_or_path)
    if path.is_dir() and (path / "tokenizer.json").exists():
        path = path / "tokenizer.json"
    if path.is_file():
        return Tokenizer.from_file(str(path))
    from transformers import AutoTokenizer

    fast = getattr(AutoTokenizer.from_pretrained(name_or_path), "backend_tokenizer", None)
    if fast is None:
        raise ValueError(
            f"The tokenizer of {name_or_path!r} has no fast version, which is what can be saved and loaded."
        )
    return fast


def encode(tokenizer: Tokenizer, sentence: str, max_tokens: int) -> list[int]:
    """Token ids of a sentence.

    Parameters
    ----------
    tokenizer
        Of :func:`build_tokenizer` or :func:`load_tokenizer`.
    sentence
        The prompt of a condition.
    max_tokens
        How many tokens the language model has room for before the cells.

    Returns
    -------
    The ids, without padding.

    Raises
    ------
    ValueError
        The sentence is blank, or longer than ``max_tokens``.

    Examples
    --------
    >>> from sccalmflow.prompts import build_tokenizer, encode
    >>> sentence = "Generate a cell stimulated with IL-6:"
    >>> tokenizer = build_tokenizer([sentence])
    >>> len(encode(tokenizer, sentence, max_tokens=64)) < len(sentence)
    True
    >>> encode(tokenizer, "  ", max_tokens=64)
    Traceback (most recent call last):
    ValueError: A prompt is empty: write a sentence that names the condition.
    """
    if not sentence.strip():
        raise ValueError("A prompt is empty: write a sentence that names the condition.")
    ids = tokenizer.encode(sentence).ids
    if len(ids) > max_tokens:
        raise ValueError(
            f"A prompt has {len(ids)} tokens, but the language model has room for {max_tokens} before the cells: "
            f"{sentence[:80]!r}. Shorten it, or build the model with a larger `max_prompt_tokens`."
        )
    return ids


def check_placeholders(template: PromptTemplate, known: Sequence[str]) -> None:
    """Refuse a template that asks for a name that no key was given for.

    Parameters
    ----------
    template
        The sentences.
    known
        Names that have a column of ``obs``. Cell type and chronicity may be missing: their parts are then left out.

    Raises
    ------
    ValueError
        A placeholder is not among the known names.

    Examples
    --------
    >>> from sccalmflow.prompts import PromptTemplate, check_placeholders
    >>> template = PromptTemplate("A cell of donor {donor} under {perturbation}:", "A cell of donor {donor}:")
    >>> check_placeholders(template, ["perturbation", "donor"])
    >>> check_placeholders(template, ["perturbation"])
    Traceback (most recent call last):
    ValueError: The prompt template asks for {donor}, which is not among ['perturbation']...
    """
    optional_roles = {"cell_type", "perturbation", "chronicity"}
    for name in sorted(template.placeholders - set(known) - optional_roles):
        raise ValueError(
            f"The prompt template asks for {{{name}}}, which is not among {sorted(known)}."
            f"{_checks.suggest(name, known)} Name its column of obs in `covariate_keys`."
        )
