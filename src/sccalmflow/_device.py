"""Where networks are trained and asked, and the random state that their first weights and dropout draw from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def best_device() -> torch.device:
    """The first NVIDIA GPU where PyTorch finds one, else the processor; CUDA_VISIBLE_DEVICES="" hides all GPUs."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name() -> str:
    """What :func:`best_device` is called, for the record of a run."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "processor"


@contextmanager
def forked_random_state(seed: int) -> Iterator[None]:
    """Seed torch's global random state, of the processor and of all GPUs, and put it back at the end."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
