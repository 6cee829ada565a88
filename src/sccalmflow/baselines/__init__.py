"""Simple predictions that any model has to beat."""

from ._additive import additive
from ._control import control

__all__ = ["additive", "control"]
