import os
import sys
import types
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sccalmflow.datasets import dong_2023, kang_2018, simulated_cytokines

KEYS = ["cell_type", "perturbation", "chronicity"]


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    return simulated_cytokines()


@pytest.fixture(scope="module")
def truth(adata: ad.AnnData) -> dict:
    return adata.uns["simulation"]


def in_condition(adata: ad.AnnData, **labels: str) -> np.ndarray:
    return np.logical_and.reduce([adata.obs[key] == label for key, label in labels.items()])


# --- the simulation: form


def test_all_combinations_have_about_the_number_of_cells_asked_for(adata: ad.AnnData) -> None:
    sizes = adata.obs.groupby(KEYS, observed=False).size()
    assert len(sizes) == 7 * 10 * 2
    assert sizes.min() > 75 - 5 * 75**0.5 and sizes.max() < 75 + 5 * 75**0.5
    assert sizes.nunique() > 5
    assert all(isinstance(adata.obs[key].dtype, pd.CategoricalDtype) for key in KEYS)
    assert "control" in adata.obs["perturbation"].cat.categories


def test_cells_are_not_in_order_of_condition(adata: ad.AnnData) -> None:
    assert adata.obs[KEYS].iloc[:200].drop_duplicates().shape[0] > 70


def test_counts_are_sparse_whole_numbers_of_realistic_depth(adata: ad.AnnData) -> None:
    counts = adata.layers["counts"]
    assert sparse.issparse(counts) and counts.format == "csr"
    assert np.array_equal(counts.data, np.round(counts.data)) and counts.data.min() >= 0
    zeros = 1 - counts.count_nonzero() / np.prod(counts.shape)
    assert 0.75 < zeros < 0.92
    depth = np.asarray(counts.sum(axis=1)).ravel()
    assert 2000 < np.median(depth) < 5000
    assert np.percentile(depth, 1) > 500 and np.percentile(depth, 99) < 20_000
    assert counts.sum(axis=0).max() / counts.sum() < 0.05  # no gene takes over


def test_x_is_log1p_of_counts_scaled_to_10_000(adata: ad.AnnData) -> None:
    some = adata[:300]
    counts = some.layers["counts"].toarray().astype(np.float64)
    expected = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
    assert adata.X.dtype == np.float32 and adata.X.format == "csr"
    np.testing.assert_allclose(some.X.toarray(), expected, rtol=1e-5, atol=1e-5)


def test_the_same_seed_gives_the_same_data_and_another_seed_another() -> None:
    first, again, other = (simulated_cytokines(cells_per_condition=2, n_genes=100, seed=s) for s in (3, 3, 4))
    assert (first.layers["counts"] != again.layers["counts"]).nnz == 0
    pd.testing.assert_frame_equal(first.obs, again.obs)
    assert first.shape != other.shape or (first.layers["counts"] != other.layers["counts"]).nnz > 0


def test_global_random_state_is_left_alone() -> None:
    np.random.seed(0)
    expected = np.random.random()
    np.random.seed(0)
    simulated_cytokines(cells_per_condition=1, n_genes=100)
    assert np.random.random() == expected


def test_writes_and_reads_h5ad_with_the_truth(tmp_path: Path) -> None:
    small = simulated_cytokines(cells_per_condition=2, n_genes=120)
    small.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    assert (back.X != small.X).nnz == 0
    for key, value in small.uns["simulation"].items():
        if isinstance(value, dict):
            assert all(list(back.uns["simulation"][key][name]) == list(names) for name, names in value.items())
        else:
            np.testing.assert_array_equal(back.uns["simulation"][key], value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cells_per_condition": 0}, "cells_per_condition is 0"),
        ({"n_genes": 50}, "at least 100 genes"),
        ({"interaction": 1.0}, "from 0 to 0.7"),
        ({"interaction": -0.1}, "from 0 to 0.7"),
    ],
)
def test_arguments_out_of_bounds_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulated_cytokines(**arguments)


# --- the simulation: content, against its own truth


def test_markers_are_higher_in_their_type_than_in_any_other(adata: ad.AnnData, truth: dict) -> None:
    control = adata[in_condition(adata, perturbation="control")]
    for cell_type, genes in truth["markers"].items():
        X = control[:, genes].X
        means = {
            other: np.asarray(X[(control.obs["cell_type"] == other).to_numpy()].mean(axis=0)).ravel()
            for other in truth["cell_types"]
        }
        others = np.max([mean for other, mean in means.items() if other != cell_type], axis=0)
        assert np.mean(means[cell_type] > others) > 0.95, cell_type


