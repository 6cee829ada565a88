"""Choose the settings of methods on validation folds inside the training split.

    SCCALMFLOW_DATA=... python -m benchmarks.tune --data kang perturbench bodenmiller simulated --methods all

The held-out cells of the benchmark are taken out first, so no choice can see them. Every settings of a method's grid is
trained once on each fold; the lowest mean E-distance wins. One JSON for each data set and method, which `heldout.py`
reads; it grows with every settings tried, and an interrupted choice goes on.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import splits
from benchmarks.heldout import chosen, judge, methods_of, parser, write
from benchmarks.methods import METHODS, NotAvailable, Settings

import sccalmflow as scf

_METRICS = ("edistance", "pearson_delta", "std_ratio")
_SEED = 0


def tune(data: str, name: str, folds: list[splits.Split], file: Path) -> None:
    """Try the settings of a method's grid that ``file`` has not yet; it holds each one's scores, and the best."""
    tried = _tried(file)
    for settings in _left(name, tried):
        scores = []
        for fold in folds:
            pred, made = METHODS[name].predict(fold, settings, _SEED, fold.n_cells)
            report = judge(fold, name, pred, _SEED, metrics=_METRICS, baselines=False, n_boot=0)
            scores.append({**scf.tl.summary(report).loc[name, list(_METRICS)], "seconds": made["training_seconds"]})
        tried.append({"settings": settings, "folds": scores})
        write(file, {"data": data, "method": name, "tried": tried, "chosen": min(tried, key=mean_of)["settings"]})
        print(f"{data}, {METHODS[name].label}, {settings or 'first settings'}: {mean_of(tried[-1]):.3f}", flush=True)


def _tried(file: Path) -> list[dict[str, Any]]:
    return json.loads(file.read_text())["tried"] if file.exists() else []


def _left(name: str, tried: list[dict[str, Any]]) -> list[Settings]:
    known = [one["settings"] for one in tried]
    return [settings for settings in METHODS[name].grid if settings not in known]


def mean_of(one: dict[str, Any], metric: str = "edistance") -> float:
    """Mean over the folds of what one settings scored."""
    return float(np.mean([fold[metric] for fold in one["folds"]]))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--folds", type=int, help="use the first so many validation folds; all by default")
    arguments = options.parse_args()
    tuning: Path = arguments.tuning
    tuning.mkdir(parents=True, exist_ok=True)
    for data in arguments.data:
        folds: list[splits.Split] = []
        for name in methods_of(arguments.methods):
            method, file = METHODS[name], tuning / f"{data}-{name}.json"
            if method.tuned_as is not None or len(method.grid) == 1:
                continue
            if _left(name, _tried(file)):
                n_folds = min(arguments.folds or splits.n_folds(data), splits.n_folds(data))
                folds = folds or [splits.load(data, fold) for fold in range(n_folds)]
                try:
                    tune(data, name, folds, file)
                except NotAvailable as reason:
                    print(f"{data}, {method.label}: not tuned. {reason}", file=sys.stderr)
                    continue
            print(f"{data}, {method.label}: {chosen(data, name, tuning) or 'its defaults'}", flush=True)


if __name__ == "__main__":
    main()
