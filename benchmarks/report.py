"""Tables of the documentation from what `heldout.py` has written.

    python benchmarks/report.py

For each data set and preset in `--results`, a Markdown table beside the runs: mean over the held-out combinations; of
the model, mean and standard deviation over seeds.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

COLUMNS = {
    "edistance": "E-distance ↓",
    "mmd": "MMD ↓",
    "pearson_delta": "Pearson Δ ↑",
    "pearson_delta_top100": "Pearson Δ, top 100 ↑",
    "discrimination": "discrimination ↑",
    "de_overlap": "DE overlap ↑",
    "delta_slope": "slope → 1",
    "std_ratio": "std ratio → 1",
}
MODEL = "calmflow"


def table(runs: list[dict]) -> str:
    """One row a method."""
    lines = ["| | " + " | ".join(COLUMNS.values()) + " |", "| --- " * (len(COLUMNS) + 1) + "|"]
    methods = [name for name in runs[0]["metrics"] if name != MODEL]
    # Baselines first, the ceiling at the foot, the model between them.
    for method in [*[name for name in methods if name != "ceiling"], MODEL, "ceiling"]:
        cells = [_cell([run["metrics"][method].get(metric, np.nan) for run in runs], method) for metric in COLUMNS]
        label = f"**CaLMFlow** ({len(runs)} seed{'s' if len(runs) > 1 else ''})" if method == MODEL else f"`{method}`"
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    seconds = ", ".join(f"{run['training_seconds']:.0f} s ({run['threads']})" for run in runs)
    memory = max(run["peak_memory_gb"] for run in runs)
    cost = f"Training took {seconds}, threads in brackets, with at most {memory:.1f} GB."
    return "\n".join([*lines, "", cost, ""])


def _cell(values: list[float], method: str) -> str:
    if np.isnan(values).all():
        return "–"
    spread = f" ± {np.std(values, ddof=1):.3f}" if method == MODEL and len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "heldout")
    arguments = parser.parse_args()
    found = defaultdict(list)
    for file in sorted(arguments.results.glob("*.json")):
        found[file.stem.rsplit("-", 1)[0]].append(json.loads(file.read_text()))
    for name, runs in found.items():
        text = table(runs)
        (arguments.results / f"{name}.md").write_text(text)
        print(f"{name}\n{text}")


if __name__ == "__main__":
    main()