@pytest.mark.parametrize("perturbation", ["IFN-beta", "LPS", "IL-4"])
def test_differential_genes_of_a_perturbation_are_those_of_the_truth(
    adata: ad.AnnData, truth: dict, perturbation: str
) -> None:
    X = adata.X
    delta = X[in_condition(adata, perturbation=perturbation)].mean(axis=0) - X[
        in_condition(adata, perturbation="control")
    ].mean(axis=0)
    delta = np.asarray(delta).ravel()
    true = truth["additive"][list(truth["perturbations"]).index(perturbation)]
    top_true = set(np.argsort(-true)[:40])
    top_seen = set(np.argsort(-delta)[:60])
    assert len(top_true & top_seen) >= 34
    # Genes that no program touches do not respond.
    silent = (np.abs(truth["response"]).max(axis=(0, 1, 2)) == 0) & (truth["baseline"].mean(axis=(0, 1)) < 0)
    assert np.abs(delta[silent]).mean() < 0.1 * np.abs(delta[list(top_true)]).mean()


def test_interaction_is_the_share_of_the_response_that_the_additive_part_misses() -> None:
    for share in (0.0, 0.3, 0.7):
        truth = simulated_cytokines(cells_per_condition=1, n_genes=300, interaction=share).uns["simulation"]
        response, additive = truth["response"], truth["additive"]
        np.testing.assert_allclose(response.mean(axis=(0, 2)), additive, atol=1e-5)
        missed = np.square(response - additive[None, :, None]).sum() / np.square(response).sum()
        assert missed == pytest.approx(share, abs=1e-4)


def test_controls_do_not_respond(truth: dict) -> None:
    control = list(truth["perturbations"]).index("control")
    assert np.all(truth["response"][:, control] == 0)
    assert truth["responders"][control] == 0


def additive_errors(adata: ad.AnnData, perturbation: str) -> np.ndarray:
    """Standardised errors of the additive prediction of log mean counts in CD14 Mono, chronic; ~N(0, 1) where exact."""
    counts = adata.layers["counts"]
    contexts = [(t, c) for t in adata.obs["cell_type"].cat.categories for c in ("acute", "chronic")]

    def moments(cell_type: str, label: str, chronicity: str) -> tuple[np.ndarray, np.ndarray]:
        rows = counts[in_condition(adata, cell_type=cell_type, perturbation=label, chronicity=chronicity)].toarray()
        mean = rows.mean(axis=0)
        return np.log(np.maximum(mean, 1e-3)), rows.var(axis=0, ddof=1) / len(rows) / np.maximum(mean, 1e-3) ** 2

    delta = {}
    for cell_type, chronicity in contexts:
        (after, after_var), (before, before_var) = (
            moments(cell_type, p, chronicity) for p in (perturbation, "control")
        )
        delta[cell_type, chronicity] = (after - before, after_var + before_var)
    held = ("CD14 Mono", "chronic")
    others = [value for context, value in delta.items() if context != held]
    # Genes seen often enough for the delta method to hold.
    seen = np.min([moments(t, p, c)[0] for t, c in contexts for p in (perturbation, "control")], axis=0) > np.log(0.5)
    predicted = np.mean([d for d, _ in others], axis=0)
    variance = delta[held][1] + np.sum([v for _, v in others], axis=0) / len(others) ** 2
    return ((delta[held][0] - predicted) / np.sqrt(variance))[seen]


def test_responses_add_up_without_interaction_and_clearly_do_not_with_it() -> None:
    squared = {}
    for share in (0.0, 0.6):
        adata = simulated_cytokines(cells_per_condition=150, n_genes=600, interaction=share, seed=1)
        errors = np.concatenate([additive_errors(adata, p) for p in ("IFN-gamma", "IL-4", "TGF-beta")])
        assert len(errors) > 100
        squared[share] = np.square(errors).mean()
    # Cells that share a condition share its mean depth, so errors of genes are correlated: hence a wide band.
    assert 0.5 < squared[0.0] < 2.0
    assert squared[0.6] > 2 * squared[0.0]


