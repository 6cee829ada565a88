from ._model import CaLMFlowModel

__all__ = ["CaLMFlowModel"]
