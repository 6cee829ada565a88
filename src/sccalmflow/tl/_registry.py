"""What the report knows about each metric. A new metric is one function and one entry here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from sccalmflow._checks import one_of

from ._correlations import pearson, pearson_delta, r2, r2_corr
from ._distances import edistance, mmd, rbf_contrast
from ._pairs import Contrast
from ._spread import std_ratio


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric, and how to read it.

    Your own needs no registration: give it to :func:`evaluate` among ``metrics``.

    Parameters
    ----------
    name
        Its name in the report.
    function
        ``(x, y) -> float`` on predicted and true cells; ``(x, y, control) -> float`` with ``needs_control``.
    direction
        "lower" or "higher" is better, or "target": nearer to ``best`` is better.
    best
        The value of a perfect prediction with endless cells.
    space
        "genes" for log1p expression, "pcs" for ``obsm["X_pca"]``.
    needs_control
        Whether the function takes the real control cells of the context (their mean, one row of genes).
    n_top_genes
        Evaluate on this many genes that differ most between truth and control instead of all.
    of_means
        Whether the function depends on the cells only through their mean. The bootstrap is then much faster.
    pair_contrast
        For a metric ``2 E c(X, Y) - E c(X, X') - E c(Y, Y')``: makes c, a function of squared distances, from the true
        cells. The bootstrap is then much faster, and counts no pair of a cell with its own copy.

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
    direction: Literal["lower", "higher", "target"]
    best: float
    space: Literal["genes", "pcs"]
    needs_control: bool = False
    n_top_genes: int | None = None
    of_means: bool = False
    pair_contrast: Callable[[np.ndarray], Contrast] | None = None

    def __post_init__(self) -> None:
        one_of(self.direction, ("lower", "higher", "target"), "direction")
        one_of(self.space, ("genes", "pcs"), "space")
        if self.space == "pcs" and (self.needs_control or self.n_top_genes is not None):
            raise ValueError(f"metric {self.name!r}: control means and top genes belong to the space 'genes'.")


def _euclidean(y: np.ndarray) -> Contrast:
    return np.sqrt


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric(
                name="edistance", function=edistance, direction="lower", best=0.0, space="pcs", pair_contrast=_euclidean
            ),
            Metric(name="mmd", function=mmd, direction="lower", best=0.0, space="pcs", pair_contrast=rbf_contrast),
            Metric(name="r2_corr", function=r2_corr, direction="higher", best=1.0, space="genes", of_means=True),
            Metric(name="r2", function=r2, direction="higher", best=1.0, space="genes", of_means=True),
            Metric(name="pearson", function=pearson, direction="higher", best=1.0, space="genes", of_means=True),
            Metric(
                name="pearson_delta",
                function=pearson_delta,
                direction="higher",
                best=1.0,
                space="genes",
                needs_control=True,
                of_means=True,
            ),
            Metric(
                name="pearson_delta_top100",
                function=pearson_delta,
                direction="higher",
                best=1.0,
                space="genes",
                needs_control=True,
                n_top_genes=100,
                of_means=True,
            ),
            Metric(name="std_ratio", function=std_ratio, direction="target", best=1.0, space="pcs"),
        )
    }
)
"""The built-in metrics by name (read-only)."""

# Plain Pearson says what r2_corr says; it is there on request.
DEFAULT_METRICS: tuple[str, ...] = tuple(name for name in METRICS if name != "pearson")


def resolve_metrics(metrics: Iterable[str | Metric] | None) -> list[Metric]:
    """Metrics by name or as they are, each name once."""
    if isinstance(metrics, str | Metric):
        metrics = [metrics]
    chosen: dict[str, Metric] = {}
    for metric in DEFAULT_METRICS if metrics is None else metrics:
        if not isinstance(metric, Metric):
            one_of(metric, METRICS, "metrics")
            metric = METRICS[metric]
        if metric.name in chosen:
            raise ValueError(f"metrics holds {metric.name!r} twice.")
        chosen[metric.name] = metric
    if not chosen:
        raise ValueError("metrics is empty; leave it out for the default ones.")
    return list(chosen.values())
