import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from sccalmflow import _checks


def make(n: int = 6, g: int = 3, **obs: object) -> ad.AnnData:
    adata = ad.AnnData(np.zeros((n, g), dtype=np.float32))
    for key, values in obs.items():
        adata.obs[key] = values
    return adata


def test_suggest_finds_close_matches_whatever_the_case() -> None:
    assert _checks.suggest("Cell_Typ", ["cell_type", "donor"]) == " Did you mean 'cell_type'?"
    assert _checks.suggest("il-1", ["IL-10", "IL-2"]) == " Did you mean 'IL-10' or 'IL-2'?"
    assert _checks.suggest("zzz", ["cell_type"]) == ""
    assert _checks.suggest("x", []) == ""


@given(st.text(min_size=1), st.lists(st.text(min_size=1)))
def test_suggest_proposes_only_options(name: str, options: list[str]) -> None:
    sentence = _checks.suggest(name, options)
    assert sentence == "" or any(repr(option) in sentence for option in options)


def test_one_of_names_argument_value_and_options() -> None:
    _checks.one_of("straight", ["straight", "resampled"], "path")
    with pytest.raises(ValueError, match="path is 'strait'.*'straight', 'resampled'.*Did you mean 'straight'"):
        _checks.one_of("strait", ["straight", "resampled"], "path")


def test_one_of_takes_any_iterable_of_options_once() -> None:
    _checks.one_of("b", iter(["a", "b"]), "x")


def test_obs_keys_names_the_missing_column_and_the_available_ones() -> None:
    adata = make(cell_type=["a"] * 6, donor=["d"] * 6)
    _checks.obs_keys(adata, ["cell_type", "donor"])
    with pytest.raises(KeyError, match="no column 'celltype'.*Did you mean 'cell_type'.*'cell_type', 'donor'"):
        _checks.obs_keys(adata, ["donor", "celltype"])


def test_obs_keys_of_an_empty_obs_says_none() -> None:
    with pytest.raises(KeyError, match="Available columns: none"):
        _checks.obs_keys(make(), ["cell_type"])


@pytest.mark.parametrize(
    "labels",
    [
        ["a", "b"] * 3,
        pd.Categorical(["a", "b"] * 3),
        pd.Categorical(["a", "b"] * 3, categories=["b", "a", "unused"]),
        pd.array(["a", "b"] * 3, dtype="string"),
    ],
)
def test_obs_labels_accepts_strings(labels: object) -> None:
    _checks.obs_labels(make(x=labels), ["x"])


@pytest.mark.parametrize("missing", [None, np.nan])
@pytest.mark.parametrize("kind", [list, pd.Categorical])
def test_obs_labels_counts_missing_labels(missing: object, kind: type) -> None:
    with pytest.raises(ValueError, match=r"obs\['x'\] is missing in 2 of 6 cells"):
        _checks.obs_labels(make(x=kind(["a", missing, "b", "c", missing, "a"])), ["x"])


@pytest.mark.parametrize("labels", [[1, 2, 1, 2, 1, 2], [0.5] * 6, [True, False] * 3])
@pytest.mark.parametrize("kind", [list, pd.Categorical])
def test_obs_labels_refuses_other_than_strings(labels: list, kind: type) -> None:
    with pytest.raises(ValueError, match=f"not strings in 6 cells: {labels[0]!r}.*astype"):
        _checks.obs_labels(make(x=kind(labels)), ["x"])


def test_obs_labels_names_the_odd_value_among_strings() -> None:
    with pytest.raises(ValueError, match="not strings in 1 cells: 7"):
        _checks.obs_labels(
            make(x=pd.Series(["a", 7, "b", "c", "d", "e"], index=map(str, range(6)), dtype=object)), ["x"]
        )


def test_obs_labels_refuses_blank_labels() -> None:
    with pytest.raises(ValueError, match=r"blank labels \('', '  '\) in 3 cells"):
        _checks.obs_labels(make(x=["a", "", "  ", "", "b", "c"]), ["x"])


def test_obs_labels_refuses_labels_that_differ_in_spaces_alone() -> None:
    with pytest.raises(ValueError, match=r"differ in spaces alone: 'B', 'B '.*str\.strip\(\)"):
        _checks.obs_labels(make(x=["B", "B ", "T"] * 2), ["x"])


def test_obs_labels_refuses_what_astype_makes_of_missing_labels() -> None:
    with pytest.raises(ValueError, match="has the label 'nan', .* in 2 cells"):
        _checks.obs_labels(make(x=["nan", "T", "nan", "B", "B", "B"]), ["x"])


def test_obs_labels_reports_a_missing_column_first() -> None:
    with pytest.raises(KeyError, match="no column 'y'"):
        _checks.obs_labels(make(x=["a"] * 6), ["y"])


