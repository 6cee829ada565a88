"""The report: every method, every condition, every metric, with the baselines and the ceiling."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from anndata import AnnData

from sccalmflow import _checks
from sccalmflow.baselines._training import Condition

from ._bootstrap import Bootstrap, interval
from ._keys import Keys, resolve_keys
from ._methods import BASELINES, CEILING, compared, generator, warn_of_missing
from ._pair import Cells, Space, check_controls, predicted_cells, true_cells
from ._pooled import ALL, Pool, PooledTarget
from ._references import References
from ._registry import Metric, Preset, resolve_metrics
from ._target import ConditionTarget, Pair, Target, size


def evaluate(
    pred: AnnData | Mapping[str, AnnData],
    truth: AnnData,
    *,
    metrics: Sequence[str | Metric] | None = None,
    preset: Preset = "default",
    condition_keys: Sequence[str] | None = None,
    perturbation_key: str | None = None,
    control: str | None = None,
    split_key: str | None = None,
    baselines: bool = True,
    values: Literal["log1p", "any"] = "log1p",
    n_boot: int = 200,
    seed: int = 0,
    key_added: str | None = None,
) -> pd.DataFrame:
    """Compare predicted with true cells, per condition, beside simple baselines and the ceiling.

    A figure means little alone: the baselines of :mod:`sccalmflow.baselines` (control cells as they are, plus the mean
    effect elsewhere, and so on) say what is easy, "ceiling" what is possible. The ceiling is one random half of the
    true cells against the other, which also chooses the top genes, the mean of five such halvings; since a half has
    fewer cells than the truth, it is a cautious ceiling for correlations. What must be fitted (top genes, clusters,
    classifier) is fitted on the truth alone and once; the one exception is the paper's joint UMAP. Held-out cells enter
    no baseline.

    Parameters
    ----------
    pred
        Predicted cells of any tool: ``X`` in gene space (log1p), the condition columns in ``obs``, preferably
        ``obsm["X_pca"]`` on the truth's scale (projected from ``X`` when missing, and, with a warning, when they are
        said to be of another projection). Genes that truth does not have are set aside. Several at once as
        ``{"name": prediction}``; one alone is called what its ``uns["sccalmflow"]["method"]`` says, or "prediction".
        Predicted control cells are left out.
    truth
        All labelled cells: training, controls, held-out; with :func:`sccalmflow.pp.pca` run on it. A condition is
        compared with its held-out cells, or, when it has none, with all its cells.
    metrics
        Names in :data:`METRICS`, or :class:`Metric` objects of your own. By default those of the preset.
    preset
        "default" holds for each flaw of a prediction a metric that shows it (``docs/evaluation.md`` has the proof);
        "paper" gives the columns of the CaLMFlow paper's Tables 3 to 5, in which MMD, 2-Wasserstein, Leiden KLD,
        inception score and adaptive MMD are of all conditions together, on at most 3,000 cells of a side.
    condition_keys
        Columns of ``obs`` that make a condition, the perturbation's included. Read from ``pred.uns["sccalmflow"]``
        when None, as are the next three.
    perturbation_key
        The one of them with the perturbation.
    control
        Its label for control cells.
    split_key
        Column of ``truth.obs`` that says "train" for training cells. When the prediction does not name it either, it is
        "split" if there is such a column; without any, the baselines leave out the predicted conditions only.
    baselines
        Whether to add the baselines and the ceiling. Of a baseline at most 5,000 cells a condition are compared.
    values
        What ``X`` must hold: "log1p" refuses counts and other scales, "any" takes whatever is finite. As in
        :func:`sccalmflow.pp.pca`.
    n_boot
        Resamples of cells for the 95 % intervals, 0 for none; 200 take less time than the values. They use at most
        2,000 cells a side, so the intervals of larger samples are wider than need be. Control cells and the choice of
        top genes are not resampled.
    seed
        Seed of the resamples, the halves, the clusters and the UMAP. A method's figures do not depend on what other
        methods are in the call, as long as they predict the same conditions: what any of them predicts is not training.
    key_added
        Where to keep the report in ``truth.uns`` too, which h5ad files can hold. By default nothing is written into the
        inputs.

    Returns
    -------
    A tidy table, one row per condition, method and metric:

    - the condition keys, one column each (a key with the name of a column below gets the prefix ``obs_``), and
      ``condition``, their labels in one string;
    - ``novelty``: what the prediction says about the condition, else "unknown";
    - ``effect_size``: length of the true change of mean expression against control (Euclidean, over genes; NaN without
      real control cells), for strata of strong and weak effects;
    - ``method``: name of the prediction, of a baseline, or "ceiling";
    - ``metric``, its ``direction`` ("lower", "higher" or "target") and ``best`` value;
    - ``value``, ``ci_low``, ``ci_high``: the metric and its bootstrap interval (percentiles of the replicates, moved so
      that their median is the value; NaN with ``n_boot=0``);
    - ``n_pred``, ``n_true``: cells compared.

    A metric of all conditions together has the condition "all conditions". ``report.attrs`` has the held-out
    ``classifier_accuracy`` where a metric uses the classifier. A baseline that cannot predict a condition, and the
    ceiling of fewer than four cells, have no rows there; a warning says so, and another that a method which lacks
    conditions of the others has no figures of all conditions together.

    Raises
    ------
    TypeError
        Something else than AnnData.
    KeyError
        A key is not a column of ``obs``.
    ValueError
        Keys that are neither given nor stored; different genes; duplicated ``var_names``; values that are not finite or
        not on the log scale; a condition or control label that truth does not have; fewer than two cells of a
        condition; missing PCs; an unknown metric; a method name that is taken.

    Examples
    --------
    >>> import sccalmflow as scf
    >>> adata = scf.datasets.simulated_cytokines(cells_per_condition=10, n_genes=100)
    >>> heldout = scf.pp.hold_out(adata, n=2, min_cells=1)
    >>> scf.pp.pca(adata, n_comps=10)
    >>> pred = scf.baselines.additive(adata, heldout, perturbation_key="perturbation", control="control")
    >>> report = scf.tl.evaluate({"mine": pred}, adata, metrics=["edistance", "pearson_delta"], n_boot=0)
    >>> report["method"].unique().tolist()
    ['mine', 'control', 'additive', 'perturbed_mean', 'nearest', 'linear', 'ceiling']
    """
    preds = _by_name(pred, truth)
    chosen = resolve_metrics(metrics, preset)
    spaces = cast(list[Space], sorted({"pcs" if metric.space == "umap" else metric.space for metric in chosen}))
    _check_arguments(preds, values, n_boot)
    keys = resolve_keys(
        preds,
        truth,
        condition_keys=condition_keys,
        perturbation_key=perturbation_key,
        control=control,
        split_key=split_key,
    )
    true = true_cells(truth, keys, spaces, values)
    predicted = {name: predicted_cells(one, name, true, keys, spaces, values) for name, one in preds.items()}
    conditions = list(dict.fromkeys(condition for cells in predicted.values() for condition in cells.rows))
    _check_controls(chosen, conditions, true, keys)
    known = References(true, keys, conditions, seed)
    if baselines:
        warn_of_missing(known.training, conditions)
    report = _Report([metric for metric in chosen if not metric.pooled], known, n_boot, seed)
    together = [metric for metric in chosen if metric.pooled]
    pool = Pool(seed, len(conditions), with_umap=any(metric.space == "umap" for metric in together))

    from tqdm.auto import tqdm

    for condition in tqdm(conditions, desc="Evaluating", unit="condition", delay=2):
        target = ConditionTarget(true, keys, condition, spaces, known)
        # Predictions of other tools say nothing of it.
        novelty = next(filter(None, (cells.novelty(condition) for cells in predicted.values())), "unknown")
        # One method after the other: the genes of all of them at once would fill the memory.
        for name, pairs in compared(target, predicted, known.training if baselines else None, seed):
            report.compare(target, name, novelty, pairs)
            if together:
                pool.add(name, condition, pairs)
    if together:
        _warn_of_partial(predicted, conditions)
        report.add(_of_all(together, pool, known, len(keys.condition), n_boot, seed))
    table = report.table(keys)
    if any("classifier" in metric.needs for metric in chosen):
        table.attrs["classifier_accuracy"] = known.classifier.accuracy
    if key_added is not None:
        truth.uns[key_added] = table.copy()
    return table


class _Report:
    """Collects rows; one call a method and target."""

    def __init__(self, metrics: Sequence[Metric], known: References, n_boot: int, seed: int) -> None:
        self._metrics, self._known, self._n_boot, self._seed = metrics, known, n_boot, seed
        self._rows: list[dict[str, Any]] = []

    def compare(self, target: Target, method: str, novelty: str, pairs: Sequence[Pair]) -> None:
        """Add the rows of one method; several pairs of samples are averaged."""
        if not pairs:
            return
        rng = generator(self._seed, *target.condition, method)
        n_boot = -(-self._n_boot // len(pairs))
        boots = [Bootstrap(*pair, n_boot=n_boot, rng=rng) for pair in pairs] if n_boot else []
        about = {
            "labels": target.condition,
            "condition": ALL if isinstance(target, PooledTarget) else ", ".join(target.condition),
            "novelty": novelty,
            "effect_size": self._known.effect_size(target.condition),
            "method": method,
            "n_pred": size(pairs[0].x),
            "n_true": size(pairs[0].y),
        }
        for metric in self._metrics:
            values = [judge.evaluate(metric, x[metric.space], y[metric.space]) for judge, x, y in pairs]
            if None in values:
                continue
            value = float(np.mean(cast(list[float], values)))
            low = high = float("nan")
            if boots and metric.interval:
                low, high = interval(value, np.concatenate([boot.deviations(metric) for boot in boots]), metric)
            found = {"metric": metric.name, "value": value, "ci_low": low, "ci_high": high}
            self._rows.append({**about, **found, "direction": metric.direction, "best": float(metric.best)})

    def add(self, other: _Report) -> None:
        """Append the rows of another report."""
        self._rows += other._rows

    def table(self, keys: Keys) -> pd.DataFrame:
        """All rows, the condition keys first."""
        table = pd.DataFrame(self._rows, columns=["labels", *_COLUMNS])
        labels = table.pop("labels")
        for i, key in enumerate(keys.condition):
            column = f"obs_{key}" if key in table.columns else key
            table.insert(i, column, [label[i] for label in labels])
        return table


_COLUMNS = (
    *("condition", "novelty", "effect_size", "method", "metric", "value", "ci_low", "ci_high"),
    *("n_pred", "n_true", "direction", "best"),
)


def _of_all(metrics: list[Metric], pool: Pool, known: References, n_keys: int, n_boot: int, seed: int) -> _Report:
    """Rows of all conditions together."""
    from tqdm.auto import tqdm

    report = _Report(metrics, known, n_boot, seed)
    target = PooledTarget(n_keys, known)
    for method in tqdm(pool.methods, desc="All conditions", unit="method", delay=2):
        report.compare(target, method, "all", [Pair(target, *pool.samples(method))])
    return report


def _check_controls(metrics: Sequence[Metric], conditions: Sequence[Condition], true: Cells, keys: Keys) -> None:
    if any(set(metric.needs) - {"classifier"} or metric.n_top_genes is not None for metric in metrics):
        remedy = "Add control cells, or name the metrics you want, for example metrics=['edistance', 'mmd']."
        check_controls(conditions, true, keys, f"metrics of the change need at least 2. {remedy}")


def _warn_of_partial(predicted: Mapping[str, Cells], conditions: Sequence[Condition]) -> None:
    partial = [name for name, cells in predicted.items() if len(cells.rows) < len(conditions)]
    if partial:
        warnings.warn(
            f"{', '.join(map(repr, partial))} lack conditions that others predict, and have no figures of all "
            "conditions together. Give predictions of the same conditions.",
            stacklevel=3,
        )


# What the report calls rows of its own.
_OWN_NAMES = (*BASELINES, CEILING)


def _by_name(pred: AnnData | Mapping[str, AnnData], truth: AnnData) -> dict[str, AnnData]:
    if not isinstance(truth, AnnData):
        raise TypeError(f"truth is a {type(truth).__name__}: give an AnnData of the measured cells.")
    if isinstance(pred, AnnData):
        return {_name(pred): pred}
    if not isinstance(pred, Mapping):
        raise TypeError(f"pred is a {type(pred).__name__}: give an AnnData, or several by name, {{'mine': pred}}.")
    for name, one in pred.items():
        if not isinstance(one, AnnData):
            raise TypeError(
                f"pred[{name!r}] is a {type(one).__name__}: give an AnnData, as anndata.read_h5ad reads it."
            )
    return dict(pred)


def _name(pred: AnnData) -> str:
    """What one prediction alone is called."""
    made = pred.uns.get("sccalmflow", {}).get("method", "prediction")
    return "prediction" if made in _OWN_NAMES else made


def _check_arguments(preds: Mapping[str, AnnData], values: str, n_boot: int) -> None:
    _checks.one_of(values, ("log1p", "any"), "values")
    if n_boot < 0:
        raise ValueError(f"n_boot is {n_boot}; give 0 for no intervals, or a positive number.")
    if not preds:
        raise ValueError("pred is empty; give at least one prediction.")
    for name in preds:
        if name in _OWN_NAMES:
            raise ValueError(f"pred has the name {name!r}, which the report uses itself; choose another.")
