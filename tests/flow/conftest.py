from collections.abc import Callable

import pytest
import torch

from sccalmflow.flow import CausalLM, FlowConfig, Prompts, VolterraFlow, backbone_config

DIM, VOCABULARY = 5, 11


def make_flow(backbone: str = "gpt_neox", **config: object) -> VolterraFlow:
    """A tiny network with random weights, large enough that everything depends on everything."""
    torch.manual_seed(0)
    sizes = backbone_config(
        backbone, vocab_size=VOCABULARY, width=16, n_layers=2, n_heads=2, dropout=0.0, max_positions=32
    )
    flow = VolterraFlow(FlowConfig(**{"dim": DIM, "n_steps": 3, "n_hidden": 16, **config}), CausalLM.from_config(sizes))
    for parameter in flow.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.25)
    return flow.eval()


def make_prompts(*lengths: int, padding: int = 0, n_context: int = 0) -> Prompts:
    """Left-padded prompts of these lengths; the words and cells of a prompt depend on its number alone."""
    longest = max(lengths) + padding
    ids, mask = torch.zeros(len(lengths), longest, dtype=torch.long), torch.zeros(len(lengths), longest).bool()
    context = torch.empty(len(lengths), n_context, DIM)
    for row, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(row)
        ids[row, longest - length :] = torch.randint(1, VOCABULARY, (length,), generator=generator)
        mask[row, longest - length :] = True
        context[row] = torch.randn(n_context, DIM, generator=generator)
    return Prompts(ids, mask, context if n_context else None)


def make_draws(flow: VolterraFlow, batch: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Source draws and decoder noise of a rollout."""
    generator = torch.Generator().manual_seed(seed)
    config = flow.config
    source = torch.randn(batch, config.n_trajectories, flow.n_draws, DIM, generator=generator)
    noise = torch.randn(batch, config.n_trajectories, config.n_steps, flow.decoder.noise_dim, generator=generator)
    return source, noise


@pytest.fixture(scope="session")
def flow_of() -> Callable[..., VolterraFlow]:
    return make_flow


@pytest.fixture(scope="session")
def prompts_of() -> Callable[..., Prompts]:
    return make_prompts


@pytest.fixture(scope="session")
def draws_of() -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    return make_draws
