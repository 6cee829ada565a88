"""Predicted scores for conditions: seeded draws, batches of rollouts, progress."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from tqdm.auto import tqdm

from sccalmflow.flow import VolterraFlow, rollout
from sccalmflow.flow.paths import optimal_partners

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
    flows: Sequence[VolterraFlow],
    book: PromptBook,
    requests: Sequence[Request],
    *,
    n_cells: int,
    seed: int,
    **options: Any,
) -> Tensor:
    """:func:`sample_scores` of the networks of a model, where requests that ask for it are anchored.

    Takes the same arguments and returns the same. Anchored cells are moved by the mean of the changes that the networks
    predict; cells that are not anchored come from the networks in turn, all from the same draws.
    """
    # A twin has the same name, so the same draws: what differs is the sentence.
    twins: dict[int, Request] = {}
    sizes: dict[int, int] = {}
    for number, request in enumerate(requests):
        if request.anchors is not None:
            twins[number] = request._replace(sentence=cast(str, request.control_sentence))
            sizes[number] = min(_ANCHOR_BLOCK, len(request.anchors))
    # Whole blocks, so that no cell depends on how many are asked for.
    n_whole = max([n_cells, *(-(-n_cells // size) * size for size in sizes.values())])
    asked = [*requests, *twins.values()]
    by_network = torch.stack([sample_scores(one, book, asked, n_cells=n_whole, seed=seed, **options) for one in flows])
    ends = by_network if by_network.ndim == 4 else by_network[:, :, :, -1]
    every = torch.arange(n_whole)
    scores = by_network[every % len(flows), :, every].transpose(0, 1)
    for (number, twin), control_cells in zip(twins.items(), ends[:, len(requests) :].unbind(1), strict=True):
        pool = cast(Tensor, twin.controls)
        generator = seeded_generator(seed, zlib.crc32(twin.name.encode()))
        chosen = torch.cat([torch.randperm(len(pool), generator=generator) for _ in range(-(-n_whole // len(pool)))])
        for start in range(0, n_cells, sizes[number]):
            block = slice(start, start + sizes[number])
            moved = anchored(ends[:, number, block], control_cells[:, block], pool[chosen[block]])
            (scores if scores.ndim == 3 else scores[:, :, -1])[number, block] = moved
    return scores[: len(requests), :n_cells]


def anchored(cells: Tensor, control_cells: Tensor, controls: Tensor) -> Tensor:
    """Measured control cells, moved by the change that the networks of a model predict.

    Predicted control cells are paired with measured ones by optimal transport, and each measured cell is moved by what
    tells its partner from the cell that the same draws give under the perturbation. What a network gets wrong in both
    alike, above all the shape of the context's cells, cancels. Where it predicts no change, these are control cells.
    Of several networks each measured cell has a partner of each, and goes by the mean of their changes.

    Parameters
    ----------
    cells, control_cells
        Cells of the condition and of its control condition that each network predicts, (n_networks, n, D), all from the
        same draws.
    controls
        As many measured control cells, (n, D).

    Returns
    -------
    Cells (n, D), in the order of those of the first network.
    """
    partners = [optimal_partners(controls, one) for one in control_cells]
    changes = torch.stack([change[pair.argsort()] for change, pair in zip(cells - control_cells, partners, strict=True)])
    return (controls + changes.mean(dim=0))[partners[0]]


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
    per_batch = max(1, batch_size // (_BLOCK * config.n_trajectories))
    shape = (config.n_steps + 1, config.dim) if whole_trajectory else (config.dim,)
    cells = torch.empty(len(requests), n_sequences * config.n_trajectories, *shape)
    progress = tqdm(total=len(requests) * n_cells, desc="Predicting", unit=" rollouts", disable=not show_progress)
    for start in range(0, len(blocks), per_batch):
        batch = blocks[start : start + per_batch]
        sizes = [min(_BLOCK, n_sequences - b * _BLOCK) for _, b in batch]
        draws = [_draws(flow, requests[r], source, seed, b) for r, b in batch]
        path = rollout(
            flow,
            torch.cat([drawn[:size] for (drawn, _), size in zip(draws, sizes, strict=True)]).to(device),
            torch.cat([noise[:size] for (_, noise), size in zip(draws, sizes, strict=True)]).to(device),
            prefix=prefix,
            index=prompt_of[[r for (r, _), size in zip(batch, sizes, strict=True) for _ in range(size)]].to(device),
            temperature=temperature,
        )
        result = (path if whole_trajectory else path[:, :, -1]).cpu()
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
