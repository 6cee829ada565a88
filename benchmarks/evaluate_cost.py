"""Time and peak memory of `tl.evaluate` with its default metrics, baselines and intervals.

    python benchmarks/evaluate_cost.py

Five conditions of 500 true and 500 predicted cells x 2,000 genes, and ten times the cells (drawn from the same 500 with
replacement); each in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd

import sccalmflow as scf


def measure(n_cells: int) -> None:
    """Print the time and memory of one evaluation."""
    adata = scf.datasets.simulated_cytokines(cells_per_condition=500, n_genes=2_000)
    chosen = adata.obs["perturbation"].isin(["control", "IFN-beta"]) & (adata.obs["chronicity"] == "acute")
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(chosen)
    with warnings.catch_warnings():
        # Cells that are drawn again have the same name, for a moment.
        warnings.simplefilter("ignore", UserWarning)
        adata = adata[rows if n_cells == 500 else rng.choice(rows, len(rows) * n_cells // 500)].copy()
        adata.obs_names_make_unique()
    types = adata.obs["cell_type"].cat.categories[:5]
    keys = ["cell_type", "perturbation"]
    heldout = pd.DataFrame({"cell_type": types, "perturbation": "IFN-beta"})
    scf.pp.hold_out(adata, conditions=heldout, keys=keys)
    scf.pp.pca(adata)
    pred = adata[(adata.obs["split"] != "train").to_numpy()].copy()
    pred.obsm["X_pca"] = pred.obsm["X_pca"] + rng.normal(0, 0.1, pred.obsm["X_pca"].shape).astype(np.float32)
    pred.X = scf.pp.reconstruct(pred)
    before, start = peak_gb(), time.perf_counter()
    report = scf.tl.evaluate(pred, adata, condition_keys=keys, perturbation_key="perturbation", control="control")
    seconds = time.perf_counter() - start
    n_methods, n_metrics = report["method"].nunique(), report["metric"].nunique()
    data = f"{len(types)} conditions x about {n_cells} cells x {adata.n_vars} genes"
    print(f"{data}, {n_methods} methods, {n_metrics} metrics:")
    print(f"  {seconds:.0f} s, peak {peak_gb():.2f} GB ({before:.2f} GB before)")


def peak_gb() -> float:
    """Peak resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[500, 5_000])
    arguments = parser.parse_args()
    if len(arguments.cells) == 1:
        measure(arguments.cells[0])
        return
    print(f"{os.environ.get('OMP_NUM_THREADS', 'all')} threads on {os.cpu_count()} cores", flush=True)
    for n_cells in arguments.cells:
        subprocess.run([sys.executable, __file__, "--cells", str(n_cells)], check=True)


if __name__ == "__main__":
    main()
