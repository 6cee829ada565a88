"""Conditions whose cell type or perturbation training has never read, by novelty.

    SCCALMFLOW_DATA=... python -m benchmarks.unseen

An unseen type is left out altogether and its control cells are given at prediction; simple baselines get them too. An
unseen perturbation is left out in all contexts: its name in the sentence is the only thing that tells it from others.
What it has to beat is `perturbed_mean`, here training cells of the same context under all other perturbations. One JSON
for each case and seed; one that was finished with the same default is not repeated.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import splits
from benchmarks.heldout import RESULTS, WITH_BASELINES, finished, judge
from benchmarks.methods import set_up
from benchmarks.splits import Split

import sccalmflow as scf
from sccalmflow._files import write_json


@dataclass(frozen=True)
class Case:
    """A label that training never sees: of which data, key and what value."""

    name: str
    key: str
    label: str


CASES = {
    "kang-type": Case("kang", "cell_type", "NK"),
    "bodenmiller-type": Case("bodenmiller", "cell_type", "cd8+"),
    "simulated-type": Case("simulated", "cell_type", "NK"),
    "perturbench-perturbation": Case("perturbench", "perturbation", "MAP2K3"),
    "simulated-perturbation": Case("simulated", "perturbation", "IL-6"),
}


def run(case: Case, split: Split, seed: int) -> dict[str, Any]:
    """One training: the mean of each metric for the model, the baselines and the ceiling."""
    adata = split.adata
    set_up(split)
    model = scf.CaLMFlowModel(adata, seed=seed)
    model.train(seed=seed)
    given = adata[(adata.obs["given"] == "train") & (adata.obs["perturbation"] == split.control)]
    pred = model.predict_perturbation(
        split.heldout, n_cells=split.n_cells, control=given if case.key == "cell_type" else None, seed=seed
    )
    report = judge(split, "default", pred, seed, split_key="given")
    return {
        "case": vars(case),
        "seed": seed,
        "novelty": pred.obs["novelty"].unique().tolist(),
        "conditions": report["condition"].nunique(),
        "metrics": scf.tl.summary(report).drop(columns="n_conditions").to_dict(orient="index"),
        "settings": model.settings,
        "history": {key: frame.iloc[:, 0].tolist() for key, frame in model.history_.items()},
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options.add_argument("--out", type=Path, default=RESULTS / "unseen")
    arguments = options.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.cases:
        split = None
        for seed in arguments.seeds:
            file = arguments.out / f"{name}-{seed}.json"
            found = finished(file, {}, WITH_BASELINES)
            if found is None:
                split = split or splits.load_without(**vars(CASES[name]))
                found = run(CASES[name], split, seed)
                write_json(file, found)
            of = {key: round(value["edistance"], 3) for key, value in found["metrics"].items()}
            print(f"{name}, seed {seed}:", of)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
