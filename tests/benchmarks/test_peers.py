"""Peers are asked through files: the exchange with a made-up peer, and a toy training of each that is installed."""

import os
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import sccalmflow as scf

# Benchmarks are no package that is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers import PEERS, Peer, PeerUnavailable, environment, predict
from benchmarks.peers.exchange import Request, read_job, write_request

KEYS = {"perturbation_key": "perturbation", "control": "control"}

# Control cells of the target's context plus 1, in the order of its rows.
SHIFT = """
import sys
import anndata as ad
import numpy as np
from exchange import Clock, dense, progress, read_job, used, write_answer

job, clock = read_job(sys.argv[1:]), Clock()
settings = used(job, shift=1.0, cells=None)
progress("shifting")
with clock("training"):
    rows = [job.controls(target, np.random.default_rng(job.seed)) for _, target in job.targets.iterrows()]
numbers = np.repeat(np.arange(len(rows)), [len(part) for part in rows])
obs, rows = job.labelled(numbers), np.concatenate(rows)
if {scores}:
    scores = job.train.obsm["X_pca"][rows] + settings["shift"]
    pred = ad.AnnData(np.zeros((len(rows), 0)), obs=obs, obsm={{"X_pca": scores}})
else:
    pred = ad.AnnData(dense(job.train.X[rows]) + settings["shift"], obs=obs, var=job.train.var[[]])
write_answer(job, pred[: settings["cells"]].copy(), clock, parameters=0, packages=["anndata"], settings=settings)
"""


