"""Choose how long to train on validation conditions, then train on all of them for that long."""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd
import torch
from scvi.train import Trainer
from torch import Tensor
from tqdm.auto import tqdm

from sccalmflow import _checks
from sccalmflow._files import write_json
from sccalmflow.flow import VolterraFlow
from sccalmflow.pp._hold_out import draw_validation

from ._data import BatchSampler, PromptBook, TrainingData
from ._presets import Settings
from ._resumption import describe_run, keep_apart
from ._schema import Labels, Schema
from ._training import FlowData, FlowTrainingPlan, KeepBest, SaveLast, Validation

logger = logging.getLogger(__name__)

# A validation condition with fewer cells says little.
_MIN_VALIDATION_CELLS = 20
# Where less of what training could know of a perturbation is held out, it is not missed enough to train a second time.
_REFIT_ABOVE = 1 / 6
History = dict[str, pd.DataFrame]
# Weights stay whole: scores, masks and decoders are, and E-distances need them.
PrecisionName = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True)
class TrainingOptions:
    """The arguments of :meth:`CaLMFlowModel.train`, where they are documented."""

    max_epochs: int
    min_epochs: int
    steps_per_epoch: int
    batch_size: int
    lr: float
    weight_decay: float
    validation_size: float
    patience: int | None
    refit: bool | None
    gradient_clip: float
    seed: int
    accelerator: str
    devices: Any
    precision: PrecisionName
    strategy: str
    checkpoint_dir: str | None
    resume: bool
    show_progress: bool

    def __post_init__(self) -> None:
        _checks.one_of(self.precision, get_args(PrecisionName), "precision")
        for name in ("max_epochs", "min_epochs", "steps_per_epoch", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        for name in ("lr", "gradient_clip"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"{name}={getattr(self, name)} must be a positive number.")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience={self.patience} must be at least 1, or None to train for max_epochs.")
        if not 0 <= self.validation_size < 1:
            raise ValueError(f"validation_size={self.validation_size} must be at least 0 and below 1.")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay={self.weight_decay} must not be negative.")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} must not be negative.")
        if self.resume and self.checkpoint_dir is None:
            raise ValueError("resume=True needs checkpoint_dir, the folder that the earlier run wrote to.")


def choose_validation(data: TrainingData, schema: Schema, share: float, seed: int) -> list[Labels]:
    """Conditions of the training split to validate on, each label of which still occurs in the rest.

    Returns as many as ``share`` asks for, at least one, or as many as there can be, which may be none. Cells count that
    share their sentence with another: of a single cell there is no E-distance.
    """
    n_cells: Counter[Labels] = Counter()
    for condition, rows in zip(data.conditions, data.members, strict=True):
        n_cells[condition.labels] += len(rows) if len(rows) > 1 else 0
    return draw_validation(
        n_cells,
        schema.keys.index(schema.perturbation_key),
        schema.control,
        share=share,
        min_cells=_MIN_VALIDATION_CELLS,
        seed=seed,
    )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's notes on hardware that is not there, and its calls of what PyTorch has renamed."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
            yield
    finally:
        log.setLevel(level)


