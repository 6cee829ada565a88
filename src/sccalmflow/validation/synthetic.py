"""The paper's synthetic experiments: ``python -m sccalmflow.validation.synthetic --out FOLDER``.

Tables 1, 2 and 7, Figures 4 and 8, an ablation, the error of rollouts over time, and the choice of settings that the
paper leaves open. The folder gets one JSON file a run with all its settings, and for each table or figure a Markdown
table and a picture; that of Table 2 is the paper's Figure 2. Run it again to go on after an interruption.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from torch import Generator

from ._command_line import read_folder, read_seed, refuse_finished_of_nothing
from ._synthetic.ablation import ablation_entries
from ._synthetic.curves import Curves, curves_table, draw_curves
from ._synthetic.experiment import Effort, Entry, Experiment
from ._synthetic.paper import PRINTED
from ._synthetic.report import draw_figure, markdown_table
from ._synthetic.scores import REPORT_SEED, Evaluation
from ._synthetic.sweeps import figure_4, figure_8, over_time
from ._synthetic.table_models import MODELS, entries
from ._synthetic.tasks import ABLATION_TASKS, TABLES, TASKS
from ._synthetic.tuning import SEED, tuning

FULL = Effort(Evaluation())
QUICK = Effort(Evaluation(n_samples=500, n_pairs=1), n_updates=100, batch_size=32)
FIGURES = {"4": figure_4, "8": figure_8}


def write_results(experiment: Experiment, stem: str, rows: Mapping[str, Sequence[Entry]], seeds: Sequence[int]) -> bool:
    """Train and score what has not been yet, write and print a table, and draw a sample of each model.

    Parameters
    ----------
    experiment
        The folder, and how much work a run is.
    stem
        Name of the two files, without suffix.
    rows
        Rows of the table by task, beside what the truth itself scores there; no task, or none with a finished run
        where nothing is to be trained, is no table.
    seeds
        One run of each row for each.

    Returns
    -------
    Whether there is a table.
    """
    results = [result for name in rows for result in experiment.with_floors(name, rows[name], seeds)]
    if not results:
        return False
    text = markdown_table(results, [(TASKS[row.task].label, row) for row in PRINTED])
    experiment.file(stem, suffix=".md").write_text(text)
    print(text)
    if experiment.finished_only:
        return True
    generator = Generator().manual_seed(REPORT_SEED)
    n = experiment.effort.evaluation.n_samples
    tasks = [TASKS[name] for name in rows]
    truth = {task.label: (task.target.sample(n, generator) @ task.plane).numpy() for task in tasks}
    draw_figure(results, truth).savefig(experiment.file(stem, suffix=".png"))
    return True


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

    Raises
    ------
    ValueError
        There is no table to make: the folder has no finished run, or no table that is asked for has one of the tasks.
    """
    parser = argparse.ArgumentParser(prog="python -m sccalmflow.validation.synthetic", description=__doc__)
    parser.add_argument("--table", nargs="+", choices=TABLES, default=[])
    parser.add_argument("--figure", nargs="+", choices=FIGURES, default=[])
    parser.add_argument("--ablation", action="store_true", help="variants of the flow, and their error over time")
    parser.add_argument("--tuning", action="store_true", help=f"choose settings that are open, with seed {SEED}")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="only these tasks of the tables")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="only these in the tables")
    parser.add_argument("--seeds", nargs="+", type=read_seed, help="0 1 2, and 0 for a trial")
    parser.add_argument("--finished", action="store_true", help="tables of what the folder has; train nothing")
    parser.add_argument("--quick", action="store_true", help="hardly trained: a trial that everything runs")
    parser.add_argument("--out", type=read_folder, required=True, metavar="FOLDER")
    options = parser.parse_args(arguments)
    refuse_finished_of_nothing(parser, options)
    if options.finished and options.figure:
        parser.error("--finished makes tables; a figure needs all of its runs.")
    if not (options.table or options.figure or options.ablation or options.tuning):
        options.table, options.ablation = list(TABLES), True
        options.figure = [] if options.finished else list(FIGURES)
    seeds = options.seeds or ([0] if options.quick else [0, 1, 2])
    options.out.mkdir(parents=True, exist_ok=True)
    made = bool(options.figure)
    effort, tag = (QUICK, "quick") if options.quick else (FULL, "")
    experiment = Experiment(options.out, effort, tag, finished_only=options.finished)

    for number in options.table:
        chosen = TABLES[number]
        rows = {
            name: entries(options.models, TASKS[name].dim, chosen.n_trajectories)
            for name in chosen.tasks
            if name in options.tasks
        }
        made |= write_results(experiment, f"table-{number}", rows, seeds)
    for number in options.figure:
        write_curves(experiment, f"figure-{number}", FIGURES[number](experiment, seeds))
    if options.ablation:
        rows = {name: ablation_entries(TASKS[name].dim) for name in ABLATION_TASKS if name in options.tasks}
        made |= write_results(experiment, "ablation", rows, seeds)
        if not options.finished:
            for name in rows:
                write_curves(experiment, f"over-time-{name}", over_time(experiment, name, seeds))
    if options.tuning:
        rows = {name: found for name, found in tuning().items() if name in options.tasks}
        made |= write_results(experiment, "tuning", rows, [SEED])
    if not made and options.finished:
        raise ValueError(f"{options.out} has no finished run of these tables. Was it of other tasks, or other seeds?")
    if not made:
        raise ValueError("no table that was asked for has one of these --tasks.")
    print(f"Tables, figures and runs are in {options.out}.")


if __name__ == "__main__":
    main()
