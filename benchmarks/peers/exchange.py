"""The folder that a peer is given and hands back. Runs in the peers' environments too: no sccalmflow, old anndata.

In: ``train.h5ad`` (training cells), ``targets.csv`` (one row a condition), ``job.json`` (a `Request`).
Back: ``pred.h5ad`` (cells with the condition columns), ``info.json`` (what it cost and was made with).
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse


@dataclass(frozen=True)
class Request:
    """What to predict, and how."""

    perturbation_key: str
    control: str
    n_cells: int
    settings: dict
    seed: int


def write_request(folder: Path, train: ad.AnnData, targets: pd.DataFrame, request: Request) -> None:
    """Training cells in types that any anndata since 0.9 reads: float32, strings as categories, nothing in ``uns``."""
    keys = list(targets.columns)
    obs = pd.DataFrame({key: _labels(train.obs[key]) for key in keys}, index=_names(train.obs_names))
    if "total_counts" in train.obs:
        obs["total_counts"] = train.obs["total_counts"].to_numpy(np.float32)
    plain = ad.AnnData(_float32(train.X), obs=obs, var=pd.DataFrame(index=_names(train.var_names)))
    if "counts" in train.layers:
        plain.layers["counts"] = _float32(train.layers["counts"])
    if "X_pca" in train.obsm:
        plain.obsm["X_pca"] = np.asarray(train.obsm["X_pca"], dtype=np.float32)
    plain.write_h5ad(folder / "train.h5ad")
    targets.astype(str).to_csv(folder / "targets.csv", index=False)
    (folder / "job.json").write_text(json.dumps(asdict(request), indent=1))


@dataclass(frozen=True)
class Job:
    """A request as the peer reads it."""

    folder: Path
    train: ad.AnnData
    targets: pd.DataFrame
    perturbation_key: str
    control: str
    n_cells: int
    settings: dict
    seed: int

    @property
    def keys(self) -> list[str]:
        return list(self.targets.columns)

    @property
    def covariates(self) -> list[str]:
        """The keys of the context: all but the perturbation's."""
        return [key for key in self.keys if key != self.perturbation_key]

    @property
    def is_control(self) -> np.ndarray:
        return (self.train.obs[self.perturbation_key] == self.control).to_numpy()

    def controls(self, target: pd.Series, rng: np.random.Generator, *, repeat: bool = False) -> np.ndarray:
        """Rows of control cells of a target's context, in random order: ``n_cells``, or all when there are fewer.

        With ``repeat`` always ``n_cells``, some of them several times.
        """
        of_context = (self.train.obs[self.covariates] == target[self.covariates]).all(axis=1).to_numpy()
        rows = rng.permutation(np.flatnonzero(self.is_control & of_context))
        if not len(rows):
            raise ValueError(f"There are no training control cells for {target.to_dict()}.")
        if repeat and len(rows) < self.n_cells:
            rows = np.concatenate([rows, rng.choice(rows, self.n_cells - len(rows))])
        return rows[: self.n_cells]

    def labelled(self, numbers: np.ndarray) -> pd.DataFrame:
        """``obs`` of predicted cells: the target with each number."""
        obs = self.targets.iloc[numbers].reset_index(drop=True)
        obs.index = obs.index.astype(str)
        return obs.astype("category")


def read_job(arguments: list[str]) -> Job:
    """The job in the folder named on the command line: ``adapter.py --folder F``."""
    if len(arguments) != 2 or arguments[0] != "--folder":
        raise SystemExit("Give --folder and the folder of the job.")
    folder = Path(arguments[1])
    targets = pd.read_csv(folder / "targets.csv", dtype=str, keep_default_na=False)
    return Job(folder, ad.read_h5ad(folder / "train.h5ad"), targets, **json.loads((folder / "job.json").read_text()))


class Clock:
    """Seconds of the parts of a run, by name: ``with clock("training"): ...``."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str) -> Clock:
        self.name = name
        return self

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds[f"{self.name}_seconds"] = time.perf_counter() - self.start


def write_answer(
    job: Job, pred: ad.AnnData, clock: Clock, *, parameters: int, packages: list[str], settings: dict
) -> None:
    """Predicted cells, and what they cost; ``settings`` are those that were really used, defaults included."""
    pred.write_h5ad(job.folder / "pred.h5ad")
    info = {
        **clock.seconds,
        "parameters": int(parameters),
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "cores": len(os.sched_getaffinity(0)),
        "threads": os.environ.get("OMP_NUM_THREADS", "not limited"),
        "versions": {"python": platform.python_version(), **{package: version(package) for package in packages}},
        "settings": settings,
    }
    (job.folder / "info.json").write_text(json.dumps(info, indent=1))


def used(job: Job, **defaults: object) -> dict:
    """The defaults with the job's settings in their place; a setting that the adapter does not have is an error."""
    unknown = set(job.settings) - set(defaults)
    if unknown:
        raise SystemExit(f"No such settings: {', '.join(sorted(unknown))}; there are {', '.join(defaults)}.")
    return {**defaults, **job.settings}


def dense(X: object) -> np.ndarray:
    return X.toarray() if sparse.issparse(X) else np.asarray(X)


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _float32(X: object) -> np.ndarray | sparse.csr_matrix:
    return sparse.csr_matrix(X, dtype=np.float32) if sparse.issparse(X) else np.asarray(X, dtype=np.float32)


def _labels(column: pd.Series) -> pd.Categorical:
    return pd.Categorical(column.astype(str).to_numpy(dtype=object))


def _names(names: pd.Index) -> pd.Index:
    return pd.Index(np.asarray(names.astype(str), dtype=object))
