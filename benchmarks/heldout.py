"""Train the default model on a split, predict its held-out combinations, judge them.

    SCCALMFLOW_DATA=... python benchmarks/heldout.py --data kang perturbench bodenmiller simulated --seeds 0 1 2

In `--out`, for each run, a JSON with every setting and the means, and a CSV with the whole report, intervals included;
for each data set a figure of the first seed's report. A finished run is not repeated. The table is the mean over the
held-out combinations, then over seeds with their standard deviation.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import resource
import sys
import time
from pathlib import Path

# Run as a file, this folder is on the path and the repository's root is not.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pandas as pd
import torch
from benchmarks.splits import SPLITS, Split

import sccalmflow as scf


def run(split: Split, name: str, preset: str, seed: int, n_cells: int) -> tuple[dict, pd.DataFrame]:
    """One training: the mean of each metric for each method with all settings, and the whole report."""
    chronicity = "chronicity" if "chronicity" in split.keys else None
    scf.CaLMFlowModel.setup_anndata(
        split.adata,
        cell_type_key="cell_type",
        perturbation_key="perturbation",
        chronicity_key=chronicity,
        control=split.control,
    )
    model = scf.CaLMFlowModel(split.adata, preset=preset, seed=seed)
    start = time.perf_counter()
    model.train(seed=seed)
    trained = time.perf_counter() - start
    start = time.perf_counter()
    pred = model.predict_perturbation(split.heldout, n_cells=n_cells, seed=seed)
    predicted = time.perf_counter() - start
    report = scf.tl.evaluate(pred, split.adata, values="any", seed=seed)
    means = scf.tl.summary(report).drop(columns="n_conditions")
    result = {
        "data": name,
        "preset": preset,
        "seed": seed,
        "metrics": means.to_dict(orient="index"),
        "history": {key: frame.iloc[:, 0].tolist() for key, frame in model.history_.items()},
        "training_seconds": round(trained, 1),
        "cells_per_second": round(pred.n_obs / predicted, 1),
        "parameters": sum(parameter.numel() for parameter in model.module.parameters()),
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
        "versions": {"sccalmflow": scf.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "settings": model.settings,
    }
    return result, report.drop(columns=list(split.keys))


def table(results: list[dict]) -> pd.DataFrame:
    """Mean and standard deviation over seeds of each metric, one row a data set and method."""
    rows = [
        {"data": result["data"], "method": method, **values}
        for result in results
        for method, values in result["metrics"].items()
    ]
    grouped = pd.DataFrame(rows).groupby(["data", "method"], sort=False)
    mean, spread = grouped.mean(), grouped.std().fillna(0)
    shown = mean.copy().astype(object)
    for column in mean:
        shown[column] = [f"{m:.3f} ± {s:.3f}" for m, s in zip(mean[column], spread[column], strict=True)]
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=list(SPLITS), default=["kang"])
    parser.add_argument("--preset", choices=["default", "paper"], default="default")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--n-cells", type=int, default=1000, help="predicted cells of each combination")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "heldout")
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = []
    for name in arguments.data:
        split = None
        for seed in arguments.seeds:
            file = arguments.out / f"{name}-{arguments.preset}-{seed}.json"
            if not file.exists():
                split = split or SPLITS[name]()
                result, report = run(split, name, arguments.preset, seed, arguments.n_cells)
                report.round(5).to_csv(file.with_suffix(".csv"), index=False)
                # Written whole or not at all: an interrupted run is repeated, not half believed.
                partial = file.with_suffix(".partial")
                partial.write_text(json.dumps(result, indent=1))
                os.replace(partial, file)
            results.append(json.loads(file.read_text()))
            print(f"{name} seed {seed}: {results[-1]['training_seconds']} s of training")
        draw(arguments.out / f"{name}-{arguments.preset}-{arguments.seeds[0]}.csv")
    print(table(results).T.to_string())


def draw(file: Path) -> None:
    """The report of one run as a figure beside it."""
    axes = scf.pl.evaluation(pd.read_csv(file))
    axes[0].figure.savefig(file.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    main()
