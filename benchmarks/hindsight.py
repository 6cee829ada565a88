"""What the other contexts could say of a held-out combination, chosen in hindsight.

    SCCALMFLOW_DATA=... python -m benchmarks.hindsight

The control cells of the combination's context are moved by one vector: the mean change that the perturbation makes in
the other contexts; the best combination of these changes, with weights that are fitted to the true change, which no
method can know; and the true change itself. What the second leaves is not in any weighing of the other contexts; what
the third leaves is a change of shape. Both are fitted to the very cells that they are compared with, which makes them
look better by the noise of these: below 0 where that is more than what is left. Beside them, the mean of the default's
runs in `results/heldout`. Writes `hindsight.md` there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from benchmarks import splits
from benchmarks.heldout import RESULTS, WITH_BASELINES
from benchmarks.report import TITLES
from benchmarks.splits import Split
from scipy.optimize import nnls

from sccalmflow.tl import edistance
from sccalmflow.validation._markdown import table_head, table_row

_COLUMNS = ("other contexts", "control cells", "mean change", "best combination", "explained", "true change")


def hindsight(split: Split) -> pd.DataFrame:
    """A row a held-out combination: the number of other contexts, E-distances of moved control cells, and a share.

    ``explained`` is the share of the true change's square that the best combination explains.
    """
    labels = split.adata.obs[list(split.keys)].astype(str)
    scores = np.asarray(split.adata.obsm["X_pca"], dtype=float)
    cells = {condition: scores[rows] for condition, rows in labels.groupby(list(split.keys)).indices.items()}
    held = list(split.heldout.astype(str).itertuples(index=False, name=None))
    at = split.keys.index("perturbation")

    def control(condition: tuple[str, ...]) -> tuple[str, ...]:
        return (*condition[:at], split.control, *condition[at + 1 :])

    def change(condition: tuple[str, ...]) -> np.ndarray:
        return cells[condition].mean(axis=0) - cells[control(condition)].mean(axis=0)

    rows = {}
    for condition in held:
        others = [one for one in cells if one[at] == condition[at] and one not in held and control(one) in cells]
        changes = np.stack([change(one) for one in others], axis=1)
        true = change(condition)
        best = changes @ nnls(changes, true)[0]
        moved = [
            edistance(cells[control(condition)] + by, cells[condition]) for by in (0, changes.mean(axis=1), best, true)
        ]
        explained = 1 - ((true - best) ** 2).sum() / (true**2).sum()
        rows[", ".join(condition)] = [len(others), *moved[:3], explained, moved[3]]
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(_COLUMNS))


def ours(data: str, folder: Path) -> pd.Series:
    """E-distance of the default for each held-out combination, the mean over the seeds that have been run."""
    reports = [pd.read_csv(file) for file in sorted(folder.glob(f"{data}-{WITH_BASELINES}-*.csv"))]
    report = pd.concat(reports) if reports else pd.DataFrame(columns=["condition", "method", "metric", "value"])
    chosen = report[(report["method"] == WITH_BASELINES) & (report["metric"] == "edistance")]
    return chosen.groupby("condition")["value"].mean()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", nargs="+", choices=splits.DATA, default=list(splits.DATA))
    options.add_argument("--out", type=Path, default=RESULTS / "heldout", help="where the runs of heldout.py are")
    arguments = options.parse_args()
    if not arguments.out.is_dir():
        options.error(f"{arguments.out} is not a folder.")
    lines = table_head(["", *_COLUMNS, "**CaLMFlow**"])
    for data in arguments.data:
        found = hindsight(splits.load(data))
        found["CaLMFlow"] = ours(data, arguments.out)
        found.loc[f"**{TITLES[data]}, mean**"] = found.mean()
        for name, row in found.iterrows():
            values = ["–" if np.isnan(value) else f"{value:.3f}" for value in row.iloc[1:]]
            lines.append(table_row([name, f"{row.iloc[0]:.0f}", *values]))
    text = "\n".join([*lines, ""])
    (arguments.out / "hindsight.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
