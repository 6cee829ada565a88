"""The main job on the built-in data: train, predict held-out combinations, judge them, look at them.

Run as ``python -m sccalmflow.demo --out demo``.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from anndata import AnnData

import sccalmflow as scf
from sccalmflow.validation._command_line import read_folder, read_seed

COLUMNS = {
    "edistance": "E-distance ↓",
    "mmd": "MMD ↓",
    "pearson_delta": "Pearson Δ ↑",
    "pearson_delta_top100": "Pearson Δ, top 100 ↑",
    "std_ratio": "std ratio → 1",
}


def run(out: Path, *, seed: int = 0) -> pd.DataFrame:
    """Train the default model on the built-in simulation and write the results to ``out``.

    Parameters
    ----------
    out
        Folder for ``predicted.h5ad``, ``report.csv``, ``umap.png``, ``evaluation.png``, ``correlation.png``,
        ``history.png`` and ``model/``; files of an earlier run are replaced.
    seed
        Seed of the held-out combinations, of training and of prediction.

    Returns
    -------
    The summary, one row a method.
    """
    out.mkdir(parents=True, exist_ok=True)
    adata = scf.datasets.simulated_cytokines()
    heldout = scf.pp.hold_out(adata, n=5, seed=seed)
    scf.pp.pca(adata, n_comps=50)
    print(f"{adata.n_obs:,} cells, {adata.n_vars:,} genes, 140 combinations. Held out:\n{heldout.to_string()}\n")

    scf.CaLMFlowModel.setup_anndata(
        adata, cell_type_key="cell_type", perturbation_key="perturbation", chronicity_key="chronicity"
    )
    model = scf.CaLMFlowModel(adata, seed=seed)
    start = time.perf_counter()
    model.train(seed=seed)
    pred = model.predict_perturbation(heldout, seed=seed)
    print(f"\nTrained and predicted {pred.n_obs:,} cells in {time.perf_counter() - start:.0f} s.\n")

    report = scf.tl.evaluate(pred, adata)
    summary = scf.tl.summary(report).rename(columns=COLUMNS)
    print(summary[list(COLUMNS.values())].round(3).to_string())

    pred.write_h5ad(out / "predicted.h5ad")
    report.to_csv(out / "report.csv", index=False)
    model.save(out / "model", overwrite=True)
    figures = _figures(pred, adata, model, report, out)
    print(f"\nIn {out.resolve()}: predicted.h5ad, report.csv, model/ and the figures {', '.join(figures)}")
    return summary


def _figures(pred: AnnData, adata: AnnData, model: scf.CaLMFlowModel, report: pd.DataFrame, out: Path) -> list[str]:
    """Write the figures; their names."""
    figures = {
        "umap.png": scf.pl.umap(pred, adata),
        "evaluation.png": scf.pl.evaluation(report),
        "correlation.png": scf.pl.correlation(pred, adata),
        "history.png": scf.pl.history(model),
    }
    for name, axes in figures.items():
        axes.flat[0].figure.savefig(out / name, dpi=120, bbox_inches="tight")
    return list(figures)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line.

    Parameters
    ----------
    arguments
        What follows the name of the command; those of the process when None.
    """
    # A demonstration has no screen to draw on; set before matplotlib is first imported.
    os.environ.setdefault("MPLBACKEND", "Agg")
    parser = argparse.ArgumentParser(prog="python -m sccalmflow.demo", description=__doc__)
    parser.add_argument("--out", type=read_folder, default=Path("demo"), help="folder to write to (default: demo)")
    parser.add_argument(
        "--seed", type=read_seed, default=0, help="seed of the split, training and prediction (default: 0)"
    )
    options = parser.parse_args(arguments)
    run(options.out, seed=options.seed)


if __name__ == "__main__":
    main()