def matrices(values: object) -> list:
    dense = np.asarray(values)
    return [dense, sparse.csr_matrix(dense), sparse.csc_matrix(dense), sparse.csr_array(dense)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("check", [_checks.log_values, _checks.count_values, _checks.finite_values])
def test_not_finite_values_are_counted(check, bad: float) -> None:
    for X in matrices([[0.0, bad], [bad, 1.5]]):
        with pytest.raises(ValueError, match=r"adata.X has (2 NaN|0 NaN and 2 infinite)"):
            check(X, where="adata.X")


def test_nan_and_infinite_that_cancel_in_a_sum_are_found() -> None:
    with pytest.raises(ValueError, match="0 NaN and 2 infinite"):
        _checks.finite_values(np.array([[np.inf, -np.inf]]), where="X")


def test_large_finite_float32_values_are_finite() -> None:
    _checks.finite_values(np.full((4, 4), 3e38, dtype=np.float32), where="X")


def test_finite_values_accepts_negative_and_whole_ones() -> None:
    for X in matrices([[-1.0, 5.0], [0.0, 2.0]]):
        _checks.finite_values(X, where="X")


@pytest.mark.parametrize("check", [_checks.log_values, _checks.count_values])
def test_negative_values_are_refused(check) -> None:
    for X in matrices([[-1.0, 0.5], [-2.0, 0.0]]):
        with pytest.raises(ValueError, match="X has 2 negative values .down to -2"):
            check(X, where="X")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint16])
def test_log_values_refuses_counts_with_the_remedy(dtype: type) -> None:
    for X in matrices(np.array([[0, 3], [1, 0]], dtype=dtype)):
        with pytest.raises(
            ValueError, match=r"raw counts .*sc.pp.normalize_total\(adata, target_sum=1e4\); sc.pp.log1p"
        ):
            _checks.log_values(X, where="adata.X")


def test_log_values_refuses_normalised_values_without_log() -> None:
    with pytest.raises(ValueError, match="not on the log scale"):
        _checks.log_values(np.array([[0.0, 812.5]]), where="X")


def test_log_values_accepts_log_binary_empty_and_zero_matrices() -> None:
    for X in [
        *matrices(np.log1p([[0.0, 3.0], [1.0, 0.0]])),
        *matrices([[0.0, 1.0], [1.0, 0.0]]),
        *matrices(np.zeros((2, 2))),
        np.array([[True, False]]),
        np.zeros((0, 3)),
    ]:
        _checks.log_values(X, where="X")


def test_count_values_accepts_counts_of_any_type() -> None:
    for dtype in (np.float32, np.float64, np.int32, np.uint8, bool):
        for X in matrices(np.array([[0, 3], [1, 0]], dtype=dtype)):
            _checks.count_values(X, where="X")


def test_count_values_refuses_log_values() -> None:
    for X in matrices(np.log1p([[0.0, 3.0], [1.0, 0.0]])):
        with pytest.raises(ValueError, match=r"2 values that are not whole.*layers\['counts'\]"):
            _checks.count_values(X, where="X")


@given(hnp.arrays(np.int64, (4, 5), elements=st.integers(0, 1000)))
def test_counts_and_their_logs_are_told_apart(counts: np.ndarray) -> None:
    _checks.count_values(counts, where="X")
    _checks.log_values(np.log1p(counts), where="X")
    if counts.max() > 1:
        with pytest.raises(ValueError, match="raw counts"):
            _checks.log_values(counts, where="X")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logs_of_counts_that_were_not_scaled_are_noticed(dtype: type) -> None:
    rng = np.random.default_rng(0)
    counts = rng.negative_binomial(1, 0.02, size=(50, 40))
    counts[0, 0] = 30_000
    scaled = counts / counts.sum(axis=1, keepdims=True) * 1e4
    for X in matrices(np.log1p(counts).astype(dtype)):
        with pytest.warns(UserWarning, match=r"adata\.X is log1p of whole numbers.*normalize_total"):
            _checks.warn_of_unscaled_counts(X, where="adata.X")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for X in (*matrices(np.log1p(scaled).astype(dtype)), np.zeros((2, 3), dtype=dtype)):
            _checks.warn_of_unscaled_counts(X, where="adata.X")


def test_a_fraction_beyond_the_first_values_is_seen() -> None:
    values = np.full((1, 20_001), 2.0)
    values[0, -1] = 2.5
    _checks.log_values(values, where="X")
    with pytest.raises(ValueError, match="1 values that are not whole"):
        _checks.count_values(values, where="X")


def test_a_matrix_that_is_missing_or_not_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="adata.X is None"):
        _checks.log_values(None, where="adata.X")
    with pytest.raises(ValueError, match="not numbers"):
        _checks.finite_values(np.array([["a"]]), where="adata.X")


@pytest.mark.parametrize("axis", ["obs", "var"])
@pytest.mark.filterwarnings("ignore:.*names are not unique")
def test_unique_names_lists_duplicates_and_the_remedy(axis: str) -> None:
    adata = make(3, 3)
    _checks.unique_names(adata)
    setattr(adata, f"{axis}_names", ["a", "b", "a"])
    with pytest.raises(ValueError, match=rf"{axis}_names has 1 names .*'a'.*{axis}_names_make_unique"):
        _checks.unique_names(adata)


def test_in_memory_refuses_backed_data(tmp_path) -> None:
    make().write_h5ad(tmp_path / "x.h5ad")
    backed = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    with pytest.raises(ValueError, match=r"adata = adata.to_memory\(\)"):
        _checks.in_memory(backed)
    _checks.in_memory(backed.to_memory())
    backed.file.close()


def test_not_empty_says_what_is_missing() -> None:
    _checks.not_empty(make())
    with pytest.raises(ValueError, match=r"no cells .shape 0 x 3"):
        _checks.not_empty(make(0, 3))
    with pytest.raises(ValueError, match="no genes"):
        _checks.not_empty(make(3, 0))
