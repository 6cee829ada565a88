"""Train a network and follow its averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm


def optimise(
    network: nn.Module,
    loss: Callable[[], Tensor],
    *,
    n_updates: int,
    lr: float,
    stop_after: int | None = None,
    average_over: float = 0.02,
    progress: str | None = None,
) -> Iterator[tuple[int, nn.Module]]:
    """Train with AdamW, linear warm-up and a cosine; who iterates sees every update and may stop.

    Parameters
    ----------
    network
        The network; it is trained in place.
    loss
        Loss of a fresh batch, a scalar.
    n_updates
        Length of the schedule: the learning rate rises over the first 5 % of the updates and falls to 0 at the last.
    lr
        Highest learning rate.
    stop_after
        Updates to do; by default all of the schedule.
    average_over
        The averaged weights are a moving average over about this share of the schedule.
    progress
        What the progress bar is called; no bar where it is None.

    Yields
    ------
    The number of updates done, and the network with averaged weights in evaluation mode, always the same object.

    Raises
    ------
    FloatingPointError
        The loss of an update is not finite.
    """
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(max(0.0, 1 - 1 / (average_over * n_updates))))
    average.requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_up_and_cosine(n_updates))
    n_done = n_updates if stop_after is None else stop_after
    with tqdm(range(1, n_done + 1), desc=progress, disable=progress is None, mininterval=1) as updates:
        for update in updates:
            value = loss()
            if not value.isfinite():
                raise FloatingPointError(f"The loss of update {update} is {value.item()}; a lower lr may help.")
            optimizer.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(network)
            yield update, average.module


def warm_up_and_cosine(n_updates: int) -> Callable[[int], float]:
    """Factor on the learning rate of each update, counted from 0."""
    n_warm = max(1, n_updates // 20)

    def factor(update: int) -> float:
        if update < n_warm:
            return (update + 1) / n_warm
        return 0.5 * (1 + math.cos(math.pi * (update - n_warm) / max(1, n_updates - n_warm)))

    return factor
