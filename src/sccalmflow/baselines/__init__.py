"""Simple predictions that any model has to beat."""

from ._additive import additive
from ._control import control
from ._linear import linear
from ._nearest import nearest
from ._perturbed_mean import perturbed_mean

__all__ = ["additive", "control", "linear", "nearest", "perturbed_mean"]
