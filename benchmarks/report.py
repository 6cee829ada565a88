"""Tables and figures of the documentation from what `heldout.py`, `tune.py` and `unseen.py` have written.

    python -m benchmarks.report

For each data set a Markdown table beside the runs: mean over the held-out combinations, then mean and standard
deviation over seeds; and one figure of all data sets.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from benchmarks.heldout import RESULTS, WITH_BASELINES
from benchmarks.methods import LABELS_ALONE, METHODS, Settings
from benchmarks.pace import COMPETITORS, curve
from benchmarks.splits import DATA
from benchmarks.tune import mean_of, on_shared_runs

from sccalmflow.validation._markdown import table_head, table_row

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
CEILING = "ceiling"
VARIANTS = "variants"
_LEAST = 1e-3  # of an axis of powers; the unbiased E-distance of a perfect prediction is about 0, of either sign
TITLES = {
    "kang": "Kang et al. 2018",
    "perturbench": "McFaline-Figueroa et al. 2023",
    "bodenmiller": "Bodenmiller et al. 2012",
    "simulated": "simulation",
}
Runs = dict[str, list[dict[str, Any]]]


def read(folder: Path, data: str) -> Runs:
    """The runs of a data set by method, in the order of `methods.py`."""
    found = defaultdict(list)
    for file in sorted(folder.glob(f"{data}-*.json")):
        run = _load(file)
        found[run["method"]].append(run)
    for name, of in found.items():
        if any(run["asked"] != of[0]["asked"] for run in of):
            raise ValueError(f"{data}, {name}: seeds have different settings; run heldout.py for all of them.")
    return {name: found[name] for name in METHODS if name in found}


def scores(runs: Runs) -> dict[str, list[dict[str, float]]]:
    """The metrics of every method and seed: simple baselines, then what is trained, then the ceiling."""
    beside: dict[str, list[dict[str, float]]] = defaultdict(list)
    for run in runs[WITH_BASELINES]:
        for name, metrics in run["metrics"].items():
            if name != WITH_BASELINES:
                beside[name].append(metrics)
    ceiling = beside.pop(CEILING)
    trained = {name: [run["metrics"][name] for run in found] for name, found in runs.items() if name != WITH_BASELINES}
    ours = [run["metrics"][WITH_BASELINES] for run in runs[WITH_BASELINES]]
    return {**beside, **trained, WITH_BASELINES: ours, CEILING: ceiling}


def skill(of: dict[str, list[dict[str, float]]], baselines: set[str]) -> dict[str, float]:
    """Where the mean E-distance of a method lies between the best simple baseline (0) and the ceiling (1)."""
    mean = {name: float(np.mean([one["edistance"] for one in found])) for name, found in of.items()}
    best = min(mean[name] for name in baselines)
    return {name: (value - best) / (mean[CEILING] - best) for name, value in mean.items()}


def table(runs: Runs) -> str:
    """One row a method."""
    of = scores(runs)
    simple = set(of) - set(runs) - {CEILING}
    skills = skill(of, simple)
    names = [*COLUMNS.values(), "skill in E-distance", "seconds", "cells/s", "parameters"]
    lines = table_head(["", "seeds", *names])
    for name, found in of.items():
        is_trained = name in runs
        cells = [_cell([one.get(metric, np.nan) for one in found], is_trained) for metric in COLUMNS]
        cells.append(f"{round(skills[name], 2) + 0.0:.2f}")  # no -0.00
        cells += _costs(runs[name]) if is_trained else ["–"] * 3
        label = METHODS[name].label if is_trained else f"`{name}`"
        label = f"**{label}**" if name == WITH_BASELINES else label
        lines.append(table_row([label, str(len(found)) if is_trained else "–", *cells]))
    return "\n".join([*lines, ""])


def _cell(values: list[float], is_trained: bool) -> str:
    if np.isnan(values).all():
        return "–"
    spread = f" ± {np.std(values, ddof=1):.3f}" if is_trained and len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def _costs(found: list[dict[str, Any]]) -> list[str]:
    seconds, speed = (np.mean([run[key] for run in found]) for key in ("training_seconds", "cells_per_second"))
    return [f"{seconds:.0f}", f"{speed:.0f}", f"{found[0]['parameters']:,}"]


def draw(of_data: dict[str, Runs]) -> plt.Figure:
    """E-distance of every method on every data set, a point for each seed."""
    n_columns = min(2, len(of_data))
    n_rows = -(-len(of_data) // n_columns)
    size = (6 * n_columns, 3.6 * n_rows)
    figure, axes = plt.subplots(n_rows, n_columns, figsize=size, layout="constrained", sharex=True, squeeze=False)
    for ax in axes.flat[len(of_data) :]:
        ax.remove()
    for ax, (data, runs) in zip(axes.flat, of_data.items(), strict=False):
        of = {name: found for name, found in scores(runs).items() if name != CEILING}
        # From the worst at the top; a method whose cells are elsewhere altogether would press the others together.
        order = sorted(of, key=lambda name: -np.mean([one["edistance"] for one in of[name]]))
        for row, name in enumerate(order):
            values = [max(one["edistance"], _LEAST) for one in of[name]]
            colour = "C3" if name == WITH_BASELINES else "C0" if name in runs else "0.6"
            ax.plot(values, [row] * len(values), "o", color=colour, alpha=0.8)
        ax.set_yticks(range(len(order)), [METHODS[name].label if name in runs else name for name in order])
        ax.set(xscale="log", title=TITLES[data])
        ax.tick_params(labelbottom=True)
        ax.grid(axis="x", alpha=0.3)
    figure.supxlabel(f"E-distance to the truth (lower is better; {_LEAST} where it is less)", fontsize="medium")
    return figure


def tuning_table(folder: Path) -> str:
    """What was tried on validation folds, and what was chosen."""
    lines = table_head(["data", "method", "settings", "runs", "E-distance", ""])
    for found in map(_load, sorted(folder.glob("*.json"))):
        if found["method"] == VARIANTS:
            continue
        for one in found["tried"]:
            mark = "chosen" if one["settings"] == found["chosen"] else ""
            title, label = TITLES[found["data"]], METHODS[found["method"]].label
            cells = [str(len(one["runs"])), _cell([run["edistance"] for run in one["runs"]], is_trained=True), mark]
            lines.append(table_row([title, label, _words(one["settings"]), *cells]))
    return "\n".join([*lines, ""])


def variants_table(folder: Path) -> str:
    """Variants of the default: their E-distance, the default's on the same folds and seeds, and how many these are."""
    of = {data: _load(file)["tried"] for data in DATA if (file := folder / f"{data}-{VARIANTS}.json").exists()}
    lines = table_head(["", *(TITLES[data] for data in of)])
    for settings in METHODS[VARIANTS].grid:
        cells = [_beside_default(tried, settings) for tried in of.values()]
        if set(cells) != {"–"}:
            lines.append(table_row([_words(settings), *cells]))
    return "\n".join([*lines, ""])


