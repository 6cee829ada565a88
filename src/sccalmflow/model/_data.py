"""Training cells in memory, and the batches drawn from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sccalmflow.flow import Prompts, VolterraFlow, pair_by_optimal_transport
from sccalmflow.prompts import encode

from ._presets import Settings
from ._schema import Labels, Schema, sentences_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Condition(NamedTuple):
    """Labels of a condition, and its sentence where a ready one replaces the template's."""

    labels: Labels
    sentence: str | None = None


class Batch(NamedTuple):
    """What :meth:`VolterraFlow.loss` takes, and the condition of each sequence for messages."""

    endpoint: Tensor
    source: Tensor
    prompts: Prompts
    prompt_index: Tensor
    condition: Tensor


# The language model reads each distinct prompt of a batch once. With as many prompts as cells, reading them would take
# most of the time.
_SEQUENCES_PER_PROMPT = 4


def first_positions(sentences: Sequence[str]) -> tuple[list[str], Tensor]:
    """The distinct sentences in their order, and the position of each sentence among them."""
    distinct = {sentence: position for position, sentence in enumerate(dict.fromkeys(sentences))}
    return list(distinct), torch.tensor([distinct[sentence] for sentence in sentences])


class CellGroups:
    """Cells in groups, drawn from at random without a loop over the groups."""

    def __init__(self, scores: Tensor, members: Sequence[Tensor]) -> None:
        self.scores = scores
        self.flat = torch.cat(list(members))
        self.size = torch.tensor([len(group) for group in members])
        self.offset = self.size.cumsum(0) - self.size

    def draw(self, group: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """``n`` cells of each group with replacement, (B,) to (B, n, D)."""
        uniform = torch.rand(len(group), n, generator=generator)
        within = (uniform * self.size[group][:, None]).long()
        # float32 can round up to the size of a large group.
        within = torch.minimum(within, self.size[group][:, None] - 1)
        return self.scores[self.flat[self.offset[group][:, None] + within]]


class PromptBook:
    """Token ids of sentences, each encoded once."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self._ids: dict[str, list[int]] = {}

    def prompts(self, sentences: Sequence[str], context: Tensor | None = None) -> Prompts:
        """Left-padded prompts of these sentences, and their context cells (P, C, D)."""
        ids = [self.encode(sentence) for sentence in sentences]
        longest = max(map(len, ids))
        padded = torch.zeros(len(ids), longest, dtype=torch.long)
        mask = torch.zeros(len(ids), longest, dtype=torch.bool)
        for row, tokens in enumerate(ids):
            padded[row, longest - len(tokens) :] = torch.tensor(tokens)
            mask[row, longest - len(tokens) :] = True
        return Prompts(padded, mask, context)

    def encode(self, sentence: str) -> list[int]:
        """Token ids of one sentence."""
        if sentence not in self._ids:
            self._ids[sentence] = encode(self.tokenizer, sentence, self.max_tokens)
        return self._ids[sentence]


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The cells of the training split by condition, and their control cells by context.

    Attributes
    ----------
    scores
        Scaled scores of all cells concerned, (n_cells, D).
    conditions
        One entry a group of cells.
    members
        Rows of ``scores`` of each condition.
    controls
        Rows of ``scores`` of the control cells of each context.
    """

    scores: Tensor
    conditions: list[Condition]
    members: list[Tensor]
    controls: dict[Labels, Tensor]

    def sentences(self, schema: Schema) -> list[str]:
        """Every sentence that training can show, also with context labels left out."""
        templated = [condition.labels for condition in self.conditions if condition.sentence is None]
        ready = [condition.sentence for condition in self.conditions if condition.sentence is not None]
        return [*sentences_of(schema, templated), *ready]

    def control_pool(self, size: int, seed: int) -> dict[Labels, Tensor]:
        """Scores of at most ``size`` control cells of each context, drawn at random."""
        generator = seeded_generator(seed, 3)
        return {
            context: self.scores[rows[torch.randperm(len(rows), generator=generator)[:size].sort().values]]
            for context, rows in self.controls.items()
        }

    def subset(self, keep: Sequence[bool]) -> TrainingData:
        """The same with some conditions only; control cells stay."""
        pairs = [pair for pair, kept in zip(zip(self.conditions, self.members, strict=True), keep, strict=True) if kept]
        return TrainingData(self.scores, [c for c, _ in pairs], [m for _, m in pairs], self.controls)


class BatchSampler:
    """Draws training batches: conditions first, then cells, source draws, prompts and context cells.

    Conditions are drawn with a weight that grows with the square root of their cells: rare conditions are seen
    often, and none is seen so often that it is learnt by heart.
    """

    def __init__(
        self, data: TrainingData, flow: VolterraFlow, schema: Schema, settings: Settings, book: PromptBook
    ) -> None:
        self.flow_config = flow.config
        self.n_draws = flow.n_draws
        self.schema, self.settings, self.book = schema, settings, book
        self.conditions = data.conditions
        self.cells = CellGroups(data.scores, data.members)
        self.weight = self.cells.size.double().sqrt()
        self.omits = settings.omit_probability > 0 and schema.can_omit_cell_type
        if settings.source == "control" or settings.n_context_cells:
            contexts = list(data.controls)
            self.controls = CellGroups(data.scores, list(data.controls.values()))
            self.context_of = torch.tensor([contexts.index(schema.context(c.labels)) for c in data.conditions])

    def draw(self, batch_size: int, generator: torch.Generator) -> Batch:
        """One batch of ``batch_size`` sequences, a few of each prompt."""
        n_prompts = -(-batch_size // _SEQUENCES_PER_PROMPT)
        condition = torch.multinomial(self.weight, n_prompts, replacement=True, generator=generator)
        return self.draw_conditions(condition, _SEQUENCES_PER_PROMPT, generator, batch_size)

    def draw_conditions(
        self, condition: Tensor, n_each: int, generator: torch.Generator, batch_size: int | None = None
    ) -> Batch:
        """One batch with ``n_each`` sequences of each condition, (P,); the first ``batch_size`` of them."""
        named = torch.ones(len(condition), dtype=torch.bool)
        if self.omits:
            named = torch.rand(len(condition), generator=generator) >= self.settings.omit_probability
        condition, named = (part.repeat_interleave(n_each)[:batch_size] for part in (condition, named))
        n_trajectories = self.flow_config.n_trajectories
        endpoint = self.cells.draw(condition, n_trajectories, generator)
        source = self.draw_source(condition, generator)
        if self.settings.ot_pairing:
            group = condition.repeat_interleave(n_trajectories)
            paired = pair_by_optimal_transport(source.flatten(0, 2), endpoint.flatten(0, 1), group)
            source = paired.view_as(source)
        variants, index = torch.stack([condition, named.long()], 1).unique(dim=0, return_inverse=True)
        sentences = [self.sentence(c, name_cell_type=bool(n)) for c, n in variants.tolist()]
        if self.flow_config.n_context_cells:
            context = self.controls.draw(self.context_of[variants[:, 0]], self.flow_config.n_context_cells, generator)
            return Batch(endpoint, source, self.book.prompts(sentences, context), index, condition)
        distinct, position = first_positions(sentences)
        return Batch(endpoint, source, self.book.prompts(distinct), position[index], condition)

    def draw_source(self, condition: Tensor, generator: torch.Generator) -> Tensor:
        """Source draws, (B, M, n_draws, D)."""
        shape = (len(condition), self.flow_config.n_trajectories, self.n_draws, self.flow_config.dim)
        if self.settings.source == "noise":
            return torch.randn(shape, generator=generator)
        return self.controls.draw(self.context_of[condition], shape[1] * shape[2], generator).view(shape)

    def sentence(self, condition: int, *, name_cell_type: bool) -> str:
        """Sentence of a condition; one of the user's own stays as it is."""
        labels, sentence = self.conditions[condition]
        return self.schema.sentence(labels, name_cell_type=name_cell_type) if sentence is None else sentence


def seeded_generator(*numbers: int) -> torch.Generator:
    """A generator of its own for each tuple of numbers that are not negative."""
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) % 2**63)


class TrainingBatches(torch.utils.data.IterableDataset):
    """An epoch of training batches; each epoch, and each process of a distributed run, draws its own."""

    def __init__(self, sampler: BatchSampler, batch_size: int, n_batches: int, seed: int, rank: int = 0) -> None:
        self.sampler, self.batch_size, self.n_batches = sampler, batch_size, n_batches
        self.seed, self.rank, self.epoch = seed, rank, 0

    def __iter__(self) -> Iterator[Batch]:
        generator = seeded_generator(self.seed, self.epoch, self.rank)
        for _ in range(self.n_batches):
            yield self.sampler.draw(self.batch_size, generator)
