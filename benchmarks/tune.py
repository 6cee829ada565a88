"""Choose the settings of methods on validation folds inside the training split.

    SCCALMFLOW_DATA=... python -m benchmarks.tune --data kang perturbench bodenmiller simulated --methods all

The held-out cells of the benchmark are taken out first, so no choice can see them. Every settings of a method's grid is
trained on each fold with each seed; the lowest mean E-distance wins. One JSON for each data set and method, which
`heldout.py` reads; it grows with every run, and an interrupted choice goes on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import splits
from benchmarks.heldout import add_methods, chosen, judge, methods_of, parser
from benchmarks.methods import METHODS, NotAvailable, Settings

import sccalmflow as scf
from sccalmflow._files import write_json

_METRICS = ("edistance", "pearson_delta", "std_ratio")


def tune(data: str, name: str, folds: Sequence[int], seeds: Sequence[int], file: Path) -> None:
    """Run what ``file`` has not yet of the method's grid; it holds the scores of each settings, and the best."""
    tried = json.loads(file.read_text())["tried"] if file.exists() else []
    known = [one["settings"] for one in tried]
    tried += [{"settings": settings, "runs": []} for settings in METHODS[name].grid if settings not in known]
    for fold in folds:
        split = None
        for seed, one in product(seeds, tried):
            if one["settings"] not in METHODS[name].grid or (fold, seed) in _done(one):
                continue
            split = split or splits.load(data, fold)
            one["runs"].append({"fold": fold, "seed": seed, **_score(split, name, one["settings"], seed)})
            scored = [other for other in tried if other["runs"]]
            # What has left the grid is kept, and has no say.
            best = _best([other for other in scored if other["settings"] in METHODS[name].grid])
            write_json(file, {"data": data, "method": name, "tried": scored, "chosen": best["settings"]})
            words = one["settings"] or "first settings"
            score = one["runs"][-1]["edistance"]
            print(f"{data}, {METHODS[name].label}, {words}, fold {fold}, seed {seed}: {score:.3f}", flush=True)


def _done(one: dict[str, Any]) -> set[tuple[int, int]]:
    return {(run["fold"], run["seed"]) for run in one["runs"]}


def _best(tried: list[dict[str, Any]]) -> dict[str, Any]:
    """By the runs that all settings have, lest an interrupted choice prefer what had the easier ones."""
    scores = [
        mean_of(shared if shared["runs"] else one) for one, shared in zip(tried, on_shared_runs(tried), strict=True)
    ]
    return tried[int(np.argmin(scores))]


def on_shared_runs(tried: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was tried, each with only its runs on the folds and with the seeds that all of it has."""
    shared = set.intersection(*map(_done, tried))
    return [one | {"runs": [run for run in one["runs"] if (run["fold"], run["seed"]) in shared]} for one in tried]


def _score(split: splits.Split, name: str, settings: Settings, seed: int) -> dict[str, float]:
    pred, made = METHODS[name].predict(split, settings, seed, split.n_cells)
    report = judge(split, name, pred, seed, metrics=_METRICS, baselines=False, n_boot=0)
    return {**scf.tl.summary(report).loc[name, list(_METRICS)], "seconds": made["training_seconds"]}


def mean_of(one: dict[str, Any]) -> float:
    """Mean E-distance over the runs of one settings."""
    return float(np.mean([run["edistance"] for run in one["runs"]]))


def main() -> None:
    options = parser(__doc__)
    add_methods(options)
    options.add_argument("--folds", type=int, help="use the first so many validation folds; all by default")
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    arguments = options.parse_args()
    tuning: Path = arguments.tuning
    tuning.mkdir(parents=True, exist_ok=True)
    for data in arguments.data:
        folds = range(min(arguments.folds or splits.n_folds(data), splits.n_folds(data)))
        for name in methods_of(arguments.methods):
            method, file = METHODS[name], tuning / f"{data}-{name}.json"
            if method.tuned_as is not None or len(method.grid) == 1:
                continue
            try:
                tune(data, name, folds, arguments.seeds, file)
            except NotAvailable as reason:
                print(f"{data}, {method.label}: not tuned. {reason}", file=sys.stderr)
                continue
            print(f"{data}, {method.label}: {chosen(data, name, tuning) or 'its defaults'}", flush=True)


if __name__ == "__main__":
    main()