class Fitter:
    """Trains a network on conditions; made once for each call of :meth:`CaLMFlowModel.train`."""

    def __init__(
        self,
        flow: VolterraFlow,
        data: TrainingData,
        schema: Schema,
        settings: Settings,
        book: PromptBook,
        options: TrainingOptions,
    ) -> None:
        self.flow, self.data, self.schema = flow, data, schema
        self.settings, self.book, self.options = settings, book, options
        self.history: History = {}
        self.best: dict[str, Tensor] | None = None
        # Conditions that the weights have not been trained on.
        self.left_out: list[Labels] = []
        self.refits = bool(options.refit)

    def run(self) -> None:
        """Train, and leave the best weights in the network.

        Raises
        ------
        NonFiniteLossError
            The loss was not finite; the network holds its best weights until then.
        ValueError
            The run to resume is another.
        """
        options, start = self.options, deepcopy(self.flow.state_dict())
        if options.checkpoint_dir is not None:
            folder = Path(options.checkpoint_dir)
            if not options.resume:
                self._forget(folder)
            keep_apart(folder, describe_run(options, self.settings, self.data, self.flow), resume=options.resume)
        try:
            # Dropout and Lightning's loaders draw from the global state, which is the user's.
            with torch.random.fork_rng(), _quiet_lightning():
                self._run(start)
        finally:
            self.flow.load_state_dict(start if self.best is None else self.best)

    def _run(self, start: dict[str, Tensor]) -> None:
        options = self.options
        held = choose_validation(self.data, self.schema, options.validation_size, options.seed)
        if not options.validation_size:
            held = []
        elif not held:
            self._say(
                f"No training condition can be held out for validation: training for all {options.max_epochs} epochs."
            )
        if not held:
            self._fit(self.data, None, options.max_epochs, "refit")
            return
        more = f" and {len(held) - 5} more" if len(held) > 5 else ""
        self._say(f"Validating on {'; '.join(map(self.schema.describe, held[:5]))}{more}.")
        self.refits = self._are_missed(held) if options.refit is None else options.refit
        self.left_out = held
        n_epochs = self._search(held)
        if self.refits:
            self._say(f"Best after {n_epochs} epochs; training on all conditions for as long.")
            self.flow.load_state_dict(start)
            self._fit(self.data, None, n_epochs, "refit")
            self.left_out = []

    def _say(self, what: str) -> None:
        """Beside the progress bars where these are shown, since few notebooks show a log."""
        if self.options.show_progress:
            tqdm.write(what)
        else:
            logger.info(what)

    def _are_missed(self, held: Sequence[Labels]) -> bool:
        """Whether the validation conditions are a large share of the contexts that training has of a perturbation."""
        which = self.schema.keys.index(self.schema.perturbation_key)
        n_held = Counter(labels[which] for labels in held)
        n_contexts = Counter(labels[which] for labels in {condition.labels for condition in self.data.conditions})
        return any(n > _REFIT_ABOVE * n_contexts[perturbation] for perturbation, n in n_held.items())

    def _forget(self, folder: Path) -> None:
        """Remove what an earlier run left, lest a later resumption take it for this run's."""
        for name in ("search/last.ckpt", "search/best.json", "refit/last.ckpt"):
            (folder / name).unlink(missing_ok=True)

    def _search(self, held: Sequence[Labels]) -> int:
        """Train without the validation conditions; the number of epochs that was best."""
        done = Path(self.options.checkpoint_dir or "", "search", "best.json")
        if self.options.resume and self.refits and done.exists():
            found = json.loads(done.read_text())
            self._add_history(found["curves"])
            return int(found["n_epochs"])
        is_held = [condition.labels in held for condition in self.data.conditions]
        rest = self.data.subset([not value for value in is_held])
        keep = self._fit(rest, self.data.subset(is_held), self.options.max_epochs, "search")
        if self.options.checkpoint_dir is not None:
            write_json(done, {"n_epochs": keep.n_epochs, "curves": keep.curves})
        return keep.n_epochs

    def _add_history(self, curves: dict[str, list[float]]) -> None:
        for name, values in curves.items():
            # The second training, on all conditions, has a curve of its own beside the search's.
            name = "refit_loss" if name in self.history else name
            self.history[name] = pd.DataFrame({name: values}, index=pd.RangeIndex(len(values), name="epoch"))

    def _fit(self, data: TrainingData, held: TrainingData | None, max_epochs: int, name: str) -> KeepBest:
        options, schema, settings = self.options, self.schema, self.settings
        sampler = BatchSampler(data, self.flow, schema, settings, self.book)
        validation = None
        if held is not None:
            on_held = BatchSampler(held, self.flow, schema, settings, self.book)
            validation = Validation(on_held, held, schema, self.book, settings, options.seed)
        # Lightning leaves each part in the mode it finds: dropout would stay off.
        self.flow.train()
        plan = FlowTrainingPlan(
            self.flow,
            data.conditions,
            schema,
            validation,
            lr=options.lr,
            weight_decay=options.weight_decay,
            max_steps=options.max_epochs * options.steps_per_epoch,
            seed=options.seed,
        )
        keep = KeepBest(options.min_epochs, options.patience)
        trainer = self._trainer(keep, validation is not None, max_epochs, name)
        batches = FlowData(
            sampler, validation, batch_size=options.batch_size, n_batches=options.steps_per_epoch, seed=options.seed
        )
        checkpoint = Path(options.checkpoint_dir or "", name, "last.ckpt")
        try:
            trainer.fit(plan, batches, ckpt_path=str(checkpoint) if options.resume and checkpoint.exists() else None)
            self.best = keep.weights
        finally:
            # Where this run breaks off, the best of an earlier one is better than the first epochs of this one.
            self.best = keep.weights if self.best is None else self.best
            self._add_history(keep.curves)
        self.flow.to(trainer.strategy.root_device).eval()
        return keep

    def _trainer(self, keep: KeepBest, validates: bool, max_epochs: int, name: str) -> Trainer:
        options = self.options
        callbacks: list[Any] = [keep]
        if options.checkpoint_dir is not None:
            callbacks.append(SaveLast(Path(options.checkpoint_dir, name, "last.ckpt")))
        trainer = Trainer(
            max_epochs=max_epochs,
            accelerator=options.accelerator,
            devices=options.devices,
            precision=options.precision,
            strategy=options.strategy,
            gradient_clip_val=options.gradient_clip,
            check_val_every_n_epoch=1,
            callbacks=callbacks,
            # Off: scvi-tools' own checkpoints pickle the model with its AnnData.
            enable_checkpointing=False,
            enable_progress_bar=options.show_progress,
            # The curves are kept by KeepBest; a logger would add its version to the bar.
            logger=False,
            limit_val_batches=None if validates else 0,
            benchmark=False,
            log_every_n_steps=1,
        )
        if getattr(trainer.strategy, "_start_method", "popen") != "popen":
            raise ValueError(
                "This strategy trains in processes of its own (as several devices do in a notebook), where the weights "
                'would stay. Train on one device, devices=1, or run a script with strategy="ddp".'
            )
        return trainer
