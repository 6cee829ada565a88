"""The model that users hold, on the scaffold of scvi-tools."""

from ._model import CaLMFlowModel

__all__ = ["CaLMFlowModel"]
