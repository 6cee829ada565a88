import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import sccalmflow as scf

LONG = "CD8-positive, alpha-beta memory T cell"


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
    assert handles == ["control", "additive", "perturbed_mean", "nearest", "linear", "ceiling", "mine"]
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


def test_evaluation_takes_one_metric_by_name_and_refuses_what_is_no_report(report, pred):
    (ax,) = scf.pl.evaluation(report, metrics="edistance")
    assert ax.get_title() == "edistance"
    with pytest.raises(TypeError, match="report is an AnnData: pass the DataFrame that tl.evaluate returns"):
        scf.pl.evaluation(pred)
    with pytest.raises(TypeError, match="report is a dict"):
        scf.pl.evaluation({"mine": pred})


def test_evaluation_keeps_the_legend_off_the_data_of_given_axes(report):
    figure, axes = plt.subplots(1, 2, figsize=(9, 4))
    scf.pl.evaluation(report, metrics=["edistance", "r2"], axes=axes)
    figure.savefig(io.BytesIO())
    legend = axes[0].get_legend().get_window_extent()
    assert axes[0].get_window_extent().y0 <= legend.y0
    lowest = min(axes[0].transData.transform(line.get_xydata())[:, 1].min() for line in axes[0].lines[1:-1])
    assert legend.y1 < lowest
    # Panels beside each other keep their rows on one height.
    assert axes[0].get_ylim() == axes[1].get_ylim()


def test_evaluation_tells_all_baselines_apart_and_wraps_many_metrics():
    methods = ["mine", "control", "additive", "perturbed_mean", "nearest", "linear", "ceiling"]
    names = [f"metric {i}" for i in range(14)]
    rows = [(c, method, name, 0.5) for name in names for method in methods for c in ("B, IFN", "B, IL-6")]
    report = pd.DataFrame(rows, columns=["condition", "method", "metric", "value"])
    same = report.assign(ci_low=np.nan, ci_high=np.nan, direction="higher")
    axes = scf.pl.evaluation(same.assign(best=1.0))
    looks = {(line.get_marker(), line.get_color(), line.get_markerfacecolor()) for line in axes[0].lines[1:8]}
    assert len(looks) == len(methods)
    places = [ax.get_subplotspec() for ax in axes]
    assert [place.colspan.start for place in places] == [*range(5), *range(5), *range(4)]
    # Every row of panels names its conditions once.
    named = [ax.yaxis.get_tick_params()["labelleft"] for ax in axes]
    assert named == [place.colspan.start == 0 for place in places]


def test_evaluation_keeps_figures_of_all_conditions_below_the_mean_and_out_of_it():
    rows = [("a", "r2", 0.2), ("b", "r2", 0.4), ("all conditions", "r2", 0.9), ("all conditions", "kld", 0.7)]
    report = pd.DataFrame(rows, columns=["condition", "metric", "value"])
    report = report.assign(method="mine", ci_low=[0.1, np.nan, 0.8, np.nan], ci_high=[0.3, np.nan, 1.0, np.nan])
    # The best value of some metrics depends on the truth.
    axes = scf.pl.evaluation(report.assign(direction="higher", best=[1.0, 1.0, 1.0, np.nan]))
    labels = [tick.get_text() for tick in axes[0].get_yticklabels()]
    assert labels == ["a", "b", "mean", "all conditions"]
    place = dict(zip(labels, axes[0].get_yticks(), strict=True))
    drawn = [next(line for line in ax.lines if line.get_label() == "mine").get_xydata() for ax in axes]
    shift = drawn[0][0, 1] - place["a"]
    expected = {"a": 0.2, "b": 0.4, "all conditions": 0.9, "mean": 0.3}
    np.testing.assert_allclose(drawn[0], [(value, place[label] + shift) for label, value in expected.items()])
    np.testing.assert_allclose(drawn[1], [(0.7, place["all conditions"] + shift)])
    # An interval only where there is one.
    intervals = [sorted(part[:, 0].tolist() for part in ax.collections[0].get_segments()) for ax in axes]
    assert intervals == [[[0.1, 0.3], [0.8, 1.0]], []]


def test_evaluation_makes_no_scale_of_rounding_errors():
    report = pd.DataFrame({"condition": ["a", "b"], "value": [0.0, -1e-17], "method": "mine", "metric": "rate"})
    ax = scf.pl.evaluation(report.assign(ci_low=np.nan, ci_high=np.nan, direction="lower", best=0.0))[0]
    assert np.ptp(ax.get_xlim()) > 0.1


