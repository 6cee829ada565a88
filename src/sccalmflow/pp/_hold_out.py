from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sccalmflow import _checks

from ._split import HELDOUT, TRAIN

if TYPE_CHECKING:
    from anndata import AnnData

Combination = tuple[str, ...]


def hold_out(
    adata: AnnData,
    n: int = 5,
    *,
    conditions: pd.DataFrame | None = None,
    keys: Sequence[str] = ("cell_type", "perturbation", "chronicity"),
    perturbation_key: str = "perturbation",
    control: str = "control",
    min_cells: int = 20,
    split_key: str = "split",
    seed: int = 0,
) -> pd.DataFrame:
    """Keep whole combinations of labels out of training, to be predicted later.

    Every held-out combination stays answerable: its perturbation occurs in training in another context (another cell
    type or chronicity), and its own context occurs in training with its control cells. Control cells are never held
    out. Chosen at random, combinations are spread over perturbations and contexts.

    Parameters
    ----------
    adata
        Cells with one label per key in ``obs``.
    n
        How many combinations to draw. Not used when ``conditions`` are given.
    conditions
        The combinations to hold out, one a row, with a column for each of ``keys``.
    keys
        Columns of ``obs`` that make up a combination. Leave out what your data does not have.
    perturbation_key
        Which of the keys is the perturbation; the others are the context.
    control
        Label of unperturbed cells in ``obs[perturbation_key]``.
    min_cells
        Combinations with fewer cells are not drawn. Evaluation compares half of the true cells with the other half,
        and below ten a half says little. Does not apply to ``conditions``.
    split_key
        Column of ``obs`` to write; one that exists is replaced.
    seed
        Seed of the draw.

    Returns
    -------
    The held-out combinations, one a row, with the columns ``keys``. Adds ``adata.obs[split_key]``, categorical with
    ``"train"`` and ``"heldout"``.

    Raises
    ------
    TypeError
        ``n`` is not a whole number, ``conditions`` not a DataFrame, or ``keys`` one string.
    KeyError
        A key is not in ``obs``, or not a column of ``conditions``.
    ValueError
        ``n`` is below 1 or above what is possible; the control label does not occur; a given combination does not
        exist, is a control, has no control cells in its context, or would leave a label without training cells.

    Examples
    --------
    >>> import sccalmflow as scf
    >>> adata = scf.datasets.simulated_cytokines(cells_per_condition=5, n_genes=100)
    >>> heldout = scf.pp.hold_out(adata, n=3, min_cells=1, seed=0)
    >>> heldout.shape
    (3, 3)
    >>> sorted(adata.obs["split"].cat.categories)
    ['heldout', 'train']
    """
    _check_types(n, conditions, keys)
    keys = list(keys)
    _check_keys(adata, keys, perturbation_key, control)
    labels = adata.obs[keys].astype(str)
    n_cells: dict[Combination, int] = Counter(labels.itertuples(index=False, name=None))
    which = keys.index(perturbation_key)
    if conditions is None:
        held = draw_combinations(n_cells, which, control, n=n, min_cells=min_cells, seed=seed)
    else:
        held = _given(conditions, labels, n_cells, which, control)

    is_held = pd.MultiIndex.from_frame(labels).isin(held)
    adata.obs[split_key] = pd.Categorical(np.where(is_held, HELDOUT, TRAIN), categories=[TRAIN, HELDOUT])
    return pd.DataFrame(held, columns=keys)


def _check_types(n: Any, conditions: Any, keys: Any) -> None:
    if isinstance(keys, str):
        raise TypeError(f"keys is the string {keys!r}: give a list of columns of adata.obs, such as [{keys!r}].")
    if conditions is not None:
        if not isinstance(conditions, pd.DataFrame):
            raise TypeError(
                f"conditions is a {type(conditions).__name__}: give a DataFrame with the columns {list(keys)}, one "
                "combination a row."
            )
    elif not isinstance(n, Integral):
        # A table would fill the message.
        shown = repr(n) if np.isscalar(n) or n is None else f"a {type(n).__name__}"
        raise TypeError(f"n is {shown}: give a whole number, or combinations of your own as conditions=.")


def _check_keys(adata: AnnData, keys: list[str], perturbation_key: str, control: str) -> None:
    _checks.not_empty(adata)
    columns = [str(column) for column in adata.obs.columns]
    for key in keys:
        if key not in columns:
            present = tuple(key for key in keys if key in columns)
            raise KeyError(
                f"adata.obs has no column {key!r}.{_checks.suggest(key, columns)} Name the columns that make up a "
                f"condition with keys={present or '(...)'}. Available columns: {', '.join(columns) or 'none'}."
            )
    _checks.one_of(perturbation_key, keys, "perturbation_key (which must be one of keys)")
    _checks.obs_labels(adata, keys)
    _checks.one_of(control, sorted(adata.obs[perturbation_key].astype(str).unique()), "control")


