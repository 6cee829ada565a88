import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sccalmflow.flow.tokens import StateEncoder, attention_mask, prefix_blocks, split_tokens, time_blocks

lengths = st.lists(st.integers(1, 5), min_size=1, max_size=3)


def layout(length: int, padding: int, n_context: int, n_times: int, per_time: int) -> list[tuple[str, int]]:
    """What each token of one sequence is: padding, prompt word, context cell or token of a time."""
    return [
        *[("padding", 0)] * padding,
        *[("prompt", i) for i in range(length)],
        *[("context", 0)] * n_context,
        *[("time", s) for s in range(n_times) for _ in range(per_time)],
    ]


def sees(query: tuple[str, int], key: tuple[str, int]) -> bool:
    """The rule in words: the past and the whole of one's own time; padding is seen by nothing."""
    order = {"prompt": 0, "context": 1, "time": 2}
    if "padding" in (query[0], key[0]):
        return False
    if order[query[0]] != order[key[0]]:
        return order[key[0]] < order[query[0]]
    return key[1] <= query[1]


def sequence_blocks(lengths: list[int], extra: int, n_context: int, n_times: int, per_time: int) -> torch.Tensor:
    longest = max(lengths) + extra
    prompt_mask = torch.tensor([[column >= longest - n for column in range(longest)] for n in lengths])
    before, first = prefix_blocks(prompt_mask, n_context)
    return torch.cat([before, time_blocks(first, 0, n_times, per_time)], dim=1)


@given(
    lengths=lengths,
    extra=st.integers(0, 2),
    n_context=st.integers(0, 3),
    n_times=st.integers(1, 4),
    n_space=st.integers(1, 3),
    n_trajectories=st.integers(1, 3),
)
def test_mask_equals_a_slow_loop_over_pairs_of_tokens(
    lengths: list[int], extra: int, n_context: int, n_times: int, n_space: int, n_trajectories: int
) -> None:
    per_time = n_space * n_trajectories
    blocks = sequence_blocks(lengths, extra, n_context, n_times, per_time)
    mask = attention_mask(blocks, blocks)
    assert mask.shape == (len(lengths), 1, blocks.shape[1], blocks.shape[1])
    for row, length in enumerate(lengths):
        tokens = layout(length, max(lengths) + extra - length, n_context, n_times, per_time)
        expected = [[sees(q, k) or i == j for j, k in enumerate(tokens)] for i, q in enumerate(tokens)]
        assert mask[row, 0].tolist() == expected


@given(lengths=lengths, n_context=st.integers(0, 3), n_times=st.integers(1, 4), per_time=st.integers(1, 4))
def test_mask_of_the_last_tokens_is_the_lower_part_of_the_whole_mask(
    lengths: list[int], n_context: int, n_times: int, per_time: int
) -> None:
    blocks = sequence_blocks(lengths, 1, n_context, n_times, per_time)
    whole = attention_mask(blocks, blocks)
    torch.testing.assert_close(attention_mask(blocks[:, -per_time:], blocks), whole[:, :, -per_time:])


@given(lengths=lengths, extra=st.integers(0, 3), n_context=st.integers(0, 3), n_times=st.integers(1, 4))
def test_positions_count_words_then_one_for_all_context_cells_then_times(
    lengths: list[int], extra: int, n_context: int, n_times: int
) -> None:
    blocks = sequence_blocks(lengths, extra, n_context, n_times, 2)
    for row, length in enumerate(lengths):
        first = length + (1 if n_context else 0)
        expected = [
            *[-1] * (max(lengths) + extra - length),
            *range(length),
            *[length] * n_context,
            *[first + s for s in range(n_times) for _ in range(2)],
        ]
        assert blocks[row].tolist() == expected


def test_times_can_start_later_than_zero() -> None:
    assert time_blocks(torch.tensor([3, 5]), 2, 2, 2).tolist() == [[5, 5, 6, 6], [7, 7, 8, 8]]


@given(batch=st.integers(1, 3), n_trajectories=st.integers(1, 3), n_times=st.integers(1, 4), n_space=st.integers(1, 3))
def test_splitting_undoes_a_time_major_layout_written_by_a_loop(
    batch: int, n_trajectories: int, n_times: int, n_space: int
) -> None:
    width = 2
    hidden = torch.randn(batch, n_trajectories, n_times, n_space * width)
    tokens = [
        hidden[:, m, s, k * width : (k + 1) * width]
        for s in range(n_times)
        for m in range(n_trajectories)
        for k in range(n_space)
    ]
    torch.testing.assert_close(split_tokens(torch.stack(tokens, dim=1), n_trajectories, n_space), hidden)


def test_tokens_are_time_major_and_each_is_made_of_its_own_state() -> None:
    torch.manual_seed(0)
    encoder = StateEncoder(dim=4, width=6, n_space_tokens=2, n_steps=3)
    states = torch.randn(2, 3, 3, 4)
    tokens = encoder(states)
    for s in range(3):
        for m in range(3):
            alone = encoder.mlp(states[:, m, s]) + encoder.time.weight[s].repeat(2)
            for k in range(2):
                torch.testing.assert_close(tokens[:, (s * 3 + m) * 2 + k], alone[:, 6 * k : 6 * k + 6])


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_time_encoded_alone_is_the_same_as_within_the_whole(step: int) -> None:
    encoder = StateEncoder(dim=4, width=6, n_space_tokens=2, n_steps=3)
    states = torch.randn(2, 1, 3, 4)
    alone = encoder(states[:, :, step : step + 1], first_step=step)
    torch.testing.assert_close(alone, encoder(states)[:, 2 * step : 2 * step + 2])