@pytest.mark.parametrize("n_metrics", [1, 2])
def test_evaluation_has_room_for_long_names(n_metrics):
    names = ["CaLMFlow (refit, 3 seeds)", "CellFlow (published)", "control", "ceiling"]
    rows = [
        (c, m, f"r{i}", 0.5) for i in range(n_metrics) for m in names for c in ("B, IFN", f"{LONG}, IFN-beta, chronic")
    ]
    report = pd.DataFrame(rows, columns=["condition", "method", "metric", "value"])
    axes = scf.pl.evaluation(report.assign(ci_low=np.nan, ci_high=np.nan, direction="higher", best=1.0))
    figure = axes[0].figure
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.width
    assert all(ax.get_window_extent().width > 1.2 * figure.dpi for ax in axes)


@pytest.mark.parametrize("plot", [scf.pl.correlation, scf.pl.umap])
def test_long_titles_stay_clear_of_the_legend_in_the_first_picture(plot, pred, adata):
    pred, adata = (cells.copy() for cells in (pred, adata))
    for cells in (pred, adata):
        cells.obs["cell_type"] = cells.obs["cell_type"].astype(str).replace("B", LONG)
    ax = plot(pred, adata)[0]
    ax.figure.savefig(io.BytesIO())
    assert ax.title.get_window_extent().y1 <= ax.figure.legends[0].get_window_extent().y0
    assert ax.get_tightbbox().y0 >= 0


@pytest.mark.parametrize(
    "plot", [scf.pl.correlation, scf.pl.de_genes, scf.pl.leiden_composition, scf.pl.trajectory, scf.pl.umap]
)
def test_what_is_no_anndata_is_refused_by_name(plot, pred, adata):
    with pytest.raises(TypeError, match="pred is a dict: pass an AnnData of predicted cells, one prediction at a time"):
        plot({"a": pred}, adata)
    with pytest.raises(TypeError, match="truth is a DataFrame: pass an AnnData of all measured cells"):
        plot(pred, adata.obs)


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


@pytest.mark.parametrize("n_epochs", [1, 3, 20, 300])
def test_history_counts_whole_epochs_from_one_without_an_offset(n_epochs):
    loss = 1.3656 + 1e-5 * np.random.default_rng(0).random(n_epochs)
    for first in (0, 1):
        index = pd.RangeIndex(first, first + n_epochs, name="epoch")
        (ax,) = scf.pl.history(pd.DataFrame({"train_loss": loss}, index=index))
        np.testing.assert_array_equal(ax.lines[0].get_xdata(), np.arange(1, n_epochs + 1))
        ax.figure.savefig(io.BytesIO())
        low, high = ax.get_xlim()
        ticks = [tick for tick in ax.get_xticks() if low <= tick <= high]
        assert ticks and all(tick in range(1, n_epochs + 1) for tick in ticks)
        assert {axis.get_offset_text().get_text() for axis in (ax.xaxis, ax.yaxis)} == {""}


def test_history_counts_epochs_of_all_curves_alike_and_steps_as_they_are():
    curves = {
        "train_loss": pd.DataFrame({"x": [3.0, 2.0, 1.0]}, index=pd.RangeIndex(3, name="epoch")),
        "validation_score": pd.DataFrame({"x": [0.5]}, index=pd.Index([2], name="epoch")),
        "train_rate_step": pd.DataFrame({"x": [1.0, 2.0]}, index=pd.RangeIndex(2, name="step")),
    }
    lines = [ax.lines[0].get_xdata().tolist() for ax in scf.pl.history(curves)]
    assert lines == [[1, 2, 3], [3], [0, 1]]


def test_history_leaves_the_scale_of_given_axes():
    ax = plt.figure().gca()
    ax.set_yscale("log")
    scf.pl.history(pd.DataFrame({"train_loss": [3.0, 2.0, 1.5]}), quantities="loss", axes=ax)
    assert ax.get_yscale() == "log"


def test_history_refuses_reports_predictions_and_single_numbers(report, pred):
    with pytest.raises(TypeError, match="no numbers by epoch in 'cell_type'; pass a trained model"):
        scf.pl.history(report)
    with pytest.raises(TypeError, match="model is an AnnData; pass a trained model"):
        scf.pl.history(pred)
    with pytest.raises(TypeError, match=r"model\['mine'\] is an AnnData"):
        scf.pl.history({"mine": pred})
    with pytest.raises(TypeError, match="no numbers by epoch in 'loss'"):
        scf.pl.history(pd.DataFrame({"loss": [1.0, 2.0]}, index=["IFN", "IL-6"]))


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
