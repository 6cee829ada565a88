"""Predicted scores for conditions: seeded draws, batches of rollouts, progress."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from tqdm.auto import tqdm

from sccalmflow.flow import VolterraFlow, pair_by_optimal_transport, rollout

from ._data import PromptBook, first_positions, seeded_generator
from ._presets import SourceName

# Draws are made for this many sequences at a time, so that a cell does not depend on how many are predicted.
_BLOCK = 64
# Control cells are paired with predicted ones among this many, or all there are, so that each is used once before
# any is used again. The more, the closer the partners; exact pairing takes time with the third power.
_ANCHOR_BLOCK = 512
# Cells of a condition where the user does not say how many: enough for its mean and its spread.
_USUAL_CELLS = 500


class Request(NamedTuple):
    """A condition to predict: its sentence, a name that seeds its draws, and control scores (n, D) of its context.

    With the sentence of its control condition, its cells are anchored in the control cells (:func:`anchored`).
    """

    sentence: str
    name: str
    controls: Tensor | None
    control_sentence: str | None = None

    @property
    def anchors(self) -> Tensor | None:
        """The measured control cells that are moved to make its cells, if it is anchored."""
        return None if self.control_sentence is None else self.controls

    @property
    def usual_cells(self) -> int:
        """How many cells to predict where the user does not say: no more than there are control cells to move."""
        return _USUAL_CELLS if self.anchors is None else min(_USUAL_CELLS, len(self.anchors))


def sample_cells(
    flow: VolterraFlow, book: PromptBook, requests: Sequence[Request], *, n_cells: int, seed: int, **options: Any
) -> Tensor:
    """:func:`sample_scores`, with the same arguments and result, where requests that ask for it are anchored."""
    # A twin has the same name, so the same draws: what differs is the sentence.
    twins: dict[int, Request] = {}
    sizes: dict[int, int] = {}
    for number, request in enumerate(requests):
        if request.anchors is not None:
            twins[number] = request._replace(sentence=cast(str, request.control_sentence))
            sizes[number] = min(_ANCHOR_BLOCK, len(request.anchors))
    # Whole blocks, so that no cell depends on how many are asked for.
    n_whole = max([n_cells, *(-(-n_cells // size) * size for size in sizes.values())])
    scores = sample_scores(flow, book, [*requests, *twins.values()], n_cells=n_whole, seed=seed, **options)
    ends = scores if scores.ndim == 3 else scores[:, :, -1]
    for (number, twin), control_cells in zip(twins.items(), ends[len(requests) :], strict=True):
        pool = cast(Tensor, twin.controls)
        generator = seeded_generator(seed, zlib.crc32(twin.name.encode()))
        chosen = torch.cat([torch.randperm(len(pool), generator=generator) for _ in range(-(-n_whole // len(pool)))])
        for start in range(0, n_cells, sizes[number]):
            block = slice(start, start + sizes[number])
            ends[number, block] = anchored(ends[number, block], control_cells[block], pool[chosen[block]])
    return scores[: len(requests), :n_cells]


def anchored(cells: Tensor, control_cells: Tensor, controls: Tensor) -> Tensor:
    """Measured control cells, moved by the change that the model predicts.

    Predicted control cells are paired with measured ones by optimal transport, and each measured cell is moved by what
    tells its partner from the cell that the same draws give under the perturbation. What the model gets wrong in both
    alike, above all the shape of the context's cells, cancels. Where it predicts no change, these are control cells.

    Parameters
    ----------
    cells, control_cells
        Predicted cells of the condition and of its control condition from the same draws, each (n, D).
    controls
        As many measured control cells, (n, D).

    Returns
    -------
    Cells (n, D), in the order of ``cells``.
    """
    partners = pair_by_optimal_transport(controls, control_cells)
    return partners + (cells - control_cells)


@torch.no_grad()
def sample_scores(
    flow: VolterraFlow,
    book: PromptBook,
    requests: Sequence[Request],
    *,
    source: SourceName,
    n_cells: int,
    temperature: float,
    seed: int,
    batch_size: int,
    whole_trajectory: bool = False,
    show_progress: bool = False,
) -> Tensor:
    """Roll out cells of several conditions together, each distinct prompt read once.

    Returns
    -------
    Scores (n_requests, n_cells, D), or (n_requests, n_cells, T + 1, D) with ``whole_trajectory``, on the CPU.
    """
    config, device = flow.config, flow.device
    n_sequences = -(-n_cells // config.n_trajectories)
    sentences = [request.sentence for request in requests]
    prompt_of = torch.arange(len(requests))
    if config.n_context_cells == 0:
        sentences, prompt_of = first_positions(sentences)
    prompts = book.prompts(sentences, _context_cells(flow, requests, seed))
    prefix = flow.read_prompts(prompts.to(device))

    blocks = [(r, b) for r in range(len(requests)) for b in range(-(-n_sequences // _BLOCK))]
    n_at_once = max(1, batch_size // config.n_trajectories)
    per_batch = max(1, n_at_once // _BLOCK)
    shape = (config.n_steps + 1, config.dim) if whole_trajectory else (config.dim,)
    cells = torch.empty(len(requests), n_sequences * config.n_trajectories, *shape)
    progress = tqdm(total=len(requests) * n_cells, desc="Predicting", unit=" rollouts", disable=not show_progress)
    for start in range(0, len(blocks), per_batch):
        batch = blocks[start : start + per_batch]
        sizes = [min(_BLOCK, n_sequences - b * _BLOCK) for _, b in batch]
        draws = [_draws(flow, requests[r], source, seed, b) for r, b in batch]
        drawn, noise = (
            torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
            for parts in zip(*draws, strict=True)
        )
        index = prompt_of[[r for (r, _), size in zip(batch, sizes, strict=True) for _ in range(size)]]
        passes = []
        # A block can be larger than what memory holds at once.
        for part in zip(*(whole.split(n_at_once) for whole in (drawn, noise, index)), strict=True):
            start_cells, own_noise, own_index = (values.to(device) for values in part)
            path = rollout(flow, start_cells, own_noise, prefix=prefix, index=own_index, temperature=temperature)
            passes.append((path if whole_trajectory else path[:, :, -1]).cpu())
        result = torch.cat(passes)
        for (r, b), part in zip(batch, result.split(sizes), strict=True):
            first = b * _BLOCK * config.n_trajectories
            cells[r, first : first + len(part) * config.n_trajectories] = part.flatten(0, 1)
        progress.update(min(sum(sizes) * config.n_trajectories, progress.total - progress.n))
    progress.close()
    return cells[:, :n_cells]


def _draws(flow: VolterraFlow, request: Request, source: SourceName, seed: int, block: int) -> tuple[Tensor, Tensor]:
    """Source draws and decoder noise of one block of sequences of a condition."""
    config = flow.config
    generator = seeded_generator(seed, zlib.crc32(request.name.encode()), block + 1)
    shape = (_BLOCK, config.n_trajectories, flow.n_draws, config.dim)
    if source == "noise":
        drawn = torch.randn(shape, generator=generator)
    else:
        assert request.controls is not None  # the model refuses such a request
        drawn = request.controls[torch.randint(len(request.controls), shape[:3], generator=generator)]
    noise = torch.randn(*shape[:2], config.n_steps, flow.decoder.noise_dim, generator=generator)
    return drawn, noise


def _context_cells(flow: VolterraFlow, requests: Sequence[Request], seed: int) -> Tensor | None:
    """The control cells that describe each condition's context, (n_requests, C, D)."""
    n = flow.config.n_context_cells
    if n == 0:
        return None
    chosen = []
    for request in requests:
        generator = seeded_generator(seed, zlib.crc32(request.name.encode()), 0)
        assert request.controls is not None  # the model refuses such a request
        chosen.append(request.controls[torch.randint(len(request.controls), (n,), generator=generator)])
    return torch.stack(chosen)
