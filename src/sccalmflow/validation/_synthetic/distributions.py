"""The distributions of the synthetic experiments.

The paper leaves their centres, scales and noise open. Read here as in torchcfm (Tong et al. 2024), whose figures the
paper follows: two moons times 3 minus 1, eight Gaussians of variance 0.1 on a circle of radius 5; and two, three or
four Gaussians on the same circle.

Nor does the paper say how these laws fill 100 or 1,000 dimensions. Here (:func:`in_dimensions`) the plane lies in the
space by a fixed random orthonormal map, and the directions off the plane hold isotropic normal noise of variance 0.1,
as each Gaussian has on the plane; so Gaussians stay Gaussians, and moons become thick. No coordinate is special, and
none is free of noise. The standard normal source stays standard normal. The distances that the paper prints grow from
100 to 1,000 dimensions by 3.5 to 4.6, not far from the root of 10: its noise too must be that of every coordinate.

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

Draw = Callable[[int, Generator], Tensor]

_NOISE = 0.2
_EMBEDDING_SEED = 0


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
    off_plane
        Standard deviation of the noise in each further dimension.
    """

    draw: Draw
    sample: Draw
    off_plane: float = math.sqrt(0.1)


def gaussian(n: int, generator: Generator) -> Tensor:
    """Standard normal draws, shape (n, 2)."""
    return torch.randn(n, 2, generator=generator)


def _ring(n_gaussians: int) -> Draw:
    """Draws from equal Gaussians of variance 0.1, evenly placed on a circle of radius 5."""

    def draw(n: int, generator: Generator) -> Tensor:
        angle = torch.randint(n_gaussians, (n,), generator=generator) * (2 * math.pi / n_gaussians)
        return 5 * torch.stack([angle.cos(), angle.sin()], 1) + math.sqrt(0.1) * gaussian(n, generator)

    return draw


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


def _moons(skeleton: Draw) -> Draw:
    def sample(n: int, generator: Generator) -> Tensor:
        shift = _NOISE * torch.rand(n, 1, generator=generator)
        return 3 * (skeleton(n, generator) + shift) - 1

    return sample


def _noisy_moons(skeleton: Draw) -> Draw:
    def sample(n: int, generator: Generator) -> Tensor:
        noise = _NOISE * torch.randn(n, 2, generator=generator)
        return 3 * (skeleton(n, generator) + noise) - 1

    return sample


def plane_in(dim: int) -> Tensor:
    """Two fixed orthonormal directions of a space, shape (dim, 2); those of the plane itself for two dimensions."""
    if dim == 2:
        return torch.eye(2)
    return torch.linalg.qr(torch.randn(dim, 2, generator=Generator().manual_seed(_EMBEDDING_SEED)))[0]


def in_dimensions(law: Distribution, dim: int) -> Distribution:
    """A law of the plane in a space of ``dim`` dimensions, with normal noise off the plane."""
    if dim == 2:
        return law
    plane = plane_in(dim)

    def embed(draw: Draw) -> Draw:
        def embedded(n: int, generator: Generator) -> Tensor:
            points = draw(n, generator)
            noise = law.off_plane * torch.randn(n, dim, generator=generator)
            return noise + (points - noise @ plane) @ plane.T

        return embedded

    sample = embed(law.sample)
    return Distribution(sample if law.draw is law.sample else embed(law.draw), sample)


GAUSSIAN = Distribution(gaussian, gaussian, off_plane=1.0)
TWO_GAUSSIANS, THREE_GAUSSIANS, FOUR_GAUSSIANS, EIGHT_GAUSSIANS = (
    Distribution(draw, draw) for draw in map(_ring, (2, 3, 4, 8))
)
MOONS = Distribution(_moons(independent_half_circles), _moons(even_half_circles))
NOISY_MOONS = Distribution(_noisy_moons(independent_half_circles), _noisy_moons(even_half_circles))
