import pytest
import torch

from sccalmflow.flow import FlowConfig, VolterraFlow, select_prefix

BACKBONES = ["gpt_neox", "gpt2"]


def double(prompts):
    """Prompts whose context cells are in double precision, for a network that is."""
    return prompts._replace(context=None if prompts.context is None else prompts.context.double())


def hidden_of(flow, prompts, states, index):
    return flow.hidden(states, select_prefix(flow.read_prompts(double(prompts)), torch.tensor(index)))


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(("n_space_tokens", "n_trajectories", "n_context_cells"), [(1, 1, 0), (2, 3, 2)])
def test_no_hidden_vector_depends_on_a_later_time_and_each_depends_on_its_own_and_earlier_ones(
    flow_of, prompts_of, backbone: str, n_space_tokens: int, n_trajectories: int, n_context_cells: int
) -> None:
    flow = flow_of(
        backbone,
        n_steps=4,
        n_space_tokens=n_space_tokens,
        n_trajectories=n_trajectories,
        n_context_cells=n_context_cells,
    ).double()
    prompts = prompts_of(3, 5, n_context=n_context_cells)
    states = torch.randn(2, n_trajectories, 4, 5, dtype=torch.float64)
    before = hidden_of(flow, prompts, states, [0, 1])
    for time in range(4):
        changed = states.clone()
        changed[:, 0, time] += 1.0
        difference = (hidden_of(flow, prompts, changed, [0, 1]) - before).abs()
        assert difference[:, :, :time].sum() == 0
        # All trajectories of that time and of every later one: attention is full inside a time.
        assert difference[:, :, time:].amax(-1).min() > 1e-6


def test_inside_a_time_every_space_token_sees_every_other(flow_of, prompts_of) -> None:
    flow = flow_of(n_space_tokens=3, n_trajectories=2).double()
    tokens = torch.randn(1, 2 * 3, 16, dtype=torch.float64)
    blocks = torch.zeros(1, 6, dtype=torch.long)
    before = flow.clm(tokens, blocks)
    for position in range(6):
        changed = tokens.clone()
        changed[:, position, 0] += 1.0
        assert ((flow.clm(changed, blocks) - before).abs().amax(-1) > 1e-6).all()


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("n_context_cells", [0, 2])
def test_neither_padding_nor_the_other_prompts_of_the_batch_change_a_hidden_vector(
    flow_of, prompts_of, backbone: str, n_context_cells: int
) -> None:
    flow = flow_of(backbone, n_context_cells=n_context_cells).double()
    states = torch.randn(1, 1, 3, 5, dtype=torch.float64)
    alone = hidden_of(flow, prompts_of(4, n_context=n_context_cells), states, [0])
    padded = prompts_of(4, padding=3, n_context=n_context_cells)
    other_words = padded._replace(ids=torch.where(padded.mask, padded.ids, 7))
    beside = prompts_of(4, 9, 2, n_context=n_context_cells)
    for prompts in (padded, other_words, beside):
        torch.testing.assert_close(hidden_of(flow, prompts, states, [0]), alone, rtol=0, atol=1e-12)


def test_the_order_of_context_cells_does_not_matter_and_their_values_do(flow_of, prompts_of) -> None:
    flow = flow_of(n_context_cells=3).double()
    prompts = prompts_of(4, n_context=3)
    states = torch.randn(1, 1, 3, 5, dtype=torch.float64)
    before = hidden_of(flow, prompts, states, [0])
    shuffled = prompts._replace(context=prompts.context[:, [2, 0, 1]])
    torch.testing.assert_close(hidden_of(flow, shuffled, states, [0]), before, rtol=0, atol=1e-12)
    other = prompts._replace(context=prompts.context + 1)
    assert (hidden_of(flow, other, states, [0]) - before).abs().max() > 1e-3


@pytest.mark.parametrize("backbone", BACKBONES)
def test_hidden_vectors_after_a_cached_prompt_are_those_of_the_whole_sequence_without_a_cache(
    flow_of, prompts_of, backbone: str
) -> None:
    flow = flow_of(backbone, n_space_tokens=2, n_trajectories=2, n_context_cells=2).double()
    prompts = double(prompts_of(3, 5, n_context=2))
    states = torch.randn(3, 2, 3, 5, dtype=torch.float64)
    index = torch.tensor([1, 0, 1])
    before, blocks, first = (part[index] for part in flow.embed_prompts(prompts))
    times = first[:, None] + torch.arange(3).repeat_interleave(4)
    whole = flow.clm(torch.cat([before, flow.encoder(states)], dim=1), torch.cat([blocks, times], dim=1))[:, -12:]
    expected = whole.unflatten(1, (3, 2, 2)).permute(0, 2, 1, 3, 4).flatten(3)
    torch.testing.assert_close(hidden_of(flow, prompts, states, index.tolist()), expected, rtol=0, atol=1e-12)


