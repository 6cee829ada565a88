"""The switches that take a part of the method away."""

import pytest
import torch

from sccalmflow.flow import FlowConfig, RegressionDecoder, VolterraFlow, rollout, rollout_uncached, select_prefix
from sccalmflow.flow.tokens import prefix_blocks, restriction, time_blocks

BACKBONES = ["gpt_neox", "gpt2"]
SWITCHES = [{"memory": "markov"}, {"space_mask": "causal"}, {"memory": "markov", "space_mask": "causal"}]


def hidden_of(flow, prompts, states):
    context = None if prompts.context is None else prompts.context.double()
    return flow.hidden(states, select_prefix(flow.read_prompts(prompts._replace(context=context)), torch.tensor([0])))


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("space_mask", ["block", "causal"])
def test_a_state_without_memory_depends_on_its_own_time_and_the_prompt_alone(
    flow_of, prompts_of, backbone: str, space_mask: str
) -> None:
    layout = {"n_steps": 4, "n_space_tokens": 2, "n_trajectories": 2, "n_context_cells": 2}
    flow = flow_of(backbone, memory="markov", space_mask=space_mask, **layout).double()
    prompts = prompts_of(3, n_context=2)
    states = torch.randn(1, 2, 4, 5, dtype=torch.float64)
    before = hidden_of(flow, prompts, states)
    for time in range(4):
        changed = states.clone()
        changed[:, 0, time] += 1.0
        difference = (hidden_of(flow, prompts, changed) - before).abs().amax(-1)
        others = [step for step in range(4) if step != time]
        assert difference[:, :, others].max() == 0
        assert difference[:, :, time].min() > 1e-6
    other_words = prompts._replace(ids=prompts.ids.flip(0) % 5 + 5)
    assert ((hidden_of(flow, other_words, states) - before).abs().amax(-1) > 1e-6).all()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_under_the_causal_mask_a_token_sees_those_before_it_in_the_sequence_and_no_later_one(
    flow_of, backbone: str
) -> None:
    flow = flow_of(backbone, space_mask="causal", n_space_tokens=3, n_trajectories=2).double()
    tokens = torch.randn(1, 2 * 6, 16, dtype=torch.float64)
    blocks, first = torch.arange(2).repeat_interleave(6)[None], torch.zeros(1, dtype=torch.long)
    before = flow.read(tokens, blocks, first)
    for position in range(12):
        changed = tokens.clone()
        changed[:, position, 0] += 1.0
        difference = (flow.read(changed, blocks, first) - before).abs().amax(-1)[0]
        assert difference[:position].sum() == 0
        assert (difference[position:] > 1e-9).all()


def test_context_cells_have_no_order_under_the_causal_mask_either(flow_of, prompts_of) -> None:
    flow = flow_of(space_mask="causal", n_context_cells=3).double()
    prompts, states = prompts_of(4, n_context=3), torch.randn(1, 1, 3, 5, dtype=torch.float64)
    shuffled = prompts._replace(context=prompts.context[:, [2, 0, 1]])
    torch.testing.assert_close(hidden_of(flow, shuffled, states), hidden_of(flow, prompts, states), rtol=0, atol=1e-12)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.parametrize("with_prompts", [False, True])
def test_cached_and_uncached_rollouts_agree_without_memory_and_with_a_causal_mask(
    flow_of, prompts_of, draws_of, backbone: str, switches: dict[str, str], with_prompts: bool
) -> None:
    flow = flow_of(backbone, n_steps=5, n_space_tokens=2, n_trajectories=2, n_context_cells=2, **switches)
    source, noise = draws_of(flow, 3)
    if not with_prompts:
        expected = rollout_uncached(flow, source, noise)
        return torch.testing.assert_close(rollout(flow, source, noise), expected, rtol=1e-5, atol=1e-5)
    prompts, index = prompts_of(3, 6, n_context=2), torch.tensor([1, 0, 1])
    cached = rollout(flow, source, noise, prefix=flow.read_prompts(prompts), index=index)
    uncached = rollout_uncached(flow, source, noise, prompts=prompts, index=index)
    torch.testing.assert_close(cached, uncached, rtol=1e-5, atol=1e-5)


def test_the_restriction_equals_a_slow_loop_over_pairs_of_tokens() -> None:
    prompt_mask = torch.tensor([[False, True, True], [True, True, True]])
    before, first = prefix_blocks(prompt_mask, 2)
    blocks = torch.cat([before, time_blocks(first, 0, 3, 4)], dim=1)
    for memory in ("full", "markov"):
        mask = restriction(blocks, blocks, first, memory, "causal")
        for row in range(2):
            for i, query in enumerate(blocks[row].tolist()):
                for j, key in enumerate(blocks[row].tolist()):
                    if query >= first[row] and query >= key >= first[row]:
                        seen = j <= i if key == query else memory == "full"
                        assert mask[row, 0, i, j] == seen
                    elif key < first[row]:
                        assert mask[row, 0, i, j]


def test_nothing_is_restricted_by_default() -> None:
    blocks, first = torch.arange(3)[None], torch.zeros(1, dtype=torch.long)
    assert restriction(blocks, blocks, first, "full", "block") is None


@pytest.mark.parametrize("path", ["straight", "resampled"])
def test_regression_has_no_law_but_that_of_its_source(flow_of, draws_of, path: str) -> None:
    flow = flow_of(path=path, decoder="regression")
    source, noise = draws_of(flow, 3)
    assert noise.shape[-1] == 0
    cold, warm = (rollout(flow, source, noise, temperature=value) for value in (0.0, 2.0))
    torch.testing.assert_close(cold, warm, rtol=0, atol=0)
    assert (cold[0, 0, -1] - cold[1, 0, -1]).abs().max() > 1e-3


def test_the_loss_of_regression_is_the_squared_distance_to_the_next_state() -> None:
    torch.manual_seed(0)
    decoder = RegressionDecoder(dim=3, width=4, n_hidden=8)
    hidden, trajectory = torch.randn(2, 5, 4), torch.randn(2, 6, 3)
    loss = decoder.loss(hidden, trajectory[:, :-1], trajectory)["loss"]
    assert loss.shape == (2, 5)
    expected = sum((decoder.state(hidden[1, 2])[d] - trajectory[1, 3, d]) ** 2 for d in range(3))
    torch.testing.assert_close(loss[1, 2], expected)


@pytest.mark.parametrize(("name", "value"), [("memory", "none"), ("space_mask", "strict")])
def test_an_unknown_switch_is_refused_with_the_choices(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{name}='{value}' is not one of '(full|block)'"):
        FlowConfig(dim=5, **{name: value})


def test_flash_attention_cannot_hide_the_past(flow_of) -> None:
    clm = flow_of().clm
    clm.attention = "flash_attention_2"
    with pytest.raises(ValueError, match="markov.*sdpa"):
        VolterraFlow(FlowConfig(dim=5, memory="markov"), clm)
