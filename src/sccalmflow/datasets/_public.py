from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData, read_h5ad
from scipy import sparse

from sccalmflow import _checks

from ._normalise import TARGET_SUM, log_normalised

CONTROL = "control"


def kang_2018(
    path: str | Path | None = None,
    *,
    cell_type_key: str | None = None,
    perturbation_key: str | None = None,
    control: str | None = None,
) -> AnnData:
    """Blood cells of eight lupus patients with and without six hours of interferon-beta (Kang et al., 2018).

    Downloaded through pertpy, or read from a file; either way with the names this package uses.

    Parameters
    ----------
    path
        An ``.h5ad`` file to read in place of the download.
    cell_type_key, perturbation_key
        Columns of the file's ``obs``. By default ``cell_type`` and the first that exists of
        ``perturbation``, ``label``, ``condition``.
    control
        Label of unstimulated cells in the file. By default the first that occurs of ``control``, ``ctrl``, ``CTRL``.

    Returns
    -------
    AnnData with ``obs`` columns ``cell_type`` and ``perturbation`` (``"control"`` and ``"IFN-beta"``), all other
    columns as they were, log1p-normalised ``X`` (10,000 per cell) and raw counts in ``layers["counts"]``.

    Raises
    ------
    ImportError
        No ``path`` is given and pertpy is not installed.
    FileNotFoundError
        There is no file at ``path``.
    KeyError
        A column is not in ``obs``.
    ValueError
        The control label does not occur, or labels are missing.

    References
    ----------
    Kang et al., Nature Biotechnology 36, 89-94 (2018). https://doi.org/10.1038/nbt.4042

    Examples
    --------
    >>> import sccalmflow as scf
    >>> adata = scf.datasets.kang_2018()  # doctest: +SKIP

    From a file, here a made one with other names:

    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> made = AnnData(np.array([[1.0, 2.0], [0.0, 5.0]]), obs={"type": ["B", "B"], "state": ["ctrl", "stim"]})
    >>> with TemporaryDirectory() as folder:
    ...     made.write_h5ad(f"{folder}/kang.h5ad")
    ...     adata = scf.datasets.kang_2018(f"{folder}/kang.h5ad", cell_type_key="type", perturbation_key="state")
    >>> adata.obs[["cell_type", "perturbation"]].values.tolist()
    [['B', 'control'], ['B', 'IFN-beta']]
    >>> np.expm1(adata.X.toarray()).sum(axis=1).round().tolist()
    [10000.0, 10000.0]
    """
    adata = _load("kang_2018", path)
    columns = {
        "cell_type": _column(adata, cell_type_key, ("cell_type",), "cell_type_key"),
        "perturbation": _column(adata, perturbation_key, ("perturbation", "label", "condition"), "perturbation_key"),
    }
    names = {"stim": "IFN-beta", "STIM": "IFN-beta", "IFNb": "IFN-beta"}
    return _harmonised(adata, columns, control, ("control", "ctrl", "CTRL"), names)


def dong_2023(
    path: str | Path | None = None,
    *,
    cell_type_key: str | None = None,
    perturbation_key: str | None = None,
    chronicity_key: str | None = None,
    control: str | None = None,
) -> AnnData:
    """Blood cells under cytokines, acutely (two days) and chronically (seven days) exposed (Dong et al., 2023).

    The data of the CINEMA-OT and CaLMFlow papers. What pertpy downloads is the interferon part of one donor (9,209
    cells: IFNb, IFNg, both, none), as log values without counts. The whole experiment is deposited at
    https://doi.org/10.5061/dryad.4xgxd25g1: give the file as ``path``.

    Parameters
    ----------
    path
        An ``.h5ad`` file to read in place of the download.
    cell_type_key, perturbation_key, chronicity_key
        Columns of the file's ``obs``. By default the first that exists of ``cell_type``, ``cell_type0528``; of
        ``perturbation``, ``cytokine``; and ``chronicity``. Without that one, chronicity is read from the end of the
        ``batch`` names (``H1D2`` or ``Donor 1 acute``, ``H1D7`` or ``Donor 1 chronic``) where all of them have it.
    control
        Label of unstimulated cells in the file. By default the first that occurs of ``control``, ``No stimulation``.

    Returns
    -------
    AnnData with ``obs`` columns ``cell_type``, ``perturbation`` (with ``"control"``), ``chronicity`` where it is
    known, all other columns as they were, log1p-normalised ``X`` (10,000 per cell where all genes are there) and, where
    the file has counts, ``layers["counts"]``.

    Raises
    ------
    ImportError
        No ``path`` is given and pertpy is not installed.
    FileNotFoundError
        There is no file at ``path``.
    KeyError
        A column is not in ``obs``.
    ValueError
        The control label does not occur, labels are missing, or there are neither counts nor log values.

    References
    ----------
    Dong et al., Nature Methods 20, 1769-1779 (2023). https://doi.org/10.1038/s41592-023-02040-5

    Examples
    --------
    >>> import sccalmflow as scf
    >>> adata = scf.datasets.dong_2023()  # doctest: +SKIP

    From a file, here a made one with the names of the deposited file:

    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> obs = {"cell_type0528": ["B", "B"], "perturbation": ["No stimulation", "IFNb+ IFNg"], "batch": ["H1D2", "H1D7"]}
    >>> made = AnnData(np.array([[1.0, 2.0], [0.0, 5.0]]), obs=obs)
    >>> with TemporaryDirectory() as folder:
    ...     made.write_h5ad(f"{folder}/dong.h5ad")
    ...     adata = scf.datasets.dong_2023(f"{folder}/dong.h5ad")
    >>> adata.obs[["cell_type", "perturbation", "chronicity"]].values.tolist()
    [['B', 'control', 'acute'], ['B', 'IFNb + IFNg', 'chronic']]
    """
    adata = _load("dong_2023", path)
    columns = {
        "cell_type": _column(adata, cell_type_key, ("cell_type", "cell_type0528"), "cell_type_key"),
        "perturbation": _column(adata, perturbation_key, ("perturbation", "cytokine"), "perturbation_key"),
    }
    if chronicity_key is None and "chronicity" not in adata.obs:
        _chronicity_from_batch(adata)
    if chronicity_key is not None or "chronicity" in adata.obs:
        columns["chronicity"] = _column(adata, chronicity_key, ("chronicity",), "chronicity_key")
    # The deposited labels of combinations differ in their spaces: "IFNb+ IFNg" and "IFNb + IFNg".
    labels = adata.obs[columns["perturbation"]].dropna().astype(str).unique()
    names = {label: " + ".join(part.strip() for part in label.split("+")) for label in labels}
    return _harmonised(adata, columns, control, ("control", "No stimulation"), names)


