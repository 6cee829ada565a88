"""Runs on a data set in a folder: train, sample, score, and keep what was found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from sccalmflow import __version__
from sccalmflow._device import device_name
from sccalmflow.validation._effort import Limits
from sccalmflow.validation._runs import finished, once, run_file

from .fitting import Fitted

_SAMPLE_SEED = 2_000


@dataclass(frozen=True)
class Effort(Limits):
    """At most how much training a run is, and how many samples are drawn and scored."""

    n_samples: int


class Run(NamedTuple):
    """Scores of a run, with what it cost, and the file with its samples."""

    scores: dict[str, Any]
    samples: Path


@dataclass(frozen=True)
class Study:
    """Runs on one data set, each in files of its own.

    Parameters
    ----------
    folder
        Where the files go.
    tag
        What the names of all files end in; a trial and a full run have different ones.
    settings
        What all results depend on.
    n_samples
        Samples of a run that are scored.
    score
        Function of samples (n, D) to scores by name.
    finished_only
        Whether :meth:`runs` has only what has been done, and trains nothing.
    """

    folder: Path
    tag: str
    settings: Mapping[str, Any]
    n_samples: int
    score: Callable[[np.ndarray], dict[str, float]]
    finished_only: bool = False

    def file(self, *parts: str, suffix: str) -> Path:
        """A file of the folder."""
        return run_file(self.folder, *parts, self.tag, suffix=suffix)

    def run(self, key: str, recipe: Any, seed: int, fit: Callable[[], Fitted]) -> Run:
        """Train, sample and score, unless the same has been done.

        Parameters
        ----------
        key
            Name of the model in file names.
        recipe
            A dataclass with all its settings, or None.
        seed
            Seed of its training and of its samples.
        fit
            Trains it.
        """
        file = self.file(key, f"seed{seed}", suffix=".npy")

        def work() -> dict[str, Any]:
            fitted = fit()
            samples = fitted.sample(self.n_samples, _SAMPLE_SEED + seed).astype(np.float32)
            np.save(file, samples)
            return self.score(samples) | fitted.costs | {"torch": torch.__version__, "device": device_name()}

        return Run(once(file.with_suffix(".json"), self._settings(key, recipe, seed), work), file)

    def runs(self, key: str, recipe: Any, seeds: Sequence[int], fit: Callable[[int], Fitted]) -> list[Run]:
        """:meth:`run` for each seed, whose training ``fit`` is told; with ``finished_only`` those that are there."""

        def wanted(seed: int) -> bool:
            file = self.file(key, f"seed{seed}", suffix=".json")
            return not self.finished_only or finished(file, self._settings(key, recipe, seed)) is not None

        return [self.run(key, recipe, seed, partial(fit, seed)) for seed in dict.fromkeys(seeds) if wanted(seed)]

    def data(self, key: str, samples: np.ndarray, seeds: Sequence[int]) -> list[Run]:
        """:meth:`runs` of the data itself, as a model; there is no table without them."""
        found = self.runs(key, None, seeds, lambda _: drawn_from(samples)())
        if not found:
            raise ValueError(f"{self.folder} has no finished run of this data. Was it of other data, or other seeds?")
        return found

    def _settings(self, key: str, recipe: Any, seed: int) -> dict[str, Any]:
        return {
            "version": __version__,
            **self.settings,
            "n_samples": self.n_samples,
            "model": key,
            "seed": seed,
            "recipe": None if recipe is None else asdict(recipe),
        }


def samples_by_label(runs: Mapping[str, Sequence[Run]], labels: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Samples of each model's first run, by its name for readers, for a picture.

    A folder may have the scores of a run and not its samples, which the picture then leaves out.
    """
    return {labels[key]: np.load(found[0].samples) for key, found in runs.items() if found[0].samples.exists()}


def drawn_from(samples: np.ndarray) -> Callable[[], Fitted]:
    """As a model, the data itself: its samples at random, without replacement while there are enough."""

    def sample(n: int, seed: int) -> np.ndarray:
        return samples[np.random.default_rng(seed).choice(len(samples), n, replace=n > len(samples))]

    return lambda: Fitted(sample)


def fingerprint(*arrays: np.ndarray) -> str:
    """Short text that changes with the data, so that results of other data are not taken for these."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
