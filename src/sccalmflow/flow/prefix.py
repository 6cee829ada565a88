"""What a sequence starts with: prompts, and what the language model has made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from .clm import select_sequences

if TYPE_CHECKING:
    from transformers import DynamicCache


class Prompts(NamedTuple):
    """Distinct prompts, left-padded.

    Parameters
    ----------
    ids
        Token ids, shape (P, L).
    mask
        True at real tokens, False at padding, shape (P, L).
    context
        The control cells that describe each prompt's context, shape (P, C, D) in scaled scores; None for a flow
        without context cells.

    Examples
    --------
    >>> import torch
    >>> from sccalmflow.flow import Prompts
    >>> mask = torch.tensor([[False, True, True], [True, True, True]])
    >>> prompts = Prompts(ids=torch.tensor([[0, 4, 7], [2, 4, 9]]), mask=mask)
    >>> prompts.to(torch.device("cpu")).ids.shape
    torch.Size([2, 3])
    """

    ids: Tensor
    mask: Tensor
    context: Tensor | None = None

    def to(self, device: torch.device) -> Prompts:
        """The same on another device.

        Parameters
        ----------
        device
            Where to.

        Returns
        -------
        New prompts, with the tensors of this one where they are there already.
        """
        context = None if self.context is None else self.context.to(device)
        return Prompts(self.ids.to(device), self.mask.to(device), context)


class Prefix(NamedTuple):
    """What comes before the first time, already read by the language model.

    :meth:`VolterraFlow.read_prompts` makes one of P distinct prompts, :func:`select_prefix` one of B sequences.

    Parameters
    ----------
    cache
        Keys and values of the L prompt tokens and C context cells.
    blocks
        Their blocks (see :mod:`sccalmflow.flow.tokens`), shape (P or B, L + C).
    first_block
        Block of the first time, shape (P or B,).

    Examples
    --------
    >>> import torch
    >>> from sccalmflow.flow import CausalLM, FlowConfig, Prefix, Prompts, VolterraFlow, backbone_config
    >>> config = backbone_config("gpt2", vocab_size=10, width=8, n_layers=1, n_heads=2, dropout=0.0, max_positions=16)
    >>> flow = VolterraFlow(FlowConfig(dim=3), CausalLM.from_config(config))
    >>> prefix = flow.read_prompts(Prompts(torch.tensor([[0, 4], [2, 9]]), torch.tensor([[False, True], [True, True]])))
    >>> isinstance(prefix, Prefix), prefix.blocks.tolist(), prefix.first_block.tolist()
    (True, [[-1, 0], [0, 1]], [1, 2])
    """

    cache: DynamicCache
    blocks: Tensor
    first_block: Tensor


def select_prefix(prefix: Prefix, index: Tensor | None) -> Prefix:
    """The prefix of each sequence, from the distinct ones; its cache is a new one and may grow.

    Parameters
    ----------
    prefix
        What :meth:`VolterraFlow.read_prompts` made of P distinct prompts.
    index
        Prompt of each sequence, shape (B,).

    Returns
    -------
    Prefix of B sequences.

    Raises
    ------
    ValueError
        ``index`` is None.

    Examples
    --------
    >>> import torch
    >>> from sccalmflow.flow import CausalLM, FlowConfig, Prompts, VolterraFlow, backbone_config, select_prefix
    >>> config = backbone_config("gpt2", vocab_size=10, width=8, n_layers=1, n_heads=2, dropout=0.0, max_positions=16)
    >>> flow = VolterraFlow(FlowConfig(dim=3), CausalLM.from_config(config))
    >>> prefix = flow.read_prompts(Prompts(torch.tensor([[1, 4], [2, 9]]), torch.ones(2, 2, dtype=torch.bool)))
    >>> select_prefix(prefix, torch.tensor([0, 1, 1])).blocks.tolist()
    [[0, 1], [0, 1], [0, 1]]
    """
    if index is None:
        raise ValueError("With prompts, `index` must say which prompt each sequence has.")
    return Prefix(select_sequences(prefix.cache, index), prefix.blocks[index], prefix.first_block[index])