def _load(name: str, path: str | Path | None) -> AnnData:
    if path is not None:
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no file {str(path)!r}. Leave path out to download {name} with pertpy.")
        return read_h5ad(path)
    try:
        import pertpy
    except ImportError as error:
        raise ImportError(
            f'{name} is downloaded with pertpy, which is not installed: pip install "sccalmflow[pertpy]". '
            "Or give the path of an .h5ad file."
        ) from error
    adata: AnnData = getattr(pertpy.data, name)()
    return adata


def _column(adata: AnnData, given: str | None, usual: Sequence[str], argument: str) -> str:
    if given is not None:
        _checks.obs_keys(adata, [given])
        return given
    for key in usual:
        if key in adata.obs:
            return key
    raise KeyError(
        f"adata.obs has none of the columns {', '.join(map(repr, usual))}; name the one to use with {argument}=. "
        f"Available columns: {', '.join(repr(str(column)) for column in adata.obs.columns) or 'none'}."
    )


def _chronicity_from_batch(adata: AnnData) -> None:
    if "batch" not in adata.obs:
        return
    batch = adata.obs["batch"].astype(str)
    chronicity = pd.Series(None, index=batch.index, dtype=object)
    chronicity[batch.str.contains(r"(?:D2|acute)$")] = "acute"
    chronicity[batch.str.contains(r"(?:D7|chronic)$")] = "chronic"
    if chronicity.notna().all():
        adata.obs["chronicity"] = chronicity


def _harmonised(
    adata: AnnData,
    columns: Mapping[str, str],
    control: str | None,
    usual_controls: Sequence[str],
    names: Mapping[str, str],
) -> AnnData:
    _checks.not_empty(adata)
    _checks.obs_labels(adata, list(columns.values()))
    labels = sorted(adata.obs[columns["perturbation"]].astype(str).unique())
    if control is None:
        control = next((label for label in usual_controls if label in labels), None)
        if control is None:
            raise ValueError(
                f"adata.obs[{columns['perturbation']!r}] has none of the usual control labels "
                f"({', '.join(usual_controls)}) among {labels}; name it with control=."
            )
    _checks.one_of(control, labels, "control")
    renamed = {label: names.get(label, label) for label in labels} | {control: CONTROL}

    values = {key: adata.obs[column].astype(str) for key, column in columns.items()}
    values["perturbation"] = values["perturbation"].map(renamed)
    result = _expression(adata)
    result.obs = adata.obs.copy()
    for key, value in values.items():
        result.obs[key] = pd.Categorical(value)
    # Barcodes repeat where lanes were merged.
    result.obs_names_make_unique()
    result.var_names_make_unique()
    return result


def _expression(adata: AnnData) -> AnnData:
    """A new AnnData with log1p-normalised ``X``, and ``layers["counts"]`` where there are counts to be had."""
    places = {"layers['counts']": (adata.layers["counts"], adata.var)} if "counts" in adata.layers else {}
    places["X"] = (adata.X, adata.var)
    if adata.raw is not None:
        places["raw.X"] = (adata.raw.X, adata.raw.var)
    for check in (_checks.count_values, _checks.log_values):
        for X, var in places.values():
            if X is None:
                continue
            try:
                check(X, where="X")
            except ValueError:
                continue
            X = sparse.csr_matrix(X, dtype=np.float32)
            if check is _checks.count_values:
                return AnnData(log_normalised(X), var=var.copy(), layers={"counts": X})
            return AnnData(_to_target_sum(X), var=var.copy())
    raise ValueError(
        f"none of {', '.join(places)} holds raw counts or log1p-normalised values: they are scaled, negative or not "
        "finite."
    )


def _to_target_sum(X: sparse.csr_matrix) -> sparse.csr_matrix:
    """Log values of another library size, brought to 10,000 per cell; those of a gene selection stay as they are."""
    linear = X.expm1()
    totals = np.asarray(linear.sum(axis=1, dtype=np.float64)).ravel()
    # Equal totals show that all the genes of the normalisation are still there. Only then is the total known.
    if totals.min() <= 0 or np.ptp(totals) > 0.01 * totals.mean() or abs(totals.mean() / TARGET_SUM - 1) < 0.01:
        return X
    return log_normalised(linear)
