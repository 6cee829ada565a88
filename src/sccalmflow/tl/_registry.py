"""What the report knows about each metric. A new metric is one function and one entry here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np

from sccalmflow._checks import one_of

from ._adaptive_mmd import adaptive_mmd
from ._changes import delta_slope, discrimination, pearson_delta, sign_agreement, spearman_delta
from ._clusters import inception_score, leiden_kld
from ._correlations import pearson, r2, r2_corr, spearman
from ._de import de_overlap
from ._distances import edistance, mmd, rbf_contrast
from ._errors import mae, mse, relative_mse
from ._leiden import LeidenClassifier
from ._pairs import Contrast
from ._spread import correlation_error, duplicate_rate, std_ratio, variance_ratio
from ._wasserstein import sinkhorn_divergence, wasserstein

Need = Literal["control", "control_cells", "training_mean", "others", "classifier"]
Space = Literal["genes", "pcs", "umap"]
Direction = Literal["lower", "higher", "target"]
Preset = Literal["default", "paper"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric, and how to read it.

    Your own needs no registration: give it to :func:`evaluate` among ``metrics``.

    Parameters
    ----------
    name
        Its name in the report.
    function
        ``(x, y, *needs) -> float`` on predicted and true cells, each cells x features.
    direction
        "lower" or "higher" is better, or "target": nearer to ``best`` is better.
    best
        The value of a perfect prediction with endless cells; NaN where it depends on the truth.
    space
        "genes" for log1p expression, "pcs" for ``obsm["X_pca"]``, "umap" for ten dimensions of a UMAP of prediction and
        truth together (the paper's; for ``pooled`` metrics only).
    needs
        What the function takes besides, in this order: "control", the mean of the real control cells of the context, 1
        x genes; "control_cells", these cells; "training_mean", the mean of the training conditions of that context, 1 x
        genes (a condition whose context has none gets no row); "others", the changes of other true conditions, k x
        genes; "classifier", a :class:`LeidenClassifier` of the true cells.
    n_top_genes
        Evaluate on this many genes that differ most between truth and control instead of all.
    pooled
        Compute once over all conditions, as many predicted as true cells of each, instead of for each condition.
    interval
        Whether the report gives a bootstrap interval. Repeated cells spoil some metrics, and others take too long.
    of_means
        Whether the function depends on the cells only through their mean. The bootstrap is then much faster.
    pair_contrast
        For a metric ``2 E c(X, Y) - E c(X, X') - E c(Y, Y')``: makes c, a function of squared distances, from the true
        cells. The bootstrap is then much faster, and counts no pair of a cell with its own copy.

    Raises
    ------
    ValueError
        An unknown ``direction``, ``space`` or need, or a combination that makes no sense: controls, other means or top
        genes outside of the space "genes", the classifier outside of "pcs", pooled genes, a UMAP that is not pooled.

    Examples
    --------
    >>> import numpy as np
    >>> import sccalmflow as scf
    >>> def mean_error(x, y):
    ...     return float(np.abs(x.mean(0) - y.mean(0)).mean())
    >>> metric = scf.tl.Metric(
    ...     name="mean_error", function=mean_error, direction="lower", best=0.0, space="genes", of_means=True
    ... )
    >>> scf.tl.METRICS["edistance"].direction
    'lower'
    """

    name: str
    function: Callable[..., float]
    direction: Direction
    best: float
    space: Space
    needs: tuple[Need, ...] = ()
    n_top_genes: int | None = None
    pooled: bool = False
    interval: bool = True
    of_means: bool = False
    pair_contrast: Callable[[np.ndarray], Contrast] | None = None

    def __post_init__(self) -> None:
        one_of(self.direction, get_args(Direction), "direction")
        one_of(self.space, get_args(Space), "space")
        for need in self.needs:
            one_of(need, get_args(Need), "needs")
        if self.space != "genes" and (self.n_top_genes is not None or set(self.needs) - {"classifier"}):
            raise ValueError(f"metric {self.name!r}: controls, other means and top genes belong to the space 'genes'.")
        if "classifier" in self.needs and self.space != "pcs":
            raise ValueError(f"metric {self.name!r}: the classifier knows the space 'pcs' only.")
        if self.pooled and self.space == "genes":
            raise ValueError(f"metric {self.name!r}: conditions are pooled in the spaces 'pcs' and 'umap' only.")
        if self.space == "umap" and not self.pooled:
            raise ValueError(f"metric {self.name!r}: the space 'umap' is fitted on all conditions; set pooled=True.")


def _euclidean(y: np.ndarray) -> Contrast:
    return np.sqrt


def _leiden_kld(x: np.ndarray, y: np.ndarray, classifier: LeidenClassifier) -> float:
    return leiden_kld(x, y, classifier=classifier)


def _inception_score(x: np.ndarray, y: np.ndarray, classifier: LeidenClassifier) -> float:
    return inception_score(x, y, classifier=classifier)


