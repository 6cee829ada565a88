"""Figures; every function returns the Axes it drew on, and neither shows nor saves them."""

from ._correlation import correlation
from ._de_genes import de_genes
from ._evaluation import evaluation
from ._history import history
from ._leiden_composition import leiden_composition
from ._trajectory import trajectory
from ._umap import umap

__all__ = ["correlation", "de_genes", "evaluation", "history", "leiden_composition", "trajectory", "umap"]
