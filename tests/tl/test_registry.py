import dataclasses

import numpy as np
import pytest

import sccalmflow as scf
from sccalmflow.tl._registry import resolve_metrics


def test_the_registry_cannot_be_changed():
    with pytest.raises(TypeError):
        scf.tl.METRICS["mine"] = scf.tl.METRICS["mmd"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        scf.tl.METRICS["mmd"].best = 1.0


def needed(metric, rng, y):
    """One of each thing that a metric asks for besides the cells."""
    found = {
        "control": rng.normal(size=(1, y.shape[1])) + 1,
        "control_cells": rng.normal(size=(40, y.shape[1])) + 1,
        "training_mean": rng.normal(size=(1, y.shape[1])),
        "others": rng.normal(size=(5, y.shape[1])) * 3,
    }
    return [scf.tl.LeidenClassifier.fit(y) if need == "classifier" else found[need] for need in metric.needs]


@pytest.mark.parametrize("metric", scf.tl.METRICS.values(), ids=scf.tl.METRICS)
def test_every_metric_reaches_its_best_value_on_a_copy_of_the_truth_or_goes_past_it(metric):
    rng = np.random.default_rng(0)
    y = rng.normal(size=(50, 30))
    value = metric.function(y, y, *needed(metric, rng, y))
    if metric.direction == "lower":
        # Unbiased: the zero distances of a cell to its copy pull it below.
        assert value <= metric.best + 1e-12
    elif not np.isnan(metric.best):
        assert value == pytest.approx(metric.best)


@pytest.mark.parametrize("metric", scf.tl.METRICS.values(), ids=scf.tl.METRICS)
def test_every_metric_is_worse_where_the_cells_are_others(metric):
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.normal(size=(60, 30)) - 4, rng.normal(size=(60, 30)) + 4])
    x = np.concatenate([y[60:65]] * 24) + 3 * rng.normal(size=30)
    needs = needed(metric, rng, y)
    loss = {"lower": lambda v: v, "higher": lambda v: -v, "target": lambda v: abs(v - metric.best)}[metric.direction]
    assert loss(metric.function(x, y, *needs)) > loss(metric.function(y, y, *needs))


@pytest.mark.parametrize("metric", [m for m in scf.tl.METRICS.values() if m.of_means], ids=lambda m: m.name)
def test_metrics_of_means_need_nothing_but_means(metric):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(9, 20)), rng.normal(size=(7, 20))
    extra = needed(metric, rng, y)
    assert metric.function(x.mean(0)[None], y.mean(0)[None], *extra) == pytest.approx(metric.function(x, y, *extra))


def test_unknown_and_repeated_metrics_are_refused():
    with pytest.raises(ValueError, match="Did you mean 'edistance'"):
        resolve_metrics(["e-distance"])
    with pytest.raises(ValueError, match="twice"):
        resolve_metrics(["mmd", "mmd"])
    with pytest.raises(ValueError, match="empty"):
        resolve_metrics([])
    with pytest.raises(ValueError, match="direction"):
        dataclasses.replace(scf.tl.METRICS["mmd"], direction="up")
    with pytest.raises(ValueError, match="not both"):
        resolve_metrics(["mmd"], "paper")
    with pytest.raises(ValueError, match="Did you mean 'paper'"):
        resolve_metrics(None, "papers")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("mmd", {"needs": ("control",)}, "space 'genes'"),
        ("mmd", {"n_top_genes": 5}, "space 'genes'"),
        ("mmd", {"needs": ("controls",)}, "Did you mean 'control'"),
        ("r2", {"needs": ("classifier",)}, "space 'pcs' only"),
        ("r2", {"pooled": True}, "'pcs' and 'umap' only"),
        ("mmd_umap", {"pooled": False}, "pooled=True"),
    ],
)
def test_a_metric_that_cannot_be_computed_is_refused(name, changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(scf.tl.METRICS[name], **changes)
