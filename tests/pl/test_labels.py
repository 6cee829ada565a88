"""Labels of every kind: with dollar signs, of any length."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

import sccalmflow as scf

OF_CELLS = [scf.pl.correlation, scf.pl.de_genes, scf.pl.leiden_composition, scf.pl.trajectory, scf.pl.umap]
# The first is no formula that matplotlib can read, the second one that it would draw with subscripts.
DOLLARS = ("a$b^$c", "O111:B4_$100_{ng/mL}$")


@pytest.fixture
def renamed(pred, adata):
    """Prediction and truth with another name of the predicted cell type, other genes, and paths."""

    def rename(cell_type, gene="gene"):
        cells = [one.copy() for one in (pred, adata)]
        for one in cells:
            one.obs["cell_type"] = one.obs["cell_type"].astype(str).replace("B", cell_type)
            one.var_names = [f"{gene}{i}" for i in range(one.n_vars)]
        cells[0].obsm["trajectory"] = np.linspace(0, 1, 3)[None, :, None] * cells[0].obsm["X_pca"][:, None]
        return cells

    return rename


def drawn(figure):
    figure.savefig(io.BytesIO())
    return [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]


@pytest.mark.parametrize("plot", OF_CELLS)
@pytest.mark.parametrize("label", DOLLARS)
def test_conditions_and_genes_are_drawn_as_they_are_written(plot, label, renamed):
    axes = plot(*renamed(label, gene=f"{label}_"))
    texts = drawn(axes[0].figure)
    assert [ax.get_title().replace("\n", " ") for ax in axes] == [f"{label}, IFN", f"{label}, IL-6"]
    assert not any(text.get_parse_math() for text in texts if "$" in text.get_text())
    if plot in (scf.pl.correlation, scf.pl.de_genes):
        assert any(text.get_text().startswith(f"{label}_") for text in texts)


@pytest.mark.parametrize("label", DOLLARS)
@pytest.mark.parametrize("given", [False, True])
def test_methods_metrics_and_curves_are_drawn_as_they_are_written(label, given):
    report = pd.DataFrame({"condition": [label, "b"], "method": label, "metric": label, "value": [0.0, 1.0]})
    report = report.assign(ci_low=np.nan, ci_high=np.nan, direction="lower", best=0.0)
    curves = pd.DataFrame({f"train_{label}": [2.0, 1.0], f"validation_{label}": [2.0, 1.5]})
    for plot, table, at_least in ((scf.pl.evaluation, report, 3), (scf.pl.history, curves, 1)):
        texts = drawn(plot(table, axes=plt.figure().gca() if given else None)[0].figure)
        named = [text for text in texts if text.get_text() == label]
        assert len(named) >= at_least
        assert not any(text.get_parse_math() for text in named)


@pytest.mark.parametrize("plot", OF_CELLS)
def test_long_titles_take_no_height_from_the_facets(plot, renamed):
    long = "CD8-positive, alpha-beta memory T cell of the spleen and the lymph nodes, activated, donor 12"
    heights = []
    for cell_type in ("B", long):
        axes = plot(*renamed(cell_type))
        axes[0].figure.savefig(io.BytesIO())
        heights.append(axes[0].get_window_extent().height)
    assert axes[0].get_title().count("\n") >= 3
    assert heights[1] >= 0.95 * heights[0]


def test_long_names_of_genes_are_not_cut_and_take_no_width_from_the_facets(renamed):
    widths = []
    for gene in ("ENSG0000", "ENSG00000123456.12_LINC0123-AS"):
        axes = scf.pl.de_genes(*renamed("B", gene))
        figure = axes[0].figure
        figure.savefig(io.BytesIO())
        boxes = [ax.get_tightbbox() for ax in axes]
        assert boxes[0].x0 >= 0
        assert boxes[-1].x1 <= figure.bbox.width
        assert not boxes[0].overlaps(boxes[1])
        widths.append(axes[-1].get_window_extent().width)
    assert widths[1] >= 0.98 * widths[0]
