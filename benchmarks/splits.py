"""The held-out splits: data, preparation on training cells only, and the combinations that are never trained on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import pandas as pd
import scanpy as sc

import sccalmflow as scf


@dataclass(frozen=True)
class Split:
    """An AnnData ready for `setup_anndata`, and what to predict."""

    adata: ad.AnnData
    heldout: pd.DataFrame
    keys: tuple[str, ...]
    control: str


def kang() -> Split:
    """Seven PBMC types, control and interferon beta (Kang et al. 2018); held out: IFNb of three types."""
    adata = ad.read_h5ad(_file("kang_combined_counts.h5ad"))
    adata.obs["perturbation"] = adata.obs["condition"]
    adata = _types_with(adata, 30)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return _prepare(adata, [("B", "IFNb"), ("CD8 T", "IFNb"), ("FCGR3A Mono", "IFNb")], "ctrl", n_top_genes=1500)


def perturbench() -> Split:
    """Three cancer lines, nine knock-downs (McFaline-Figueroa et al. 2023); held out: two of each line."""
    adata = ad.read_h5ad(_file("perturbench_devel.h5ad"))
    adata = adata[adata.obs["cell_type"].isin(["A172", "T98G", "U87MG"])].copy()
    held = [("A172", "MAP2K3"), ("A172", "SGK1"), ("T98G", "MAPK1")]
    return _prepare(adata, [*held, ("T98G", "TGFBR2"), ("U87MG", "MAP3K21"), ("U87MG", "PLK4")], "control")


def bodenmiller() -> Split:
    """Seven PBMC populations, two stimuli, 23 proteins (Bodenmiller et al. 2012); four combinations held out.

    All 23 components are kept: a rotation, which changes no distance between cells.
    """
    adata = ad.read_h5ad(_file("bodenmiller2012_pbmc_cytof_4stim.h5ad"))
    adata = adata[adata.obs["perturbation"].isin(["reference", "BCR/FcR-XL", "PMA/Ionomycin"])].copy()
    adata = _types_with(adata, 100)
    held = [("cd4+", "PMA/Ionomycin"), ("igm+", "BCR/FcR-XL"), ("nk", "PMA/Ionomycin"), ("cd14+hladrmid", "BCR/FcR-XL")]
    return _prepare(adata, held, "reference", n_comps=adata.n_vars, values="any")


def simulated() -> Split:
    """The built-in simulation; five of its 140 combinations held out."""
    adata = scf.datasets.simulated_cytokines()
    heldout = scf.pp.hold_out(adata, n=5, seed=0)
    scf.pp.pca(adata, n_comps=50)
    return Split(adata, heldout, ("cell_type", "perturbation", "chronicity"), "control")


SPLITS = {"kang": kang, "perturbench": perturbench, "bodenmiller": bodenmiller, "simulated": simulated}


def _prepare(
    adata: ad.AnnData,
    held: list[tuple[str, str]],
    control: str,
    *,
    n_top_genes: int | None = None,
    n_comps: int = 50,
    values: str = "log1p",
) -> Split:
    keys = ("cell_type", "perturbation")
    conditions = pd.DataFrame(held, columns=list(keys))
    heldout = scf.pp.hold_out(adata, conditions=conditions, keys=keys, control=control)
    if n_top_genes is not None:
        scf.pp.highly_variable_genes(adata, n_top_genes, flavor="variance")
        adata = adata[:, adata.var["highly_variable"]].copy()
    scf.pp.pca(adata, n_comps=n_comps, values=values)
    return Split(adata, heldout, keys, control)


def _types_with(adata: ad.AnnData, n: int) -> ad.AnnData:
    """Cells of the types that have at least ``n`` cells under every perturbation."""
    cells = pd.crosstab(adata.obs["cell_type"], adata.obs["perturbation"].cat.remove_unused_categories())
    return adata[adata.obs["cell_type"].isin(cells.index[(cells >= n).all(axis=1)])].copy()


def _file(name: str) -> Path:
    folder = os.environ.get("SCCALMFLOW_DATA")
    if not folder:
        raise SystemExit("Set SCCALMFLOW_DATA to the folder that holds single_cell/*.h5ad; see benchmarks/README.md.")
    return Path(folder, "single_cell", name)
