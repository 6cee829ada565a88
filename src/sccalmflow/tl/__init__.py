"""Metrics, and the report that puts a prediction between simple baselines and the ceiling."""

from ._adaptive_mmd import adaptive_mmd
from ._cell_eval import to_cell_eval
from ._changes import delta_slope, discrimination, pearson_delta, sign_agreement, spearman_delta
from ._clusters import inception_score, leiden_kld
from ._correlations import pearson, r2, r2_corr, spearman
from ._de import de_overlap
from ._distances import edistance, mmd
from ._errors import mae, mse, relative_mse
from ._evaluate import evaluate
from ._leiden import LeidenClassifier
from ._registry import METRICS, PRESETS, Metric
from ._spread import correlation_error, duplicate_rate, std_ratio, variance_ratio
from ._summary import rank, summary
from ._wasserstein import sinkhorn_divergence, wasserstein

__all__ = [
    "METRICS",
    "PRESETS",
    "LeidenClassifier",
    "Metric",
    "adaptive_mmd",
    "correlation_error",
    "de_overlap",
    "delta_slope",
    "discrimination",
    "duplicate_rate",
    "edistance",
    "evaluate",
    "inception_score",
    "leiden_kld",
    "mae",
    "mmd",
    "mse",
    "pearson",
    "pearson_delta",
    "r2",
    "r2_corr",
    "rank",
    "relative_mse",
    "sign_agreement",
    "sinkhorn_divergence",
    "spearman",
    "spearman_delta",
    "std_ratio",
    "summary",
    "to_cell_eval",
    "variance_ratio",
    "wasserstein",
]
