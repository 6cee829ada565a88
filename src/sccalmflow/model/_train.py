"""Training of the model that users hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._fit import Fitter, PrecisionName, TrainingOptions

if TYPE_CHECKING:
    from ._data import PromptBook, TrainingData
    from ._folder import ModelState


class TrainingMixin:
    """Adds :meth:`train`."""

    _state: ModelState
    _book: PromptBook
    _data: TrainingData | None
    module: Any

    def train(
        self,
        max_epochs: int = 20,
        *,
        min_epochs: int = 6,
        steps_per_epoch: int = 50,
        batch_size: int = 128,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        validation_size: float = 0.1,
        patience: int | None = 5,
        refit: bool | None = None,
        gradient_clip: float = 1.0,
        seed: int = 0,
        accelerator: str = "auto",
        devices: int | list[int] | str = 1,
        precision: PrecisionName = "32-true",
        strategy: str = "auto",
        checkpoint_dir: str | None = None,
        resume: bool = False,
        show_progress: bool = True,
    ) -> None:
        """Train the network.

        Some conditions of the training split are held out for validation; training stops when the E-distance of
        their predicted cells no longer falls, and the weights of the best epoch stay. Where there are so few contexts
        that those held out are missed, training is then repeated on all of them for as many epochs as were best.
        Weights are an exponential moving average. The curves are in ``history``: ``train_loss``, ``validation_loss``,
        ``validation_edistance`` and, with a refit, ``refit_loss``.

        Parameters
        ----------
        max_epochs, steps_per_epoch
            Most epochs, of so many batches each; the learning rate falls along a cosine over all of them.
        min_epochs
            Fewest epochs where validation says when to stop: one or two conditions, all that a small data set can hold
            out, may be predicted best before anything has been learned.
        batch_size
            Sequences in a batch.
        lr, weight_decay
            Of AdamW, after a linear warm-up over the first 50 steps.
        validation_size
            Share of the perturbed training conditions to validate on, at least one; 0 trains for ``max_epochs``.
            Where none can be held out, because each label occurs once, it says so and it is as if it were 0.
        patience
            Epochs without improvement before training stops; None never stops early.
        refit
            Whether to train once more on all training conditions, for as many epochs as were best. Without it the
            validation conditions have not been trained on, and are predicted as unseen. Default: where they are more
            than a sixth of the contexts that training has of a perturbation (one of four, say).
        gradient_clip
            Largest norm of the gradient.
        seed
            Seed of batches, noise and the choice of validation conditions.
        accelerator, devices, strategy
            As in Lightning's ``Trainer``, which would take all GPUs by default and run a script once for each; here it
            is one. Strategies that train in other processes of their own (``"ddp_spawn"``, ``"ddp_fork"``,
            ``"ddp_notebook"``, what several devices mean in a notebook) are refused: the weights would stay there.
        precision
            ``"bf16-mixed"`` or ``"16-mixed"`` computes in half precision, which saves time and memory on a GPU; the
            weights, and predictions after training, stay in single precision, ``"32-true"``.
        checkpoint_dir
            Folder to write a checkpoint to after every epoch.
        resume
            Go on from the checkpoints in ``checkpoint_dir``, where there are any; they must be of the same arguments,
            model and cells. The device may be another.
        show_progress
            Whether to show a progress bar.

        Raises
        ------
        RuntimeError
            The model was loaded without training data.
        ValueError
            An argument is out of bounds, or ``checkpoint_dir`` holds another run than the one to resume.
        FloatingPointError
            The loss was not finite; the message names the epoch and the conditions, and the model keeps its best
            weights until then.
        """
        arguments = {key: value for key, value in locals().items() if key != "self"}
        options = TrainingOptions(**arguments)
        if self._data is None:
            raise RuntimeError(
                "This model was loaded, and a saved model holds no training data. Build one with CaLMFlowModel(adata)."
            )
        state = self._state
        fitter = Fitter(state.flow, self._data, state.schema, state.settings, self._book, options)
        try:
            fitter.run()
        finally:
            self.module.eval()
            self.history_ = state.history = fitter.history
            if fitter.best is not None:
                state.note_training(self._data.conditions, fitter.left_out)
            self.is_trained_ = state.is_trained
