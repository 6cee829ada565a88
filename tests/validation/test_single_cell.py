import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scanpy as sc
import torch
from anndata import AnnData
from scipy import sparse

from sccalmflow.datasets import simulated_cytokines
from sccalmflow.tl import edistance
from sccalmflow.validation import single_cell
from sccalmflow.validation._data.cells import read, split, with_log_values
from sccalmflow.validation._data.count_model import CountModel, fit_count_model
from sccalmflow.validation._data.study import Effort
from sccalmflow.validation._training import size

TINY = Effort(n_samples=30, n_updates=2, batch_size=8)


@pytest.fixture(scope="module")
def cells():
    return split("toy", simulated_cytokines(cells_per_condition=2, n_genes=100), 8)


def counts(n=60, genes=12):
    return np.random.default_rng(0).poisson(1.5, size=(n, genes)).astype(np.float32)


@pytest.mark.parametrize("where", ["X", "layer"])
def test_counts_are_normalised_as_by_scanpy(where):
    matrix = counts()
    adata = AnnData(matrix) if where == "X" else AnnData(np.zeros_like(matrix) - 1, layers={"counts": matrix})
    found = with_log_values(adata)
    expected = AnnData(matrix.copy())
    sc.pp.normalize_total(expected, target_sum=1e4)
    sc.pp.log1p(expected)
    np.testing.assert_allclose(found.X.toarray(), expected.X, rtol=1e-5)
    np.testing.assert_array_equal(found.layers["counts"].toarray(), matrix)


def test_log_values_stay_as_they_are_and_other_values_are_refused():
    values = np.log1p(counts() * 0.7)
    found = with_log_values(AnnData(values))
    np.testing.assert_array_equal(found.X.toarray(), values)
    assert "counts" not in found.layers
    with pytest.raises(ValueError, match="negative values.*no other scale"):
        with_log_values(AnnData(values - 1))


def test_a_file_is_read_and_a_missing_one_is_named(tmp_path, monkeypatch):
    AnnData(sparse.csr_matrix(counts())).write_h5ad(tmp_path / "blood.h5ad")
    name, adata = read(tmp_path / "blood.h5ad")
    assert name == "blood" and adata.shape == (60, 12)
    with pytest.raises(FileNotFoundError, match="none.h5ad.*--data"):
        read(tmp_path / "none.h5ad")
    kang = tmp_path / "single_cell" / "kang_combined_counts.h5ad"
    kang.parent.mkdir()
    (tmp_path / "blood.h5ad").rename(kang)
    monkeypatch.setenv("SCCALMFLOW_DATA", str(tmp_path))
    assert read()[0] == "kang_combined_counts"


@pytest.mark.parametrize("folder", [None, "empty"])
def test_without_files_the_simulation_is_taken(tmp_path, monkeypatch, folder):
    monkeypatch.setattr("sccalmflow.validation._data.cells.simulated_cytokines", lambda: "cells")
    monkeypatch.delenv("SCCALMFLOW_DATA", raising=False)
    if folder is not None:
        monkeypatch.setenv("SCCALMFLOW_DATA", str(tmp_path))
    assert read() == ("simulated cytokines", "cells")


def test_held_out_cells_do_not_touch_what_is_fitted():
    adata = with_log_values(AnnData(counts(100)))
    first = split("a", adata, 5)
    assert first.train.shape == (80, 5) and first.truth.shape == (20, 5)
    assert first.train.var(axis=0).mean() == pytest.approx(1, abs=0.02)
    held_out = np.random.default_rng(0).permutation(100)[:20]
    changed = adata.copy()
    changed.X = adata.X.toarray()
    changed.X[held_out] *= 2
    second = split("a", changed, 5)
    np.testing.assert_allclose(second.train, first.train, atol=1e-4)
    assert not np.allclose(second.truth, first.truth, atol=0.1)
    # Counts are those of the same cells as the scores, in the same order.
    again = first.projection.transform(with_log_values(AnnData(first.counts)).X)
    np.testing.assert_allclose(again, first.train, atol=1e-4)


