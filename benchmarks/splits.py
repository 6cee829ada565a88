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
_KEYS = ("cell_type", "perturbation")
# Of the 140 combinations of the simulation, drawn at random in each fold.
_N_SIMULATED, _SIMULATED_FOLDS = 5, 4


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
    def n_cells(self) -> int:
        """Cells to predict of each combination: as many as the smallest context has control cells, at most 1,000.

        A method that moves control cells has no more to give.
        """
        obs = self.adata.obs[self.adata.obs["perturbation"] == self.control]
        context = [key for key in self.keys if key != "perturbation"]
        sizes = obs.groupby(context, observed=True).size()
        asked = self.heldout[context].itertuples(index=False, name=None)
        return min(1000, *(int(sizes[labels if len(labels) > 1 else labels[0]]) for labels in asked))

    @property
    def has_counts(self) -> bool:
        """Whether there are raw counts."""
        return "counts" in self.adata.layers


def n_folds(name: str) -> int:
    """How many validation folds a data set has."""
    return len(VALIDATION[name]) if name in VALIDATION else _SIMULATED_FOLDS


def load(name: str, fold: int | None = None) -> Split:
    """A data set with its held-out combinations, or those of a validation fold."""
    source = _SOURCES[name]
    adata, held = source.read(), HELD_OUT.get(name)
    if held is None:
        heldout = scf.pp.hold_out(adata, n=_N_SIMULATED, seed=0)
        if fold is not None:
            adata = adata[adata.obs["split"] == "train"].copy()
            heldout = scf.pp.hold_out(adata, n=_N_SIMULATED, seed=1 + fold)
    else:
        if fold is not None:
            adata, held = _without(adata, held), VALIDATION[name][fold]
        conditions = pd.DataFrame(held, columns=list(_KEYS))
        heldout = scf.pp.hold_out(adata, conditions=conditions, keys=_KEYS, control=source.control)
    return _prepared(name, adata, heldout)


def load_without(name: str, key: str, label: str) -> Split:
    """A data set with all cells of a label held out; its perturbed conditions are to be predicted.

    ``obs["given"]`` also counts the label's control cells as "train": they may be given at prediction.
    """
    adata, control = _SOURCES[name].read(), _SOURCES[name].control
    out = (adata.obs[key] == label).to_numpy()
    perturbed = out & (adata.obs["perturbation"] != control).to_numpy()
    adata.obs["split"] = pd.Categorical(np.where(out, "heldout", "train"))
    adata.obs["given"] = pd.Categorical(np.where(perturbed, "heldout", "train"))
    keys = [column for column in (*_KEYS, "chronicity") if column in adata.obs]
    heldout = adata.obs.loc[perturbed, keys].astype(str).drop_duplicates().sort_values(keys, ignore_index=True)
    return _prepared(name, adata, heldout)


def _kang() -> ad.AnnData:
    """Seven PBMC types, control and interferon beta (Kang et al. 2018)."""
    adata = ad.read_h5ad(_file("kang_combined_counts.h5ad"))
    adata.obs["perturbation"] = adata.obs["condition"]
    adata = _types_with(adata, 30)
    adata.layers["counts"] = adata.X.copy()
    adata.obs["total_counts"] = np.asarray(adata.X.sum(axis=1)).ravel()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def _perturbench() -> ad.AnnData:
    """Three cancer lines, nine knock-downs (McFaline-Figueroa et al. 2023)."""
    adata = ad.read_h5ad(_file("perturbench_devel.h5ad"))
    return adata[adata.obs["cell_type"].isin(["A172", "T98G", "U87MG"])].copy()


def _bodenmiller() -> ad.AnnData:
    """Seven PBMC populations, two stimuli, 23 proteins (Bodenmiller et al. 2012)."""
    adata = ad.read_h5ad(_file("bodenmiller2012_pbmc_cytof_4stim.h5ad"))
    adata = adata[adata.obs["perturbation"].isin(["reference", "BCR/FcR-XL", "PMA/Ionomycin"])].copy()
    return _types_with(adata, 100)


def _simulated() -> ad.AnnData:
    """The built-in simulation."""
    adata = scf.datasets.simulated_cytokines()
    adata.obs["total_counts"] = np.asarray(adata.layers["counts"].sum(axis=1)).ravel()
    return adata


@dataclass(frozen=True)
class _Source:
    read: Callable[[], ad.AnnData]
    control: str
    n_top_genes: int | None = None
    n_comps: int = 50
    values: str = "log1p"


_SOURCES = {
    "kang": _Source(_kang, "ctrl", n_top_genes=1500),
    "perturbench": _Source(_perturbench, "control"),
    # All components: a rotation, which changes no distance between cells.
    "bodenmiller": _Source(_bodenmiller, "reference", n_comps=23, values="any"),
    "simulated": _Source(_simulated, "control"),
}
DATA = tuple(_SOURCES)


def _prepared(name: str, adata: ad.AnnData, heldout: pd.DataFrame) -> Split:
    """Genes and components are chosen on training cells."""
    source = _SOURCES[name]
    if source.n_top_genes is not None:
        scf.pp.highly_variable_genes(adata, source.n_top_genes, flavor="variance")
        adata = adata[:, adata.var["highly_variable"]].copy()
    scf.pp.pca(adata, n_comps=source.n_comps, values=source.values)
    return Split(name, adata, heldout, source.control)


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
