"""Prediction and truth as the two files that Arc Institute's cell-eval compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from sccalmflow.baselines._training import Condition

from ._keys import Keys, resolve_keys
from ._pair import Cells, predicted_cells, true_cells

# How cell-eval (0.8.2, guess_is_lognorm) tells log1p values from counts: some value has a fraction above the first, and
# all are below the second. What it takes for counts it would normalise once more.
_FRACTION = 1e-3
_LOG1P_BELOW = 15.0


def to_cell_eval(
    pred: AnnData,
    truth: AnnData,
    folder: str | Path,
    *,
    condition_keys: Sequence[str] | None = None,
    perturbation_key: str | None = None,
    control: str | None = None,
    split_key: str | None = None,
    context_key: str = "context",
    overwrite: bool = False,
) -> tuple[Path, Path]:
    r"""Write prediction and truth as the two h5ad files that Arc Institute's cell-eval reads.

    cell-eval (``pip install cell-eval``; written for 0.8.2) knows one column for the perturbation and one for the cell
    type, and looks at each cell type alone. Here the latter is the context: all condition keys but the perturbation's,
    joined as in "CD4 T, chronic", so that every condition is compared with control cells of its own chronicity. Then::

        cell-eval run -ap folder/predicted.h5ad -ar folder/real.h5ad \
            --pert-col perturbation --control-pert control --celltype-col context -o results

    Both files hold the same real control cells; predicted ones are left out with a warning. The real file holds the
    cells that :func:`evaluate` compares with, its held-out ones where there are any. cell-eval refuses values below 0,
    which a linear reconstruction has: they become 0, so means there are slightly higher than here.

    Its metrics of differential expression test *cells* against measured controls, and a smooth prediction, without
    their zeros, differs from them in almost every gene: even the truth, projected to PCs and back, scores badly there.

    Parameters
    ----------
    pred
        Predicted cells, ``X`` in gene space (log1p), the condition columns in ``obs``.
    truth
        All labelled cells, with the same genes in any order: controls and the true cells of the predicted conditions.
    folder
        Where to write ``predicted.h5ad`` and ``real.h5ad``; made when missing.
    condition_keys
        Columns of ``obs`` that make a condition, the perturbation's included. Read from ``pred.uns["sccalmflow"]``
        when None, as are the next three.
    perturbation_key
        The one of them with the perturbation; the column has this name in the files.
    control
        Its label for control cells.
    split_key
        Column of ``truth.obs`` that says "train" for training cells. When the prediction does not name it either, it is
        "split" if there is such a column.
    context_key
        Name of the files' column with the joined context; with no other condition key, all cells have "all" there.
    overwrite
        Whether to replace files that exist.

    Returns
    -------
    Paths of the predicted and of the real file. Each has ``X`` (log1p, CSR float32) with the genes of ``truth`` in its
    order, and the two columns in ``obs``; nothing else of the inputs.

    Raises
    ------
    FileExistsError
        A file exists and ``overwrite`` is False.
    KeyError
        A key is not a column of ``obs``.
    ValueError
        What :func:`evaluate` refuses in cells, genes and keys; fewer than two control cells of a context; values that
        cell-eval would not take for log1p (15 and above, or only whole numbers); a ``context_key`` that is the
        perturbation's column, or contexts that read the same once joined.

    Examples
    --------
    >>> import tempfile
    >>> import anndata
    >>> import sccalmflow as scf
    >>> adata = scf.datasets.simulated_cytokines(cells_per_condition=10, n_genes=100)
    >>> heldout = scf.pp.hold_out(adata, n=2, min_cells=1)
    >>> scf.pp.pca(adata, n_comps=10)
    >>> pred = scf.baselines.additive(adata, heldout, perturbation_key="perturbation", control="control")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     predicted, real = scf.tl.to_cell_eval(pred, adata, folder)
    ...     anndata.read_h5ad(real).obs["context"].cat.categories.tolist()
    ['CD8 T, chronic', 'NK, acute']
    """
    paths = _paths(folder, overwrite)
    keys = resolve_keys(
        {"pred": pred},
        truth,
        condition_keys=condition_keys,
        perturbation_key=perturbation_key,
        control=control,
        split_key=split_key,
    )
    if context_key == keys.perturbation:
        raise ValueError(f"context_key is {context_key!r}, the column of the perturbation; choose another name.")
    true = true_cells(truth, keys, ["genes"], "log1p")
    predicted = predicted_cells(pred, "pred", true, keys, ["genes"], "log1p")
    contexts = _contexts(predicted, true, keys)
    controls = [(true, control) for control in contexts]
    files = [
        _table([*controls, *((cells, condition) for condition in predicted.rows)], keys, contexts, context_key)
        for cells in (predicted, true)
    ]
    for name, table in zip(("pred", "truth"), files, strict=True):
        _check_scale(table.X, name)
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for path, table in zip(paths, files, strict=True):
        table.write_h5ad(path)
    return paths


def _paths(folder: str | Path, overwrite: bool) -> tuple[Path, Path]:
    paths = Path(folder) / "predicted.h5ad", Path(folder) / "real.h5ad"
    for path in paths:
        if path.exists() and not overwrite:
            raise FileExistsError(f"{str(path)!r} exists. Give another folder, or overwrite=True to replace it.")
    return paths


def _contexts(predicted: Cells, truth: Cells, keys: Keys) -> dict[Condition, str]:
    """The joined labels of each predicted context, by its control condition."""
    labels: dict[Condition, str] = {}
    for condition in predicted.rows:
        control = keys.control_of(condition)
        label = ", ".join(part for i, part in enumerate(control) if i != keys.position) or "all"
        n_control = len(truth.rows.get(control, ()))
        if n_control < 2:
            raise ValueError(
                f"truth has {n_control} control cells ({keys.control!r}) for the context {label!r}, but cell-eval "
                "compares both files with them. Add control cells, or leave this context out of pred."
            )
        if labels.setdefault(control, label) in [other for key, other in labels.items() if key != control]:
            raise ValueError(f"two contexts read {label!r} once joined; rename one of their labels.")
    return labels


def _table(
    parts: Sequence[tuple[Cells, Condition]], keys: Keys, contexts: Mapping[Condition, str], context_key: str
) -> AnnData:
    """Cells of several conditions, one after the other."""
    rows = [cells.rows[condition] for cells, condition in parts]
    labels = [(condition[keys.position], contexts[keys.control_of(condition)]) for _, condition in parts]
    obs = pd.DataFrame(
        np.repeat(labels, [len(some) for some in rows], axis=0), columns=[keys.perturbation, context_key]
    )
    names = [name for (cells, _), some in zip(parts, rows, strict=True) for name in cells.adata.obs_names[some]]
    table = AnnData(
        sparse.vstack([_expression(cells, some) for (cells, _), some in zip(parts, rows, strict=True)], format="csr"),
        obs=obs.set_axis(pd.Index(names, dtype=str)).astype("category"),
        var=pd.DataFrame(index=parts[0][0].adata.var_names),
    )
    # Predicted cells may be called like the control cells that they were made from.
    table.obs_names_make_unique()
    return table


def _expression(cells: Cells, rows: np.ndarray) -> sparse.csr_matrix:
    """Expression that cell-eval takes: no negative values, and CSR as its tests need sparse data to be."""
    X = cells.adata.X[rows]
    if cells.gene_order is not None:
        X = X[:, cells.gene_order]
    X = X.maximum(0) if sparse.issparse(X) else np.maximum(X, 0)
    return sparse.csr_matrix(X, dtype=np.float32)


def _check_scale(X: sparse.csr_matrix, name: str) -> None:
    """Raise unless cell-eval would take the values for log1p ones."""
    if X.nnz and X.data.max() >= _LOG1P_BELOW:
        raise ValueError(
            f"{name}.X reaches {X.data.max():g}, but cell-eval takes log1p values below {_LOG1P_BELOW:g} only. "
            "Normalise to fewer counts a cell, for example sc.pp.normalize_total(adata, target_sum=1e4)."
        )
    if not (np.modf(X.data)[0] > _FRACTION).any():
        raise ValueError(f"{name}.X holds whole numbers only; cell-eval would take them for counts and normalise them.")
