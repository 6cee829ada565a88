"""The paper's Table 3, cells without any condition: ``python -m sccalmflow.validation.single_cell --out FOLDER``.

Flows, conditional flow matching, diffusion and scVI learn the training cells of any AnnData with counts or log1p values
(``--data``; by default the cells of Kang et al. in the folder that SCCALMFLOW_DATA names, else the built-in
simulation), and their samples are compared with the fifth of the cells that was held out, by the metrics of the paper
and by two that see more. The folder gets a JSON file with all settings and a file with the samples for each run, a
Markdown table, and a picture. Run it again to go on after an interruption.

The paper's own data is Dong et al. (2023) in 1,000 components. On other cells its printed numbers are for orientation
only, and its Wasserstein distances (0.01 in ten dimensions of a UMAP) are on a scale that it does not explain.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

from sccalmflow.tl import METRICS, LeidenClassifier, adaptive_mmd, edistance, leiden_kld, std_ratio
from sccalmflow.tl._umap import joint_umap

from ._command_line import read_folder, read_seed, refuse_finished_of_nothing
from ._competitors import LABELS, Competitor, MethodName
from ._data.cell_figure import draw_cells
from ._data.cells import Cells, read, split
from ._data.count_model import CountModel, fit_count_model
from ._data.fitting import Data, Fitted, fit
from ._data.memorised import nearest_distance
from ._data.printed import TABLE_3
from ._data.recipes import competitor, package_default, paper
from ._data.study import Effort, Run, Study, fingerprint, samples_by_label
from ._data.table import COSTS, Row, data_table
from ._markdown import Column
from ._training import Recipe, size

TRAJECTORIES = (1, 5)
METHODS: tuple[MethodName, ...] = ("cfm", "cfm_ot", "cfm_sb", "ddpm")
MODELS = ("paper", "default", *METHODS, *(f"{method}-equal" for method in METHODS), "scvi")
COLUMNS = (
    Column("MMD, UMAP", "mmd_umap", ".4f"),
    Column("W2, UMAP", "wasserstein_umap", ".3f"),
    Column("Leiden KLD", "leiden_kld", ".4f"),
    Column("adMMD", "adaptive_mmd", ".5f"),
    Column("E-distance", "edistance", ".3f"),
    Column("std ratio", "std_ratio", ".3f"),
    Column("distance to training", "nearest_ratio", ".2f"),
    *COSTS,
)
FULL = Effort(n_samples=5_000)
QUICK = Effort(n_samples=400, n_updates=100, batch_size=64)
# A flow's update reads its 128 cells at 16 times.
_UPDATES_OF_FLOWS, _UPDATES_OF_COMPETITORS = 2_000, 4_000
_QUICK_EPOCHS = 10
_N_UMAP = 10

AnyRecipe = Recipe | Competitor | CountModel


def models(names: Sequence[str], dim: int, effort: Effort, n_epochs: int | None) -> dict[str, tuple[str, AnyRecipe]]:
    """Rows of the table.

    Parameters
    ----------
    names
        Some of ``MODELS``; the paper's flow has one row for each number of trajectories.
    dim
        Principal components of a cell.
    effort
        Most updates of a run.
    n_epochs
        Epochs of scVI; its own default when None.

    Returns
    -------
    By name for files: name for readers, and recipe.
    """
    default = package_default(dim, n_updates=_UPDATES_OF_FLOWS)
    found: dict[str, tuple[str, AnyRecipe]] = {}
    for name in names:
        if name == "paper":
            for m in TRAJECTORIES:
                recipe = paper(dim, n_updates=_UPDATES_OF_FLOWS, n_trajectories=m)
                found[f"paper-m{m}"] = f"`paper`, {m} trajector{'y' if m == 1 else 'ies'}", effort.limit(recipe)
        elif name == "default":
            found[name] = "`default`, from noise", effort.limit(default)
        elif name == "scvi":
            found[name] = "scVI", CountModel(max_epochs=n_epochs)
        else:
            method = next(method for method in METHODS if name in (method, f"{method}-equal"))
            rival = effort.limit(competitor(method, n_updates=_UPDATES_OF_COMPETITORS))
            label = f"{LABELS[method]}, {rival.n_layers} layers of {rival.width:,}"
            if name != method:
                rival = rival.with_parameters(size(default), dim)
                label = f"{LABELS[method]}, as large as `default`"
            found[name] = label, rival
    return found


def table_3(
    cells: Cells,
    names: Sequence[str],
    seeds: Sequence[int],
    effort: Effort,
    folder: Path,
    *,
    tag: str = "",
    n_epochs: int | None = None,
    finished_only: bool = False,
) -> str:
    """Train and score all models; write the table and the picture.

    Parameters
    ----------
    cells
        Scaled PCs of training and held-out cells, with counts where there are any.
    names
        Some of ``MODELS``.
    seeds
        One run of each model for each.
    effort
        Samples of a run, and most updates of it.
    folder
        Where the files go. Runs that are there already, with the same settings, are not repeated.
    tag
        What the names of all files end in.
    n_epochs
        Epochs of scVI; its own default when None.
    finished_only
        Whether to make the table of the runs that the folder has, and train nothing.

    Returns
    -------
    The table, in Markdown.

    Raises
    ------
    ValueError
        scVI is asked for, and the cells have no counts; with ``finished_only``, the folder has no run on these cells.
    """
    if "scvi" in names and cells.counts is None:
        raise ValueError(f"{cells.name} has no counts, which scVI needs: leave it out of --models.")
    data = Data.hold_back(cells.train)
    truth = cells.truth[: effort.n_samples]
    # Fitted only where something is left to score, and once: all models are judged by the same.
    classifier = cache(partial(LeidenClassifier.fit, truth))
    of_truth = cache(partial(nearest_distance, truth, data.train))

    def score(x: np.ndarray) -> dict[str, float]:
        embedded = joint_umap(x, truth, _N_UMAP, seed=0)
        return {
            **{name: METRICS[name].function(*embedded) for name in ("mmd_umap", "wasserstein_umap")},
            "leiden_kld": leiden_kld(x, truth, classifier=classifier()),
            "adaptive_mmd": adaptive_mmd(x, truth),
            "edistance": edistance(x, truth),
            "std_ratio": std_ratio(x, truth),
            "nearest_ratio": nearest_distance(x, data.train) / of_truth(),
            "n_clusters": classifier().n_clusters,
            "classifier_accuracy": classifier().accuracy,
        }

    settings = {"cells": cells.name, "fingerprint": fingerprint(cells.train, truth)}
    study = Study(folder, tag, settings, len(truth), score, finished_only)

    def train(recipe: AnyRecipe, title: str, seed: int) -> Fitted:
        if isinstance(recipe, CountModel):
            return fit_count_model(recipe, cells, seed)
        return fit(recipe, data, seed, title=title)

    runs: dict[str, list[Run]] = {"training": study.data("training", cells.train, seeds)}
    labels = {"training": "training cells (floor)"}
    for key, (label, recipe) in models(names, truth.shape[1], effort, n_epochs).items():
        found = study.runs(key, recipe, seeds, partial(train, recipe, f"{key} on {cells.name}"))
        if found:
            labels[key], runs[key] = label, found
    scores = {key: [run.scores for run in found] for key, found in runs.items()}
    leiden = scores["training"][0]
    text = (
        f"{cells.name}: {len(cells.train):,} training and {len(truth):,} held-out cells, as many samples a run, "
        f"{truth.shape[1]} components; {leiden['n_clusters']} clusters of the truth, of which the classifier knows "
        f"{leiden['classifier_accuracy']:.1%}.\n\n"
    )
    text += data_table([Row(labels[key], scores[key], TABLE_3.get(key)) for key in runs], COLUMNS)
    study.file("table-3", suffix=".md").write_text(text)
    shown = samples_by_label(runs, labels)
    if shown and not finished_only:
        draw_cells(truth, shown).savefig(study.file("table-3", suffix=".png"))
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line.

    Parameters
    ----------
    arguments
        What follows the name of the command; those of the process when None.
    """
    parser = argparse.ArgumentParser(prog="python -m sccalmflow.validation.single_cell", description=__doc__)
    parser.add_argument("--data", type=Path, metavar="FILE.h5ad", help="counts or log1p values of cells")
    parser.add_argument("--comps", type=int, default=50, help="principal components; 1,000 in the paper, 50 by default")
    parser.add_argument("--models", nargs="+", choices=MODELS, help="all, scVI where there are counts")
    parser.add_argument("--seeds", nargs="+", type=read_seed, help="0 1 2, and 0 for a trial")
    parser.add_argument("--finished", action="store_true", help="the table of what the folder has; train nothing")
    parser.add_argument("--quick", action="store_true", help="hardly trained: a trial that everything runs")
    parser.add_argument("--out", type=read_folder, required=True, metavar="FOLDER")
    options = parser.parse_args(arguments)
    refuse_finished_of_nothing(parser, options)
    cells = split(*read(options.data), options.comps)
    names = options.models or [name for name in MODELS if name != "scvi" or cells.counts is not None]
    options.out.mkdir(parents=True, exist_ok=True)
    seeds = options.seeds or ([0] if options.quick else [0, 1, 2])
    effort, n_epochs, tag = (QUICK, _QUICK_EPOCHS, "quick") if options.quick else (FULL, None, "")
    print(table_3(cells, names, seeds, effort, options.out, tag=tag, n_epochs=n_epochs, finished_only=options.finished))
    print(f"The table, the picture and the runs are in {options.out}.")


if __name__ == "__main__":
    main()