def _context(combination: Combination, which: int) -> Combination:
    return combination[:which] + combination[which + 1 :]


def draw_validation(
    n_cells: dict[Combination, int], which: int, control: str, *, share: float, min_cells: int, seed: int
) -> list[Combination]:
    """As many combinations as a share of the perturbed ones, at least one, or as many as there can be: perhaps none.

    Each label of those drawn still occurs in the rest.
    """
    n_perturbed = sum(combination[which] != control for combination in n_cells)
    for n in range(max(1, round(share * n_perturbed)), 0, -1):
        try:
            return draw_combinations(n_cells, which, control, n=n, min_cells=min_cells, seed=seed)
        except ValueError:
            continue
    return []


def draw_combinations(
    n_cells: dict[Combination, int], which: int, control: str, *, n: int, min_cells: int, seed: int
) -> list[Combination]:
    if n < 1:
        raise ValueError(f"n is {n}; at least one combination has to be held out.")
    with_control = {_context(combination, which) for combination in n_cells if combination[which] == control}
    # One context of every perturbation has to stay in training.
    room = Counter(combination[which] for combination in n_cells)
    room.subtract(list(room))
    candidates = sorted(
        combination
        for combination, count in n_cells.items()
        if combination[which] != control and count >= min_cells and _context(combination, which) in with_control
    )
    per_perturbation = Counter(combination[which] for combination in candidates)
    possible = sum(min(count, room[perturbation]) for perturbation, count in per_perturbation.items())
    if n > possible:
        perturbed = {combination: count for combination, count in n_cells.items() if combination[which] != control}
        small = sum(count < min_cells for count in perturbed.values())
        alone = sum(_context(combination, which) not in with_control for combination in perturbed)
        reasons = [f"{small} with fewer than {min_cells} cells (min_cells)"] if small else []
        reasons += [f"{alone} without control cells ({control!r}) in their own context"] if alone else []
        reasons += [f"one for each of the {len({c[which] for c in perturbed})} perturbations, to learn it from"]
        raise ValueError(
            f"n is {n}, but at most {possible} of the {len(perturbed)} perturbed combinations can be held out. These "
            f"stay in training: {'; '.join(reasons)}."
        )

    rng = np.random.default_rng(seed)
    candidates = [candidates[i] for i in rng.permutation(len(candidates))]
    n_labels = [len({combination[k] for combination in n_cells}) for k in range(len(candidates[0]))]
    used: list[Counter[str]] = [Counter() for _ in n_labels]

    def repetition(combination: Combination) -> int:
        # Repeating one of ten perturbations is worse than repeating one of two chronicities.
        return sum(used[k][label] * n_labels[k] for k, label in enumerate(combination))

    held: list[Combination] = []
    while len(held) < n:
        chosen = min((c for c in candidates if room[c[which]] > 0), key=repetition)
        candidates.remove(chosen)
        room[chosen[which]] -= 1
        for k, label in enumerate(chosen):
            used[k][label] += 1
        held.append(chosen)
    return sorted(held)


def _given(
    conditions: pd.DataFrame,
    labels: pd.DataFrame,
    n_cells: dict[Combination, int],
    which: int,
    control: str,
) -> list[Combination]:
    keys = list(labels.columns)
    for key in keys:
        if key not in conditions:
            found = [str(column) for column in conditions.columns]
            raise KeyError(f"conditions has no column {key!r}.{_checks.suggest(key, found)} It has {found}.")
    if conditions.empty:
        raise ValueError("conditions has no rows: there is nothing to hold out.")
    held = list(dict.fromkeys(conditions[keys].astype(str).itertuples(index=False, name=None)))
    known = [sorted(labels[key].unique()) for key in keys]
    for combination in held:
        for key, label, options in zip(keys, combination, known, strict=True):
            _checks.one_of(label, options, f"the {key} of a condition")
        if combination[which] == control:
            raise ValueError(f"{combination} is a control: control cells are never held out.")
        if combination not in n_cells:
            raise ValueError(f"no cell has the labels {dict(zip(keys, combination, strict=True))}.")

    training = [combination for combination in n_cells if combination not in set(held)]
    perturbations = {combination[which] for combination in training}
    with_control = {_context(combination, which) for combination in n_cells if combination[which] == control}
    for combination in held:
        if combination[which] not in perturbations:
            raise ValueError(
                f"holding out {combination} leaves no training cells with {combination[which]!r} in any other "
                "context. Hold out fewer combinations; to train without a label on purpose, write adata.obs['split'] "
                "yourself."
            )
        if _context(combination, which) not in with_control:
            raise ValueError(
                f"{combination} has no control cells ({control!r}) of its context {_context(combination, which)} in "
                "adata, which predictions start from. Leave it out of conditions; for a model that starts from noise, "
                "write adata.obs['split'] yourself."
            )
    return held
