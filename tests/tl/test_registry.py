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


@pytest.mark.parametrize("metric", scf.tl.METRICS.values(), ids=scf.tl.METRICS)
def test_every_metric_reaches_its_best_value_on_a_copy_of_the_truth_or_goes_past_it(metric):
    rng = np.random.default_rng(0)
    y, control = rng.normal(size=(50, 30)), rng.normal(size=(1, 30)) + 1
    value = metric.function(y, y, control) if metric.needs_control else metric.function(y, y)
    if metric.direction == "lower":
        # Unbiased: the zero distances of a cell to its copy pull it below.
        assert value <= metric.best
    else:
        assert value == pytest.approx(metric.best)


@pytest.mark.parametrize("metric", [m for m in scf.tl.METRICS.values() if m.of_means], ids=lambda m: m.name)
def test_metrics_of_means_need_nothing_but_means(metric):
    rng = np.random.default_rng(1)
    x, y, control = rng.normal(size=(9, 20)), rng.normal(size=(7, 20)), (rng.normal(size=(1, 20)),)
    extra = control if metric.needs_control else ()
    means = metric.function(x.mean(0)[None], y.mean(0)[None], *extra)
    assert means == pytest.approx(metric.function(x, y, *extra))


def test_unknown_and_repeated_metrics_are_refused():
    with pytest.raises(ValueError, match="Did you mean 'edistance'"):
        resolve_metrics(["e-distance"])
    with pytest.raises(ValueError, match="twice"):
        resolve_metrics(["mmd", "mmd"])
    with pytest.raises(ValueError, match="empty"):
        resolve_metrics([])
    with pytest.raises(ValueError, match="direction"):
        dataclasses.replace(scf.tl.METRICS["mmd"], direction="up")
    with pytest.raises(ValueError, match="space 'genes'"):
        dataclasses.replace(scf.tl.METRICS["mmd"], needs_control=True)
