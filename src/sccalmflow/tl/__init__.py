"""Metrics, and the report that puts a prediction between simple baselines and the ceiling."""

from ._correlations import pearson, pearson_delta, r2, r2_corr
from ._distances import edistance, mmd, wasserstein
from ._evaluate import evaluate
from ._registry import METRICS, Metric
from ._spread import std_ratio
from ._summary import summary

__all__ = [
    "METRICS",
    "Metric",
    "edistance",
    "evaluate",
    "mmd",
    "pearson",
    "pearson_delta",
    "r2",
    "r2_corr",
    "std_ratio",
    "summary",
    "wasserstein",
]
