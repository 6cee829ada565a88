"""Sampling: roll the flow out from the source to predicted cells."""

from __future__ import annotations

import torch
from torch import Tensor

from .network import VolterraFlow
from .paths import ResampledPath
from .prefix import Prefix, Prompts, select_prefix
from .tokens import split_tokens, time_blocks


@torch.no_grad()
def rollout(
    flow: VolterraFlow,
    source: Tensor,
    noise: Tensor,
    *,
    prefix: Prefix | None = None,
    index: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """Predict cells, one pass over the new tokens for each time.

    Parameters
    ----------
    flow
        The network, in evaluation mode.
    source
        Source draws, shape (B, M, n_draws, D).
    noise
        Standard normal noise of the decoder, shape (B, M, T, decoder.noise_dim).
    prefix
        Distinct prompts as :meth:`VolterraFlow.read_prompts` returns them; None for a flow without prompts.
    index
        Prompt of each sequence, shape (B,).
    temperature
        Factor on the variance of the decoder's law; 0 takes its mean.

    Returns
    -------
    Trajectories x_0 .. x_T, shape (B, M, T + 1, D); the last state is the predicted cell.

    Raises
    ------
    ValueError
        A prefix without ``index``.

    Examples
    --------
    >>> import torch
    >>> from sccalmflow.flow import CausalLM, FlowConfig, Prompts, VolterraFlow, backbone_config, rollout
    >>> config = backbone_config("gpt2", vocab_size=10, width=8, n_layers=1, n_heads=2, dropout=0.0, max_positions=16)
    >>> flow = VolterraFlow(FlowConfig(dim=3, n_steps=4), CausalLM.from_config(config)).eval()
    >>> prefix = flow.read_prompts(Prompts(torch.tensor([[1, 4]]), torch.ones(1, 2, dtype=torch.bool)))
    >>> source, noise = torch.randn(5, 1, flow.n_draws, 3), torch.randn(5, 1, 4, flow.decoder.noise_dim)
    >>> trajectories = rollout(flow, source, noise, prefix=prefix, index=torch.zeros(5, dtype=torch.long))
    >>> trajectories.shape
    torch.Size([5, 1, 5, 3])
    >>> torch.equal(trajectories[:, :, 0], source[:, :, 0])
    True
    """
    from transformers import DynamicCache

    own = None if prefix is None else select_prefix(prefix, index)
    cache = DynamicCache() if own is None else own.cache
    first_block = source.new_zeros(len(source), dtype=torch.long) if own is None else own.first_block
    blocks = first_block[:, None][:, :0] if own is None else own.blocks

    states = [flow.path.start(source)]
    for step in range(flow.config.n_steps):
        tokens = flow.encoder(states[-1][:, :, None], first_step=step)
        new_blocks = time_blocks(first_block, step, 1, tokens.shape[1])
        hidden = flow.read(tokens, new_blocks, first_block, cache, blocks)
        blocks = torch.cat([blocks, new_blocks], dim=1)
        states.append(_next_state(flow, hidden, step, states[-1], source, noise, temperature))
    return torch.stack(states, dim=2)


@torch.no_grad()
def rollout_uncached(
    flow: VolterraFlow,
    source: Tensor,
    noise: Tensor,
    *,
    prompts: Prompts | None = None,
    index: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """As :func:`rollout`, the whole sequence run again at each time, prompt included.

    It is here to check the cached rollout against, and to measure what the cache saves. All but ``prompts`` is as for
    :func:`rollout`.

    Parameters
    ----------
    prompts
        Distinct prompts; None for a flow without.

    Examples
    --------
    >>> import torch
    >>> from sccalmflow.flow import CausalLM, FlowConfig, VolterraFlow, backbone_config, rollout, rollout_uncached
    >>> config = backbone_config("gpt2", vocab_size=10, width=8, n_layers=1, n_heads=2, dropout=0.0, max_positions=16)
    >>> flow = VolterraFlow(FlowConfig(dim=3, n_steps=4), CausalLM.from_config(config)).eval()
    >>> source, noise = torch.randn(5, 1, flow.n_draws, 3), torch.randn(5, 1, 4, flow.decoder.noise_dim)
    >>> torch.allclose(rollout_uncached(flow, source, noise), rollout(flow, source, noise), atol=1e-5)
    True
    """
    states = [flow.path.start(source)]
    per_time = flow.config.n_trajectories * flow.config.n_space_tokens
    for step in range(flow.config.n_steps):
        tokens = flow.encoder(torch.stack(states, dim=2))
        if prompts is None:
            first_block = source.new_zeros(len(source), dtype=torch.long)
            blocks = time_blocks(first_block, 0, step + 1, per_time)
        else:
            embeddings, before, first_block = (part[index] for part in flow.embed_prompts(prompts))
            blocks = torch.cat([before, time_blocks(first_block, 0, step + 1, per_time)], dim=1)
            tokens = torch.cat([embeddings, tokens], dim=1)
        hidden = flow.read(tokens, blocks, first_block)[:, -per_time:]
        states.append(_next_state(flow, hidden, step, states[-1], source, noise, temperature))
    return torch.stack(states, dim=2)


def _next_state(
    flow: VolterraFlow, hidden: Tensor, step: int, now: Tensor, source: Tensor, noise: Tensor, temperature: float
) -> Tensor:
    """State at ``step + 1`` from the hidden vectors of the tokens at ``step``, (B, M * K, width) to (B, M, D)."""
    config = flow.config
    vectors = split_tokens(hidden, config.n_trajectories, config.n_space_tokens)[:, :, 0]
    drawn = flow.decoder.sample(vectors, now, noise[:, :, step], temperature)
    last = step + 1 == config.n_steps
    if flow.decoder.target == "endpoint" and not last:
        assert isinstance(flow.path, ResampledPath)  # FlowConfig sees to it
        return flow.path.state(step + 1, source, drawn, config.n_steps)
    return drawn
