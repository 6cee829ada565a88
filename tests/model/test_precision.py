"""Single precision: some accelerators, Apple's among them, have no other."""

import numpy as np
import pytest
import torch

from sccalmflow.model._data import BatchSampler


@pytest.mark.parametrize("settings", [{}, {"n_context_cells": 2}, {"preset": "paper", "n_latent": 4}], ids=str)
def test_all_that_reaches_the_device_is_single_precision(cells_of, build, settings: dict[str, object]) -> None:
    adata = cells_of()
    adata.X, adata.obsm["X_pca"] = adata.X.astype(np.float64), adata.obsm["X_pca"].astype(np.float64)
    model = build(adata, **settings)
    state = model._state
    batch = BatchSampler(model._data, state.flow, state.schema, state.settings, model._book).draw(
        8, torch.Generator().manual_seed(0)
    )
    tensors = {**dict(model.module.named_parameters()), **dict(model.module.named_buffers())}
    tensors |= {"endpoint": batch.endpoint, "source": batch.source, "context": batch.prompts.context}
    loss = state.flow.loss(
        batch.endpoint, batch.source, batch.prompts, batch.prompt_index, generator=torch.Generator().manual_seed(0)
    )
    tensors |= loss
    wide = [name for name, value in tensors.items() if value is not None and value.dtype == torch.float64]
    assert wide == []
    assert loss["loss"].dtype == torch.float32


def test_predictions_are_single_precision(cells_of, build, train, predict, conditions) -> None:
    pred = predict(train(build(cells_of()), max_epochs=1), conditions, n_cells=2)
    assert pred.X.dtype == pred.obsm["X_pca"].dtype == np.float32
