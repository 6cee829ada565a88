import numpy as np
import pandas as pd
import pytest
import torch

from sccalmflow.model._data import BatchSampler

KEYS = ["cell_type", "perturbation", "chronicity"]


@pytest.fixture
def alike(cells_of):
    """Cells that are all the mean of their condition, so that one tells which."""
    adata = cells_of()
    scores = pd.DataFrame(adata.obsm["X_pca"], index=adata.obs_names)
    adata.obsm["X_pca"] = scores.groupby([adata.obs[key] for key in KEYS], observed=True).transform("mean").to_numpy()
    return adata


def draw(model, **options):
    state = model._state
    sampler = BatchSampler(model._data, state.flow, state.schema, state.settings, model._book)
    generator = torch.Generator().manual_seed(0)
    every = torch.arange(len(model._data.conditions))
    batch = sampler.draw_conditions(every, 20, generator, **options) if options else sampler.draw(600, generator)
    texts = [state.tokenizer.decode(ids[mask].tolist()) for ids, mask in zip(*batch.prompts[:2], strict=True)]
    return batch, [texts[i] for i in batch.prompt_index.tolist()]


def test_cells_without_a_named_type_lie_between_their_context_and_another_and_so_do_their_controls(alike, build):
    model = build(alike)
    means = {
        labels: alike.obsm["X_pca"][rows][0] for labels, rows in alike.obs.groupby(KEYS, observed=True).indices.items()
    }
    batch, sentences = draw(model)
    shares = []
    for endpoint, source, number, sentence in zip(
        batch.endpoint[:, 0].numpy(), batch.source[:, 0].numpy(), batch.condition.tolist(), sentences, strict=True
    ):
        cell_type, perturbation, chronicity = model._data.conditions[number].labels
        here, control = means[cell_type, perturbation, chronicity], means[cell_type, "control", chronicity]
        if not sentence.startswith("Generate a cell"):
            np.testing.assert_allclose(endpoint, here, atol=1e-5)
            np.testing.assert_allclose(source, np.broadcast_to(control, source.shape), atol=1e-5)
            continue
        # The share of the way is what the endpoint went; some other type has to explain it, and the source alike.
        fits = []
        for other in {labels[0] for labels in means} - {cell_type}:
            if (other, perturbation, chronicity) == ("NK", "IL-6", "chronic"):
                continue  # held out
            way = means[other, perturbation, chronicity] - here
            share = (endpoint - here) @ way / (way @ way)
            moved = control + share * (means[other, "control", chronicity] - control)
            fits.append((np.abs(endpoint - here - share * way).max() + np.abs(source - moved).max(), share))
        error, share = min(fits)
        assert error < 1e-4
        shares.append(share)
    # A third of them stay, where the other context is their own.
    assert len(shares) > 200
    assert min(shares) > -1e-5
    assert max(shares) < 1 + 1e-5
    assert np.mean(np.abs(shares) < 1e-4) == pytest.approx(1 / 3, abs=0.12)
    assert np.std([share for share in shares if share > 1e-4]) == pytest.approx(12**-0.5, abs=0.06)


@pytest.mark.parametrize("settings", [{"mix_contexts": False}, {}])
def test_cells_stay_where_they_are_without_mixing_and_in_validation(alike, build, settings):
    model = build(alike, **settings)
    batch, _ = draw(model, batch_size=None) if not settings else draw(model)
    known = np.unique(alike.obsm["X_pca"].astype(np.float32), axis=0)
    for part in (batch.endpoint, batch.source):
        distance = torch.cdist(part.flatten(0, -2), torch.from_numpy(known)).min(dim=1).values
        assert distance.max() < 1e-3


@pytest.mark.parametrize("settings", [{"source": "noise"}, {"n_context_cells": 3}, {"omit_probability": 0.0}])
def test_contexts_are_mixed_only_where_the_source_alone_tells_them(cells_of, build, settings):
    assert build(cells_of()).settings["mix_contexts"]
    assert not build(cells_of(), **settings).settings["mix_contexts"]
    with pytest.raises(ValueError, match="mix_contexts=True needs"):
        build(cells_of(), mix_contexts=True, **settings)


def test_conditions_with_sentences_of_their_own_are_not_mixed(alike, build):
    alike.obs["told"] = alike.obs[KEYS].agg(" ".join, axis=1)
    model = build(alike, setup={"prompt_key": "told"})
    batch, _ = draw(model)
    means = alike.obs.groupby(KEYS, observed=True).indices
    for endpoint, number in zip(batch.endpoint[:, 0], batch.condition.tolist(), strict=True):
        rows = means[model._data.conditions[number].labels]
        np.testing.assert_allclose(endpoint, alike.obsm["X_pca"][rows[0]], atol=1e-5)
