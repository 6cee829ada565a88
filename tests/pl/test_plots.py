import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import sccalmflow as scf


@pytest.fixture(autouse=True)
def untouched_style_and_closed_figures(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *_: pytest.fail("a plot called show"))
    before, state = matplotlib.rcParams.copy(), np.random.get_state()[1].copy()
    yield
    assert matplotlib.rcParams == before
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    plt.close("all")


@pytest.fixture(scope="module")
def adata():
    rng = np.random.default_rng(0)
    labels = [(t, p) for t in ("B", "T") for p in ("control", "IFN", "IL-6") for _ in range(25)]
    obs = pd.DataFrame(labels, columns=["cell_type", "perturbation"], index=[f"c{i}" for i in range(len(labels))])
    obs["split"] = np.where((obs["cell_type"] == "B") & (obs["perturbation"] != "control"), "heldout", "train")
    shift = (obs["cell_type"] == "B").to_numpy() * 3.0 + (obs["perturbation"] != "control").to_numpy() * 1.5
    X = rng.normal(size=(len(obs), 6)) + shift[:, None]
    return AnnData(np.abs(X) + 0.1, obs=obs, obsm={"X_pca": X})


@pytest.fixture(scope="module")
def pred(adata):
    heldout = pd.DataFrame({"cell_type": ["B", "B"], "perturbation": ["IFN", "IL-6"]})
    return scf.baselines.additive(adata, heldout, perturbation_key="perturbation", control="control")


@pytest.fixture
def report(pred, adata):
    return scf.tl.evaluate({"mine": pred}, adata, n_boot=5)


def points(ax):
    return [collection.get_offsets().data for collection in ax.collections]


def test_umap_draws_one_facet_per_condition_and_is_fitted_on_the_truth_alone(pred, adata):
    axes = scf.pl.umap(pred, adata, seed=1)
    assert [ax.get_title() for ax in axes] == ["B, IFN", "B, IL-6"]
    moved = pred.copy()
    moved.obsm["X_pca"] = pred.obsm["X_pca"] + 3
    other = scf.pl.umap(moved, adata, seed=1)
    for ax, again in zip(axes, other, strict=True):
        # Background and controls stay where they are, whatever is predicted.
        np.testing.assert_array_equal(points(ax)[0], points(again)[0])
        np.testing.assert_array_equal(points(ax)[1], points(again)[1])
        assert not np.array_equal(points(ax)[2], points(again)[2])


def test_umap_is_reproducible_uses_given_axes_and_bounds_its_cells(pred, adata):
    figure, mine = plt.subplots(1, 2)
    first = scf.pl.umap(pred, adata, max_cells=100, axes=mine)
    second = scf.pl.umap(pred, adata, max_cells=100)
    assert first[0] is mine[0] and first[0].figure is figure
    np.testing.assert_array_equal(points(first[0])[2], points(second[0])[2])
    assert len(points(first[0])[0]) == 100


def test_umap_refuses_too_few_axes_and_cells(pred, adata):
    with pytest.raises(ValueError, match="2 conditions"):
        scf.pl.umap(pred, adata, axes=plt.figure().gca())
    with pytest.raises(ValueError, match="max_cells"):
        scf.pl.umap(pred, adata, max_cells=2)
    with pytest.raises(KeyError, match="celltype"):
        scf.pl.umap(pred, adata, condition_keys=["celltype", "perturbation"])


def test_evaluation_draws_one_panel_per_metric_with_all_methods(report):
    axes = scf.pl.evaluation(report)
    assert [ax.get_title() for ax in axes] == report["metric"].unique().tolist()
    handles = axes[0].get_legend_handles_labels()[1]
    assert handles == ["control", "additive", "ceiling", "mine"]
    mine = next(line for line in axes[0].lines if line.get_label() == "mine")
    expected = report[(report["method"] == "mine") & (report["metric"] == "edistance")]["value"]
    np.testing.assert_allclose(mine.get_xdata(), [*expected, expected.mean()])
    assert [tick.get_text() for tick in axes[0].get_yticklabels()] == ["B, IFN", "B, IL-6", "mean"]


def test_evaluation_draws_chosen_metrics_on_given_axes_and_without_intervals(report):
    report = report.assign(ci_low=np.nan, ci_high=np.nan)
    ax = plt.figure().gca()
    assert scf.pl.evaluation(report, metrics=["r2"], axes=ax)[0] is ax
    assert ax.get_title() == "r2"
    with pytest.raises(ValueError, match="Did you mean 'mmd'"):
        scf.pl.evaluation(report, metrics=["mdm"])
    with pytest.raises(ValueError, match="no column 'ci_low'"):
        scf.pl.evaluation(report.drop(columns="ci_low"))


def test_history_pairs_training_and_validation_and_prefers_epochs_to_steps():
    epochs = pd.Index(range(3), name="epoch")
    curves = {
        "train_loss_step": pd.DataFrame({"x": np.arange(30.0)}),
        "train_loss_epoch": pd.DataFrame({"x": [3.0, 2.0, 1.0]}, index=epochs),
        "validation_loss": pd.DataFrame({"x": [3.5, 2.5, 2.0]}, index=epochs),
        "elbo_train": pd.DataFrame({"x": [1.0, 0.5, 0.2]}, index=epochs),
    }

    class Model:
        history_ = curves

    for source in (Model(), curves, pd.DataFrame({name: curves[name]["x"] for name in list(curves)[1:]})):
        axes = scf.pl.history(source)
        assert [ax.get_ylabel() for ax in axes] == ["loss", "elbo"]
        assert [line.get_label() for line in axes[0].lines] == ["train", "validation"]
        np.testing.assert_array_equal(axes[0].lines[0].get_ydata(), [3, 2, 1])
    assert len(scf.pl.history(curves, quantities=["elbo"])) == 1


def test_history_says_what_it_needs():
    class Untrained:
        history_ = None

    for empty in ({}, Untrained()):
        with pytest.raises(ValueError, match="train the model first"):
            scf.pl.history(empty)
    with pytest.raises(TypeError, match="int"):
        scf.pl.history(3)
    with pytest.raises(ValueError, match="Did you mean 'loss'"):
        scf.pl.history(pd.DataFrame({"train_loss": [1.0]}), quantities=["los"])
