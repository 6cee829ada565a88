"""Plots of the change against control: of all genes, and of the surest."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import stats

import sccalmflow as scf


def lines(ax, marker):
    return [line for line in ax.lines if line.get_marker() == marker]


def test_correlation_draws_the_changes_with_their_correlation_and_slope(pred, adata, samples):
    axes = scf.pl.correlation(pred, adata, n_labels=3)
    assert [ax.get_title() for ax in axes] == ["B, IFN", "B, IL-6"]
    for ax, perturbation in zip(axes, ("IFN", "IL-6"), strict=True):
        predicted, true, control = (cells.mean(axis=0) for cells in samples(perturbation))
        points = np.stack([true - control, predicted - control], axis=1)
        np.testing.assert_allclose(ax.collections[0].get_offsets(), points)
        fit = stats.linregress(points[:, 0], points[:, 1])
        drawn = next(line for line in ax.lines if line.get_label() == "fit").get_xydata()
        np.testing.assert_allclose(drawn[:, 1], fit.intercept + fit.slope * drawn[:, 0])
        assert ax.texts[0].get_text() == f"r = {fit.rvalue:.2f}\nslope = {fit.slope:.2f}"
        assert ax.get_xlim() == ax.get_ylim()


def test_correlation_names_the_largest_true_changes_at_their_points_without_overlap(pred, adata):
    ax = scf.pl.correlation(pred, adata, n_labels=4)[1]
    points = np.asarray(ax.collections[0].get_offsets())
    names, largest = ax.texts[1:], np.argsort(-np.abs(points[:, 0]))[:4]
    assert 2 <= len(names) <= 4
    assert {text.get_text() for text in names} <= set(adata.var_names[largest])
    for text in names:
        np.testing.assert_allclose(text.xy, points[adata.var_names.get_loc(text.get_text())])
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert len(scf.pl.correlation(pred, adata, n_labels=0)[0].texts) == 1


def test_correlation_of_an_unchanged_prediction_is_zero(pred, adata):
    still = pred[pred.obs["perturbation"] == "IFN"].copy()
    still.X = np.asarray(adata[(adata.obs["cell_type"] == "B") & (adata.obs["perturbation"] == "control")].X)
    assert scf.pl.correlation(still, adata)[0].texts[0].get_text() == "r = 0.00\nslope = 0.00"


def test_de_genes_draws_the_surest_genes_sorted_with_intervals(pred, adata, samples):
    ax = scf.pl.de_genes(pred, adata, n_genes=4)[0]
    predicted, true, control = samples("IFN")
    tests = [stats.ttest_ind(cells, control, equal_var=False) for cells in (true, predicted)]
    surest = np.argsort(-np.abs(tests[0].statistic))[:4]
    change = true.mean(axis=0) - control.mean(axis=0)
    genes = surest[np.argsort(-change[surest])]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == adata.var_names[genes].tolist()
    for line, test, cells, intervals in zip(
        lines(ax, "o") + lines(ax, "D"), tests, (true, predicted), (1, 2), strict=True
    ):
        np.testing.assert_allclose(line.get_xdata(), (cells.mean(axis=0) - control.mean(axis=0))[genes])
        interval = test.confidence_interval(0.95)
        drawn = [segment[:, 0] for segment in ax.collections[intervals].get_segments()]
        np.testing.assert_allclose(drawn, np.stack([interval.low, interval.high], axis=1)[genes])


def test_de_genes_crosses_predictions_of_the_wrong_sign_and_never_asks_them_which_genes(pred, adata, samples):
    wrong = pred.copy()
    gene = 2
    wrong.X[:, gene] = samples("IFN")[2][:, gene].mean() - 1
    before, after = (scf.pl.de_genes(one, adata, n_genes=50)[0] for one in (pred, wrong))
    names = [[tick.get_text() for tick in ax.get_yticklabels()] for ax in (before, after)]
    assert names[0] == names[1] and len(names[0]) == adata.n_vars
    assert not len(lines(before, "X")[0].get_xdata())
    np.testing.assert_allclose(lines(after, "X")[0].get_xdata(), [-1])
    assert round(float(lines(after, "X")[0].get_ydata()[0])) == names[1].index(adata.var_names[gene])


def test_de_genes_ranks_genes_that_never_vary_last(pred, adata):
    flat, same = adata.copy(), pred.copy()
    flat.X[:, 0] = same.X[:, 0] = 1.0
    ax = scf.pl.de_genes(same, flat, n_genes=5)[0]
    assert adata.var_names[0] not in [tick.get_text() for tick in ax.get_yticklabels()]


def test_de_genes_speaks_of_log1p_only_where_the_data_do(pred, adata):
    labels = []
    for values in ("log1p", "any", None):
        truth = adata.copy()
        if values is not None:
            scf.pp.pca(truth, n_comps=3, values=values)
            truth.obsm["X_pca"] = adata.obsm["X_pca"]
        labels.append(scf.pl.de_genes(pred, truth)[0].get_xlabel())
    assert labels == ["change (log1p)", "change", "change"]


@pytest.mark.parametrize("plot", [scf.pl.correlation, scf.pl.de_genes])
def test_changes_are_drawn_on_given_axes_and_bad_input_is_refused(plot, pred, adata):
    one, ax = pred[pred.obs["perturbation"] == "IFN"].copy(), plt.figure().gca()
    assert plot(one, adata, axes=ax)[0] is ax
    assert ax.get_legend() is not None and not ax.figure.legends
    with pytest.raises(ValueError, match="2 conditions"):
        plot(pred, adata, axes=ax)
    with pytest.raises(KeyError, match="celltype"):
        plot(pred, adata, condition_keys=["celltype", "perturbation"])
    lonely = adata[~((adata.obs["cell_type"] == "B") & (adata.obs["perturbation"] == "control"))].copy()
    with pytest.raises(ValueError, match="0 control cells"):
        plot(pred, lonely)


def test_counts_of_genes_and_names_must_make_sense(pred, adata):
    with pytest.raises(ValueError, match="n_labels"):
        scf.pl.correlation(pred, adata, n_labels=-1)
    with pytest.raises(ValueError, match="n_genes"):
        scf.pl.de_genes(pred, adata, n_genes=0)
