"""Predict how single cells respond to perturbations, from a sentence.

Subpackages load on first use, so that ``import sccalmflow`` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from . import baselines, datasets, pl, pp, tl
    from .model import CaLMFlowModel

__all__ = ["CaLMFlowModel", "__version__", "baselines", "datasets", "pl", "pp", "tl"]


def __getattr__(name: str) -> Any:
    if name == "CaLMFlowModel":
        return import_module(".model", __name__).CaLMFlowModel
    if name in __all__:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
