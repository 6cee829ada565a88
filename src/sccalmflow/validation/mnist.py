"""The paper's Table 6, images cut into space tokens: ``python -m sccalmflow.validation.mnist --out FOLDER``.

The inception score, by a classifier of digits, of flows that read an image as 1, 2, 4 or 8 tokens, beside diffusion and
conditional flow matching. MNIST is read from a folder with its four idx files (``--data``, or ``mnist`` in the folder
that SCCALMFLOW_DATA names), else fetched from OpenML; ``--digits`` takes the small digits that scikit-learn brings
along. The folder gets a JSON file with all settings and a file with the samples for each run, a Markdown table, and a
picture of samples. Run it again to go on after an interruption.

The paper does not say which networks its Table 6 is of, nor which classifier. Here the flow is its small Pythia for
cells, and its competitors have the sizes that they have there; torchcfm's own example on MNIST trains a convolutional
network instead. The printed numbers stand in the table for orientation only. ``resampled`` is the same language model
on the resampled path with the energy decoder, which does not take pixels for independent.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from sccalmflow.tl import edistance

from ._command_line import read_folder, read_seed, refuse_finished_of_nothing
from ._competitors import LABELS, Competitor, MethodName
from ._data.classifier import DigitClassifier
from ._data.fitting import Data, fit
from ._data.image_figure import draw_images
from ._data.images import Images, digits, mnist
from ._data.memorised import nearest_distance
from ._data.printed import TABLE_6
from ._data.recipes import competitor, paper, resampled
from ._data.study import Effort, Run, Study, fingerprint, samples_by_label
from ._data.table import COSTS, Row, data_table
from ._markdown import Column
from ._training import Recipe, size

SPACE_TOKENS = (1, 2, 4, 8)
METHODS: tuple[MethodName, ...] = ("cfm", "cfm_ot", "ddpm")
MODELS = ("paper", "resampled", *METHODS, *(f"{method}-equal" for method in METHODS))
COLUMNS = (
    Column("inception score", "inception_score", ".3f"),
    Column("E-distance", "edistance", ".3f"),
    Column("variance ratio", "variance_ratio", ".3f"),
    Column("distance to training", "nearest_ratio", ".2f"),
    *COSTS,
)
# Distances between all pairs of images need no more than this.
_COMPARED = 2_000


@dataclass(frozen=True)
class Setup:
    """How much work the table is.

    Small images need smaller flows, and few images more passes. A competitor, whose updates read one time and not all,
    has four times as many, and keeps the best of five stages.

    Parameters
    ----------
    effort
        Samples of a run, and most updates of it.
    n_passes
        Most passes of the classifier over its images.
    n_updates, n_steps, width
        Updates, time points and hidden width of the flow.
    """

    effort: Effort
    n_passes: int
    n_updates: int = 2_000
    n_steps: int = 16
    width: int = 64


MNIST = Setup(Effort(n_samples=10_000), n_passes=20)
DIGITS = Setup(Effort(n_samples=10_000, batch_size=64), n_passes=500, n_updates=1_000, width=32)
QUICK = Effort(n_samples=1_000, n_updates=20, batch_size=32)
_UPDATES_OF_COMPETITORS = 4


def models(
    names: Sequence[str], dim: int, setup: Setup, space_tokens: Sequence[int] = SPACE_TOKENS
) -> dict[str, tuple[str, Recipe | Competitor]]:
    """Rows of the table.

    Parameters
    ----------
    names
        Some of ``MODELS``; a flow has one row for each number of space tokens.
    dim
        Pixels of an image.
    setup
        How much work they are.
    space_tokens
        Numbers of space tokens of the flows.

    Returns
    -------
    By name for files: name for readers, and recipe.
    """

    def flow(name: str, n_space_tokens: int) -> Recipe:
        build = paper if name == "paper" else resampled
        recipe = build(dim, n_updates=setup.n_updates, n_space_tokens=n_space_tokens)
        return replace(recipe, width=setup.width, flow=replace(recipe.flow, n_steps=setup.n_steps))

    found: dict[str, tuple[str, Recipe | Competitor]] = {}
    for name in names:
        if name in ("paper", "resampled"):
            for k in space_tokens:
                found[f"{name}-k{k}"] = f"`{name}`, {k} space token{'s'[: k - 1]}", setup.effort.limit(flow(name, k))
            continue
        method = next(method for method in METHODS if name in (method, f"{method}-equal"))
        recipe = setup.effort.limit(competitor(method, n_updates=_UPDATES_OF_COMPETITORS * setup.n_updates))
        label = f"{LABELS[method]}, {recipe.n_layers} layers of {recipe.width:,}"
        if name != method:
            recipe = recipe.with_parameters(size(flow("resampled", SPACE_TOKENS[-1])), dim)
            label = f"{LABELS[method]}, as large as `resampled` with {SPACE_TOKENS[-1]} tokens"
        found[name] = label, recipe
    return found


def table_6(
    images: Images,
    names: Sequence[str],
    seeds: Sequence[int],
    setup: Setup,
    folder: Path,
    *,
    tag: str = "",
    space_tokens: Sequence[int] = SPACE_TOKENS,
    finished_only: bool = False,
) -> str:
    """Train and score all models; write the table and the picture.

    Parameters
    ----------
    images
        Training and test images.
    names
        Some of ``MODELS``.
    seeds
        One run of each model for each.
    setup
        How much work they are.
    folder
        Where the files go. Runs that are there already, with the same settings, are not repeated.
    tag
        What the names of all files end in.
    space_tokens
        Numbers of space tokens of the flows.
    finished_only
        Whether to make the table of the runs that the folder has, and train nothing.

    Returns
    -------
    The table, in Markdown.
    """
    data = Data.hold_back(images.standardise(images.train))
    # Fitted only where something is left to score.
    classifier = cache(partial(DigitClassifier.fit, images, max_passes=setup.n_passes))
    # The first half of MNIST's test images was written by other people than the second, and is easier.
    truth = images.standardise(images.test)[np.random.default_rng(0).permutation(len(images.test))]
    of_truth = cache(partial(nearest_distance, truth, data.train))

    def score(states: np.ndarray) -> dict[str, float]:
        pixels = images.pixels(states)
        shown = images.standardise(pixels)
        return {
            "inception_score": classifier().inception_score(pixels),
            "classifier_accuracy": classifier().accuracy,
            "edistance": edistance(shown[:_COMPARED], truth[:_COMPARED]),
            "variance_ratio": float(shown.var(axis=0).sum() / truth.var(axis=0).sum()),
            "nearest_ratio": nearest_distance(shown, data.train) / of_truth(),
        }

    settings = {
        "images": images.name,
        "n_passes": setup.n_passes,
        "fingerprint": fingerprint(images.train, images.test),
    }
    study = Study(folder, tag, settings, min(setup.effort.n_samples, len(images.test)), score, finished_only)
    real = {"test": truth, "training": images.standardise(images.train)}
    runs: dict[str, list[Run]] = {key: study.data(key, samples, [0]) for key, samples in real.items()}
    labels = {key: f"{key} images" for key in real}
    for key, (label, recipe) in models(names, data.train.shape[1], setup, space_tokens).items():
        found = study.runs(key, recipe, seeds, partial(fit, recipe, data, title=f"{key} on {images.name}"))
        if found:
            labels[key], runs[key] = label, found
    # Against themselves, test images would get what no other images can.
    itself = {name: value for name, value in runs["test"][0].scores.items() if name == "inception_score"}
    scores = {key: [run.scores for run in found] for key, found in runs.items()} | {"test": [itself]}
    accuracy = runs["test"][0].scores["classifier_accuracy"]
    text = (
        f"{images.name}: {len(images.train):,} training and {len(images.test):,} test images; {study.n_samples:,} "
        f"samples a run. The classifier knows {accuracy:.1%} of the test images.\n\n"
    )
    text += data_table([Row(labels[key], scores[key], TABLE_6.get(key)) for key in runs], COLUMNS)
    study.file("table-6", suffix=".md").write_text(text)
    pictures = {label: images.pixels(drawn[:20]) for label, drawn in samples_by_label(runs, labels).items()}
    if pictures and not finished_only:
        draw_images(pictures, images.side).savefig(study.file("table-6", suffix=".png"))
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line.

    Parameters
    ----------
    arguments
        What follows the name of the command; those of the process when None.
    """
    parser = argparse.ArgumentParser(prog="python -m sccalmflow.validation.mnist", description=__doc__)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="with the four idx files of MNIST")
    parser.add_argument("--digits", action="store_true", help="the 8 x 8 digits of scikit-learn, offline")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--space-tokens", nargs="+", type=int, choices=SPACE_TOKENS, default=list(SPACE_TOKENS))
    parser.add_argument("--seeds", nargs="+", type=read_seed, help="0 1 2, and 0 for a trial")
    parser.add_argument("--finished", action="store_true", help="the table of what the folder has; train nothing")
    parser.add_argument("--quick", action="store_true", help="hardly trained: a trial that everything runs")
    parser.add_argument("--out", type=read_folder, required=True, metavar="FOLDER")
    options = parser.parse_args(arguments)
    refuse_finished_of_nothing(parser, options)
    if options.digits and options.data is not None:
        parser.error("--digits come with scikit-learn; leave --data out")
    images, setup = (digits(), DIGITS) if options.digits else (mnist(options.data), MNIST)
    if options.quick:
        setup = replace(setup, effort=QUICK, n_passes=setup.n_passes if options.digits else 5)
    tag = "-".join(name for name in ("digits", "quick") if getattr(options, name))
    options.out.mkdir(parents=True, exist_ok=True)
    seeds = options.seeds or ([0] if options.quick else [0, 1, 2])
    print(
        table_6(
            images,
            options.models,
            seeds,
            setup,
            options.out,
            tag=tag,
            space_tokens=options.space_tokens,
            finished_only=options.finished,
        )
    )
    print(f"The table, the picture and the runs are in {options.out}.")


if __name__ == "__main__":
    main()
