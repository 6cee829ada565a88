"""The held-out splits: data, preparation on training cells only, and the combinations that are never trained on.

Settings are chosen on validation folds: the held-out cells are taken out altogether, and other combinations held out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc

import sccalmflow as scf

Combinations = list[tuple[str, ...]]

HELD_OUT: dict[str, Combinations] = {
    "kang": [("B", "IFNb"), ("CD8 T", "IFNb"), ("FCGR3A Mono", "IFNb")],
    "perturbench": [
        ("A172", "MAP2K3"),
        ("A172", "SGK1"),
        ("T98G", "MAPK1"),
        ("T98G", "TGFBR2"),
        ("U87MG", "MAP3K21"),
        ("U87MG", "PLK4"),
    ],
    "bodenmiller": [
        ("cd4+", "PMA/Ionomycin"),
        ("igm+", "BCR/FcR-XL"),
        ("nk", "PMA/Ionomycin"),
        ("cd14+hladrmid", "BCR/FcR-XL"),
    ],
}
# No knock-down of these is held out of another line, and no type is left without one like it (of B cells, whose
# receptor is stimulated, only one population is left once the other is held out).
VALIDATION: dict[str, list[Combinations]] = {
    "kang": [[("NK", "IFNb")], [("CD14 Mono", "IFNb")], [("CD4 T", "IFNb")]],
    "perturbench": [[("A172", "MAP2K6"), ("T98G", "MAP4K3"), ("U87MG", "MAP4K5")]],
    "bodenmiller": [
        [("cd8+", "PMA/Ionomycin"), ("cd14-surf-", "BCR/FcR-XL")],
        [("igm+", "PMA/Ionomycin"), ("cd8+", "BCR/FcR-XL")],
    ],
}
DATA = ("kang", "perturbench", "bodenmiller", "simulated")
_KEYS = ("cell_type", "perturbation")
_SIMULATED_FOLDS = 1


@dataclass(frozen=True)
class Split:
    """An AnnData ready for `setup_anndata`, and what to predict.

    Where the data has counts they are in ``layers["counts"]``, and those of all genes in ``obs["total_counts"]``.
    """

    name: str
    adata: ad.AnnData
    heldout: pd.DataFrame
    control: str

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns of ``obs`` that make a condition."""
        return tuple(self.heldout.columns)

    @property
    def has_counts(self) -> bool:
        """Whether there are raw counts."""
        return "counts" in self.adata.layers


def n_folds(name: str) -> int:
    """How many validation folds a data set has."""
    return len(VALIDATION[name]) if name in VALIDATION else _SIMULATED_FOLDS


def load(name: str, fold: int | None = None) -> Split:
    """A data set with its held-out combinations, or those of a validation fold."""
    return _LOADERS[name](fold)


def kang(fold: int | None) -> Split:
    """Seven PBMC types, control and interferon beta (Kang et al. 2018)."""
    adata = ad.read_h5ad(_file("kang_combined_counts.h5ad"))
    adata.obs["perturbation"] = adata.obs["condition"]
    adata = _types_with(adata, 30)
    adata.layers["counts"] = adata.X.copy()
    adata.obs["total_counts"] = np.asarray(adata.X.sum(axis=1)).ravel()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return _prepare("kang", adata, "ctrl", fold, n_top_genes=1500)


def perturbench(fold: int | None) -> Split:
    """Three cancer lines, nine knock-downs (McFaline-Figueroa et al. 2023)."""
    adata = ad.read_h5ad(_file("perturbench_devel.h5ad"))
    adata = adata[adata.obs["cell_type"].isin(["A172", "T98G", "U87MG"])].copy()
    return _prepare("perturbench", adata, "control", fold)


def bodenmiller(fold: int | None) -> Split:
    """Seven PBMC populations, two stimuli, 23 proteins (Bodenmiller et al. 2012).

    All 23 components are kept: a rotation, which changes no distance between cells.
    """
    adata = ad.read_h5ad(_file("bodenmiller2012_pbmc_cytof_4stim.h5ad"))
    adata = adata[adata.obs["perturbation"].isin(["reference", "BCR/FcR-XL", "PMA/Ionomycin"])].copy()
    adata = _types_with(adata, 100)
    return _prepare("bodenmiller", adata, "reference", fold, n_comps=adata.n_vars, values="any")


def simulated(fold: int | None, **size: int) -> Split:
    """The built-in simulation; five of its 140 combinations held out."""
    adata = scf.datasets.simulated_cytokines(**size)
    adata.obs["total_counts"] = np.asarray(adata.layers["counts"].sum(axis=1)).ravel()
    heldout = scf.pp.hold_out(adata, n=5, seed=0)
    if fold is not None:
        adata = adata[adata.obs["split"] == "train"].copy()
        heldout = scf.pp.hold_out(adata, n=5, seed=1 + fold)
    scf.pp.pca(adata, n_comps=50)
    return Split("simulated", adata, heldout, "control")


_LOADERS: dict[str, Callable[[int | None], Split]] = {
    "kang": kang,
    "perturbench": perturbench,
    "bodenmiller": bodenmiller,
    "simulated": simulated,
}


def _prepare(
    name: str,
    adata: ad.AnnData,
    control: str,
    fold: int | None,
    *,
    n_top_genes: int | None = None,
    n_comps: int = 50,
    values: str = "log1p",
) -> Split:
    held = HELD_OUT[name]
    if fold is not None:
        adata, held = _without(adata, held), VALIDATION[name][fold]
    conditions = pd.DataFrame(held, columns=list(_KEYS))
    heldout = scf.pp.hold_out(adata, conditions=conditions, keys=_KEYS, control=control)
    if n_top_genes is not None:
        scf.pp.highly_variable_genes(adata, n_top_genes, flavor="variance")
        adata = adata[:, adata.var["highly_variable"]].copy()
    scf.pp.pca(adata, n_comps=n_comps, values=values)
    return Split(name, adata, heldout, control)


def _without(adata: ad.AnnData, conditions: Combinations) -> ad.AnnData:
    labels = adata.obs[list(_KEYS)].astype(str).itertuples(index=False, name=None)
    return adata[[row not in conditions for row in labels]].copy()


def _types_with(adata: ad.AnnData, n: int) -> ad.AnnData:
    """Cells of the types that have at least ``n`` cells under every perturbation."""
    cells = pd.crosstab(adata.obs["cell_type"], adata.obs["perturbation"].cat.remove_unused_categories())
    return adata[adata.obs["cell_type"].isin(cells.index[(cells >= n).all(axis=1)])].copy()


def _file(name: str) -> Path:
    folder = os.environ.get("SCCALMFLOW_DATA")
    if not folder:
        raise SystemExit("Set SCCALMFLOW_DATA to the folder that holds single_cell/*.h5ad; see benchmarks/README.md.")
    return Path(folder, "single_cell", name)
