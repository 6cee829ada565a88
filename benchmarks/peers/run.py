"""Ask a peer for the cells of conditions that it was not trained on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import sccalmflow as scf

from .exchange import Request, write_request
from .registry import Peer

_ROOT = Path(__file__).resolve().parents[2]
_LINES_OF_A_FAILURE = 30


class PeerUnavailable(RuntimeError):
    """The environment of a peer is not there; the message names the command that makes it."""


def environment(peer: Peer) -> Path:
    """Where the interpreter of a peer is, or would be: in SCCALMFLOW_PEERS, or else in ``.venv-peers``."""
    return Path(os.environ.get("SCCALMFLOW_PEERS") or _ROOT / ".venv-peers", peer.name, "bin", "python")


def predict(
    peer: Peer,
    train: ad.AnnData,
    targets: pd.DataFrame,
    *,
    perturbation_key: str,
    control: str,
    n_cells: int,
    settings: dict | None = None,
    seed: int = 0,
    limit_s: float = 3600,
) -> tuple[ad.AnnData, dict]:
    """Train a peer on training cells and predict conditions, in a process of its own.

    Parameters
    ----------
    peer
        One of `PEERS`.
    train
        Training cells alone: ``X`` log1p of counts scaled to 10,000, or other real values; ``obs`` with the columns of
        ``targets``. Raw counts in ``layers["counts"]``, and in ``obs["total_counts"]`` the cell's counts over all genes
        measured, where there are counts. ``obsm["X_pca"]`` and the projection as `sccalmflow.pp.pca` leaves them.
    targets
        One row a condition, one column a key; none of them in ``train``, control cells of each context in ``train``.
    perturbation_key, control
        The key of the perturbation, and its label for control cells.
    n_cells
        Cells of each target. A peer that maps control cells one to one makes no more than there are of them.
    settings
        Such as in ``peer.grid``; the peer's defaults for those that are not given.
    seed
        Of training and sampling.
    limit_s
        Seconds for all of it.

    Returns
    -------
    The cells, ``X`` on the scale of ``train.X`` and ``obsm["X_pca"]`` where there is a projection, ready for
    `sccalmflow.tl.evaluate`; and what the adapter says of itself: seconds, parameters, memory, versions, settings.

    Raises
    ------
    PeerUnavailable
        The peer's environment does not exist.
    TimeoutError
        It took longer than ``limit_s``.
    RuntimeError
        The adapter failed (the end of its output is in the message), or handed back something else than was asked for.
    """
    _check(train, targets, perturbation_key, control)
    python = environment(peer)
    if not python.exists():
        raise PeerUnavailable(f"{peer.name} has no environment in {python.parent.parent}: run {peer.setup}")
    with tempfile.TemporaryDirectory(prefix=f"{peer.name}-") as name:
        folder = Path(name)
        write_request(folder, train, targets, Request(perturbation_key, control, n_cells, settings or {}, seed))
        _run([str(python), str(peer.folder / "adapter.py"), "--folder", str(folder)], folder, peer.name, limit_s)
        pred = _read(folder, peer.name, train, targets)
        info = json.loads((folder / "info.json").read_text())
    pred.uns["sccalmflow"] = {
        "condition_keys": list(targets.columns),
        "perturbation_key": perturbation_key,
        "control": control,
        "split_key": "",
        "method": peer.name,
    }
    return pred, info


def _check(train: ad.AnnData, targets: pd.DataFrame, perturbation_key: str, control: str) -> None:
    keys = list(targets.columns)
    missing = [key for key in keys if key not in train.obs]
    if missing or perturbation_key not in keys:
        raise ValueError(
            f"targets has the columns {keys}: all must be in train.obs, and {perturbation_key!r} one of them."
        )
    seen = set(train.obs[keys].astype(str).itertuples(index=False, name=None))
    position = keys.index(perturbation_key)
    for target in targets.astype(str).itertuples(index=False, name=None):
        if tuple(target) in seen:
            raise ValueError(f"{target} is a target and in train.")
        if (*target[:position], control, *target[position + 1 :]) not in seen:
            raise ValueError(f"train has no cells with {perturbation_key} {control!r} in the context of {target}.")


def _run(command: list[str], folder: Path, name: str, limit_s: float) -> None:
    # Its own session, so that data loaders and compilers of a peer end with it.
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=_environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    last: deque[str] = deque(maxlen=_LINES_OF_A_FAILURE)

    def pass_on() -> None:
        for line in process.stdout:
            last.append(line)
            print(f"{name}: {line}", end="", file=sys.stderr, flush=True)

    reader = threading.Thread(target=pass_on, daemon=True)
    reader.start()
    try:
        status = process.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"{name} was not done after {limit_s:g} s.") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        reader.join(timeout=5)
    if status:
        raise RuntimeError(f"{name} failed with exit status {status}. The end of what it said:\n{''.join(last)}")


def _environ() -> dict[str, str]:
    # On its path lies exchange.py alone of ours, not the package that this process may have been started with.
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTHONUNBUFFERED": "1"}
    threads = environ.get("OMP_NUM_THREADS")
    if threads:
        # The threads of jax are its own affair.
        environ.setdefault("NPROC", threads)
        if threads == "1":
            environ["XLA_FLAGS"] = f"{environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    return environ


def _read(folder: Path, name: str, train: ad.AnnData, targets: pd.DataFrame) -> ad.AnnData:
    """The answer, checked, with expression for a peer that predicts scores, and scores for one that predicts genes."""
    if not (folder / "pred.h5ad").exists() or not (folder / "info.json").exists():
        raise RuntimeError(f"{name} ended without an error, but left no pred.h5ad or no info.json.")
    answer = ad.read_h5ad(folder / "pred.h5ad")
    keys = list(targets.columns)
    made = set(answer.obs[keys].astype(str).itertuples(index=False, name=None))
    if made != set(targets.astype(str).itertuples(index=False, name=None)):
        raise RuntimeError(f"{name} predicted other conditions than the targets.")
    projection = scf.pp.PCA.from_anndata(train) if "pca" in train.uns else None
    scores = np.asarray(answer.obsm["X_pca"], dtype=np.float32) if "X_pca" in answer.obsm else None
    if scores is not None:
        X = projection.inverse(scores)
    elif list(answer.var_names) == [str(gene) for gene in train.var_names]:
        X = answer.X
    else:
        raise RuntimeError(f"{name} predicted other genes than those of train.")
    if not np.isfinite(X.data if sparse.issparse(X) else X).all():
        raise RuntimeError(f"{name} predicted values that are not finite.")
    if scores is None and projection is not None:
        scores = projection.transform(X)
    obs = answer.obs[keys].astype(str).astype("category")
    return ad.AnnData(
        X, obs=obs, var=pd.DataFrame(index=train.var_names), obsm={} if scores is None else {"X_pca": scores}
    )