def test_only_a_share_of_cells_responds_and_cells_differ_within_a_condition(adata: ad.AnnData, truth: dict) -> None:
    p = list(truth["perturbations"]).index("IL-6")
    t = list(truth["cell_types"]).index("CD8 T")
    up = np.argsort(-truth["response"][t, p, 0])[:40]
    score = {
        label: np.asarray(
            adata.X[in_condition(adata, cell_type="CD8 T", perturbation=label, chronicity="acute")][:, up].mean(axis=1)
        ).ravel()
        for label in ("control", "IL-6")
    }
    # 25 % of the cells do not respond: the lowest fifth looks like control, the rest is far above it.
    assert np.quantile(score["IL-6"], 0.1) < np.quantile(score["control"], 0.95)
    assert np.quantile(score["IL-6"], 0.5) > score["control"].max()
    assert score["IL-6"].std() > 2 * score["control"].std()


# --- public data


def write(path: Path, X: np.ndarray, layers: dict | None = None, raw: np.ndarray | None = None, **obs: object) -> Path:
    adata = ad.AnnData(
        sparse.csr_matrix(X.astype(np.float32)), obs=pd.DataFrame(obs, index=[f"c{i}" for i in range(4)])
    )
    for key, layer in (layers or {}).items():
        adata.layers[key] = layer
    if raw is not None:
        adata.raw = ad.AnnData(sparse.csr_matrix(raw.astype(np.float32)))
    adata.write_h5ad(path)
    return path


COUNTS = np.array([[1, 0, 3], [0, 2, 2], [5, 1, 0], [1, 1, 1]], dtype=np.float64)
LOGS = np.log1p(COUNTS / COUNTS.sum(axis=1, keepdims=True) * 1e4)
KANG = {"cell_type": ["B", "B", "NK", "NK"], "label": ["ctrl", "stim"] * 2, "replicate": ["p1"] * 4}
DONG = {"cell_type0528": ["B", "B", "NK", "NK"], "perturbation": ["No stimulation", "IFNb+ IFNg"] * 2}


def test_kang_from_a_file_gets_the_names_of_this_package(tmp_path: Path) -> None:
    adata = kang_2018(write(tmp_path / "k.h5ad", COUNTS, **KANG))
    assert list(adata.obs["perturbation"]) == ["control", "IFN-beta"] * 2
    assert isinstance(adata.obs["perturbation"].dtype, pd.CategoricalDtype)
    assert list(adata.obs["cell_type"]) == KANG["cell_type"] and list(adata.obs["replicate"]) == ["p1"] * 4
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), COUNTS)
    np.testing.assert_allclose(adata.X.toarray(), LOGS, rtol=1e-5)


def test_kang_from_pertpy_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "k.h5ad", COUNTS, **KANG)
    fake = types.SimpleNamespace(data=types.SimpleNamespace(kang_2018=lambda: ad.read_h5ad(path)))
    monkeypatch.setitem(sys.modules, "pertpy", fake)
    np.testing.assert_array_equal(kang_2018().X.toarray(), kang_2018(path).X.toarray())


@pytest.mark.parametrize("load", [kang_2018, dong_2023])
def test_without_pertpy_the_error_says_what_to_install(load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pertpy", None)
    with pytest.raises(ImportError, match=r'pip install "sccalmflow\[pertpy\]"'):
        load()


@pytest.mark.parametrize("load", [kang_2018, dong_2023])
def test_a_file_that_is_not_there_is_named(load, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing.h5ad"):
        load(tmp_path / "nothing.h5ad")


def test_other_column_names_and_control_labels_can_be_given(tmp_path: Path) -> None:
    path = write(tmp_path / "k.h5ad", COUNTS, kind=["B"] * 4, treatment=["mock", "IFN"] * 2)
    adata = kang_2018(path, cell_type_key="kind", perturbation_key="treatment", control="mock")
    assert list(adata.obs["perturbation"]) == ["control", "IFN"] * 2
    assert list(adata.obs["cell_type"]) == ["B"] * 4
    with pytest.raises(KeyError, match="none of the columns 'cell_type'.*cell_type_key=.*'kind', 'treatment'"):
        kang_2018(path, perturbation_key="treatment")
    with pytest.raises(KeyError, match="no column 'kin'.*Did you mean 'kind'"):
        kang_2018(path, cell_type_key="kin", perturbation_key="treatment")
    with pytest.raises(ValueError, match="none of the usual control labels.*'mock'.*control="):
        kang_2018(path, cell_type_key="kind", perturbation_key="treatment")
    with pytest.raises(ValueError, match="control is 'mok'.*Did you mean 'mock'"):
        kang_2018(path, cell_type_key="kind", perturbation_key="treatment", control="mok")


def test_counts_are_taken_from_the_layer_where_x_is_log(tmp_path: Path) -> None:
    adata = kang_2018(write(tmp_path / "k.h5ad", LOGS, layers={"counts": sparse.csr_matrix(COUNTS)}, **KANG))
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), COUNTS)
    np.testing.assert_allclose(adata.X.toarray(), LOGS, rtol=1e-5)


