import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pytest

import sccalmflow as scf


def test_shares_are_those_that_a_classifier_of_the_context_counts(pred, adata, samples):
    axes = scf.pl.leiden_composition(pred, adata, seed=3)
    # Controls and both perturbations of B cells, in this order.
    context = np.concatenate([samples("IFN", "X_pca")[2], samples("IFN", "X_pca")[1], samples("IL-6", "X_pca")[1]])
    classifier = scf.tl.LeidenClassifier.fit(context, resolution=0.3, seed=3)
    for ax, perturbation in zip(axes, ("IFN", "IL-6"), strict=True):
        drawn = (
            ax.lines[0].get_ydata(),
            [bar.get_height() for bar in ax.patches],
            [segment[0, 1] for segment in ax.collections[0].get_segments()],
        )
        for heights, cells in zip(drawn, samples(perturbation, "X_pca"), strict=True):
            clusters = classifier.predict(cells)
            expected = [np.mean(clusters == cluster) for cluster in ax.lines[0].get_xdata()]
            np.testing.assert_allclose(heights, expected)
            assert sum(heights) == pytest.approx(1)
    assert axes[0].get_ylim() == axes[1].get_ylim()


def test_cells_are_counted_in_the_right_cluster(monkeypatch, pred, adata, samples):
    seen = {}

    class Halves:
        """Splits cells at 0 of the first component, as a classifier that is easy to recompute."""

        n_clusters, accuracy = 3, 0.876

        @classmethod
        def fit(cls, y, **settings):
            seen.update(y=y, **settings)
            return cls()

        def predict(self, x):
            return np.where(x[:, 0] < 4, 0, 2)

    monkeypatch.setattr("sccalmflow.pl._leiden_composition.LeidenClassifier", Halves)
    ax = scf.pl.leiden_composition(pred, adata, resolution=0.7, seed=5)[1]
    predicted, true, control = (np.mean(cells[:, 0] < 4) for cells in samples("IL-6", "X_pca"))
    # The cluster without any cell is left blank.
    assert [bar.get_x() + bar.get_width() / 2 for bar in ax.patches] == pytest.approx([0, 2])
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], [true, 1 - true])
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[0, predicted], [2, 1 - predicted]])
    np.testing.assert_allclose([s[0, 1] for s in ax.collections[0].get_segments()], [control, 1 - control])
    assert (seen["resolution"], seen["seed"]) == (0.7, 5)
    # All cells of the shown context and no other: controls, and both perturbations.
    expected = adata.obsm["X_pca"][(adata.obs["cell_type"] == "B").to_numpy()]
    np.testing.assert_array_equal(np.sort(seen["y"], axis=0), np.sort(expected, axis=0))
    assert "88%" in ax.figure.legends[0].get_title().get_text()

    Halves.accuracy = float("nan")
    axes = plt.figure().subplots(1, 2)
    assert scf.pl.leiden_composition(pred, adata, max_cells=50, axes=axes)[0] is axes[0]
    assert len(seen["y"]) == 50
    assert "unknown" in axes[0].get_legend().get_title().get_text()


def test_contexts_without_control_cells_are_drawn_without(pred, adata):
    lonely = adata[~((adata.obs["cell_type"] == "B") & (adata.obs["perturbation"] == "control"))].copy()
    ax = scf.pl.leiden_composition(pred, lonely)[0]
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == ["truth", "prediction"]
    assert not ax.collections
    # Another facet has them: the legend names what any of them draws.
    other = adata[adata.obs["cell_type"] == "T"].copy()
    other.obs["cell_type"], other.obs["split"] = "NK", "heldout"
    both = pred[pred.obs["perturbation"] == "IFN"].copy()
    beside = both.copy()
    beside.obs["cell_type"] = "NK"
    axes = scf.pl.leiden_composition(
        ad.concat([both, beside], uns_merge="first", index_unique="-"), ad.concat([lonely, other], index_unique="-")
    )
    assert [bool(ax.collections) for ax in axes] == [False, True]
    assert [text.get_text() for text in axes[0].figure.legends[0].get_texts()] == ["truth", "prediction", "control"]


def test_bad_input_is_refused_before_anything_is_clustered(pred, adata):
    with pytest.raises(ValueError, match="max_cells"):
        scf.pl.leiden_composition(pred, adata, max_cells=10)
    with pytest.raises(ValueError, match="resolution"):
        scf.pl.leiden_composition(pred, adata, resolution=0)
    with pytest.raises(ValueError, match="2 conditions"):
        scf.pl.leiden_composition(pred, adata, axes=plt.figure().gca())
    without = adata.copy()
    del without.obsm["X_pca"]
    with pytest.raises(ValueError, match="X_pca"):
        scf.pl.leiden_composition(pred, without)
