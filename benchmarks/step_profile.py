"""Where a training step of the default model spends its time.

    python -m benchmarks.step_profile

On the built-in simulation and one thread.
"""

from __future__ import annotations

import argparse
from collections import Counter

import torch
from benchmarks import splits
from benchmarks.methods import set_up
from torch.profiler import ProfilerActivity, profile

import sccalmflow as scf
from sccalmflow.model._data import BatchSampler, seeded_generator

_GROUPS = {
    "matrix products": ("mm",),
    "attention": ("scaled_dot_product",),
    "optimiser": ("lerp", "addcmul", "addcdiv", "sqrt"),
    "copies": ("copy", "cat", "index", "fill", "zero"),
}


def group_of(name: str) -> str:
    """The group of an operation of torch."""
    return next((group for group, parts in _GROUPS.items() if any(part in name for part in parts)), "the rest")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    split = splits.load("simulated")
    set_up(split)
    model = scf.CaLMFlowModel(split.adata)
    state = model._state
    assert model._data is not None
    sampler = BatchSampler(model._data, state.flow, state.schema, state.settings, model._book)
    generator = seeded_generator(0)
    optimiser = torch.optim.AdamW(state.flow.parameters(), lr=1e-3)
    state.flow.train()

    def step() -> None:
        batch = sampler.draw(128, generator)
        parts = state.flow.loss(batch.endpoint, batch.source, batch.prompts, batch.prompt_index, generator=generator)
        optimiser.zero_grad()
        parts["loss"].mean().backward()
        optimiser.step()

    for _ in range(3):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(arguments.steps):
            step()
    spent: Counter[str] = Counter()
    for event in seen.key_averages():
        spent[group_of(event.key)] += event.self_cpu_time_total
    total = sum(spent.values())
    print(f"{total / arguments.steps / 1e3:.0f} ms of one thread a step")
    for group, time in spent.most_common():
        print(f"{group:16} {time / total:.0%}")


if __name__ == "__main__":
    main()
