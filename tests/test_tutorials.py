import os
import re
from pathlib import Path

import matplotlib
import pytest

TUTORIALS = sorted(Path(__file__).parent.parent.glob("tutorials/*.md"))
CELL = re.compile(r"^```\{code-cell\} python\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_every_cell_of_the_tutorial_runs(path, tmp_path, monkeypatch):
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    cells = CELL.findall(path.read_text())
    assert cells
    names = {}
    for number, cell in enumerate(cells):
        exec(compile(cell, f"{path.name}[{number}]", "exec"), names)
    assert os.listdir(tmp_path) == []
    assert names["same"].n_obs == names["pred"].n_obs
    assert (names["same"].X == names["pred"].X).all()
