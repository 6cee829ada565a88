"""Do cell-eval and sccalmflow say the same of one prediction?

    pip install cell-eval
    python benchmarks/cell_eval_check.py

Simulated cells, sixteen held-out combinations in two contexts. Two predictions: "additive", the baseline, and "true
PCs", the true cells themselves after a projection to 50 principal components and back, which is what a perfect model of
the components would give. Both are written with `tl.to_cell_eval` and judged by `cell-eval run`. A second table says
why overlaps of significant genes fail predictions without measurement noise. Prints Markdown.
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
from scipy import stats

import sccalmflow as scf
from sccalmflow.validation._markdown import table_head, table_row

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


def cell_eval(pred: AnnData, truth: AnnData, folder: Path) -> dict[str, pd.DataFrame]:
    """What `cell-eval run` writes: its results, one row a condition, and its tests of prediction and truth."""
    files = scf.tl.to_cell_eval(pred, truth, folder)
    command = [sys.executable, "-m", "cell_eval", "run", "-ap", str(files[0]), "-ar", str(files[1]), "-o", str(folder)]
    columns = ["--pert-col", "perturbation", "--control-pert", "control", "--celltype-col", "context"]
    subprocess.run([*command, *columns, "--num-threads", "1"], check=True, capture_output=True)
    written = {}
    for table, label in (("results", "perturbation"), ("pred_de", "target"), ("real_de", "target")):
        names = [", ".join(context) for context in CONTEXTS]
        tables = [pd.read_csv(folder / f"{name}_{table}.csv").assign(context=name) for name in names]
        written[table] = pd.concat(tables).set_index(["context", label]).sort_index()
    return written


def ours(pred: AnnData, truth: AnnData, tests: pd.DataFrame) -> pd.DataFrame:
    """What `tl` says, under cell-eval's names, one row a condition; `tests` are cell-eval's of the truth."""
    rows = {}
    for context in CONTEXTS:
        control = _cells(truth, context, "control")
        delta = {p: _cells(truth, context, p).mean(axis=0) - control.mean(axis=0) for p in PERTURBATIONS}
        for perturbation in PERTURBATIONS:
            x, y = _cells(pred, context, perturbation), _cells(truth, context, perturbation)
            others = np.array([change for name, change in delta.items() if name != perturbation])
            found = significant(tests, context, perturbation)["feature"]
            responding = [cells[:, truth.var_names.get_indexer(found)] for cells in (x, y, control)]
            rows[", ".join(context), perturbation] = {
                "overlap_at_50": scf.tl.de_overlap(x, y, control, n_top=50),
                "de_direction_match": scf.tl.sign_agreement(*responding),
                "de_spearman_lfc_sig": scf.tl.spearman_delta(*responding),
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


def why(pred: AnnData, truth: AnnData, tests: pd.DataFrame) -> pd.DataFrame:
    """Zeros, and what they do to a ranking by cell-eval's `tests` of the prediction and by Welch's test."""
    rows = {}
    for context, perturbation in itertools.product(CONTEXTS, PERTURBATIONS):
        x, y = _cells(pred, context, perturbation), _cells(truth, context, perturbation)
        control = _cells(truth, context, "control")
        largest = significant(tests, context, perturbation).sort_values("log2_fold_change", key=np.abs)[-50:]
        # As `tl.de_overlap`, but with the prediction's own scatter.
        scores = [-np.abs(np.nan_to_num(stats.ttest_ind(s, control, equal_var=False).statistic)) for s in (x, y)]
        first, second = (set(np.argsort(score, kind="stable")[:50]) for score in scores)
        rows[", ".join(context), perturbation] = {
            "zeros, predicted cells": np.mean(x == 0),
            "zeros, true cells": np.mean(y == 0),
            "zeros, control cells": np.mean(control == 0),
            "largest 50 fold changes, share without a control count": np.mean(largest["ref_mean"] == 0),
            "overlap of 50 by Welch's test, own scatter": len(first & second) / 50,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def significant(tests: pd.DataFrame, context: tuple[str, str], perturbation: str) -> pd.DataFrame:
    """Genes that cell-eval takes for differentially expressed."""
    table = tests.loc[(", ".join(context), perturbation)]
    return table[table["fdr"] < 0.05]


def _cells(adata: AnnData, context: tuple[str, str], perturbation: str) -> np.ndarray:
    cell_type, chronicity = context
    obs = adata.obs
    is_condition = (obs["cell_type"] == cell_type) & (obs["chronicity"] == chronicity)
    cells = adata[is_condition & (obs["perturbation"] == perturbation)]
    return cells.to_df().to_numpy(dtype=np.float64)


def markdown(table: pd.DataFrame) -> str:
    """A table of figures."""
    lines = [table_row([f"`{name}`", *map(_shown, values)]) for name, *values in table.itertuples()]
    return "\n".join([*table_head(["metric", *table.columns]), *lines])


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
    columns, reasons = {}, {}
    for name, pred in predictions(adata, heldout).items():
        cut = pred.copy()
        cut.X = np.maximum(cut.X.toarray() if hasattr(cut.X, "toarray") else cut.X, 0)
        with tempfile.TemporaryDirectory() as folder:
            theirs = cell_eval(pred, adata, Path(folder))
        columns[f"{name}: cell-eval"] = theirs["results"].mean()
        columns[f"{name}: here, values below 0 cut"] = ours(cut, adata, theirs["real_de"]).mean()
        columns[f"{name}: here"] = ours(pred, adata, theirs["real_de"]).mean()
        reasons[name] = why(cut, adata, theirs["pred_de"]).mean()
    print(f"cell-eval {version('cell-eval')}, pdex {version('pdex')}, sccalmflow {scf.__version__}; {vars(args)}\n")
    print(markdown(pd.DataFrame(columns, index=theirs["results"].columns)))
    print("\n" + markdown(pd.DataFrame(reasons)))


if __name__ == "__main__":
    main()
