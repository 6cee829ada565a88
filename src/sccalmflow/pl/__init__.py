"""Figures; every function returns the Axes it drew on, and neither shows nor saves them."""

from ._evaluation import evaluation
from ._history import history
from ._umap import umap

__all__ = ["evaluation", "history", "umap"]
