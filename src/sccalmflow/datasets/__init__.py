"""Data to start with: a built-in simulation whose truth is known, and loaders of public perturbation experiments."""

from ._public import dong_2023, kang_2018
from ._simulation import simulated_cytokines

__all__ = ["dong_2023", "kang_2018", "simulated_cytokines"]