def test_dong_takes_the_log_values_of_raw_where_x_is_scaled(tmp_path: Path) -> None:
    logs_of_2856 = np.log1p(COUNTS / COUNTS.sum(axis=1, keepdims=True) * 2856)
    path = write(tmp_path / "d.h5ad", LOGS[:, :2] - LOGS[:, :2].mean(axis=0), raw=logs_of_2856, **DONG)
    adata = dong_2023(path)
    assert adata.shape == (4, 3) and "counts" not in adata.layers
    np.testing.assert_allclose(adata.X.toarray(), LOGS, rtol=1e-4)
    assert list(adata.obs["perturbation"]) == ["control", "IFNb + IFNg"] * 2
    assert list(adata.obs["cell_type"]) == DONG["cell_type0528"]
    assert "chronicity" not in adata.obs


def test_log_values_of_a_gene_selection_are_not_rescaled(tmp_path: Path) -> None:
    adata = dong_2023(write(tmp_path / "d.h5ad", LOGS[:, :2], **DONG))
    np.testing.assert_allclose(adata.X.toarray(), LOGS[:, :2], rtol=1e-6)


@pytest.mark.parametrize("batch", [["H1D2", "H1D7"] * 2, ["Donor 1 acute", "Donor 1 chronic"] * 2])
def test_dong_reads_chronicity_from_the_batch(tmp_path: Path, batch: list[str]) -> None:
    adata = dong_2023(write(tmp_path / "d.h5ad", COUNTS, batch=batch, **DONG))
    assert list(adata.obs["chronicity"]) == ["acute", "chronic"] * 2
    assert isinstance(adata.obs["chronicity"].dtype, pd.CategoricalDtype)


def test_dong_leaves_chronicity_out_where_a_batch_does_not_tell(tmp_path: Path) -> None:
    adata = dong_2023(write(tmp_path / "d.h5ad", COUNTS, batch=["H1D2", "H1D7", "H1", "H1D2"], **DONG))
    assert "chronicity" not in adata.obs


def test_dong_takes_the_chronicity_column_it_is_given(tmp_path: Path) -> None:
    path = write(tmp_path / "d.h5ad", COUNTS, exposure=["acute", "chronic"] * 2, **DONG)
    assert list(dong_2023(path, chronicity_key="exposure").obs["chronicity"]) == ["acute", "chronic"] * 2
    with pytest.raises(KeyError, match="Did you mean 'exposure'"):
        dong_2023(path, chronicity_key="exposur")


def test_values_that_are_neither_counts_nor_logs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of X holds raw counts or log1p"):
        dong_2023(write(tmp_path / "d.h5ad", LOGS - 5, **DONG))


def test_missing_labels_are_refused(tmp_path: Path) -> None:
    obs = {**KANG, "cell_type": pd.Categorical(["B", None, "NK", "NK"])}
    with pytest.raises(ValueError, match=r"obs\['cell_type'\] is missing in 1 of 4"):
        kang_2018(write(tmp_path / "k.h5ad", COUNTS, **obs))


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_repeated_barcodes_become_unique(tmp_path: Path) -> None:
    adata = ad.AnnData(COUNTS, obs=pd.DataFrame(KANG, index=["a", "b", "a", "b"]))
    adata.write_h5ad(tmp_path / "k.h5ad")
    assert kang_2018(tmp_path / "k.h5ad").obs_names.is_unique


@pytest.mark.skipif("SCCALMFLOW_DATA" not in os.environ, reason="SCCALMFLOW_DATA names no folder with the real data")
def test_real_kang_data_is_harmonised() -> None:
    adata = kang_2018(Path(os.environ["SCCALMFLOW_DATA"]) / "single_cell" / "kang_combined_counts.h5ad")
    assert adata.shape == (5971, 4805)
    assert set(adata.obs["perturbation"].cat.categories) == {"control", "IFN-beta"}
    assert "CD14 Mono" in adata.obs["cell_type"].cat.categories
    means = {
        label: adata[(adata.obs["perturbation"] == label).to_numpy(), "ISG15"].X.mean()
        for label in ("control", "IFN-beta")
    }
    assert means["IFN-beta"] > means["control"] + 2
