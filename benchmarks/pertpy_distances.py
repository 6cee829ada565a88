"""pertpy's distances and the functions of `tl`, on the same two samples.

    pip install "sccalmflow[pertpy]"
    python benchmarks/pertpy_distances.py

Two samples of simulated monocytes, under LPS (in place of a prediction) and under IFN-beta (in place of the truth).
"pcs" are 10 scaled components, "genes" log1p expression of 100 genes, "counts" their counts. The last column is made
from what is here, with the difference taken into account, in NumPy and SciPy: it should be pertpy's figure. Prints
Markdown.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version

import numpy as np
import ot
import pertpy
from scipy import stats
from scipy.spatial.distance import cdist

import sccalmflow as scf
from sccalmflow.validation._markdown import table_head, table_row

Samples = tuple[np.ndarray, np.ndarray]


def samples(seed: int = 0) -> dict[str, Samples]:
    """The two samples in each space."""
    adata = scf.datasets.simulated_cytokines(cells_per_condition=60, n_genes=400, seed=seed)
    adata = adata[(adata.obs["cell_type"] == "CD14 Mono") & (adata.obs["chronicity"] == "acute")].copy()
    # pertpy leaves genes without variance undefined.
    highest = np.argsort(-np.asarray(adata.X.mean(axis=0)).ravel())[:100]
    adata = adata[:, np.sort(highest)].copy()
    scf.pp.pca(adata, 10, split_key=None)
    x, y = (adata[adata.obs["perturbation"] == label] for label in ("LPS", "IFN-beta"))
    return {
        "pcs": (x.obsm["X_pca"].astype(float), y.obsm["X_pca"].astype(float)),
        "genes": (x.X.toarray().astype(float), y.X.toarray().astype(float)),
        "counts": (x.layers["counts"].toarray(), y.layers["counts"].toarray()),
    }


def rows(data: dict[str, Samples]) -> Iterator[tuple[str, str, str, float, float | None, float | None]]:
    """Name there, name here, space, value there, value here, and value here on their terms."""
    tl = scf.tl
    (p, q), (x, y), (cx, cy) = data["pcs"], data["genes"], data["counts"]
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    gap = mean_x - mean_y

    def there(name: str, pair: Samples, **kwargs: object) -> float:
        return float(pertpy.tl.Distance(name)(*pair, **kwargs))

    within = [cdist(s, s).sum() / (len(s) * (len(s) - 1)) for s in (p, q)]
    biased = tl.edistance(p, q) + within[0] / len(p) + within[1] / len(q)
    yield "edistance", "edistance", "pcs", there("edistance", (p, q)), tl.edistance(p, q), biased
    linear = np.square(p.mean(axis=0) - q.mean(axis=0)).sum()
    yield "mmd", "mmd", "pcs", there("mmd", (p, q)), tl.mmd(p, q), linear
    rbf, same = there("mmd", (p, q), kernel="rbf", gamma=0.1), tl.mmd(p, q, gamma=0.1, estimator="biased")
    yield 'mmd, kernel="rbf", gamma=0.1', "mmd(gamma=0.1)", "pcs", rbf, tl.mmd(p, q, gamma=0.1), same
    yield "wasserstein", "wasserstein", "pcs", there("wasserstein", (p, q)), tl.wasserstein(p, q), _entropic(p, q)
    yield "mean_pairwise", "", "pcs", there("mean_pairwise", (p, q)), None, cdist(p, q).mean()

    # In PCs: with more genes than cells the covariance has no inverse.
    shift = p.mean(axis=0) - q.mean(axis=0)
    mahalanobis = np.sqrt(shift @ np.linalg.solve(np.cov(p.T), shift))
    yield "mahalanobis", "", "pcs", there("mahalanobis", (p, q)), None, mahalanobis

    of_means: list[tuple[str, str, Callable[[np.ndarray, np.ndarray], float] | None, float]] = [
        ("euclidean", "", None, np.linalg.norm(gap)),
        ("root_mean_squared_error", "", None, np.linalg.norm(gap)),
        ("mse", "mse", tl.mse, tl.mse(x, y)),
        ("mean_absolute_error", "mae", tl.mae, tl.mae(x, y)),
        ("pearson_distance", "pearson", tl.pearson, 1 - tl.pearson(x, y)),
        ("spearman_distance", "spearman", tl.spearman, 1 - tl.spearman(x, y)),
        ("kendalltau_distance", "", None, _discordant(mean_x, mean_y)),
        ("cosine_distance", "", None, 1 - mean_x @ mean_y / np.sqrt(mean_x @ mean_x * (mean_y @ mean_y))),
        ("r2_distance", "r2", tl.r2, 1 - tl.r2(y, x)),
        ("sym_kldiv", "", None, _kl(x, y) + _kl(y, x)),
        ("t_test", "", None, np.abs(stats.ttest_ind(x, y, equal_var=False).statistic).mean()),
        ("ks_test", "", None, np.mean([stats.ks_2samp(a, b).statistic for a, b in zip(x.T, y.T, strict=True)])),
        ("mean_var_distribution", "", None, float("nan")),
        ("classifier_proba", "", None, float("nan")),
    ]
    for name, here, function, on_their_terms in of_means:
        yield name, here, "genes", there(name, (x, y)), function(x, y) if function else None, on_their_terms
    with warnings.catch_warnings():
        # One fit a gene, and some do not converge.
        warnings.simplefilter("ignore")
        yield "nb_ll", "", "counts", there("nb_ll", (cx, cy)), None, None


def _entropic(x: np.ndarray, y: np.ndarray) -> float:
    """Entropic transport, with its divergence term, at OTT's default width: 1/20 of the costs' standard deviation."""
    cost = cdist(x, y, "sqeuclidean")
    width = 0.05 * cost.std()
    plan = ot.sinkhorn([], [], cost, width, method="sinkhorn_log", numItermax=100_000, stopThr=1e-9)
    used = plan[plan > 0]
    return float((plan * cost).sum() + width * (used * np.log(used * cost.size)).sum())


def _discordant(x: np.ndarray, y: np.ndarray) -> float:
    """How many pairs of genes the two order differently."""
    signs = np.sign(np.subtract.outer(x, x)) * np.sign(np.subtract.outer(y, y))
    return float((signs < 0).sum()) / 2


def _kl(x: np.ndarray, y: np.ndarray) -> float:
    """Divergence of two Gaussians, mean over genes."""
    (m, s), (n, t) = ((sample.mean(axis=0), sample.std(axis=0) + 1e-8) for sample in (x, y))
    return float(np.mean(np.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5))


def main() -> None:
    """Print the table."""
    data = samples()
    n, m = (len(sample) for sample in data["pcs"])
    print(f"pertpy {version('pertpy')}, OTT {version('ott-jax')}, sccalmflow {scf.__version__}; {n} and {m} cells\n")
    print(*table_head(["pertpy", "here", "on", "value there", "value here", "here, on their terms"]), sep="\n")
    for name, here, space, *values in rows(data):
        shown = ["–" if value is None or np.isnan(value) else f"{value:.6g}" for value in values]
        print(table_row([f"`{name}`", f"`{here}`" if here else "–", space, *shown]))


if __name__ == "__main__":
    main()