def test_too_few_cells_and_too_many_components_are_refused():
    with pytest.raises(ValueError, match="few has 49 cells; 50 are needed"):
        split("few", with_log_values(AnnData(counts(49))), 5)
    with pytest.raises(ValueError, match="allow 1 to 12 components"):
        split("narrow", with_log_values(AnnData(counts(60))), 50)


def test_scvi_gives_cells_in_the_scores_of_the_others_and_leaves_the_random_state(cells):
    before = torch.get_rng_state()
    first, again = (fit_count_model(CountModel(max_epochs=20), cells, seed=0) for _ in range(2))
    sample = first.sample(150, 0)
    assert torch.equal(before, torch.get_rng_state())
    assert sample.shape == (150, 8)
    np.testing.assert_array_equal(sample, again.sample(150, 0))
    far = np.random.default_rng(0).permuted(sample, axis=1) + 1
    assert edistance(sample, cells.truth) < edistance(far, cells.truth)


def test_the_table_runs_at_toy_size_and_goes_on_where_it_stopped(cells, tmp_path, monkeypatch):
    names = ["paper", "default", "cfm_sb-equal", "scvi"]
    text = single_cell.table_3(cells, names, [0], TINY, tmp_path, tag="toy", n_epochs=1)
    assert text == (tmp_path / "table-3-toy.md").read_text()
    rows = {line.split(" | ")[0][2:]: line.split(" | ")[1:] for line in text.splitlines() if line.startswith("| ")}
    assert rows["printed in the paper: CaLMFlow (5 trajectories)"][1] == "0.0031 ± 0.0001"
    # Training cells as a model: near the truth, and copies.
    floor, untrained = rows["training cells (floor)"], rows["`paper`, 1 trajectory"]
    assert float(floor[5]) < float(untrained[5])
    assert float(floor[7]) < 0.3
    assert {"`paper`, 5 trajectories", "`default`, from noise", "scVI"} <= set(rows)
    assert (tmp_path / "table-3-toy.png").stat().st_size > 1_000
    stored = json.loads((tmp_path / "paper-m5-seed0-toy.json").read_text())
    assert stored["settings"]["recipe"]["flow"]["n_trajectories"] == 5
    assert {"mmd_umap", "n_parameters", "training_seconds", "n_evaluations"} <= set(stored["results"])
    for name in ("fit", "fit_count_model", "joint_umap"):
        monkeypatch.setattr(f"sccalmflow.validation.single_cell.{name}", lambda *_, **__: pytest.fail("done again"))
    assert single_cell.table_3(cells, names, [0], TINY, tmp_path, tag="toy", n_epochs=1) == text
    more = [*names, "ddpm"]
    finished = partial(single_cell.table_3, cells, more, effort=TINY, n_epochs=1, finished_only=True)
    assert finished([0, 0, 1], folder=tmp_path, tag="toy") == text
    with pytest.raises(ValueError, match="no finished run of this data"):
        finished([0], folder=tmp_path, tag="other")


def test_every_model_of_the_command_line_has_a_recipe():
    found = single_cell.models(single_cell.MODELS, 10, TINY, 3)
    assert len(found) == len(single_cell.MODELS) + 1  # the paper's with one and with five trajectories
    equal = size(found["default"][1])
    assert found["cfm_ot-equal"][1].n_parameters(10) == pytest.approx(equal, rel=0.05)
    assert found["scvi"][1].max_epochs == 3


def test_scvi_is_refused_without_counts_and_left_out_by_default(tmp_path, monkeypatch, capsys):
    path = tmp_path / "log.h5ad"
    AnnData(np.log1p(counts() * 0.7)).write_h5ad(path)
    out = str(tmp_path / "out")
    with pytest.raises(ValueError, match="log has no counts"):
        single_cell.main(["--data", str(path), "--comps", "3", "--models", "scvi", "--out", out])
    monkeypatch.setattr(single_cell, "table_3", lambda cells, names, *_, **__: " ".join(names))
    single_cell.main(["--data", str(path), "--comps", "3", "--out", out])
    assert capsys.readouterr().out.splitlines()[0] == " ".join(single_cell.MODELS[:-1])


def test_unknown_models_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        single_cell.main(["--models", "gan", "--out", str(tmp_path / "new")])
    assert "cfm_sb" in capsys.readouterr().err
    assert not Path(tmp_path / "new").exists()