# The kernel and the estimator of the public code of the paper's group.
_PAPER_GAMMA = 2.0
_lower = partial(Metric, direction="lower", best=0.0)
_higher = partial(Metric, direction="higher", best=1.0)
_target = partial(Metric, direction="target", best=1.0)
_of_change = partial(_higher, space="genes", needs=("control",), of_means=True)
_of_means = partial(_higher, space="genes", of_means=True)

_R2_CORR = _of_means(name="r2_corr", function=r2_corr)

_DEFAULT = (
    _lower(name="edistance", function=edistance, space="pcs", pair_contrast=_euclidean),
    _lower(name="mmd", function=mmd, space="pcs", pair_contrast=rbf_contrast),
    _R2_CORR,
    _of_means(name="r2", function=r2),
    _of_change(name="pearson_delta", function=pearson_delta),
    _of_change(name="pearson_delta_top100", function=pearson_delta, n_top_genes=100),
    _of_change(name="pearson_delta_specific", function=pearson_delta, needs=("training_mean",)),
    _of_change(name="discrimination", function=discrimination, needs=("control", "others")),
    _higher(name="de_overlap", function=de_overlap, space="genes", needs=("control_cells",), interval=False),
    _target(name="delta_slope", function=delta_slope, space="genes", needs=("control",), of_means=True),
    _target(name="std_ratio", function=std_ratio, space="pcs"),
    _lower(name="correlation_error", function=correlation_error, space="pcs", interval=False),
    _lower(name="duplicate_rate", function=duplicate_rate, space="pcs", interval=False),
)

_PAPER = (
    _lower(
        name="mmd_umap",
        function=partial(mmd, gamma=_PAPER_GAMMA, estimator="biased"),
        space="umap",
        pooled=True,
        pair_contrast=partial(rbf_contrast, gamma=_PAPER_GAMMA),
    ),
    _lower(name="wasserstein_umap", function=wasserstein, space="umap", pooled=True, interval=False),
    _lower(name="leiden_kld", function=_leiden_kld, space="pcs", needs=("classifier",), pooled=True),
    Metric(
        name="inception_score",
        function=_inception_score,
        direction="higher",
        best=float("nan"),
        space="pcs",
        needs=("classifier",),
        pooled=True,
    ),
    _lower(name="adaptive_mmd", function=adaptive_mmd, space="pcs", pooled=True, interval=False),
    _R2_CORR,
    _of_means(name="pearson", function=pearson),
    _of_means(name="spearman", function=spearman),
    _of_means(name="r2_corr_top100", function=r2_corr, n_top_genes=100),
    _of_means(name="pearson_top100", function=pearson, n_top_genes=100),
    _of_means(name="spearman_top100", function=spearman, n_top_genes=100),
)

_FURTHER = (
    _of_change(name="spearman_delta", function=spearman_delta),
    _of_change(name="spearman_delta_top100", function=spearman_delta, n_top_genes=100),
    _of_change(name="sign_agreement_top100", function=sign_agreement, n_top_genes=100),
    _lower(name="mse", function=mse, space="genes", of_means=True),
    _lower(name="mae", function=mae, space="genes", of_means=True),
    _lower(
        name="relative_mse_top100",
        function=relative_mse,
        space="genes",
        needs=("control",),
        n_top_genes=100,
        of_means=True,
    ),
    _target(name="variance_ratio", function=variance_ratio, space="genes", interval=False),
    _lower(name="wasserstein", function=wasserstein, space="pcs", interval=False),
    _lower(name="sinkhorn_divergence", function=sinkhorn_divergence, space="pcs", interval=False),
)

METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in (*_DEFAULT, *_PAPER, *_FURTHER)})
"""The built-in metrics by name (read-only)."""

PRESETS: Mapping[Preset, tuple[str, ...]] = MappingProxyType(
    {"default": tuple(m.name for m in _DEFAULT), "paper": tuple(m.name for m in _PAPER)}
)
"""The metrics of the default report, and those of the CaLMFlow paper's Tables 3 to 5 (read-only)."""


def resolve_metrics(metrics: Iterable[str | Metric] | None, preset: str = "default") -> list[Metric]:
    """Metrics by name or as they are, each name once; those of the preset when none are given."""
    one_of(preset, PRESETS, "preset")
    if metrics is not None and preset != "default":
        raise ValueError(f"give metrics or preset={preset!r}, not both.")
    if isinstance(metrics, str | Metric):
        metrics = [metrics]
    chosen: dict[str, Metric] = {}
    for metric in PRESETS[preset] if metrics is None else metrics:  # type: ignore[index]
        if not isinstance(metric, Metric):
            one_of(metric, METRICS, "metrics")
            metric = METRICS[metric]
        if metric.name in chosen:
            raise ValueError(f"metrics holds {metric.name!r} twice.")
        chosen[metric.name] = metric
    if not chosen:
        raise ValueError("metrics is empty; leave it out for the default ones.")
    return list(chosen.values())
