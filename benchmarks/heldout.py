"""Predict held-out combinations with every method, and judge the predictions.

    SCCALMFLOW_DATA=... python -m benchmarks.heldout --data kang perturbench bodenmiller simulated --methods all

In `--out`, for each run, a JSON with every setting, the costs and the means of all metrics, and a CSV with the whole
report, intervals included; those of `default` also have the simple baselines and the ceiling. Settings are those that
`tune.py` chose on validation folds, where it has been run; a finished run with the same ones is not repeated. A method
that cannot be run, or fails, is skipped, and says why.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import resource
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from benchmarks import splits
from benchmarks.methods import METHODS, Method, NotAvailable, Settings
from benchmarks.splits import Split

import sccalmflow as scf
from sccalmflow._files import write_json
from sccalmflow.model._presets import resolve_settings

RESULTS = Path(__file__).parent / "results"
WITH_BASELINES = "default"


def run(split: Split, name: str, settings: Settings, seed: int) -> tuple[dict[str, Any], pd.DataFrame]:
    """One training: the mean of each metric for each method with all settings, and the whole report."""
    pred, made = METHODS[name].predict(split, settings, seed, split.n_cells)
    report = judge(split, name, pred, seed, baselines=name == WITH_BASELINES)
    means = scf.tl.summary(report).drop(columns="n_conditions")
    result = {
        "data": split.name,
        "method": name,
        "seed": seed,
        "asked": settings,
        "metrics": means.to_dict(orient="index"),
        # A peer says what its own process took, and which versions it has.
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        **machine(),
        **made,
        "cells_per_second": round(pred.n_obs / made["prediction_seconds"], 1),
    } | {key: round(made[key], 2) for key in ("training_seconds", "prediction_seconds")}
    return result, report.drop(columns=list(split.keys))


def machine() -> dict[str, Any]:
    """What a measurement was made with."""
    return {
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("sccalmflow", "torch", "scvi-tools")},
        },
    }


def judge(split: Split, name: str, pred: Any, seed: int, *, split_key: str = "split", **options: Any) -> pd.DataFrame:
    """The report of one prediction."""
    return scf.tl.evaluate(
        {name: pred},
        split.adata,
        condition_keys=split.keys,
        perturbation_key="perturbation",
        control=split.control,
        split_key=split_key,
        values="any",
        seed=seed,
        **options,
    )


def chosen(data: str, name: str, tuning: Path) -> Settings:
    """The settings that validation chose for a method on a data set, else its first."""
    method: Method = METHODS[name]
    file = tuning / f"{data}-{method.tuned_as or name}.json"
    return json.loads(file.read_text())["chosen"] if file.exists() else method.grid[0]


def finished(file: Path, settings: Settings, preset: str | None = None) -> dict[str, Any] | None:
    """The run of a file, if it was made with these settings and with what the package's preset is today."""
    found = json.loads(file.read_text()) if file.exists() else None
    if found is None or found.get("asked", {}) != settings:
        return None
    if preset is not None and found["settings"] != asdict(resolve_settings(preset, settings.get("model", {}))):
        return None
    return found


def methods_of(names: list[str]) -> list[str]:
    """The methods that are asked for; "all" but the paper's preset, which takes hours, and what is for tuning alone."""
    return [name for name in METHODS if name not in ("paper", "variants")] if names == ["all"] else names


def parser(description: str | None) -> argparse.ArgumentParser:
    """What this command, `tune.py` and `pace.py` share."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", nargs="+", choices=splits.DATA, default=list(splits.DATA))
    options.add_argument("--tuning", type=Path, default=RESULTS / "tuning", help="what tune.py chose")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    return options


def add_methods(options: argparse.ArgumentParser) -> None:
    """Which methods to run."""
    options.add_argument("--methods", nargs="+", choices=["all", *METHODS], default=["default"])


def main() -> None:
    options = parser(__doc__)
    add_methods(options)
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options.add_argument("--out", type=Path, default=RESULTS / "heldout")
    arguments = options.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for data in arguments.data:
        split = None
        for name in methods_of(arguments.methods):
            settings = chosen(data, name, arguments.tuning)
            for seed in arguments.seeds:
                file = arguments.out / f"{data}-{name}-{seed}.json"
                found = finished(file, settings, METHODS[name].preset)
                if found is None:
                    split = split or splits.load(data)
                    try:
                        found, report = run(split, name, settings, seed)
                    except NotAvailable as reason:
                        print(f"{data}, {METHODS[name].label}: not run. {reason}", file=sys.stderr)
                        break
                    report.round(5).to_csv(file.with_suffix(".csv"), index=False)
                    write_json(file, found)
                print(
                    f"{data}, {METHODS[name].label}, seed {seed}: E-distance "
                    f"{found['metrics'][name]['edistance']:.3f}, {found['training_seconds']:.0f} s of training",
                    flush=True,
                )


if __name__ == "__main__":
    main()
