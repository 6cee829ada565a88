import anndata as ad
import numpy as np
import pandas as pd
import pytest

import sccalmflow as scf


@pytest.fixture
def report():
    rows = [
        # condition, method, edistance, slope
        ("a", "mine", 1.0, 0.9),
        ("a", "control", 4.0, 0.0),
        ("a", "additive", 2.0, 1.3),
        ("a", "ceiling", 0.0, 1.0),
        ("b", "mine", 3.0, 1.1),
        ("b", "control", 6.0, 0.0),
        ("b", "ceiling", 1.0, 1.0),
    ]
    table = pd.DataFrame(rows, columns=["condition", "method", "edistance", "delta_slope"])
    table = table.melt(["condition", "method"], var_name="metric")
    table["direction"] = np.where(table["metric"] == "edistance", "lower", "target")
    table["best"] = np.where(table["metric"] == "edistance", 0.0, 1.0)
    table["novelty"] = np.where(table["condition"] == "a", "unseen combination", "unseen cell type")
    return table.assign(ci_low=table["value"] - 0.3, ci_high=table["value"] + 0.4)


def test_means_count_each_condition_once(report):
    table = scf.tl.summary(report)
    assert table["edistance"].to_dict() == {"mine": 2.0, "control": 5.0, "additive": 2.0, "ceiling": 0.5}
    assert table["n_conditions"].to_dict() == {"mine": 2, "control": 2, "additive": 1, "ceiling": 2}


def test_intervals_of_conditions_add_up_as_squares(report):
    table = scf.tl.summary(report, statistic="interval")
    assert table.loc["mine", "edistance"] == f"2 [{2 - 0.3 / np.sqrt(2):.3g}, {2 + 0.4 / np.sqrt(2):.3g}]"
    assert table.loc["additive", "edistance"] == "2 [1.7, 2.4]"
    # A condition without a value is in neither the mean nor its interval.
    empty = (report["condition"] == "b") & (report["method"] == "mine")
    gap = report.assign(**{name: report[name].mask(empty) for name in ("value", "ci_low", "ci_high")})
    assert scf.tl.summary(gap, statistic="interval").loc["mine", "edistance"] == "1 [0.7, 1.4]"
    none = scf.tl.summary(report.assign(ci_low=np.nan, ci_high=np.nan), statistic="interval")
    assert none.loc["mine", "edistance"] == "2"


def test_skill_is_the_way_from_the_best_whole_baseline_to_the_ceiling(report):
    table = scf.tl.summary(report, statistic="skill")
    # additive lacks a condition, so control is the best baseline.
    assert table.loc["mine", "edistance"] == pytest.approx((2 - 5) / (0.5 - 5))
    assert table.loc["ceiling", "edistance"] == 1 and table.loc["control", "edistance"] == 0
    # Of a target, distances from it count: 0.1 on either side.
    assert table.loc["mine", "delta_slope"] == pytest.approx(0.9)
    worse = report.assign(value=report["value"].where(report["method"] != "mine", 9.0))
    assert scf.tl.summary(worse, statistic="skill").loc["mine", "edistance"] < 0


def test_skill_is_not_given_where_the_ceiling_is_no_better_than_a_baseline(report):
    level = report.assign(value=report["value"].where(report["method"] != "ceiling", 7.0))
    assert scf.tl.summary(level, statistic="skill")["edistance"].isna().all()
    without = report[report["method"] != "ceiling"]
    assert scf.tl.summary(without, statistic="skill")["edistance"].isna().all()


def test_groups_have_tables_of_their_own(report):
    table = scf.tl.summary(report, groupby="novelty")
    assert table.loc[("unseen combination", "mine"), "edistance"] == 1
    assert table.loc[("unseen cell type", "mine"), "edistance"] == 3
    assert ("unseen cell type", "additive") not in table.index


def test_strata_of_the_effect_size_are_groups_too(pred, truth):
    report = scf.tl.evaluate(pred, truth, n_boot=0)
    sizes = report.groupby("condition")["effect_size"].unique()
    B, control = (
        truth[(truth.obs["cell_type"] == "B") & (truth.obs["perturbation"] == label)].X.mean(axis=0)
        for label in ("IFN", "control")
    )
    assert sizes["B, IFN"] == pytest.approx([np.linalg.norm(B - control)], rel=1e-5)
    report["effect"] = pd.qcut(report["effect_size"], 2, labels=["weak", "strong"])
    table = scf.tl.summary(report, groupby="effect")
    assert table["n_conditions"].unique().tolist() == [1]
    assert {group for group, _ in table.index} == {"weak", "strong"}


def test_ranks_are_within_conditions_and_without_the_ceiling(report):
    table = scf.tl.rank(report)
    assert list(table.index) == ["mine", "additive", "control"]
    assert table["edistance"].to_dict() == {"mine": 1.0, "additive": 2.0, "control": 2.5}
    # A missing value is the worst.
    nothing = report.assign(value=report["value"].where(report["method"] != "mine"))
    assert scf.tl.rank(nothing).loc["mine", "edistance"] == 2.5


def test_bad_input_is_refused(report):
    with pytest.raises(ValueError, match="Did you mean 'skill'"):
        scf.tl.summary(report, statistic="skills")
    with pytest.raises(ValueError, match="Did you mean 'novelty'"):
        scf.tl.summary(report, groupby="novel")
    with pytest.raises(ValueError, match="no column 'direction'"):
        scf.tl.rank(report.drop(columns="direction"))


def test_a_report_survives_h5ad_and_csv(pred, truth, tmp_path):
    before = list(truth.uns)
    report = scf.tl.evaluate(pred, truth, n_boot=5, key_added="evaluation")
    assert list(truth.uns) == [*before, "evaluation"]
    pd.testing.assert_frame_equal(truth.uns["evaluation"], report)
    truth.write_h5ad(tmp_path / "truth.h5ad")
    report.to_csv(tmp_path / "report.csv", index=False)
    for again in (ad.read_h5ad(tmp_path / "truth.h5ad").uns["evaluation"], pd.read_csv(tmp_path / "report.csv")):
        for made, read in ((report, again), (scf.tl.rank(report), scf.tl.rank(again))):
            pd.testing.assert_frame_equal(
                made.reset_index(drop=True), read.reset_index(drop=True), check_dtype=False, check_categorical=False
            )
        for statistic in ("mean", "interval", "skill"):
            pd.testing.assert_frame_equal(
                scf.tl.summary(report, statistic=statistic), scf.tl.summary(again, statistic=statistic)
            )
