"""The paper's synthetic experiments: ``python -m sccalmflow.validation.synthetic --out FOLDER``.

Tables 1, 2 and 7, Figures 4 and 8, an ablation, the error of rollouts over time, and the choice of settings that the
paper leaves open. The folder gets one JSON file a run with all its settings, and for each table or figure a Markdown
table and a picture; that of Table 2 is the paper's Figure 2. Run it again to go on after an interruption.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from torch import Generator

from ._synthetic.ablation import ablations
from ._synthetic.curves import Curves, curves_table, draw_curves
from ._synthetic.experiment import Effort, Entry, Experiment
from ._synthetic.paper import PRINTED
from ._synthetic.report import Result, draw_figure, markdown_table
from ._synthetic.scores import REPORT_SEED, Evaluation
from ._synthetic.sweeps import figure_4, figure_8, over_time
from ._synthetic.table_models import MODELS, entries
from ._synthetic.tasks import ABLATION_TASKS, TABLES, TASKS, Table
from ._synthetic.tuning import SEED, tuning

FULL = Effort(Evaluation())
QUICK = Effort(Evaluation(n_samples=500, n_pairs=1), n_updates=100, batch_size=32)
FIGURES = {"4": figure_4, "8": figure_8}


def table(experiment: Experiment, chosen: Table, models: Sequence[str], seeds: Sequence[int]) -> list[Result]:
    """Floors and runs of a table.

    Parameters
    ----------
    experiment
        The folder, and how much work a run is.
    chosen
        Tasks of the table.
    models
        Which to train, some of ``MODELS``.
    seeds
        One run of each model for each.

    Returns
    -------
    What the truth itself scores on each task, then every run.
    """
    results = []
    for name in chosen.tasks:
        rows = entries(models, TASKS[name].dim, chosen.n_trajectories)
        results += experiment.with_floors(name, rows, seeds)
    return results


def ablation(experiment: Experiment, names: Sequence[str], seeds: Sequence[int]) -> list[Result]:
    """Floors and runs of each variant of the flow.

    Parameters
    ----------
    experiment
        The folder, and how much work a run is.
    names
        Tasks.
    seeds
        One run of each variant for each.

    Returns
    -------
    What the truth itself scores on each task, then every run.
    """
    results = []
    for name in names:
        variants = ablations(TASKS[name].dim).items()
        rows = [Entry(f"ablation-{key}", label, recipe) for key, (label, recipe) in variants]
        results += experiment.with_floors(name, rows, seeds)
    return results


def write_results(experiment: Experiment, stem: str, results: Sequence[Result], names: Sequence[str]) -> None:
    """Write and print a table, and draw a sample of each model that has been trained for it.

    Parameters
    ----------
    experiment
        The folder, and how much work a run is.
    stem
        Name of the two files, without suffix.
    results
        Floors and runs.
    names
        Tasks to draw the truth of.
    """
    if not results:
        return  # of a table with no finished run
    text = markdown_table(results, [(TASKS[row.task].label, row) for row in PRINTED])
    experiment.file(stem, suffix=".md").write_text(text)
    print(text)
    if experiment.finished_only:
        return
    generator = Generator().manual_seed(REPORT_SEED)
    n = experiment.effort.evaluation.n_samples
    tasks = [TASKS[name] for name in names]
    truth = {task.label: (task.target.sample(n, generator) @ task.plane).numpy() for task in tasks}
    draw_figure(results, truth).savefig(experiment.file(stem, suffix=".png"))


def write_curves(experiment: Experiment, stem: str, curves: Curves) -> None:
    """Write and print the numbers of a figure, and draw it.

    Parameters
    ----------
    experiment
        The folder to write to.
    stem
        Name of the two files, without suffix.
    curves
        What to draw.
    """
    text = curves_table(curves)
    experiment.file(stem, suffix=".md").write_text(text)
    draw_curves(curves).savefig(experiment.file(stem, suffix=".png"))
    print(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line.

    Parameters
    ----------
    arguments
        What follows the name of the command; those of the process when None.
    """
    parser = argparse.ArgumentParser(prog="python -m sccalmflow.validation.synthetic", description=__doc__)
    parser.add_argument("--table", nargs="+", choices=TABLES, default=[])
    parser.add_argument("--figure", nargs="+", choices=FIGURES, default=[])
    parser.add_argument("--ablation", action="store_true", help="variants of the flow, and their error over time")
    parser.add_argument("--tuning", action="store_true", help=f"choose settings that are open, with seed {SEED}")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="only these tasks of the tables")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="only these in the tables")
    parser.add_argument("--seeds", nargs="+", type=int, help="0 1 2, and 0 for a trial")
    parser.add_argument("--finished", action="store_true", help="tables of what the folder has; train nothing")
    parser.add_argument("--quick", action="store_true", help="hardly trained: a trial that everything runs")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    options = parser.parse_args(arguments)
    if options.finished and options.figure:
        parser.error("--finished makes tables; a figure needs all of its runs.")
    if not (options.table or options.figure or options.ablation or options.tuning):
        options.table, options.ablation = list(TABLES), True
        options.figure = [] if options.finished else list(FIGURES)
    seeds = options.seeds or ([0] if options.quick else [0, 1, 2])
    options.out.mkdir(parents=True, exist_ok=True)
    effort, tag = (QUICK, "quick") if options.quick else (FULL, "")
    experiment = Experiment(options.out, effort, tag, finished_only=options.finished)

    for number in options.table:
        names = [name for name in TABLES[number].tasks if name in options.tasks]
        if names:
            chosen = Table(tuple(names), TABLES[number].n_trajectories)
            write_results(experiment, f"table-{number}", table(experiment, chosen, options.models, seeds), names)
    for number in options.figure:
        write_curves(experiment, f"figure-{number}", FIGURES[number](experiment, seeds))
    if options.ablation:
        names = [name for name in ABLATION_TASKS if name in options.tasks]
        if names:
            write_results(experiment, "ablation", ablation(experiment, names, seeds), names)
        if not options.finished:
            for name in names:
                write_curves(experiment, f"over-time-{name}", over_time(experiment, name, seeds))
    if options.tuning:
        rows = {name: found for name, found in tuning().items() if name in options.tasks}
        results = [result for name in rows for result in experiment.with_floors(name, rows[name], [SEED])]
        write_results(experiment, "tuning", results, list(rows))
    print(f"Tables, figures and runs are in {options.out}.")


if __name__ == "__main__":
    main()
