"""What each metric says of eight made-up predictions whose flaw is known.

    python benchmarks/known_answers.py

True cells of four conditions of the built-in simulation are halved: one half is the truth, the other is spoilt in seven
ways. A metric exposes a flaw when it finds the spoilt half worse than the sound one by more than three standard
deviations of what it says of the sound half over the repeats. Writes `known_answers.md` and `known_answers.csv`.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

import sccalmflow as scf
from sccalmflow.validation._markdown import table_head, table_row

KEYS = ["cell_type", "perturbation"]
CONDITIONS = pd.DataFrame(
    [(t, p) for t in ("B", "CD14 Mono") for p in ("IFN-beta", "TNF-alpha")], columns=KEYS
)  # fmt: skip
MISSING_PROGRAM = {"IFN-beta": "interferon", "TNF-alpha": "NF-kB"}
SOUND = "other half"


def simulate(cells_per_condition: int) -> AnnData:
    """Acutely exposed cells, four conditions of which are held out."""
    adata = scf.datasets.simulated_cytokines(cells_per_condition=cells_per_condition, n_genes=1_000)
    adata = adata[adata.obs["chronicity"] == "acute"].copy()
    scf.pp.hold_out(adata, conditions=CONDITIONS, keys=KEYS)
    scf.pp.pca(adata, n_comps=50)
    return adata


def halve(adata: AnnData, rng: np.random.Generator) -> tuple[AnnData, AnnData]:
    """Everything but one half of the cells held out, and that half."""
    heldout = rng.permutation(np.flatnonzero(adata.obs["split"] != "train"))
    half = np.isin(np.arange(adata.n_obs), heldout[::2])
    return adata[~half].copy(), adata[half].copy()


def predictions(truth: AnnData, half: AnnData, rng: np.random.Generator) -> dict[str, AnnData]:
    """The sound half and seven spoilt ones, all as a model of components would give them."""
    found = {
        SOUND: half.obsm["X_pca"],
        "collapsed": about_mean(half, lambda residual: 0.1 * residual),
        "variance doubled": about_mean(half, lambda residual: np.sqrt(2) * residual),
        "half duplicated": duplicated(half, rng),
        "program missing": without_program(truth, half),
    }
    made = {name: as_prediction(scores, half.obs, truth) for name, scores in found.items()}
    swapped = half.obs.copy()
    swapped["perturbation"] = (
        swapped["perturbation"].astype(str).map({"IFN-beta": "TNF-alpha", "TNF-alpha": "IFN-beta"})
    )
    made["wrong condition"] = as_prediction(half.obsm["X_pca"], swapped, truth)
    for name in ("control", "additive"):
        baseline = getattr(scf.baselines, name)
        made[f"as {name}"] = baseline(truth, CONDITIONS, perturbation_key="perturbation", control="control")
    return made


def about_mean(half: AnnData, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Scores whose deviations from their condition's mean have changed."""
    scores = half.obsm["X_pca"].copy()
    for rows in half.obs.groupby(KEYS, observed=True).indices.values():
        mean = scores[rows].mean(axis=0)
        scores[rows] = mean + change(scores[rows] - mean)
    return scores


def duplicated(half: AnnData, rng: np.random.Generator) -> np.ndarray:
    """Scores in which half of each condition's cells repeat the rest."""
    scores = half.obsm["X_pca"].copy()
    for rows in half.obs.groupby(KEYS, observed=True).indices.values():
        rows = rng.permutation(rows)
        n = len(rows) // 2
        scores[rows[:n]] = scores[rows[n : 2 * n]]
    return scores


def without_program(truth: AnnData, half: AnnData) -> np.ndarray:
    """Scores of cells in which the main program of their response has stayed at control."""
    X = half.X.toarray()
    for (cell_type, perturbation), rows in half.obs.groupby(KEYS, observed=True).indices.items():
        genes = half.var_names.isin(half.uns["simulation"]["programs"][MISSING_PROGRAM[perturbation]])
        control = truth[(truth.obs["cell_type"] == cell_type) & (truth.obs["perturbation"] == "control")]
        X[np.ix_(rows, genes)] -= X[rows][:, genes].mean(axis=0) - control.X.toarray()[:, genes].mean(axis=0)
    return scf.pp.PCA.from_anndata(truth).transform(X)


def as_prediction(scores: np.ndarray, obs: pd.DataFrame, truth: AnnData) -> AnnData:
    """Scores with the expression they stand for."""
    projection = scf.pp.PCA.from_anndata(truth)
    var = pd.DataFrame(index=truth.var_names)
    return AnnData(projection.inverse(scores), obs=obs[KEYS].copy(), var=var, obsm={"X_pca": scores})


def judge(adata: AnnData, seed: int) -> pd.DataFrame:
    """Means over conditions of every metric, for one random halving."""
    rng = np.random.default_rng(seed)
    truth, half = halve(adata, rng)
    report = scf.tl.evaluate(
        predictions(truth, half, rng),
        truth,
        metrics=list(scf.tl.METRICS),
        condition_keys=KEYS,
        perturbation_key="perturbation",
        control="control",
        baselines=False,
        n_boot=0,
        seed=seed,
    )
    return scf.tl.summary(report).drop(columns="n_conditions")


def table(repeats: list[pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean over repeats, metrics x predictions, and which flaws each metric exposes."""
    stacked = pd.concat(dict(enumerate(repeats)))
    mean = stacked.groupby(level="method", sort=False).mean()
    loss = pd.DataFrame({name: _loss(stacked[name]) for name in stacked})
    sound = loss.xs(SOUND, level="method")
    worse = loss.groupby(level="method", sort=False).mean() - sound.mean()
    return mean.T, (worse > 3 * sound.std() + 1e-9).T


def _loss(values: pd.Series) -> pd.Series:
    metric = scf.tl.METRICS[str(values.name)]
    return {"lower": values, "higher": -values, "target": (values - metric.best).abs()}[metric.direction]


def markdown(mean: pd.DataFrame, exposed: pd.DataFrame) -> str:
    """The table, flaws that a metric exposes in bold."""
    lines = table_head(["metric", *mean.columns])
    for metric in mean.index:
        cells = [f"{value:.3f}" for value in mean.loc[metric]]
        marked = [f"**{c}**" if bold else c for c, bold in zip(cells, exposed.loc[metric], strict=True)]
        name = f"`{metric}`" + (" \\*" if metric in scf.tl.PRESETS["default"] else "")
        lines.append(table_row([name, *marked]))
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=300, help="cells of each condition, before halving")
    parser.add_argument("--repeats", type=int, default=5, help="random halvings")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "known_answers")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning, module="umap")
    arguments.out.mkdir(parents=True, exist_ok=True)
    adata = simulate(arguments.cells)
    mean, exposed = table([judge(adata, seed) for seed in range(arguments.repeats)])
    mean.round(5).to_csv(arguments.out / "known_answers.csv")
    (arguments.out / "known_answers.md").write_text(markdown(mean, exposed))
    print(markdown(mean, exposed))
    flaws = exposed.drop(columns=SOUND)
    missed = [flaw for flaw in flaws if not flaws.loc[list(scf.tl.PRESETS["default"]), flaw].any()]
    print("Flaws that no metric of the default report exposes:", ", ".join(missed) or "none")


if __name__ == "__main__":
    main()
