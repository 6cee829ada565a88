"""Training: the plan (optimiser, schedule, averaged weights), the data module and the callbacks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from sccalmflow.flow import VolterraFlow
from sccalmflow.tl import edistance

from ._data import Batch, BatchSampler, Condition, PromptBook, TrainingBatches, TrainingData, seeded_generator
from ._presets import Settings
from ._sampling import Request, sample_cells
from ._schema import Schema

MONITOR = "validation_edistance"
_WARMUP_STEPS = 50
_FINAL_LEARNING_RATE = 0.05
_EMA_DECAY = 0.99
# Cells in all, and of each condition: with many conditions, fewer of each will do for their mean.
_VALIDATION_CELLS = 2000
_VALIDATION_CELLS_EACH = 300
_LEAST_VALIDATION_CELLS = 50


class NonFiniteLossError(FloatingPointError):
    """The training loss became infinite or not a number."""


class Validation:
    """Held-out conditions of the training split: their teacher-forced loss, and their predicted cells' E-distance."""

    def __init__(
        self,
        sampler: BatchSampler,
        data: TrainingData,
        schema: Schema,
        book: PromptBook,
        settings: Settings,
        seed: int,
    ) -> None:
        source, name_cell_type = settings.source, settings.names_cell_type(is_seen=False)
        generator = seeded_generator(seed, 1)
        self.book, self.source, self.seed = book, source, seed
        n_each = min(_VALIDATION_CELLS_EACH, max(_LEAST_VALIDATION_CELLS, _VALIDATION_CELLS // len(data.conditions)))
        self.n_cells = n_each
        # Several where one of all conditions might not fit into memory.
        at_once = torch.arange(len(data.conditions)).split(_VALIDATION_CELLS // n_each)
        self.batches = [sampler.draw_conditions(numbers, n_each, generator) for numbers in at_once]
        self.requests, self.truth = [], []
        for condition, rows in zip(data.conditions, data.members, strict=True):
            if len(rows) < 2:  # a sentence of its own for one cell, which has no E-distance
                continue
            controls = data.controls.get(schema.context(condition.labels))
            name = schema.describe(condition.labels)
            is_anchored = source == "control" and condition.sentence is None
            self.requests.append(
                Request(
                    condition.sentence or schema.sentence(condition.labels, name_cell_type=name_cell_type),
                    name,
                    None if controls is None else data.scores[controls],
                    schema.control_sentence(condition.labels, name_cell_type=name_cell_type) if is_anchored else None,
                )
            )
            chosen = rows[torch.randperm(len(rows), generator=generator)[:n_each]]
            self.truth.append(data.scores[chosen].numpy())
        if source == "control":
            # Anchored cells beyond as many as there are control cells come close to each other, which costs E-distance.
            # It costs every epoch the same; the few cells of a tiny context would make all conditions' scores noise.
            fewest = min(len(cast(Tensor, request.controls)) for request in self.requests)
            self.n_cells = min(n_each, max(fewest, _LEAST_VALIDATION_CELLS))

    def edistance(self, flow: VolterraFlow) -> float:
        """Mean E-distance of predicted to true cells over the conditions, in scaled scores."""
        cells = sample_cells(
            flow,
            self.book,
            self.requests,
            source=self.source,
            n_cells=self.n_cells,
            temperature=1.0,
            seed=self.seed,
            batch_size=1024,
        ).numpy()
        return float(np.mean([edistance(x, y) for x, y in zip(cells, self.truth, strict=True)]))


class FlowData(pl.LightningDataModule):
    """Batches for training and for validation."""

    def __init__(
        self, sampler: BatchSampler, validation: Validation | None, *, batch_size: int, n_batches: int, seed: int
    ) -> None:
        super().__init__()
        self.sampler, self.validation = sampler, validation
        self.batch_size, self.n_batches, self.seed = batch_size, n_batches, seed

    def train_dataloader(self) -> DataLoader:
        """Batches of one epoch, drawn in this process: there is nothing to read from disk."""
        rank = self.trainer.global_rank if self.trainer is not None else 0
        self.batches = TrainingBatches(self.sampler, self.batch_size, self.n_batches, self.seed, rank)
        # Lightning draws the first batch of a resumed run before it knows the epoch; it does know the step.
        self.batches.epoch = self.trainer.global_step // self.n_batches if self.trainer is not None else 0
        # A loader draws a number when it starts; from the global state it would shift the dropout.
        return DataLoader(self.batches, batch_size=None, generator=torch.Generator())

    def val_dataloader(self) -> Any:
        """The validation batches, or nothing."""
        # Not the bare list: Lightning would take a batch's own parts for loaders.
        return [] if self.validation is None else DataLoader(cast(Any, self.validation.batches), batch_size=None)


class FlowTrainingPlan(pl.LightningModule):
    """AdamW with linear warm-up and a cosine schedule; an exponential moving average of the weights is kept.

    Parameters
    ----------
    flow
        The network to train.
    conditions
        The conditions that the batches number, for messages.
    schema
        Turns their labels into a phrase.
    validation
        Held-out conditions, or None.
    lr, weight_decay
        See :meth:`CaLMFlowModel.train`.
    max_steps
        Length of the schedule.
    seed
        Seed of dropout and of the decoder's noise.
    """

    def __init__(
        self,
        flow: VolterraFlow,
        conditions: Sequence[Condition],
        schema: Schema,
        validation: Validation | None,
        *,
        lr: float,
        weight_decay: float,
        max_steps: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.flow = flow
        self.averaged = AveragedModel(flow, multi_avg_fn=get_ema_multi_avg_fn(_EMA_DECAY))
        self.averaged.requires_grad_(False)
        self.conditions, self.schema, self.validation = conditions, schema, validation
        self.lr, self.weight_decay, self.max_steps = lr, weight_decay, max_steps
        self.noise_seed = seed

    def on_train_epoch_start(self) -> None:
        """Let the batches, the dropout and the decoder's noise of this epoch be its own, also in a resumed run."""
        torch.manual_seed(
            seeded_generator(self.noise_seed, 4, self.current_epoch, self.trainer.global_rank).initial_seed()
        )
        self.trainer.datamodule.batches.epoch = self.current_epoch  # type: ignore[attr-defined]
        self.noise = torch.Generator(self.device).manual_seed(
            seeded_generator(self.noise_seed, 2, self.current_epoch).initial_seed()
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch; stops the run where it is not finite."""
        terms = self.flow.loss(batch.endpoint, batch.source, batch.prompts, batch.prompt_index, generator=self.noise)
        loss = terms["loss"]
        finite = torch.isfinite(loss)
        if not finite.all():
            culprits = {self.schema.describe(self.conditions[c].labels) for c in batch.condition[~finite].tolist()}
            raise NonFiniteLossError(
                f"The loss is not finite in epoch {self.current_epoch} (step {self.global_step}), for cells of: "
                f"{'; '.join(sorted(culprits)[:5])}. Training has stopped, and the model keeps its best weights so "
                "far. Check these cells' scores for extreme values, or train with a lower `lr`."
            )
        self.log("train_loss", loss.mean(), on_step=False, on_epoch=True, prog_bar=True, batch_size=len(loss))
        return loss.mean()

    def on_train_batch_end(self, *args: Any) -> None:
        """Move the averaged weights."""
        self.averaged.update_parameters(self.flow)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss of a batch of the validation conditions, with the averaged weights."""
        flow = cast(VolterraFlow, self.averaged.module)
        generator = torch.Generator(self.device).manual_seed(self.noise_seed)
        loss = flow.loss(batch.endpoint, batch.source, batch.prompts, batch.prompt_index, generator=generator)["loss"]
        self.log("validation_loss", loss.mean(), on_epoch=True, prog_bar=True, batch_size=len(loss), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """E-distance of all validation conditions, with the averaged weights."""
        assert self.validation is not None  # there would be no validation batch
        flow = cast(VolterraFlow, self.averaged.module)
        self.log(MONITOR, self.validation.edistance(flow), prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """AdamW; weight decay on matrices only."""
        matrices = [p for p in self.flow.parameters() if p.requires_grad and p.dim() > 1]
        others = [p for p in self.flow.parameters() if p.requires_grad and p.dim() <= 1]
        groups = [{"params": matrices, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        # Lightning does not clip the gradients of a fused optimiser in mixed precision.
        is_fused = not isinstance(self.trainer.precision_plugin, MixedPrecision)
        optimizer = torch.optim.AdamW(groups, lr=self.lr, betas=(0.9, 0.99), fused=is_fused)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._learning_rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _learning_rate(self, step: int) -> float:
        warm = min(1.0, (step + 1) / _WARMUP_STEPS)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.max_steps)))
        return warm * (_FINAL_LEARNING_RATE + (1 - _FINAL_LEARNING_RATE) * cosine)


class KeepBest(pl.Callback):
    """Keep the averaged weights of the best epoch in memory, and the value of each metric in every epoch.

    Best is the lowest validation E-distance; without validation, and until ``min_epochs`` have passed, the latest
    epoch. Stops the run ``patience`` epochs after the best one.
    """

    def __init__(self, min_epochs: int, patience: int | None) -> None:
        self.min_epochs, self.patience = min_epochs, patience
        self.best, self.n_epochs = math.inf, 0
        self.weights: dict[str, Tensor] | None = None
        self.curves: dict[str, list[float]] = {}

    def on_train_start(self, trainer: pl.Trainer, plan: pl.LightningModule) -> None:
        """A run that had stopped before it was resumed stays stopped."""
        trainer.should_stop = self._is_over(trainer.current_epoch)

    def _is_over(self, n_done: int) -> bool:
        return self.patience is not None and n_done - self.n_epochs >= self.patience

    def on_train_epoch_end(self, trainer: pl.Trainer, plan: pl.LightningModule) -> None:
        """Compare with the best so far."""
        for name, metric in trainer.callback_metrics.items():
            self.curves.setdefault(name, []).append(float(metric))
        done, value = trainer.current_epoch + 1, trainer.callback_metrics.get(MONITOR)
        if value is None or done <= self.min_epochs or value < self.best:
            self.best, self.n_epochs = math.inf if value is None else float(value), done
            self.weights = deepcopy(cast(FlowTrainingPlan, plan).averaged.module.state_dict())
        if self._is_over(done):
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"best": self.best, "n_epochs": self.n_epochs, "weights": self.weights, "curves": self.curves}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.best, self.n_epochs, self.weights = state["best"], state["n_epochs"], state["weights"]
        self.curves = state["curves"]


class SaveLast(pl.Callback):
    """Write a checkpoint after each epoch, to resume from."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, plan: pl.LightningModule) -> None:
        """Replace the last one."""
        trainer.save_checkpoint(self.path)
