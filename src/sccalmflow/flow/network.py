"""The network: path, tokens, language model and decoder put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .clm import CausalLM
from .config import FlowConfig
from .decoders import (
    Decoder,
    EnergyDecoder,
    GaussianDecoder,
    MixtureDecoder,
    RegressionDecoder,
    VariationalDecoder,
    mlp,
)
from .paths import PATHS
from .prefix import Prefix, Prompts, select_prefix
from .tokens import StateEncoder, prefix_blocks, restriction, split_tokens, time_blocks

if TYPE_CHECKING:
    from transformers import DynamicCache


class VolterraFlow(nn.Module):
    """Transport from a source to data cells by a causal language model.

    The language model reads the history ``x(t_0) .. x(t_i)`` of a trajectory, its attention being the quadrature of
    the Volterra integral, and the decoder turns its hidden vector into the law of what comes next.

    Parameters
    ----------
    config
        Shape of the flow.
    clm
        The language model; it is trained with the rest.

    Raises
    ------
    ValueError
        Flash attention is asked for together with several tokens at a time, or with a hidden past: it knows causal
        masks only.

    Examples
    --------
    Five sequences of one trajectory each, of the conditions that two prompts name:

    >>> import torch
    >>> from sccalmflow.flow import CausalLM, FlowConfig, Prompts, VolterraFlow, backbone_config, select_prefix
    >>> config = backbone_config("gpt2", vocab_size=10, width=8, n_layers=1, n_heads=2, dropout=0.0, max_positions=16)
    >>> flow = VolterraFlow(FlowConfig(dim=3, n_steps=4), CausalLM.from_config(config))
    >>> prompts = Prompts(ids=torch.tensor([[1, 4], [2, 9]]), mask=torch.ones(2, 2, dtype=torch.bool))
    >>> index = torch.tensor([0, 0, 1, 1, 1])
    >>> endpoint, source = torch.randn(5, 1, 3), torch.randn(5, 1, flow.n_draws, 3)
    >>> flow.loss(endpoint, source, prompts, index)["loss"].shape
    torch.Size([5])

    What the loss does, step by step:

    >>> embeddings, blocks, first_block = flow.embed_prompts(prompts)
    >>> embeddings.shape, blocks.tolist(), first_block.tolist()
    (torch.Size([2, 2, 8]), [[0, 1], [0, 1]], [2, 2])
    >>> prefix = select_prefix(flow.read_prompts(prompts), index)
    >>> trajectory = flow.path.trajectory(source, endpoint, n_steps=4)
    >>> flow.hidden(trajectory[..., :-1, :], prefix).shape
    torch.Size([5, 1, 4, 8])

    One more token of each prompt:

    >>> read = flow.read_prompts(prompts)
    >>> flow.read(torch.randn(2, 1, 8), first_block[:, None], first_block + 1, read.cache, read.blocks).shape
    torch.Size([2, 1, 8])
    """

    def __init__(self, config: FlowConfig, clm: CausalLM) -> None:
        super().__init__()
        if clm.attention != "sdpa" and max(config.n_space_tokens, config.n_trajectories, config.n_context_cells) > 1:
            raise ValueError(
                f"attention={clm.attention!r} knows causal masks only: use n_space_tokens=1, n_trajectories=1 and at "
                'most n_context_cells=1, or attention="sdpa".'
            )
        if clm.attention != "sdpa" and config.memory != "full":
            raise ValueError(f'attention={clm.attention!r} cannot hide the past; memory="markov" needs "sdpa".')
        self.config = config
        self.path = PATHS[config.path]()
        self.clm = clm
        self.encoder = StateEncoder(config.dim, clm.width, config.n_space_tokens, config.n_steps)
        self.context_encoder = mlp(config.dim, clm.width, clm.width) if config.n_context_cells else None
        width = config.n_space_tokens * clm.width
        self.decoder: Decoder
        if config.decoder == "gaussian":
            self.decoder = GaussianDecoder(
                config.dim, width, config.n_hidden, config.nll_weight, config.precision_power
            )
        elif config.decoder == "energy":
            self.decoder = EnergyDecoder(config.dim, width, config.n_hidden, config.n_latent)
        elif config.decoder == "mixture":
            self.decoder = MixtureDecoder(config.dim, width, config.n_hidden, config.n_components)
        elif config.decoder == "regression":
            self.decoder = RegressionDecoder(config.dim, width, config.n_hidden)
        else:
            self.decoder = VariationalDecoder(config.dim, width, config.n_hidden, config.n_latent, config.kl_weight)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.encoder.time.weight.device

    @property
    def n_draws(self) -> int:
        """Source draws of one trajectory."""
        return self.path.n_draws(self.config.n_steps)

    def embed_prompts(self, prompts: Prompts) -> tuple[Tensor, Tensor, Tensor]:
        """What the language model reads before the first time: prompt tokens, then context cells.

        Parameters
        ----------
        prompts
            P distinct prompts of L tokens.

        Returns
        -------
        Embeddings (P, L + C, width) and blocks (P, L + C), and the block of the first time (P,).

        Raises
        ------
        ValueError
            The prompts come without the context cells that this network reads.
        """
        embeddings = self.clm.embed(prompts.ids)
        if self.context_encoder is not None:
            if prompts.context is None:
                raise ValueError(f"This network reads {self.config.n_context_cells} context cells after each prompt.")
            embeddings = torch.cat([embeddings, self.context_encoder(prompts.context)], dim=1)
        blocks, first_block = prefix_blocks(prompts.mask, self.config.n_context_cells)
        return embeddings, blocks, first_block

    def read_prompts(self, prompts: Prompts) -> Prefix:
        """Run each distinct prompt through the language model once.

        Parameters
        ----------
        prompts
            P distinct prompts.

        Returns
        -------
        The prefix of each prompt; :func:`select_prefix` makes those of the sequences from it.

        Raises
        ------
        ValueError
            As :meth:`embed_prompts`.
        """
        from transformers import DynamicCache

        embeddings, blocks, first_block = self.embed_prompts(prompts)
        cache = DynamicCache()
        self.clm(embeddings, blocks, cache)
        return Prefix(cache, blocks, first_block)

    def read(
        self,
        tokens: Tensor,
        blocks: Tensor,
        first_block: Tensor,
        cache: DynamicCache | None = None,
        cached_blocks: Tensor | None = None,
    ) -> Tensor:
        """Hidden states of new tokens, under the mask that the configuration asks for.

        Parameters
        ----------
        tokens
            Embedded tokens, shape (B, Q, width).
        blocks
            Their blocks, shape (B, Q).
        first_block
            Block of the first time, shape (B,).
        cache
            Keys and values of the tokens before; the new ones are appended.
        cached_blocks
            Blocks of those tokens, shape (B, L).

        Returns
        -------
        Shape (B, Q, width).
        """
        keys = blocks if cached_blocks is None else torch.cat([cached_blocks, blocks], dim=1)
        allowed = restriction(blocks, keys, first_block, self.config.memory, self.config.space_mask)
        return self.clm(tokens, blocks, cache, cached_blocks, allowed)

    def hidden(self, states: Tensor, prefix: Prefix | None = None) -> Tensor:
        """Hidden vectors of whole trajectories, all times in one pass.

        Parameters
        ----------
        states
            x_0 .. x_{T-1}, shape (B, M, T, D).
        prefix
            The prompt of each sequence (:func:`select_prefix`), or None for a flow without prompts.

        Returns
        -------
        Shape (B, M, T, K * width).
        """
        batch, n_trajectories, n_times, _ = states.shape
        tokens = self.encoder(states)
        first = states.new_zeros(batch, dtype=torch.long) if prefix is None else prefix.first_block
        blocks = time_blocks(first, 0, n_times, tokens.shape[1] // n_times)
        if prefix is None:
            hidden = self.read(tokens, blocks, first)
        else:
            hidden = self.read(tokens, blocks, first, prefix.cache, prefix.blocks)
        return split_tokens(hidden, n_trajectories, self.config.n_space_tokens)

    def loss(
        self,
        endpoint: Tensor,
        source: Tensor,
        prompts: Prompts | None = None,
        index: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Conditional Volterra flow matching loss (the paper's equations 7 and 9), without any simulation.

        Parameters
        ----------
        endpoint
            Data cells, shape (B, M, D), in scaled scores.
        source
            Source draws, shape (B, M, n_draws, D).
        prompts
            Distinct prompts of the batch.
        index
            Prompt of each sequence, shape (B,).
        generator
            Source of the variational decoder's noise.

        Returns
        -------
        ``loss`` and its parts, each averaged over trajectories and times, shape (B,).

        Raises
        ------
        ValueError
            Prompts without ``index``, or without the context cells that this network reads.
        """
        trajectory = self.path.trajectory(source, endpoint, self.config.n_steps)
        states = trajectory[..., :-1, :]
        prefix = None if prompts is None else select_prefix(self.read_prompts(prompts), index)
        hidden = self.hidden(states, prefix)
        terms = self.decoder.loss(hidden, states, trajectory, generator=generator)
        return {name: value.mean((1, 2)) for name, value in terms.items()}
