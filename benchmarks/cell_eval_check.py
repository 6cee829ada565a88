"""Do cell-eval and sccalmflow say the same of one prediction?

    pip install cell-eval
    python benchmarks/cell_eval_check.py

Simulated cells, sixteen held-out combinations in two contexts. Two predictions: "additive", the baseline, and "true
PCs", the true cells themselves after a projection to 50 principal components and back, which is what a perfect model of
the components would give. Both are written with `tl.to_cell_eval` and judged by `cell-eval run`. Prints Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

import sccalmflow as scf

CONTEXTS = [("CD14 Mono", "acute"), ("B", "chronic")]
PERTURBATIONS = ["IFN-beta", "IFN-gamma", "IL-6", "TNF-alpha", "IL-4", "IL-10", "TGF-beta", "LPS"]
KEYS = ["cell_type", "perturbation", "chronicity"]


def predictions(adata: AnnData, heldout: pd.DataFrame) -> dict[str, AnnData]:
    """Two predictions of the held-out combinations."""
    true = adata[adata.obs["split"] == "heldout"].copy()
    true.X = scf.pp.reconstruct(true)
    true.uns["sccalmflow"] = {
        "condition_keys": KEYS,
        "perturbation_key": "perturbation",
        "control": "control",
        "split_key": "split",
    }
    additive = scf.baselines.additive(adata, heldout, perturbation_key="perturbation", control="control")
    return {"additive": additive, "true PCs": true}


def cell_eval(pred: AnnData, truth: AnnData, folder: Path) -> pd.DataFrame:
    """What `cell-eval run` writes, one row a condition."""
    files = scf.tl.to_cell_eval(pred, truth, folder)
    command = [sys.executable, "-m", "cell_eval", "run", "-ap", str(files[0]), "-ar", str(files[1]), "-o", str(folder)]
    columns = ["--pert-col", "perturbation", "--control-pert", "control", "--celltype-col", "context"]
    subprocess.run([*command, *columns, "--num-threads", "1"], check=True, capture_output=True)
    tables = [
        pd.read_csv(folder / f"{', '.join(context)}_results.csv").assign(context=", ".join(context))
        for context in CONTEXTS
    ]
    return pd.concat(tables).set_index(["context", "perturbation"])


def ours(pred: AnnData, truth: AnnData) -> pd.DataFrame:
    """What `tl` says, under cell-eval's names, one row a condition."""
    rows = {}
    for context in CONTEXTS:
        control = _cells(truth, context, "control")
        delta = {p: _cells(truth, context, p).mean(axis=0) - control.mean(axis=0) for p in PERTURBATIONS}
        for perturbation in PERTURBATIONS:
            x, y = _cells(pred, context, perturbation), _cells(truth, context, perturbation)
            others = np.array([change for name, change in delta.items() if name != perturbation])
            rows[", ".join(context), perturbation] = {
                "overlap_at_50": scf.tl.de_overlap(x, y, control, n_top=50),
                "pearson_delta": scf.tl.pearson_delta(x, y, control),
                "mse": scf.tl.mse(x, y),
                "mae": scf.tl.mae(x, y),
                **{
                    f"discrimination_score_{distance}": scf.tl.discrimination(x, y, control, others, distance=distance)
                    for distance in ("l1", "l2", "cosine")
                },
                "edistance_pred": scf.tl.edistance(x, control),
                "edistance_true": scf.tl.edistance(y, control),
            }
    table = pd.DataFrame.from_dict(rows, orient="index")
    for context, group in table.groupby(level=0):
        table.loc[context, "pearson_edistance"] = group["edistance_pred"].corr(group["edistance_true"])
    return table.drop(columns=["edistance_pred", "edistance_true"])


def _cells(adata: AnnData, context: tuple[str, str], perturbation: str) -> np.ndarray:
    cell_type, chronicity = context
    obs = adata.obs
    is_condition = (obs["cell_type"] == cell_type) & (obs["chronicity"] == chronicity)
    cells = adata[is_condition & (obs["perturbation"] == perturbation)]
    return cells.to_df().to_numpy(dtype=np.float64)


def markdown(table: pd.DataFrame) -> str:
    """A table of figures."""
    lines = [["metric", *table.columns], ["---"] * (table.shape[1] + 1)]
    lines += [[f"`{name}`", *(_shown(v) for v in values)] for name, *values in table.itertuples()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _shown(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"


def main() -> None:
    """Make the data, run both, print the means over the conditions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=60, help="cells a condition")
    parser.add_argument("--genes", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    adata = scf.datasets.simulated_cytokines(cells_per_condition=args.cells, n_genes=args.genes, seed=args.seed)
    conditions = [(t, p, c) for (t, c), p in itertools.product(CONTEXTS, PERTURBATIONS)]
    heldout = pd.DataFrame(conditions, columns=KEYS)
    scf.pp.hold_out(adata, conditions=heldout, keys=KEYS)
    scf.pp.pca(adata, 50)
    columns = {}
    for name, pred in predictions(adata, heldout).items():
        cut = pred.copy()
        cut.X = np.maximum(cut.X.toarray() if hasattr(cut.X, "toarray") else cut.X, 0)
        with tempfile.TemporaryDirectory() as folder:
            theirs = cell_eval(pred, adata, Path(folder))
        columns[f"{name}: cell-eval"] = theirs.mean()
        columns[f"{name}: here, values below 0 cut"] = ours(cut, adata).mean()
        columns[f"{name}: here"] = ours(pred, adata).mean()
    print(f"cell-eval {version('cell-eval')}, pdex {version('pdex')}, sccalmflow {scf.__version__}; {vars(args)}\n")
    print(markdown(pd.DataFrame(columns, index=theirs.columns)))


if __name__ == "__main__":
    main()
