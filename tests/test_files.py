"""JSON files are whole or not there."""

import json
from pathlib import Path

import numpy as np
import pytest

from sccalmflow._files import plain, write_json


def test_a_file_is_replaced_as_a_whole_or_stays(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    write_json(file, {"seed": 1})
    with pytest.raises(TypeError):
        write_json(file, {"seed": 2, "what JSON has no word for": object()})
    assert json.loads(file.read_text()) == {"seed": 1}
    write_json(file, {"seed": 3})
    assert json.loads(file.read_text()) == {"seed": 3}
    assert list(tmp_path.iterdir()) == [file]


def test_scalars_of_numpy_can_be_written(tmp_path: Path) -> None:
    values = plain({"lr": np.float32(0.5), "n_steps": np.int64(4), "path": "straight", "layers": None})
    write_json(tmp_path / "run.json", values)
    assert json.loads((tmp_path / "run.json").read_text()) == {
        "lr": 0.5,
        "n_steps": 4,
        "path": "straight",
        "layers": None,
    }
