"""How much faster the key-value cache makes a rollout, at the sizes of the `paper` preset.

    python benchmarks/rollout_cache.py --out rollout_cache.json

Times `rollout`, the reading of the distinct prompts included, against `rollout_uncached`, which runs the whole sequence
again at each time. Both predict the same cells, which is checked.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Generator, Tensor

from sccalmflow.flow import CausalLM, FlowConfig, Prompts, VolterraFlow, backbone_config, rollout, rollout_uncached


def build(dim: int, n_steps: int) -> VolterraFlow:
    """The network of the `paper` preset, with random weights: time does not depend on them."""
    config = FlowConfig(dim=dim, path="straight", decoder="variational", n_steps=n_steps, n_hidden=768, n_latent=128)
    backbone = backbone_config(
        "gpt_neox", vocab_size=512, width=768, n_layers=12, n_heads=12, dropout=0.0, max_positions=n_steps + 128
    )
    return VolterraFlow(config, CausalLM.from_config(backbone)).eval()


def inputs(flow: VolterraFlow, n_cells: int, n_prompts: int, n_tokens: int) -> tuple[Prompts, Tensor, Tensor, Tensor]:
    """Distinct prompts that differ in length, the prompt of each cell, source draws and decoder noise."""
    generator = Generator().manual_seed(0)
    ids = torch.randint(512, (n_prompts, n_tokens), generator=generator)
    padding = torch.arange(n_prompts)[:, None] % 4
    prompts = Prompts(ids, torch.arange(n_tokens) >= padding)
    index = torch.arange(n_cells) % n_prompts
    source = torch.randn(n_cells, 1, flow.n_draws, flow.config.dim, generator=generator)
    noise = torch.randn(n_cells, 1, flow.config.n_steps, flow.decoder.noise_dim, generator=generator)
    return prompts, index, source, noise


def seconds(run: Callable[[], Tensor], device: torch.device) -> tuple[float, Tensor]:
    """Wall time of a call, and what it returns."""
    start = time.perf_counter()
    states = run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start, states


def measure(options: argparse.Namespace) -> dict[str, object]:
    torch.manual_seed(0)
    device = torch.device(options.device)
    flow = build(options.dim, options.n_steps).to(device)
    prompts, *tensors = inputs(flow, options.n_cells, options.n_prompts, options.n_tokens)
    prompts, (index, source, noise) = prompts.to(device), (tensor.to(device) for tensor in tensors)

    def cached() -> Tensor:
        with torch.no_grad():
            return rollout(flow, source, noise, prefix=flow.read_prompts(prompts), index=index)

    def uncached() -> Tensor:
        return rollout_uncached(flow, source, noise, prompts=prompts, index=index)

    cached()  # the first call sets up kernels and memory
    runs = []
    for repeat in range(options.repeats):
        # Side by side, so that other work on the machine slows both alike.
        fast, with_cache = seconds(cached, device)
        slow, without = seconds(uncached, device)
        difference = float((with_cache - without).abs().max())
        runs.append({"cached_s": fast, "uncached_s": slow, "ratio": slow / fast, "difference": difference})
        print(f"| {repeat + 1} | {fast:.2f} | {slow:.2f} | {slow / fast:.1f} | {difference:.1e} |", flush=True)
    return {
        "settings": {key: value for key, value in vars(options).items() if key != "out"},
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "processor": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor(),
        "parameters": sum(parameter.numel() for parameter in flow.parameters()),
        "runs": runs,
        "median_ratio": statistics.median(run["ratio"] for run in runs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=1000)
    parser.add_argument("--n-steps", type=int, default=64)
    parser.add_argument("--n-cells", type=int, default=16)
    parser.add_argument("--n-prompts", type=int, default=2)
    parser.add_argument("--n-tokens", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("rollout_cache.json"))
    options = parser.parse_args()
    print("| repeat | cached, s | uncached, s | ratio | largest difference |\n| --- | --- | --- | --- | --- |")
    report = measure(options)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nMedian ratio {report['median_ratio']:.1f}; written to {options.out}.")


if __name__ == "__main__":
    main()
