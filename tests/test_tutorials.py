import os
import re
from pathlib import Path

import matplotlib
import pytest

import sccalmflow as scf

TUTORIALS = sorted(Path(__file__).parent.parent.glob("tutorials/*.md"))
CELL = re.compile(r"^```\{code-cell\} python\n((?::[^\n]*\n)*)(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_every_cell_of_the_tutorial_runs(path, tmp_path, monkeypatch):
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    text = path.read_text()
    cells = CELL.findall(text)
    assert cells
    names = {}
    for number, (options, cell) in enumerate(cells):
        code = compile(cell, f"{path.name}[{number}]", "exec")
        if "raises-exception" not in options:
            exec(code, names)
            continue
        with pytest.raises((KeyError, TypeError, ValueError)) as raised:
            exec(code, names)
        # The page shows the message, in lines of its own.
        assert f"{raised.type.__name__}: {_one_line(raised.value.args[0])}" in _one_line(text)
    assert os.listdir(tmp_path) == []
    assert names["pred"].n_obs > 0
    if ".save(" in text:
        assert (names["same"].X == names["pred"].X).all()
    if "one_profile" in names:
        _check_that_only_means_like_a_collapsed_prediction(names["report"])


def _check_that_only_means_like_a_collapsed_prediction(report):
    mean = scf.tl.summary(report)
    for metric in ("r2", "pearson_delta", "de_overlap"):
        assert mean.loc["one_profile", metric] > mean.loc["ceiling", metric]
    assert mean.loc["one_profile", "wasserstein"] < mean.loc["ceiling", "wasserstein"]
    for metric in ("edistance", "mmd"):
        assert mean.loc["one_profile", metric] > mean.loc["control", metric]
    assert scf.tl.rank(report).index[0] == "one_profile"


def _one_line(text):
    return " ".join(text.split())
