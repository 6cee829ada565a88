"""What building, training, predicting, saving and loading must leave as it was."""

import random
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import sccalmflow as scf

CONDITION = pd.DataFrame({"cell_type": ["B"], "perturbation": ["IFN"], "chronicity": ["acute"]})


def test_nothing_global_changes(cells_of, build, train, predict, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    train(build(cells_of()))  # imports and first uses are over

    def state() -> tuple[object, ...]:
        kind, keys, *rest = np.random.get_state()
        return (
            torch.random.get_rng_state().tolist(),
            (kind, keys.tolist(), *rest),
            random.getstate(),
            list(warnings.filters),
            np.geterr(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_num_threads(),
        )

    def compare(before: tuple[object, ...], what: str) -> tuple[object, ...]:
        names = ("torch", "numpy", "random", "warnings", "errors", "dtype", "gradients", "deterministic", "threads")
        now = state()
        changed = [name for name, then, after in zip(names, before, now, strict=True) if then != after]
        assert not changed, f"{what} changed {changed}"
        return now

    before = state()
    adata = cells_of()
    model = build(adata, dropout=0.1)
    before = compare(before, "building")
    train(model, validation_size=0.1)
    before = compare(before, "training")
    predict(model, CONDITION)
    before = compare(before, "predicting")
    model.save("model")
    before = compare(before, "saving")
    scf.CaLMFlowModel.load("model")
    compare(before, "loading")
    assert [path.name for path in Path().iterdir()] == ["model"]  # no logs, no checkpoints


def test_training_changes_nothing_of_the_cells(cells_of, build, train) -> None:
    adata = cells_of()
    before = adata.copy()
    train(build(adata), validation_size=0.1)
    np.testing.assert_array_equal(adata.X, before.X)
    np.testing.assert_array_equal(adata.obsm["X_pca"], before.obsm["X_pca"])
    pd.testing.assert_frame_equal(adata.obs[before.obs.columns], before.obs)
    assert all("_scvi" in key for key in {*adata.obs, *adata.uns} - {*before.obs, *before.uns})
