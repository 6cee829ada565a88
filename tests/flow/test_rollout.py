import pytest
import torch

from sccalmflow.flow import rollout, rollout_uncached

PATHS = [
    ("resampled", "energy"),
    ("resampled", "gaussian"),
    ("resampled", "mixture"),
    ("resampled", "variational"),
    ("straight", "variational"),
]


def both_rollouts(flow, prompts, index, source, noise, temperature=1.0):
    """Cached and uncached."""
    prefix = flow.read_prompts(prompts)
    cached = rollout(flow, source, noise, prefix=prefix, index=index, temperature=temperature)
    return cached, rollout_uncached(flow, source, noise, prompts=prompts, index=index, temperature=temperature)


@pytest.mark.parametrize("backbone", ["gpt_neox", "gpt2"])
@pytest.mark.parametrize(("path", "decoder"), PATHS)
@pytest.mark.parametrize("layout", [(1, 1, 0), (2, 1, 0), (1, 3, 0), (1, 1, 3), (2, 2, 2)])
def test_cached_and_uncached_rollouts_agree(
    flow_of, prompts_of, draws_of, backbone: str, path: str, decoder: str, layout: tuple[int, int, int]
) -> None:
    n_space_tokens, n_trajectories, n_context_cells = layout
    flow = flow_of(
        backbone,
        path=path,
        decoder=decoder,
        n_steps=5,
        n_space_tokens=n_space_tokens,
        n_trajectories=n_trajectories,
        n_context_cells=n_context_cells,
    )
    prompts = prompts_of(3, 6, n_context=n_context_cells)
    source, noise = draws_of(flow, 4)
    cached, uncached = both_rollouts(flow, prompts, torch.tensor([1, 0, 0, 1]), source, noise)
    assert cached.shape == (4, n_trajectories, 6, 5)
    # In single precision, over five steps that each read the last: to 1e-5 on most processors, not on all.
    torch.testing.assert_close(cached, uncached, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backbone", ["gpt_neox", "gpt2"])
def test_cached_and_uncached_rollouts_agree_without_prompts(flow_of, draws_of, backbone: str) -> None:
    flow = flow_of(backbone, n_space_tokens=2, n_trajectories=2)
    source, noise = draws_of(flow, 3)
    torch.testing.assert_close(rollout(flow, source, noise), rollout_uncached(flow, source, noise), rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_context_cells", [0, 2])
def test_a_cell_does_not_depend_on_padding_order_or_the_other_sequences(
    flow_of, prompts_of, draws_of, n_context_cells: int
) -> None:
    flow = flow_of(n_context_cells=n_context_cells)
    source, noise = draws_of(flow, 3)
    index = torch.tensor([0, 1, 2])
    prompts = prompts_of(4, 9, 2, n_context=n_context_cells)
    together = rollout(flow, source, noise, prefix=flow.read_prompts(prompts), index=index)
    alone = rollout(
        flow,
        source[:1],
        noise[:1],
        prefix=flow.read_prompts(prompts_of(4, padding=2, n_context=n_context_cells)),
        index=index[:1],
    )
    torch.testing.assert_close(alone[0], together[0], rtol=0, atol=1e-5)
    order = torch.tensor([2, 0, 1])
    shuffled = rollout(flow, source[order], noise[order], prefix=flow.read_prompts(prompts), index=index[order])
    torch.testing.assert_close(shuffled, together[order], rtol=0, atol=1e-5)


def test_one_prefix_serves_several_rollouts(flow_of, prompts_of, draws_of) -> None:
    flow = flow_of()
    prefix, index = flow.read_prompts(prompts_of(3)), torch.tensor([0, 0])
    source, noise = draws_of(flow, 2)
    first = rollout(flow, source, noise, prefix=prefix, index=index)
    second = rollout(flow, source, noise, prefix=prefix, index=index)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_resampled_rollout_follows_the_formula_where_the_decoder_returns_the_current_state(flow_of, draws_of) -> None:
    flow = flow_of(n_steps=4)
    for parameter in flow.decoder.state[-1].parameters():
        torch.nn.init.zeros_(parameter)
    source, noise = draws_of(flow, 2)
    expected = [source[:, :, 0]]
    for step in range(1, 4):
        expected.append((1 - step / 4) * source[:, :, step] + step / 4 * expected[-1])
    expected.append(expected[-1])  # the last step returns the endpoint itself
    states = rollout(flow, source, noise, temperature=0.0)
    torch.testing.assert_close(states, torch.stack(expected, dim=2))


def test_straight_rollout_takes_each_decoded_state_as_the_next(flow_of, draws_of) -> None:
    flow = flow_of(path="straight", decoder="variational")
    torch.nn.init.zeros_(flow.decoder.state[-1].weight)
    source, noise = draws_of(flow, 2)
    states = rollout(flow, source, noise)
    torch.testing.assert_close(states[:, :, 0], source[:, :, 0])
    for step in (1, 2, 3):
        torch.testing.assert_close(states[:, :, step], flow.decoder.state[-1].bias.expand(2, 1, 5))


@pytest.mark.parametrize(("path", "decoder"), PATHS)
def test_noise_matters_only_at_a_temperature_above_zero(flow_of, draws_of, path: str, decoder: str) -> None:
    flow = flow_of(path=path, decoder=decoder)
    source, noise = draws_of(flow, 2)
    cold = [rollout(flow, source, factor * noise, temperature=0.0) for factor in (1, -3)]
    torch.testing.assert_close(cold[0], cold[1], rtol=0, atol=0)
    warm = [rollout(flow, source, factor * noise, temperature=1.0) for factor in (1, -3)]
    assert (warm[0][:, :, -1] - warm[1][:, :, -1]).abs().max() > 1e-3


@pytest.mark.parametrize(("path", "decoder"), PATHS)
def test_training_lowers_the_loss_and_teaches_what_each_sentence_means(
    flow_of, prompts_of, draws_of, path: str, decoder: str
) -> None:
    flow = flow_of(path=path, decoder=decoder, n_steps=2, n_latent=4, kl_weight=0.01).train()
    prompts, generator = prompts_of(3, 4), torch.Generator().manual_seed(0)
    centre = torch.tensor([[1.5, 0, 0, -1.5, 0], [-1.5, 0, 0, 1.5, 0]])
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    losses = []
    # A likelihood has no error that pulls the components from the start, and needs longer.
    for _ in range(300 if decoder == "mixture" else 150):
        index = torch.randint(2, (32,), generator=generator)
        endpoint = centre[index][:, None] + 0.1 * torch.randn(32, 1, 5, generator=generator)
        source = torch.randn(32, 1, flow.n_draws, 5, generator=generator)
        loss = flow.loss(endpoint, source, prompts, index, generator=generator)["loss"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    source, noise = draws_of(flow.eval(), 200)
    for row in (0, 1):
        index = torch.full((200,), row)
        cells = rollout(flow, source, noise, prefix=flow.read_prompts(prompts), index=index)[:, 0, -1]
        torch.testing.assert_close(cells.mean(0), centre[row], rtol=0, atol=0.4)