@pytest.fixture
def split() -> tuple[ad.AnnData, pd.DataFrame]:
    adata = scf.datasets.simulated_cytokines(cells_per_condition=6, n_genes=100)
    few = adata.obs["perturbation"].isin(["control", "IL-6", "IFN-beta"]) & adata.obs["cell_type"].isin(
        ["B", "NK", "CD4 T"]
    )
    adata = adata[few.to_numpy()].copy()
    adata.obs["total_counts"] = np.asarray(adata.layers["counts"].sum(axis=1)).ravel()
    heldout = pd.DataFrame({"cell_type": ["B", "NK"], "perturbation": ["IL-6", "IFN-beta"], "chronicity": "acute"})
    heldout = scf.pp.hold_out(adata, conditions=heldout, min_cells=1)
    scf.pp.pca(adata, n_comps=5)
    return adata[adata.obs["split"] == "train"].copy(), heldout


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A peer whose environment is this interpreter; give it the text of its adapter."""
    monkeypatch.setenv("SCCALMFLOW_PEERS", str(tmp_path))

    def make(text: str) -> Peer:
        peer = Peer("fake", tmp_path / "adapters", ({},))
        peer.folder.mkdir()
        (peer.folder / "adapter.py").write_text(text)
        python = environment(peer)
        python.parent.mkdir(parents=True)
        # Not a link: Python would look for its libraries beside it.
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        return peer

    return make


def controls(train: ad.AnnData, target: pd.Series) -> ad.AnnData:
    of = (train.obs["cell_type"] == target["cell_type"]) & (train.obs["chronicity"] == target["chronicity"])
    return train[(of & (train.obs["perturbation"] == "control")).to_numpy()]


def test_genes_of_a_peer_come_back_with_labels_and_scores(split, fake, capfd):
    train, heldout = split
    pred, info = predict(fake(SHIFT.format(scores=False)), train, heldout, **KEYS, n_cells=3, settings={"shift": 2.0})
    assert list(pred.var_names) == list(train.var_names)
    assert pred.obs.value_counts(sort=False).tolist() == [3, 3]
    for _, target in heldout.iterrows():
        made = pred[(pred.obs[list(heldout)] == target).all(axis=1).to_numpy()].X
        allowed = controls(train, target).X.toarray() + 2
        assert all(np.abs(allowed - cell).max(axis=1).min() < 1e-5 for cell in made)
    np.testing.assert_allclose(pred.obsm["X_pca"], scf.pp.PCA.from_anndata(train).transform(pred.X), atol=1e-5)
    assert info["settings"] == {"shift": 2.0, "cells": None}
    assert info["training_seconds"] >= 0 and info["peak_memory_gb"] > 0
    assert "fake: shifting" in capfd.readouterr().err


def test_scores_of_a_peer_are_taken_back_to_genes(split, fake):
    train, heldout = split
    pred, _ = predict(fake(SHIFT.format(scores=True)), train, heldout.iloc[:1], **KEYS, n_cells=100)
    source = controls(train, heldout.iloc[0])
    assert pred.n_obs == source.n_obs  # no more than there are control cells
    np.testing.assert_allclose(
        np.sort(pred.obsm["X_pca"], axis=0), np.sort(source.obsm["X_pca"] + 1, axis=0), atol=1e-5
    )
    projection = scf.pp.PCA.from_anndata(train)
    np.testing.assert_allclose(
        pred.X, pred.obsm["X_pca"] @ (projection.loadings.T * projection.scale) + projection.mean, atol=1e-4
    )


def test_evaluate_needs_nothing_but_the_prediction_and_the_truth(split, fake):
    train, heldout = split
    pred, _ = predict(fake(SHIFT.format(scores=False)), train, heldout, **KEYS, n_cells=3)
    truth = ad.concat([train, pred], merge="same")
    truth.uns, truth.varm = train.uns, train.varm
    report = scf.tl.evaluate({"fake": pred}, truth, metrics=["mse"], values="any", baselines=False, n_boot=0)
    assert report.loc[report["method"] == "fake", "value"].abs().max() < 1e-9


def test_the_files_hold_what_an_old_anndata_reads(split, tmp_path):
    """String categories and float32 alone: what came after anndata 0.9 is a nullable or a typed string, or a null."""
    h5py = pytest.importorskip("h5py")
    train, heldout = split
    train.obs["cell_type"] = train.obs["cell_type"].astype("string")
    train.uns["nothing"] = None
    write_request(tmp_path, train, heldout, Request("perturbation", "control", 3, {}, 0))
    encodings = set()
    with h5py.File(tmp_path / "train.h5ad") as file:
        file.visititems(lambda _, item: encodings.add(item.attrs.get("encoding-type", "")))
        assert not list(file["uns"])
    assert encodings <= {"dict", "dataframe", "array", "csr_matrix", "categorical", "string-array", ""}
    job = read_job(["--folder", str(tmp_path)])
    assert job.train.X.dtype == job.train.layers["counts"].dtype == np.float32
    assert job.covariates == ["cell_type", "chronicity"]
    pd.testing.assert_frame_equal(job.targets, heldout.astype(str).astype(object), check_dtype=False)


def test_control_cells_are_of_the_target_and_repeat_only_when_asked(split, tmp_path):
    train, heldout = split
    write_request(tmp_path, train, heldout, Request("perturbation", "control", 50, {}, 0))
    job = read_job(["--folder", str(tmp_path)])
    target, names = job.targets.iloc[0], set(controls(train, heldout.iloc[0]).obs_names)
    once = job.controls(target, np.random.default_rng(0))
    many = job.controls(target, np.random.default_rng(0), repeat=True)
    assert set(job.train.obs_names[once]) == set(job.train.obs_names[many]) == names
    assert len(once) == len(names) and len(many) == 50


def test_a_missing_environment_names_the_command_that_makes_it(split, tmp_path, monkeypatch):
    monkeypatch.setenv("SCCALMFLOW_PEERS", str(tmp_path))
    train, heldout = split
    with pytest.raises(PeerUnavailable, match="python -m benchmarks.peers.setup cpa"):
        predict(PEERS["cpa"], train, heldout, **KEYS, n_cells=3)


def test_a_failure_shows_the_end_of_what_the_peer_said(split, fake):
    peer = fake("raise ValueError('no such gene')")
    with pytest.raises(RuntimeError, match=r"(?s)fake failed with exit status 1.*ValueError: no such gene"):
        predict(peer, *split, **KEYS, n_cells=3)


def test_a_setting_that_a_peer_does_not_have_is_an_error(split, fake):
    with pytest.raises(RuntimeError, match="No such settings: shft; there are shift, cells"):
        predict(fake(SHIFT.format(scores=False)), *split, **KEYS, n_cells=3, settings={"shft": 2.0})


def test_a_peer_is_ended_with_what_it_started_when_its_time_is_over(split, fake, tmp_path):
    file = tmp_path / "child"
    peer = fake(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(file)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="fake was not done after 5 s"):
        predict(peer, *split, **KEYS, n_cells=3, limit_s=5)
    assert time.monotonic() - start < 40
    child = Path("/proc", file.read_text(), "stat")
    time.sleep(0.5)
    assert not child.exists() or child.read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_other_conditions_than_the_targets_are_refused(split, fake):
    with pytest.raises(RuntimeError, match="predicted other conditions than the targets"):
        predict(fake(SHIFT.format(scores=False)), *split, **KEYS, n_cells=3, settings={"cells": 3})


def test_targets_in_train_or_without_control_cells_are_refused_before_a_peer_starts(split, fake):
    train, heldout = split
    peer = fake("raise SystemExit('started')")
    seen = train.obs.loc[train.obs["perturbation"] == "IL-6", list(heldout)].head(1)
    with pytest.raises(ValueError, match="is a target and in train"):
        predict(peer, train, seen, **KEYS, n_cells=3)
    with pytest.raises(ValueError, match="no cells with perturbation 'control' in the context"):
        predict(peer, train, heldout.assign(cell_type="pDC"), **KEYS, n_cells=3)
    with pytest.raises(ValueError, match="all must be in train.obs"):
        predict(peer, train, heldout.assign(dose="1"), **KEYS, n_cells=3)


TOY = {
    "cpa": {"epochs": 2, "batch_size": 32},
    "cellflow": {"iterations": 3, "batch_size": 16, "width": 16, "condition_dim": 8},
    "scgen": {"epochs": 1, "n_hidden": 16, "n_latent": 4},
    "scgpt": {"steps": 3, "batch_size": 4, "genes": 20, "width": 8, "layers": 1, "heads": 2},
}


@pytest.mark.parametrize("counts", [True, False], ids=["counts", "real values"])
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_trains_and_predicts(split, name, counts):
    peer = PEERS[name]
    if not environment(peer).exists():
        pytest.skip(f"needs {peer.setup}")
    train, heldout = split
    if not counts:
        del train.layers["counts"], train.obs["total_counts"]
        train.X = train.X.toarray() - 1
        scf.pp.pca(train, n_comps=5, values="any")
    pred, info = predict(peer, train, heldout, **KEYS, n_cells=3, settings=TOY[name], limit_s=900)
    assert pred.obs.value_counts(sort=False).tolist() == [3, 3]
    assert pred.shape[1] == train.n_vars and pred.obsm["X_pca"].shape == (6, 5)
    assert np.isfinite(pred.X).all() and pred.X.std(axis=0).mean() > 0
    assert TOY[name].items() <= info["settings"].items()
    assert info["parameters"] > 0 and info["training_seconds"] > 0 and "anndata" in info["versions"]
    if name == "cpa":
        assert info["settings"]["likelihood"] == ("nb" if counts else "gauss")


@pytest.mark.parametrize("name", PEERS)
def test_a_grid_starts_with_the_defaults_and_stays_small(name):
    grid = PEERS[name].grid
    assert grid[0] == {} and 1 < len(grid) <= 4
    assert (PEERS[name].folder / "README.md").exists()
    requirements = (PEERS[name].folder / "requirements.txt").read_text().split()
    assert all("==" in line for line in requirements)
    # It is in no index: an environment that was made beside ours and listed would ask for it.
    assert not any(line.startswith("sccalmflow") for line in requirements)


@pytest.mark.skipif("SCCALMFLOW_PEERS" in os.environ, reason="the folder of environments is set")
def test_environments_are_in_the_repository_unless_told_otherwise():
    assert environment(PEERS["cpa"]).parts[-4:] == (".venv-peers", "cpa", "bin", "python")
