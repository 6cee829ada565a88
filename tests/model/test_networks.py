import numpy as np
import pytest
import torch

import sccalmflow as scf
from sccalmflow.model import _train
from sccalmflow.model._fit import choose_validation


def scores(pred):
    return pred.obsm["X_pca"]


@pytest.fixture(scope="module")
def several(build, train, cells):
    return train(build(cells.copy(), n_networks=3), max_epochs=3, steps_per_epoch=40, lr=5e-3)


def alone(model, number):
    """The same model with one of its networks."""
    state = model._state
    kept = scf.CaLMFlowModel.__new__(scf.CaLMFlowModel)
    kept.__dict__ = {**model.__dict__, "_state": type(state)(**{**vars(state), "flows": [state.flows[number]]})}
    kept._state.n_trained = 1
    return kept


def test_the_first_network_is_that_of_a_model_with_one(build, train, cells, several) -> None:
    one = train(build(cells.copy()), max_epochs=3, steps_per_epoch=40, lr=5e-3)
    first, *others = several._state.flows
    for name, value in one._state.flows[0].state_dict().items():
        torch.testing.assert_close(first.state_dict()[name], value)
    weights = [flow.encoder.time.weight for flow in several._state.flows]
    assert not torch.allclose(weights[0], weights[1])
    assert not torch.allclose(weights[1], weights[2])
    assert several.settings["n_networks"] == 3
    assert list(several.history_["train_loss"].columns) == ["train_loss", "train_loss 2", "train_loss 3"]


def test_the_mean_change_is_the_mean_of_those_of_the_networks(several, predict, conditions) -> None:
    held, n = conditions[:1], 24  # as many as there are control cells, so that all predict from the same
    own = np.stack([scores(predict(alone(several, k), held, n_cells=n)).mean(0) for k in range(3)])
    assert np.abs(own - own.mean(0)).max() > 0.02
    np.testing.assert_allclose(scores(predict(several, held, n_cells=n)).mean(0), own.mean(0), atol=1e-4)


def test_seen_conditions_take_their_cells_from_the_networks_in_turn(several, predict, conditions) -> None:
    seen = conditions[1:2]
    pred = predict(several, seen, n_cells=11, return_trajectory=True)
    for number in range(3):
        own = predict(alone(several, number), seen, n_cells=11, return_trajectory=True)
        for key in ("X_pca", "trajectory"):
            np.testing.assert_allclose(pred.obsm[key][number::3], own.obsm[key][number::3], atol=1e-5)


def test_a_cell_does_not_depend_on_how_many_are_asked_for(several, predict, conditions) -> None:
    many = predict(several, conditions[:1], n_cells=30)
    np.testing.assert_allclose(scores(predict(several, conditions[:1], n_cells=7)), scores(many)[:7], atol=1e-5)


def test_saved_and_loaded_it_predicts_the_same(several, predict, conditions, tmp_path) -> None:
    several.save(tmp_path)
    loaded = scf.CaLMFlowModel.load(tmp_path)
    np.testing.assert_allclose(scores(predict(loaded, conditions)), scores(predict(several, conditions)), atol=1e-5)
    assert list(loaded.history_["train_loss"].columns) == list(several.history_["train_loss"].columns)
    assert len(scf.pl.history(loaded)[0].lines) == 3


def test_networks_validate_on_different_conditions_while_there_are_any(build, cells_of) -> None:
    model = build(cells_of(types=("B", "CD4 T", "NK", "DC")))
    data, schema = model._data, model._state.schema
    used = []
    for seed in range(6):
        held = choose_validation(data, schema, 0.1, seed, used)
        assert not set(held) & set(used)
        used += held
    # All of them are in use: one is taken again.
    every = [condition.labels for condition in data.conditions]
    assert choose_validation(data, schema, 0.1, 0, every) == choose_validation(data, schema, 0.1, 0)


def test_training_that_breaks_off_keeps_the_networks_it_has_trained(build, train, predict, cells, conditions, monkeypatch):
    model = build(cells.copy(), n_networks=3)

    class Stops(_train.Fitter):
        def run(self):
            if self.flow is model._state.flows[1]:
                raise KeyboardInterrupt
            super().run()

    monkeypatch.setattr(_train, "Fitter", Stops)
    with pytest.raises(KeyboardInterrupt):
        train(model)
    assert model.is_trained_
    assert list(model.history_["train_loss"].columns) == ["train_loss"]
    np.testing.assert_array_equal(scores(predict(model, conditions)), scores(predict(alone(model, 0), conditions)))
    monkeypatch.undo()
    train(model)
    assert len(model.history_["train_loss"].columns) == 3


def test_each_network_resumes_from_a_checkpoint_of_its_own(build, train, cells_of, tmp_path) -> None:
    first = train(build(cells_of(), n_networks=2), checkpoint_dir=str(tmp_path), validation_size=0.1)
    again = train(build(cells_of(), n_networks=2), checkpoint_dir=str(tmp_path), validation_size=0.1, resume=True)
    for one, other in zip(first._state.flows, again._state.flows, strict=True):
        for name, value in one.state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], value)
