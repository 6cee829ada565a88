"""Prediction of the model that users hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sccalmflow import _checks

from ._predicted import predicted_anndata
from ._requests import Asked, make_requests, read_conditions, warn_of_new_labels
from ._sampling import sample_cells

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from sccalmflow.pp import PCA

    from ._data import PromptBook
    from ._folder import ModelState


# The mean of a condition, about which its cells are drawn in, is that of its first cells: no cell then depends on how
# many follow. Of this many it is known to a tenth of a standard deviation.
_CENTRE_CELLS = 128


class PredictionMixin:
    """Adds :meth:`predict_perturbation`."""

    _state: ModelState
    _book: PromptBook
    is_trained_: bool

    def predict_perturbation(
        self,
        conditions: pd.DataFrame | Sequence[str] | AnnData,
        *,
        n_cells: int | None = None,
        control: AnnData | None = None,
        name_cell_type: bool | None = None,
        anchor: bool = True,
        temperature: float = 1.0,
        seed: int = 0,
        batch_size: int = 1024,
        return_trajectory: bool = False,
        show_progress: bool = True,
    ) -> AnnData:
        """Predict cells of conditions, measured or not.

        A cell does not depend on ``n_cells``, ``batch_size`` or the other conditions of the call.

        The components were chosen on the training cells, which therefore vary more along them than new cells do, and so
        do the cells of a model that has learned from them. The cells of conditions that training did not have are drawn
        in towards their mean by the ``shrinkage`` of :class:`sccalmflow.pp.PCA`, to what new cells would score.

        Parameters
        ----------
        conditions
            A DataFrame with a column for each condition key (repeated rows count once; a column ``prompt``, or the
            ``prompt_key`` of the set-up, replaces the template's sentence), sentences, or an AnnData whose ``obs`` is
            such a DataFrame.
        n_cells
            Cells of each condition. By default 500, and of an anchored condition (see ``anchor``) no more than its
            context has control cells.
        control
            Control cells to start from, log-normalised like the training data, for contexts (all keys but the
            perturbation) that the model does not know or whose cells it should take from here. For free sentences
            all of them are the context.
        name_cell_type
            Whether the template's sentence names the cell type. By default it does for combinations seen in training,
            and for a model that starts from noise. Of an unseen combination the control cells say better what its type
            is like than a label that training has only read beside other perturbations; such a sentence reads
            ``Generate a cell stimulated with IL-6 and exposure chronic:``. Sentences of your own are taken as they are.
        anchor
            Whether the cells of combinations that training has not seen are control cells moved by the change that
            the model predicts, rather than its cells as they are. It predicts control cells from the same draws,
            pairs them with measured ones by optimal transport, and moves each of these by what its partner and the
            perturbed cell of the same draws differ in: what the model gets wrong in both alike cancels, and where it
            predicts no change the cells are control cells. Takes twice as long. Beyond as many cells as its context has
            control cells, these are used again, and cells come close to each other. Models that start from noise, and
            sentences of your own, have no such cells, and are predicted as they are.
        temperature
            Factor on the variance of the decoder's law: 1 samples it, 0 takes its mean.
        seed
            Seed of all draws.
        batch_size
            Most cells in a forward pass; less memory with fewer. Cells of ``n_trajectories`` stay together.
        return_trajectory
            Whether to keep the way from the source to the cell. Its last state is the cell that is returned, and so of
            an anchored condition the control cell that was moved; the states before are the model's own.
        show_progress
            Whether to show a progress bar.

        Returns
        -------
        AnnData with the cells of each condition, one condition below the other: ``X`` dense expression on the scale of
        the training data (a linear reconstruction, so partly below 0), ``obsm["X_pca"]`` scaled scores, ``obs`` with
        the condition keys, ``prompt`` and ``novelty`` (``"seen"``, ``"unseen combination"``, ``"unseen cell type"``,
        ... or ``"free text"``), ``uns["sccalmflow"]`` with what made it, and with ``return_trajectory``
        ``obsm["trajectory"]`` (n, T + 1, D).

        Warns
        -----
        UserWarning
            Training has read no cell with a label (other than the cell type's): a new perturbation, or a misspelt one;
            a sentence differs from the template's in capitals, spaces or its last sign alone; ``control`` has no column
            of perturbations, no cells of a context asked for, or several contexts for a free sentence.

        Raises
        ------
        RuntimeError
            The model has not been trained.
        KeyError, TypeError, ValueError
            Conditions or control cells that cannot be used, or an argument out of bounds.
        """
        if not self.is_trained_:
            raise RuntimeError("The model has not been trained: call model.train() before predicting.")
        for name, value in (("n_cells", 1 if n_cells is None else n_cells), ("batch_size", batch_size)):
            _checks.whole_number(value, name, least=1)
        if not (temperature >= 0 and math.isfinite(temperature)):
            raise ValueError(f"temperature={temperature} must be a number of at least 0.")
        if seed < 0:
            raise ValueError(f"seed={seed} must not be negative.")
        state = self._state
        asked = read_conditions(conditions, state, name_cell_type)
        requests = make_requests(asked, state, control, anchor=anchor)
        warn_of_new_labels(asked, state)
        n_each = [request.usual_cells if n_cells is None else n_cells for request in requests]
        scores = sample_cells(
            state.flow,
            self._book,
            requests,
            source=state.settings.source,
            n_cells=max(*n_each, _CENTRE_CELLS),
            temperature=temperature,
            seed=seed,
            batch_size=batch_size,
            whole_trajectory=return_trajectory,
            show_progress=show_progress,
        )
        drawn = _as_new_cells(scores.numpy(), asked, state.pca)
        cells = [some[:n] for some, n in zip(drawn, n_each, strict=True)]
        made = {
            "seed": seed,
            "temperature": float(temperature),
            "anchor": anchor,
            "control": "given" if control is not None else "pool",
        }
        return predicted_anndata(cells, asked, state, made)


def _as_new_cells(scores: np.ndarray, asked: Sequence[Asked], pca: PCA) -> np.ndarray:
    """Draw the cells of unseen conditions in towards their mean; of trajectories, the last state."""
    is_new = np.array([one.novelty != "seen" for one in asked])
    paths = scores if scores.ndim == 4 else scores[:, :, None]
    cells = paths[is_new, :, -1]
    paths[is_new, :, -1] = pca.as_new_cells(cells, cells[:, :_CENTRE_CELLS].mean(axis=1, keepdims=True))
    return scores
