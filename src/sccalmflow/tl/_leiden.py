"""Leiden clusters of the truth, and a network that knows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sklearn.neural_network import MLPClassifier

_HELD_OUT = 0.2
# Adam stops by itself after 100 to 200 passes over a few thousand cells; few cells take more, and each costs less.
_MAX_PASSES = 5_000


@dataclass(frozen=True, eq=False)
class LeidenClassifier:
    """Leiden clusters of the true cells, and a small network that assigns any other cell to one of them.

    Made by :meth:`fit`, on true cells only. Fit it once, and compare all predictions by it.

    Parameters
    ----------
    labels
        Cluster of each true cell it was fitted on, the largest cluster first; m.
    accuracy
        Share of held-out true cells that the network assigns to their cluster; the paper had 0.95. 1 if there is only
        one cluster, NaN if all clusters are too small to hold a cell out.
    centre
        Mean of the true cells, d.
    scale
        Root mean square, over features, of their standard deviation.
    network
        The fitted scikit-learn network, None if there is only one cluster.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> rng = np.random.default_rng(0)
    >>> y = np.concatenate([rng.normal(-5, 1, size=(60, 4)), rng.normal(5, 1, size=(40, 4))])
    >>> classifier = scf.tl.LeidenClassifier.fit(y)
    >>> classifier.n_clusters, classifier.accuracy
    (2, 1.0)
    >>> classifier.predict(y[:2] + 0.1)
    array([0, 0])
    >>> classifier.probabilities(y[-2:]).round(1)
    array([[0., 1.],
           [0., 1.]])
    """

    labels: np.ndarray
    accuracy: float
    centre: np.ndarray
    scale: float
    network: MLPClassifier | None

    @classmethod
    def fit(cls, y: np.ndarray, *, resolution: float = 0.3, n_neighbors: int = 15, seed: int = 0) -> LeidenClassifier:
        """Cluster the true cells with scanpy's Leiden, and teach a two-layer ReLU network the clusters.

        The network (100 hidden units, scikit-learn's defaults) sees 80 % of each cluster; the rest gives ``accuracy``.

        Parameters
        ----------
        y
            True cells, m x d, usually the scaled PCs in ``obsm["X_pca"]``; m of at least 3.
        resolution
            Higher gives more clusters; the paper's 0.3.
        n_neighbors
            Neighbours in the graph that is clustered; with too few cells, one less than there are.
        seed
            Seed of the graph, the clusters, the held-out cells and the network.

        Returns
        -------
        The classifier.

        Raises
        ------
        ValueError
            Fewer than three cells, values that are not finite, or a resolution or n_neighbors that is not positive.
        """
        y = _cells(y, "y")
        if len(y) < 3:
            raise ValueError(f"y has {len(y)} cells; clusters need at least 3.")
        for name, value in (("resolution", resolution), ("n_neighbors", n_neighbors)):
            if not value > 0:
                raise ValueError(f"{name} is {value!r}; give a positive number.")
        # One scale for all features keeps the distances that the clusters were found by.
        centre, scale = y.mean(axis=0), float(np.sqrt(y.var(axis=0).mean()))
        varies = (y != y[0]).any()
        labels = _leiden(y, resolution, n_neighbors, seed) if varies else np.zeros(len(y), dtype=int)
        if labels.max() == 0:
            return cls(labels=labels, accuracy=1.0, centre=centre, scale=scale, network=None)
        network, accuracy = _learn((y - centre) / scale, labels, seed)
        return cls(labels=labels, accuracy=accuracy, centre=centre, scale=scale, network=network)

    @property
    def n_clusters(self) -> int:
        """Number of clusters of the truth."""
        return int(self.labels.max()) + 1

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """Probability of each cluster for each cell.

        Parameters
        ----------
        x
            Cells in the space it was fitted in, n x d.

        Returns
        -------
        n x n_clusters; each row sums to 1.

        Raises
        ------
        ValueError
            Other features, no cells, or values that are not finite.
        """
        x = _cells(x, "x")
        if x.shape[1] != len(self.centre):
            raise ValueError(f"x has {x.shape[1]} features; the classifier was fitted on {len(self.centre)}.")
        if self.network is None:
            return np.ones((len(x), 1))
        return self.network.predict_proba((x - self.centre) / self.scale)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Most probable cluster of each cell.

        Parameters
        ----------
        x
            Cells in the space it was fitted in, n x d.

        Returns
        -------
        n cluster numbers, from 0.

        Raises
        ------
        ValueError
            Other features, no cells, or values that are not finite.
        """
        return self.probabilities(x).argmax(axis=1)


def _leiden(y: np.ndarray, resolution: float, n_neighbors: int, seed: int) -> np.ndarray:
    import scanpy as sc
    from anndata import AnnData

    adata = AnnData(y)
    # Exact: scanpy's choice for many cells, pynndescent, returns from version 0.7 on what scanpy 1.11 cannot read.
    sc.pp.neighbors(
        adata, n_neighbors=min(n_neighbors, len(y) - 1), use_rep="X", transformer="sklearn", random_state=seed
    )
    sc.tl.leiden(adata, resolution=resolution, flavor="igraph", n_iterations=2, directed=False, random_state=seed)
    return adata.obs["leiden"].astype(int).to_numpy()


def _learn(z: np.ndarray, labels: np.ndarray, seed: int) -> tuple[MLPClassifier, float]:
    """A network fitted on 80 % of each cluster, and its accuracy on the rest."""
    from sklearn.neural_network import MLPClassifier

    held_out = _held_out(labels, seed)
    network = MLPClassifier((100,), activation="relu", max_iter=_MAX_PASSES, random_state=seed)
    network.fit(z[~held_out], labels[~held_out])
    if not held_out.any():
        return network, float("nan")
    return network, float(network.score(z[held_out], labels[held_out]))


def _held_out(labels: np.ndarray, seed: int) -> np.ndarray:
    """20 % of each cluster. A cluster of one or two cells stays whole: the network must meet every cluster."""
    rng = np.random.default_rng(seed)
    held_out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        held_out[members[: round(_HELD_OUT * len(members))]] = True
    return held_out


def _cells(values: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"{name} has {values.ndim} dimensions; give cells x features.")
    if len(values) == 0:
        raise ValueError(f"{name} has no cells.")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinite values.")
    return values
