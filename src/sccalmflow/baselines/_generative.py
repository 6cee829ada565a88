"""Predict conditions of an AnnData with a generative model."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pandas as pd
from anndata import AnnData

from sccalmflow import _checks

from ._control import control_rows, why_not_control
from ._generated import Encode, Generated, SourceName
from ._generative_model import GenerativeModel
from ._linear import why_not_linear
from ._training import training


def generative(
    adata: AnnData,
    conditions: pd.DataFrame,
    model: GenerativeModel,
    *,
    perturbation_key: str,
    control: str,
    split_key: str | None = "split",
    source: SourceName = "noise",
    encode: Encode | None = None,
    validation_size: float = 0.1,
    score_every: int = 50,
    seed: int = 0,
    show_progress: bool = False,
) -> AnnData:
    """Predict with a generative model that is trained on the training cells, stopped where it is best.

    These models learn the training cells by heart when they are trained for too long. So some training conditions are
    left out first, as :func:`sccalmflow.pp.hold_out` would choose them; the number of updates with the lowest mean
    E-distance to them is taken, and the model is trained on all training conditions for as long. A condition is drawn
    with a weight that grows with the square root of its cells, as :class:`sccalmflow.CaLMFlowModel` does.

    Parameters
    ----------
    adata
        Labelled cells x genes, log1p, with ``obsm["X_pca"]`` from :func:`sccalmflow.pp.pca`.
    conditions
        One row per condition to predict; the columns are the condition keys of ``adata.obs``, the perturbation's
        included (what :func:`sccalmflow.pp.hold_out` returns).
    model
        The model with its settings; it is left as it is, and a copy is trained.
    perturbation_key
        The column with the perturbation.
    control
        Its label for control cells.
    split_key
        Column of ``adata.obs``; only cells marked "train" in it are used. The default is where
        :func:`sccalmflow.pp.hold_out` writes; None stands for all cells. Cells of the requested conditions themselves
        are never used.
    source
        Start from standard normal "noise", or from the training "control" cells of the same context.
    encode
        Labels of a condition, ``{"cell_type": "B", ...}``, to the vector that the model is given, all of one length.
        The default is a one-hot vector: a column for each label of each key, and for the perturbation none for control
        and that of each part for a combination "a+b" that training does not have. With token ids of a sentence and
        the model's ``condition_encoder``, the model reads a prompt.
    validation_size
        Share of the perturbed training conditions to stop by, at least one. With 0, or where none can be left out, the
        model is trained for all its ``n_updates``.
    score_every
        Updates between two looks at them.
    seed
        Seed of everything.
    show_progress
        Whether to show progress bars.

    Returns
    -------
    An AnnData like any prediction: ``X`` (dense; the expression that ``obsm["X_pca"]`` stands for), ``obsm["X_pca"]``,
    the condition columns in ``obs``. Each condition has as many cells as its context has training control cells.
    They are drawn in towards their mean by the ``shrinkage`` of :class:`sccalmflow.pp.PCA`, as the model's are.
    ``uns["sccalmflow"]`` also holds ``source``, ``n_updates``, ``seed`` and the validation curve, ``scores`` at
    ``scores_after`` so many updates.

    Raises
    ------
    TypeError
        ``conditions`` is not a DataFrame, or ``model`` not a model.
    KeyError
        A key is not a column of ``adata.obs``, or there is no projection of :func:`sccalmflow.pp.pca`.
    ValueError
        A context without training control cells, a perturbation never seen in training (with the one-hot vectors), a
        label that does not exist, a condition that is a control itself, missing PCs, vectors of different lengths, or
        an argument out of bounds.
    FloatingPointError
        The loss of an update is not finite.

    Examples
    --------
    >>> import sccalmflow as scf
    >>> adata = scf.datasets.simulated_cytokines(cells_per_condition=5, n_genes=100)
    >>> heldout = scf.pp.hold_out(adata, n=2, min_cells=1)
    >>> scf.pp.pca(adata, n_comps=10)
    >>> model = scf.baselines.FlowMatching(width=32, n_updates=20, solver="euler", n_solver_steps=5)
    >>> prediction = scf.baselines.generative(
    ...     adata, heldout, model, perturbation_key="perturbation", control="control", source="control"
    ... )
    >>> prediction.n_vars, prediction.uns["sccalmflow"]["method"]
    (100, 'cfm')
    """
    if not isinstance(model, GenerativeModel):
        what = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
        raise TypeError(f"model is {what}: give a model with its settings, such as FlowMatching() or Diffusion().")
    _checks.one_of(source, get_args(SourceName), "source")
    if not 0 <= validation_size < 1:
        raise ValueError(f"validation_size={validation_size} must be at least 0 and below 1.")
    if seed < 0:
        raise ValueError(f"seed={seed} must not be negative.")
    cells = training(adata, conditions, perturbation_key=perturbation_key, control=control, split_key=split_key)
    if cells.projection is None:
        raise KeyError("adata has no projection of sccalmflow.pp.pca. Run sccalmflow.pp.pca(adata) first.")
    baseline = Generated(
        name="generative",
        # One-hot vectors have no column for what training does not have; what encode can tell is its own affair.
        why_not=why_not_linear if encode is None else why_not_control,
        rows=control_rows,
        model=model,
        source=source,
        encode=encode,
        validation_size=validation_size,
        score_every=score_every,
        seed=seed,
        show_progress=show_progress,
    )
    prediction = baseline.predict(cells)
    # Made, not taken: no training cell lends its name.
    prediction.obs_names = [f"{model.name}-{i}" for i in range(prediction.n_obs)]
    fitted = cells.once(baseline.fitted)
    prediction.uns["sccalmflow"] |= {
        "method": model.name,
        "source": source,
        "seed": seed,
        "n_updates": fitted.n_updates_,
        "scores_after": np.array(list(fitted.scores_), dtype=int),
        "scores": np.array(list(fitted.scores_.values()), dtype=float),
    }
    return prediction
