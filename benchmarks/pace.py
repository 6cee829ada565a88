"""How long an epoch of the default takes, and an update of flow matching, scoring and training again included.

    SCCALMFLOW_DATA=... python -m benchmarks.pace --data kang perturbench bodenmiller simulated

The methods train in turns in one process on one thread, so that what else the machine does slows all of them; runs of
`heldout.py` are hours apart. One JSON for each data set with versions and the seconds of each turn, which `report.py`
multiplies with the steps of the runs. A data set that has its file is not repeated.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from benchmarks import splits
from benchmarks.heldout import RESULTS, WITH_BASELINES, chosen, machine, parser
from benchmarks.methods import METHODS, Settings

from sccalmflow._files import write_json

COMPETITORS = ("cfm-control", "cfm-noise")
_SHORT: dict[str, Settings] = {
    WITH_BASELINES: {"train": {"max_epochs": 2, "min_epochs": 1}},
    **dict.fromkeys(COMPETITORS, {"n_updates": 300}),
}


def curve(run: dict[str, Any]) -> dict[int, float]:
    """The validation scores of a run by the step they were made after: epochs of the default, else updates."""
    history = run["history"]
    if "validation_edistance" in history:
        return dict(enumerate(history["validation_edistance"], 1))
    return {int(updates): score for updates, score in history.items()}


def n_steps(run: dict[str, Any]) -> int:
    """All steps that a run took, training again included."""
    again = run["n_updates"] if "n_updates" in run else len(run["history"].get("refit_loss", []))
    return max(curve(run)) + again


def pace(split: splits.Split, name: str, settings: Settings) -> float:
    """Seconds of a step in a short training."""
    _, made = METHODS[name].predict(split, settings | _SHORT[name], 0, 10)
    return float(made["training_seconds"] / n_steps(made))


def paces(data: str, n_repeats: int, tuning: Path) -> dict[str, list[float]]:
    """Seconds of a step of each method, measured in turns."""
    split = splits.load(data)
    of: dict[str, list[float]] = {name: [] for name in _SHORT}
    for _ in range(n_repeats):
        for name, seconds in of.items():
            seconds.append(round(pace(split, name, chosen(data, name, tuning)), 4))
    return of


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--out", type=Path, default=RESULTS / "pace")
    arguments = options.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for data in arguments.data:
        file = arguments.out / f"{data}.json"
        if not file.exists():
            write_json(file, {"seconds": paces(data, arguments.repeats, arguments.tuning), **machine()})
        print(data, json.loads(file.read_text())["seconds"], flush=True)


if __name__ == "__main__":
    main()