def test_the_sentence_matters_and_its_embeddings_are_trained_through_the_cache(flow_of, prompts_of) -> None:
    flow = flow_of()
    states = torch.randn(1, 1, 3, 5)
    first, second = (hidden_of(flow, prompts_of(4, 4), states, [row]) for row in (0, 1))
    assert (first - second).abs().max() > 1e-3
    prompts = prompts_of(4, 4)
    flow.loss(torch.randn(1, 1, 5), torch.randn(1, 1, 3, 5), prompts, torch.tensor([1]))["loss"].sum().backward()
    trained = flow.clm.backbone.get_input_embeddings().weight.grad.abs().sum(1) > 0
    assert set(trained.nonzero()[:, 0].tolist()) == set(prompts.ids[1].tolist())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_key_mask_that_flash_attention_takes_means_the_same_as_the_full_mask(
    flow_of, prompts_of, backbone: str
) -> None:
    flow = flow_of(backbone).double()
    prompts = prompts_of(3, 6, 1, padding=2)
    states = torch.randn(3, 1, 3, 5, dtype=torch.float64)
    full = hidden_of(flow, prompts, states, [0, 1, 2])
    flow.clm.attention = "flash_attention_2"  # what forward() hands over; the kernel stays torch's
    torch.testing.assert_close(hidden_of(flow, prompts, states, [0, 1, 2]), full, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "config", [{"n_space_tokens": 2}, {"n_trajectories": 2}, {"n_context_cells": 2}], ids=lambda c: next(iter(c))
)
def test_flash_attention_refuses_layouts_that_are_not_causal(flow_of, config: dict[str, int]) -> None:
    clm = flow_of().clm
    clm.attention = "flash_attention_2"
    with pytest.raises(ValueError, match=f"{next(iter(config))}.*sdpa"):
        VolterraFlow(FlowConfig(dim=5, **config), clm)


@pytest.mark.parametrize(
    ("path", "decoder"),
    [("resampled", "energy"), ("resampled", "gaussian"), ("resampled", "mixture"), ("straight", "variational")],
)
def test_loss_is_the_decoder_s_averaged_over_trajectories_and_times(flow_of, path: str, decoder: str) -> None:
    flow = flow_of(path=path, decoder=decoder, n_trajectories=2)
    endpoint, source = torch.randn(3, 2, 5), torch.randn(3, 2, flow.n_draws, 5)
    terms = flow.loss(endpoint, source, generator=torch.Generator().manual_seed(1))
    trajectory = flow.path.trajectory(source, endpoint, 3)
    parts = flow.decoder.loss(
        flow.hidden(trajectory[:, :, :3]), trajectory[:, :, :3], trajectory, generator=torch.Generator().manual_seed(1)
    )
    for name, value in terms.items():
        expected = [sum(parts[name][b, m, t] for m in range(2) for t in range(3)) / 6 for b in range(3)]
        torch.testing.assert_close(value, torch.stack(expected))


def test_gradient_of_the_loss_agrees_with_finite_differences(flow_of, prompts_of) -> None:
    flow = flow_of(decoder="variational", path="straight", n_space_tokens=2, n_trajectories=2)
    endpoint, source, prompts = torch.randn(2, 2, 5), torch.randn(2, 2, 1, 5), prompts_of(2, 4)

    def loss() -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return flow.loss(endpoint, source, prompts, torch.tensor([1, 0]), generator=generator)["loss"].mean()

    loss().backward()
    for weight in (flow.encoder.mlp[0].weight, flow.decoder.state[0].weight, flow.encoder.time.weight):
        at = divmod(weight.grad.abs().argmax().item(), weight.shape[1])
        values = []
        with torch.no_grad():
            for sign in (1, -1):
                weight[at] += sign * 1e-2
                values.append(loss().item())
                weight[at] -= sign * 1e-2
        assert weight.grad[at].item() == pytest.approx((values[0] - values[1]) / 2e-2, rel=2e-2)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"n_steps": 0}, "n_steps=0 must be at least 1"),
        ({"dim": 0}, "dim=0"),
        ({"n_space_tokens": 6}, "n_space_tokens=6 does not fit a state of 5 scores.*fewer"),
        ({"n_space_tokens": 0}, "n_space_tokens=0"),
        ({"n_trajectories": 0}, "n_trajectories=0"),
        ({"n_context_cells": -1}, "n_context_cells=-1"),
        ({"kl_weight": -0.1}, "kl_weight=-0.1"),
        ({"decoder": "gausian"}, "decoder='gausian' is not one of.*'gaussian'"),
        ({"path": "curved"}, "path='curved' is not one of 'straight', 'resampled'"),
        ({"nll_weight": float("inf")}, "nll_weight=inf"),
        ({"path": "straight"}, 'decoder="gaussian" needs path="resampled".*decoder="variational"'),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_by_name(config: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FlowConfig(**{"dim": 5, **config})


def test_prompts_need_an_index_and_context_cells_where_the_network_reads_them(flow_of, prompts_of) -> None:
    flow = flow_of(n_context_cells=2)
    with pytest.raises(ValueError, match="reads 2 context cells"):
        flow.read_prompts(prompts_of(3))
    with pytest.raises(ValueError, match="index"):
        flow.loss(torch.randn(1, 1, 5), torch.randn(1, 1, 3, 5), prompts_of(3, n_context=2))
