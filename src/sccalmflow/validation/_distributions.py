"""The distributions of the synthetic experiments.

The paper leaves their centres, scales and noise open. Read here as in torchcfm (Tong et al. 2024), whose figures the
paper follows: two moons times 3 minus 1, eight Gaussians of variance 0.1 on a circle of radius 5.

torchcfm's moons are those of torchdyn: what it calls ``noise=0.2`` is one uniform draw from [0, 0.2] that shifts both
coordinates of a point together, not the normal noise of scikit-learn's ``make_moons``. The latter is here too, as
``noisy_moons``, for readers who read the paper so. In both libraries a sample has half its points on each moon, evenly
spaced: two such samples resemble each other more than independent draws from one law can.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

_NOISE = 0.2


@dataclass(frozen=True)
class Distribution:
    """A law on the plane.

    Parameters
    ----------
    draw
        Independent draws, (n, generator) to (n, 2).
    sample
        The sample that the libraries' own functions give, with the same arguments; not independent where they space
        points evenly.
    """

    draw: Callable[[int, Generator], Tensor]
    sample: Callable[[int, Generator], Tensor]


def gaussian(n: int, generator: Generator) -> Tensor:
    """Standard normal draws, shape (n, 2)."""
    return torch.randn(n, 2, generator=generator)


def eight_gaussians(n: int, generator: Generator) -> Tensor:
    """Draws from eight equal Gaussians of variance 0.1, evenly placed on a circle of radius 5; shape (n, 2)."""
    angle = torch.randint(8, (n,), generator=generator) * (math.pi / 4)
    return 5 * torch.stack([angle.cos(), angle.sin()], 1) + math.sqrt(0.1) * gaussian(n, generator)


def half_circles(angle: Tensor, upper: Tensor) -> Tensor:
    """Points of the two interleaved half circles at an angle in [0, pi], shape (n, 2); ``upper`` says which one."""
    above = torch.stack([angle.cos(), angle.sin()], 1)
    return torch.where(upper[:, None], above, torch.tensor([1.0, 0.5]) - above)


def independent_half_circles(n: int, generator: Generator) -> Tensor:
    """Independent, uniform points of the two half circles, shape (n, 2)."""
    angle = math.pi * torch.rand(n, generator=generator)
    return half_circles(angle, torch.rand(n, generator=generator) < 0.5)


def even_half_circles(n: int, generator: Generator) -> Tensor:
    """Evenly spaced points, the first half of them on the upper half circle, shape (n, 2)."""
    sizes = n // 2, n - n // 2
    angle = torch.cat([torch.linspace(0, math.pi, size) for size in sizes])
    return half_circles(angle, torch.arange(n) < sizes[0])


Skeleton = Callable[[int, Generator], Tensor]


def _moons(skeleton: Skeleton) -> Skeleton:
    def sample(n: int, generator: Generator) -> Tensor:
        shift = _NOISE * torch.rand(n, 1, generator=generator)
        return 3 * (skeleton(n, generator) + shift) - 1

    return sample


def _noisy_moons(skeleton: Skeleton) -> Skeleton:
    def sample(n: int, generator: Generator) -> Tensor:
        noise = _NOISE * torch.randn(n, 2, generator=generator)
        return 3 * (skeleton(n, generator) + noise) - 1

    return sample


GAUSSIAN = Distribution(gaussian, gaussian)
EIGHT_GAUSSIANS = Distribution(eight_gaussians, eight_gaussians)
MOONS = Distribution(_moons(independent_half_circles), _moons(even_half_circles))
NOISY_MOONS = Distribution(_noisy_moons(independent_half_circles), _noisy_moons(even_half_circles))
