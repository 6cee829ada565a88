"""The projection between genes and scaled principal-component scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sccalmflow import _checks

if TYPE_CHECKING:
    from anndata import AnnData


Values = Literal["log1p", "any"]


@dataclass(frozen=True, eq=False)
class PCA:
    """A fitted projection between genes and scaled principal-component scores.

    :func:`sccalmflow.pp.pca` fits it, and :meth:`from_anndata` reads it back.

    Parameters
    ----------
    mean
        Mean expression of the training cells, ``(n_genes,)``.
    loadings
        Orthonormal columns, ``(n_genes, n_comps)``.
    scale
        One number that all scores are divided by, so that the training scores have unit overall variance.
    variance_ratio
        Share of the training cells' variance that each component holds, ``(n_comps,)``.
    shrinkage
        Standard deviation of the scores of cells outside the fit over that of the cells in it, at most 1,
        ``(n_comps,)``. Components are chosen such that the cells of the fit vary along them, and other cells of the
        same population vary less: in a few thousand cells the 50th component by a fifth.
    var_names
        The genes, in the order of ``mean`` and of the rows of ``loadings``, ``(n_genes,)``.
    values
        What the expression of the fit was: "log1p", or "any" finite values.

    Examples
    --------
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> from sccalmflow.pp import PCA
    >>> line = PCA(
    ...     mean=np.array([1.0, 2.0]),
    ...     loadings=np.array([[0.6], [0.8]]),
    ...     scale=2.0,
    ...     variance_ratio=np.array([1.0]),
    ...     shrinkage=np.array([0.8]),
    ...     var_names=np.array(["CD3D", "LYZ"]),
    ... )
    >>> scores = line.transform(np.array([[4.0, 6.0]]))
    >>> scores.tolist()
    [[2.5]]
    >>> line.inverse(scores).tolist()
    [[4.0, 6.0]]
    >>> line.as_new_cells(scores, centre=np.zeros(1)).tolist()
    [[2.0]]
    >>> adata = AnnData(np.array([[4.0, 6.0]]))
    >>> adata.var_names = ["CD3D", "LYZ"]
    >>> line.store(adata)
    >>> PCA.from_anndata(adata).scale
    2.0
    """

    mean: np.ndarray
    loadings: np.ndarray
    scale: float
    variance_ratio: np.ndarray
    shrinkage: np.ndarray
    var_names: np.ndarray
    values: Values = "log1p"

    @property
    def n_comps(self) -> int:
        """Number of components."""
        return self.loadings.shape[1]

    def transform(self, X: Any) -> np.ndarray:
        """Scores of cells.

        Parameters
        ----------
        X
            Expression on the scale of the fit (log1p), ``(n_cells, n_genes)``, dense or sparse.

        Returns
        -------
        Scaled scores, ``(n_cells, n_comps)`` float32.

        Raises
        ------
        ValueError
            Another number of genes than that of the fit.
        """
        if X.shape[1] != len(self.mean):
            raise ValueError(f"X has {X.shape[1]} genes, but the projection was fitted on {len(self.mean)}.")
        # (X - mean) @ loadings, multiplied out: subtracting the mean would make a sparse matrix dense.
        scores = np.asarray(X @ self.loadings) - self.mean.astype(np.float64) @ self.loadings.astype(np.float64)
        return (scores / self.scale).astype(np.float32)

    def inverse(self, scores: np.ndarray) -> np.ndarray:
        """Expression that scores stand for; linear, so not clipped at 0.

        Parameters
        ----------
        scores
            Scaled scores, ``(n_cells, n_comps)``.

        Returns
        -------
        Expression on the scale of the fit, ``(n_cells, n_genes)`` float32.

        Raises
        ------
        ValueError
            Another number of components.
        """
        scores = np.asarray(scores, dtype=np.float32)
        if scores.shape[1] != self.n_comps:
            raise ValueError(f"scores have {scores.shape[1]} components, but the projection has {self.n_comps}.")
        genes = scores @ (self.loadings.T * self.scale).astype(np.float32)
        genes += self.mean.astype(np.float32)
        return genes

    def as_new_cells(self, scores: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """Scores drawn in towards a centre by the ``shrinkage``.

        What a model of training cells predicts varies as these do; the cells that the prediction stands for were not in
        the fit, and vary less.

        Parameters
        ----------
        scores
            Scaled scores, any shape that ends in ``n_comps``.
        centre
            Where to, usually their mean; a shape that broadcasts with that of the scores.

        Returns
        -------
        Scores of the same shape, float32.
        """
        return (centre + (scores - centre) * self.shrinkage).astype(np.float32)

    def store(self, adata: AnnData, key: str = "X_pca") -> None:
        """Write the projection to ``varm`` and ``uns``, where :meth:`from_anndata` finds it.

        Parameters
        ----------
        adata
            Cells with the genes of the fit. It is changed; what it had under the key is replaced.
        key
            Key of the scores in ``obsm``. For the default, loadings go to ``varm["PCs"]`` and the rest to
            ``uns["pca"]``, as in scanpy; another key is the name of both.

        Raises
        ------
        ValueError
            The key is "PCs" or "pca", and would overwrite parts of the default projection.
        """
        varm_key, uns_key = names(key)
        # Copies: what is done to one AnnData must not change another, nor a model.
        adata.varm[varm_key] = self.loadings.copy()
        adata.uns[uns_key] = {
            "mean": self.mean.copy(),
            "scale": self.scale,
            "variance_ratio": self.variance_ratio.copy(),
            "shrinkage": self.shrinkage.copy(),
            "var_names": self.var_names.copy(),
            "values": self.values,
        }

    @classmethod
    def from_anndata(cls, adata: AnnData, key: str = "X_pca") -> PCA:
        """Read what :func:`sccalmflow.pp.pca` left in an AnnData.

        Parameters
        ----------
        adata
            Cells with the genes of the fit, in its order.
        key
            Key of the scores in ``obsm``, as in :meth:`store`.

        Returns
        -------
        The projection.

        Raises
        ------
        KeyError
            There is nothing under ``key``, or something that :func:`sccalmflow.pp.pca` did not write.
        ValueError
            The genes are no longer those of the fit.
        """
        varm_key, uns_key = names(key)
        stored = adata.uns.get(uns_key, {})
        if varm_key not in adata.varm or "values" not in stored:
            hint = _checks.suggest(key, adata.obsm.keys())
            raise KeyError(
                f"adata has no projection of sccalmflow under {key!r} (varm[{varm_key!r}] and uns[{uns_key!r}] with "
                f"mean, scale, shrinkage, values).{hint} Run sccalmflow.pp.pca(adata) first."
            )
        var_names = np.array(stored["var_names"], dtype=object)
        if not np.array_equal(var_names, np.asarray(adata.var_names, dtype=object)):
            raise ValueError(
                f"adata has {adata.n_vars} genes that are not, or not in this order, the {len(var_names)} that "
                f"{key!r} was fitted on. Select genes before sccalmflow.pp.pca(adata), and run it again."
            )
        return cls(
            mean=np.array(stored["mean"]),
            loadings=np.array(adata.varm[varm_key]),
            scale=float(stored["scale"]),
            variance_ratio=np.array(stored["variance_ratio"]),
            shrinkage=np.array(stored["shrinkage"]),
            var_names=var_names,
            values=stored["values"],
        )


_DEFAULT = ("PCs", "pca")


def names(key: str) -> tuple[str, str]:
    """Where in ``varm`` and ``uns`` a projection is: scanpy's names for the default, else one name for all."""
    if key in _DEFAULT:
        raise ValueError(f"{key!r} is where the default, 'X_pca', keeps its projection; choose another key.")
    return _DEFAULT if key == "X_pca" else (key, key)
