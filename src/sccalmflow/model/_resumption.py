"""What tells one training from another, so that a run goes on from its own checkpoints only."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sccalmflow._files import plain, write_json
from sccalmflow.flow import VolterraFlow

from ._data import TrainingData
from ._presets import Settings

if TYPE_CHECKING:
    from ._fit import TrainingOptions

# A run may go on elsewhere, and with its progress shown or not.
_OF_NO_MATTER = ("checkpoint_dir", "resume", "show_progress", "accelerator", "devices", "strategy")


def describe_run(
    options: TrainingOptions, settings: Settings, data: TrainingData, flow: VolterraFlow
) -> dict[str, Any]:
    """Settings by name, and enough of cells and initial weights to know them by, no cell among it."""
    arguments = {name: value for name, value in asdict(options).items() if name not in _OF_NO_MATTER}
    groups = list(zip(data.conditions, data.members, strict=True))
    return {
        **plain(arguments),
        **asdict(settings),
        "the conditions": [[*condition.labels, condition.sentence, len(rows)] for condition, rows in groups],
        "the cells": [float(data.scores[rows, 0].mean()) for _, rows in groups],
        "the initial weights": flow.encoder.time.weight.detach().flatten()[:8].tolist(),
    }


def keep_apart(folder: Path, run: dict[str, Any], *, resume: bool) -> None:
    """Note in the folder whose checkpoints it holds, or find that they are this run's.

    Raises
    ------
    ValueError
        ``resume`` is asked for, and the folder holds another run; the message says what differs.
    """
    note = folder / "run.json"
    if resume and note.exists():
        found = json.loads(note.read_text())
        differing = [name for name, value in run.items() if not _is_same(found.get(name), value)]
        if differing:
            what = "; ".join(_in_words(name, found.get(name), run[name]) for name in differing)
            raise ValueError(
                f"checkpoint_dir={str(folder)!r} holds another run: {what}. Call train as for that run to go on with "
                "it, choose another folder, or start anew with resume=False."
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    # Each process of a distributed run writes it.
    write_json(note, run)


def _is_same(before: Any, now: Any) -> bool:
    """Equal, or numbers that another processor may have rounded otherwise."""
    if isinstance(now, list) and all(isinstance(value, float) for value in now):
        return isinstance(before, list) and len(before) == len(now) and np.allclose(before, now, atol=1e-3)
    return bool(before == now)


def _in_words(name: str, before: Any, now: Any) -> str:
    return f"{name} differ" if name.startswith("the ") else f"{name}={before} there and {now} here"