def _beside_default(tried: list[dict[str, Any]], settings: Settings) -> str:
    both = [one for wanted in ({}, settings) for one in tried if one["settings"] == wanted]
    if len(both) < 2 or not (both := on_shared_runs(both))[0]["runs"]:
        return "–"
    default, variant = (f"{mean_of(one):.3f}" for one in both)
    of_how_many = f"({len(both[0]['runs'])})"
    return f"{variant} / {default} {of_how_many}" if settings else f"{default} {of_how_many}"


def cost_table(of_data: dict[str, Runs], paces: dict[str, dict[str, list[float]]]) -> str:
    """Seconds of search until the model is as good on the validation conditions as a competitor at its best.

    All stop by the E-distance of the same validation conditions, which they draw by one rule from one seed. The steps
    are those of the runs, and the seconds of a step the median that `pace.py` measured.
    """
    lines = table_head(["data", "beside", "seed", "its best", "seconds to it", "CaLMFlow, seconds", "ratio"])
    for data, of in paces.items():
        seconds = {name: float(np.median(values)) for name, values in of.items()}
        ours = {run["seed"]: run for run in of_data[data][WITH_BASELINES]}
        for name in COMPETITORS:
            for run in of_data[data].get(name, []):
                if run["seed"] in ours:
                    row = [TITLES[data], METHODS[name].label, str(run["seed"])]
                    lines.append(table_row([*row, *_beside(run, ours[run["seed"]], seconds)]))
    return "\n".join([*lines, ""])


def _beside(run: dict[str, Any], ours: dict[str, Any], seconds: dict[str, float]) -> list[str]:
    its = curve(run)
    best = min(its, key=lambda step: its[step])
    its_seconds = best * seconds[run["method"]]
    epoch = next((epoch for epoch, value in curve(ours).items() if value <= its[best]), None)
    if epoch is None:
        return [f"{its[best]:.3f}", f"{its_seconds:.0f}", "not reached", "–"]
    our_seconds = epoch * seconds[WITH_BASELINES]
    return [f"{its[best]:.3f}", f"{its_seconds:.0f}", f"{our_seconds:.0f}", f"{our_seconds / its_seconds:.1f}"]


def _load(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


def _words(settings: dict[str, Any]) -> str:
    if settings == {"setup": LABELS_ALONE}:
        return "sentences of labels alone"
    parts = [part.items() if isinstance(part, dict) else [(key, part)] for key, part in settings.items()]
    return ", ".join(f"{key}={value}" for part in parts for key, value in part) or "defaults"


def unseen_table(folder: Path) -> str:
    """Mean over seeds of each method in each case of `unseen.py`."""
    columns = ("edistance", "mmd", "pearson_delta", "discrimination", "std_ratio")
    lines = table_head(["case", "", *(COLUMNS[name] for name in columns)])
    cases = defaultdict(list)
    for file in sorted(folder.glob("*.json")):
        cases[file.stem.rsplit("-", 1)[0]].append(_load(file))
    for found in cases.values():
        case = found[0]["case"]
        title = f"{TITLES[case['name']]}, {case['label']} ({'; '.join(found[0]['novelty'])})"
        for method in found[0]["metrics"]:
            runs = [run["metrics"][method] for run in found]
            cells = [_cell([run.get(name, np.nan) for run in runs], method == WITH_BASELINES) for name in columns]
            label = f"**CaLMFlow** ({len(runs)})" if method == WITH_BASELINES else f"`{method}`"
            lines.append(table_row([title, label, *cells]))
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    results: Path = parser.parse_args().results
    runs = {data: found for data in DATA if WITH_BASELINES in (found := read(results / "heldout", data))}
    for data, found in runs.items():
        (results / "heldout" / f"{data}.md").write_text(table(found))
        print(f"{data}\n{table(found)}")
    draw(runs).savefig(results / "heldout" / "edistance.png", dpi=120)
    paces = {data: _load(file)["seconds"] for data in runs if (file := results / "pace" / f"{data}.json").exists()}
    (results / "heldout" / "cost.md").write_text(cost_table(runs, paces))
    if list((results / "tuning").glob(f"*-{VARIANTS}.json")):
        (results / "tuning" / "variants.md").write_text(variants_table(results / "tuning"))
    for name, made in (("tuning", tuning_table), ("unseen", unseen_table)):
        if (results / name).is_dir():
            (results / name / f"{name}.md").write_text(made(results / name))


if __name__ == "__main__":
    main()
