"""Held-out cells are there to be compared with, and nothing else reads them."""

import numpy as np
import torch


def test_held_out_cells_change_neither_the_model_nor_its_prediction(
    cells_of, build, train, predict, conditions
) -> None:
    usual, other = cells_of(), cells_of()
    held = (other.obs["split"] == "heldout").to_numpy()
    rng = np.random.default_rng(1)
    other.X[held] = rng.uniform(0, 5, other.X[held].shape)
    other.obsm["X_pca"][held] = rng.normal(0, 9, other.obsm["X_pca"][held].shape)
    models = [train(build(adata), validation_size=0.1) for adata in (usual, other)]
    weights = [model.module.state_dict() for model in models]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    asked = conditions[:1]  # the held-out one
    # An AnnData says by its labels what to predict; its expression is not the start.
    made = [predict(models[0], asked).X, predict(models[1], asked).X, predict(models[1], other[held]).X]
    np.testing.assert_array_equal(made[1], made[0])
    np.testing.assert_array_equal(made[2], made[0])
