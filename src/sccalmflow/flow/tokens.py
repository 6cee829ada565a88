"""States as tokens: the embedding of a state, and the layout of a sequence.

A sequence is ``prompt | context cells | time 0 | time 1 | ...``. A time holds M trajectories of K space tokens each.
Every token has a *block*: prompt tokens count 0, 1, 2, ...; all context cells share the next block, and all tokens of
one time share one. A token attends to every token of its own and of earlier blocks (the integral runs over space and
over trajectories inside a time, and over the past), and its position is its block. So one vector of blocks defines
both mask and positions, and padding can change neither. :func:`restriction` narrows the mask for ablations.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

MemoryName = Literal["full", "markov"]
SpaceMaskName = Literal["block", "causal"]


class StateEncoder(nn.Module):
    """Embed a state of D scores as K space tokens of the language model's width."""

    def __init__(self, dim: int, width: int, n_space_tokens: int, n_steps: int) -> None:
        super().__init__()
        self.n_space_tokens = n_space_tokens
        self.mlp = nn.Sequential(nn.Linear(dim, width), nn.GELU(), nn.Linear(width, n_space_tokens * width))
        # Relative positions tell a token how far the others are, not what time it is.
        self.time = nn.Embedding(n_steps, width)
        nn.init.normal_(self.time.weight, std=0.02)

    def forward(self, states: Tensor, first_step: int = 0) -> Tensor:
        """Tokens of consecutive times.

        Parameters
        ----------
        states
            Shape (B, M, S, D): S consecutive times of M trajectories.
        first_step
            Index of the first of these times.

        Returns
        -------
        Tokens in time-major order, shape (B, S * M * K, width).
        """
        batch, n_trajectories, n_times, _ = states.shape
        time = self.time(torch.arange(first_step, first_step + n_times, device=states.device))
        tokens = self.mlp(states).unflatten(-1, (self.n_space_tokens, -1)) + time[:, None, :]
        return tokens.transpose(1, 2).reshape(batch, n_times * n_trajectories * self.n_space_tokens, -1)


def split_tokens(hidden: Tensor, n_trajectories: int, n_space_tokens: int) -> Tensor:
    """Undo the time-major layout: (B, S * M * K, width) to (B, M, S, K * width), one vector for each state."""
    batch, length, width = hidden.shape
    n_times = length // (n_trajectories * n_space_tokens)
    states = hidden.reshape(batch, n_times, n_trajectories, n_space_tokens * width)
    return states.transpose(1, 2)


def prefix_blocks(prompt_mask: Tensor, n_context: int) -> tuple[Tensor, Tensor]:
    """Blocks of the tokens before the first time.

    Parameters
    ----------
    prompt_mask
        True at the real tokens of left-padded prompts, shape (P, L).
    n_context
        Number C of context cells.

    Returns
    -------
    Blocks, shape (P, L + C), where padding has block -1; and the first block of the times, shape (P,).
    """
    length = prompt_mask.sum(1)
    blocks = torch.where(prompt_mask, prompt_mask.cumsum(1) - 1, -1)
    context = length[:, None].expand(-1, n_context)
    return torch.cat([blocks, context], dim=1), length + int(n_context > 0)


def time_blocks(first_block: Tensor, first_step: int, n_times: int, tokens_per_time: int) -> Tensor:
    """Blocks of the tokens of consecutive times, shape (B, n_times * tokens_per_time)."""
    steps = torch.arange(first_step, first_step + n_times, device=first_block.device)
    return first_block[:, None] + steps.repeat_interleave(tokens_per_time)


def attention_mask(queries: Tensor, keys: Tensor) -> Tensor:
    """Which key each query sees, from their blocks.

    Parameters
    ----------
    queries, keys
        Blocks, shapes (B, Q) and (B, L), where the queries are the last Q of the keys.

    Returns
    -------
    Boolean mask (B, 1, Q, L). Padding is seen by no token but by itself: a row without any key would be not a number.
    """
    seen = (keys[:, None, :] <= queries[:, :, None]) & (keys[:, None, :] >= 0)
    n_queries, n_keys = queries.shape[1], keys.shape[1]
    itself = torch.arange(n_keys - n_queries, n_keys, device=keys.device)[:, None] == torch.arange(
        n_keys, device=keys.device
    )
    return (seen | itself)[:, None]


def restriction(
    queries: Tensor, keys: Tensor, first_block: Tensor, memory: MemoryName, space_mask: SpaceMaskName
) -> Tensor | None:
    """Which of the keys that :func:`attention_mask` shows a query may still see, in an ablation.

    Parameters
    ----------
    queries, keys
        Blocks, as for :func:`attention_mask`.
    first_block
        First block of the times, shape (B,); what comes before it is prompt and context cells.
    memory
        ``"markov"`` hides the states of earlier times: a state sees the prompt and its own time only.
    space_mask
        ``"causal"`` hides, inside a time, the tokens that come later in the sequence.

    Returns
    -------
    Boolean mask (B, 1, Q, L), or None where nothing is hidden.
    """
    if memory == "full" and space_mask == "block":
        return None
    before_times = (keys < first_block[:, None])[:, None, :]
    same_time = keys[:, None, :] == queries[:, :, None]
    if space_mask == "causal":
        n_queries, n_keys = queries.shape[1], keys.shape[1]
        order = torch.arange(n_keys, device=keys.device)
        same_time = same_time & (order <= order[n_keys - n_queries :, None])
    earlier = keys[:, None, :] < queries[:, :, None]
    return (before_times | same_time | (earlier & (memory == "full")))[:, None]
