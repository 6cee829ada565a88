"""Prepare an AnnData: held-out conditions, variable genes, scaled principal components and the way back to genes."""

from ._highly_variable import highly_variable_genes
from ._hold_out import hold_out
from ._pca import pca, reconstruct
from ._projection import PCA

__all__ = ["PCA", "highly_variable_genes", "hold_out", "pca", "reconstruct"]
