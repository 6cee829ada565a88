"""Predictions that any model has to beat: simple ones, and generative models.

The generative models load on first use: they need torch, and the simple baselines do not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._additive import additive
from ._control import control
from ._linear import linear
from ._nearest import nearest
from ._perturbed_mean import perturbed_mean

if TYPE_CHECKING:
    from ._diffusion import Diffusion
    from ._flow_matching import FlowMatching
    from ._generative import generative

__all__ = ["Diffusion", "FlowMatching", "additive", "control", "generative", "linear", "nearest", "perturbed_mean"]

_LAZY = {"Diffusion": "._diffusion", "FlowMatching": "._flow_matching", "generative": "._generative"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
