"""UMAP with the settings that every figure and metric here shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from umap import UMAP

_NEIGHBORS = 15
# umap-learn's own number for large data; its 500 for small ones take longer and look the same.
_EPOCHS = 200
# Up to here umap-learn compares all pairs: dense ones in a Python loop (a minute), sparse ones by scikit-learn (a
# second). Beyond, its compiled index is the faster way.
_ALL_PAIRS_BELOW = 4_096


def new_umap(n_cells: int, *, n_components: int = 2, seed: int = 0) -> UMAP:
    """An unfitted UMAP for this many cells."""
    from umap import UMAP

    # One job: umap-learn warns that a seed leaves it no other choice.
    return UMAP(
        n_neighbors=min(_NEIGHBORS, n_cells - 1),
        n_components=n_components,
        n_epochs=_EPOCHS,
        random_state=seed,
        n_jobs=1,
    )


def stored(scores: np.ndarray, n_fitted: int) -> Any:
    """Scores in the format that umap-learn is fast with."""
    from scipy.sparse import csr_matrix

    return csr_matrix(scores) if n_fitted < _ALL_PAIRS_BELOW else np.asarray(scores)


def joint_umap(x: np.ndarray, y: np.ndarray, n_components: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Both samples in one UMAP fitted on them together, as in the paper.

    It bends to meet the prediction. Everything else here fits on the truth alone.
    """
    both = np.concatenate([x, y])
    # More components than a third of the cells leave UMAP's first guess, an eigenvector for each, without a solution.
    n_components = max(2, min(n_components, len(both) // 3))
    embedded = new_umap(len(both), n_components=n_components, seed=seed).fit_transform(stored(both, len(both)))
    return embedded[: len(x)], embedded[len(x) :]
