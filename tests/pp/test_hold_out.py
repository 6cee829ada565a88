import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sccalmflow import pp

KEYS = ["cell_type", "perturbation", "chronicity"]


def make(combinations: list[tuple[str, ...]], cells: int = 20, keys: list[str] = KEYS) -> ad.AnnData:
    obs = pd.DataFrame([c for c in combinations for _ in range(cells)], columns=keys).astype("category")
    obs.index = obs.index.astype(str)
    return ad.AnnData(np.zeros((len(obs), 2), dtype=np.float32), obs=obs)


def grid(types: int = 4, perturbations: int = 5, chronicities: int = 2) -> list[tuple[str, ...]]:
    labels = ["control", *[f"drug {i}" for i in range(perturbations)]]
    return [(f"type {t}", p, f"time {c}") for t in range(types) for p in labels for c in range(chronicities)]


def rows(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    return list(frame.itertuples(index=False, name=None))


@given(
    seed=st.integers(0, 1000),
    types=st.integers(1, 4),
    perturbations=st.integers(1, 4),
    chronicities=st.integers(1, 3),
    missing=st.sets(st.integers(0, 100), max_size=12),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_held_out_stays_answerable(seed, types, perturbations, chronicities, missing, data) -> None:
    combinations = [c for i, c in enumerate(grid(types, perturbations, chronicities)) if i not in missing]
    if not any(c[1] == "control" for c in combinations):
        return
    adata = make(combinations, cells=2)
    # The slow way to the largest number: per perturbation, all of its contexts that have a control, but one stays.
    with_control = {(c[0], c[2]) for c in combinations if c[1] == "control"}
    most = 0
    for perturbation in {c[1] for c in combinations} - {"control"}:
        contexts = [(c[0], c[2]) for c in combinations if c[1] == perturbation]
        most += min(len(contexts) - 1, sum(context in with_control for context in contexts))
    with pytest.raises(ValueError, match=f"at most {most} of the "):
        pp.hold_out(adata, n=most + 1, min_cells=1)
    if most == 0:
        return
    n = data.draw(st.integers(1, most))
    heldout = pp.hold_out(adata, n=n, min_cells=1, seed=seed)

    held = set(rows(heldout))
    assert len(held) == n == len(heldout) and list(heldout.columns) == KEYS
    training = set(combinations) - held
    for cell_type, perturbation, chronicity in held:
        assert (cell_type, "control", chronicity) in training
        assert any(c[1] == perturbation for c in training)
    marked = adata.obs["split"] == "heldout"
    assert set(rows(adata.obs.loc[marked, KEYS])) == held
    assert not set(rows(adata.obs.loc[~marked, KEYS])) & held
    assert list(adata.obs["split"].cat.categories) == ["train", "heldout"]


def test_the_draw_is_seeded_and_does_not_depend_on_the_order_of_cells() -> None:
    adata = make(grid())
    shuffled = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    first = pp.hold_out(adata, seed=1)
    pd.testing.assert_frame_equal(first, pp.hold_out(adata, seed=1))
    pd.testing.assert_frame_equal(first, pp.hold_out(shuffled, seed=1))
    assert any(rows(first) != rows(pp.hold_out(adata, seed=seed)) for seed in range(2, 6))


@pytest.mark.parametrize("seed", range(10))
def test_the_draw_spreads_over_perturbations_and_cell_types(seed: int) -> None:
    heldout = pp.hold_out(make(grid(types=5, perturbations=5)), n=5, seed=seed)
    assert heldout["perturbation"].nunique() == 5
    assert heldout["cell_type"].nunique() == 5
    assert heldout["chronicity"].nunique() == 2


def test_two_keys_are_enough() -> None:
    adata = make([(f"type {t}", p) for t in range(3) for p in ("ctrl", "IFN")], keys=["kind", "stim"])
    heldout = pp.hold_out(adata, n=2, keys=("kind", "stim"), perturbation_key="stim", control="ctrl", split_key="part")
    assert heldout.shape == (2, 2) and set(heldout["stim"]) == {"IFN"}
    assert (adata.obs["part"] == "heldout").sum() == 40


def test_small_combinations_are_not_drawn() -> None:
    adata = make(grid(types=2, perturbations=1, chronicities=1))
    adata = adata[np.delete(np.arange(adata.n_obs), np.flatnonzero(adata.obs["cell_type"] == "type 0")[-1])].copy()
    assert rows(pp.hold_out(adata, n=1)) == [("type 1", "drug 0", "time 0")]
    with pytest.raises(
        ValueError, match="at most 0 of the 2 perturbed .*: 2 with fewer than 21 cells .min_cells.; one"
    ):
        pp.hold_out(adata, n=1, min_cells=21)


def test_too_many_combinations_are_refused_with_how_many_cannot_be_held_out_and_why() -> None:
    combinations = [c for c in grid(3, 4, 1) if c != ("type 0", "control", "time 0")]
    with pytest.raises(ValueError) as error:
        pp.hold_out(make(combinations), n=9)
    # Of 4 drugs in 3 types those in the type without control cells stay, and these 4 are the ones to learn from.
    assert str(error.value) == (
        "n is 9, but at most 8 of the 12 perturbed combinations can be held out. These stay in training: 4 without "
        "control cells ('control') in their own context; one for each of the 4 perturbations, to learn it from."
    )


def test_given_conditions_are_held_out_as_they_are() -> None:
    adata = make(grid(), cells=2)
    wanted = [("type 0", "drug 1", "time 1"), ("type 2", "drug 0", "time 0")]
    conditions = pd.DataFrame(wanted, columns=KEYS).astype("category").assign(note="x")
    heldout = pp.hold_out(adata, conditions=conditions)
    assert rows(heldout) == wanted and list(heldout.columns) == KEYS
    assert set(rows(adata.obs.loc[adata.obs["split"] == "heldout", KEYS])) == set(wanted)


def given_one(*combination: str) -> pd.DataFrame:
    return pd.DataFrame([combination], columns=KEYS)


@pytest.mark.parametrize(
    ("conditions", "error", "message"),
    [
        (given_one("typ 0", "drug 0", "time 0"), ValueError, "the cell_type of a condition is 'typ 0'.*Did you mean"),
        (given_one("type 0", "control", "time 0"), ValueError, "is a control"),
        (given_one("type 0", "drug 9", "time 0"), ValueError, "the perturbation of a condition is 'drug 9'"),
        (given_one("type 0", "drug 0", "time 0")[KEYS[:2]], KeyError, "conditions has no column 'chronicity'"),
        (given_one("type 0", "drug 0", "time 0").iloc[:0], ValueError, "no rows"),
        (
            [("type 0", "drug 0", "time 0")],
            TypeError,
            "conditions is a list: give a DataFrame with the columns .'cell_t",
        ),
        ({"cell_type": ["type 0"]}, TypeError, "conditions is a dict: give a DataFrame"),
        (given_one("type 0", "drug 0", "time 0").iloc[0], TypeError, "conditions is a Series: give a DataFrame"),
    ],
)
def test_given_conditions_are_checked(conditions: pd.DataFrame, error: type[Exception], message: str) -> None:
    adata = make(grid(), cells=1)
    with pytest.raises(error, match=message):
        pp.hold_out(adata, conditions=conditions)
    assert "split" not in adata.obs


def test_given_conditions_must_exist_and_leave_their_labels_in_training() -> None:
    combinations = [c for c in grid(2, 2, 1) if c != ("type 0", "drug 1", "time 0")]
    adata = make(combinations, cells=1)
    with pytest.raises(ValueError, match="no cell has the labels.*'type 0'.*'drug 1'"):
        pp.hold_out(adata, conditions=given_one("type 0", "drug 1", "time 0"))
    with pytest.raises(ValueError, match="no training cells with 'drug 1' in any other context.*write adata.obs"):
        pp.hold_out(adata, conditions=given_one("type 1", "drug 1", "time 0"))
    adata = make([c for c in grid(2, 2, 1) if c != ("type 0", "control", "time 0")], cells=1)
    with pytest.raises(ValueError, match="has no control cells .'control'. of its context.*Leave it out of conditions"):
        pp.hold_out(adata, conditions=given_one("type 0", "drug 1", "time 0"))


def test_a_missing_key_says_which_keys_to_pass() -> None:
    adata = make([("a", "control"), ("a", "x")], keys=["cell_type", "perturbation"])
    with pytest.raises(KeyError, match=r"no column 'chronicity'.*keys=\('cell_type', 'perturbation'\)"):
        pp.hold_out(adata)
    with pytest.raises(KeyError, match="no column 'kind'.*keys="):
        pp.hold_out(adata, keys=("kind", "stim"), perturbation_key="stim")


def test_arguments_are_checked_first() -> None:
    adata = make(grid(), cells=1)
    with pytest.raises(ValueError, match="n is 0"):
        pp.hold_out(adata, n=0)
    with pytest.raises(ValueError, match="control is 'contrl'.*Did you mean 'control'"):
        pp.hold_out(adata, control="contrl")
    with pytest.raises(ValueError, match="perturbation_key .* is 'drug'"):
        pp.hold_out(adata, perturbation_key="drug")
    with pytest.raises(TypeError, match="n is a DataFrame: give a whole number, or combinations .* as conditions="):
        pp.hold_out(adata, given_one("type 0", "drug 0", "time 0"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="n is 1.5: give a whole number"):
        pp.hold_out(adata, n=1.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"keys is the string 'cell_type'.*\['cell_type'\]"):
        pp.hold_out(adata, keys="cell_type")
    assert len(pp.hold_out(adata, n=np.int64(2), min_cells=1)) == 2  # type: ignore[arg-type]
    adata.obs["cell_type"] = range(adata.n_obs)
    with pytest.raises(ValueError, match="not strings"):
        pp.hold_out(adata)


def test_an_older_split_is_replaced() -> None:
    adata = make(grid())
    pp.hold_out(adata, n=5, seed=0)
    heldout = pp.hold_out(adata, n=1, seed=1)
    assert set(rows(adata.obs.loc[adata.obs["split"] == "heldout", KEYS])) == set(rows(heldout))
