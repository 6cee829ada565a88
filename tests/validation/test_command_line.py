"""What all commands refuse, before any work."""

import pytest

from sccalmflow.datasets import simulated_cytokines
from sccalmflow.validation import mnist, single_cell, synthetic

each = pytest.mark.parametrize("command", [mnist, single_cell, synthetic], ids=lambda command: command.__name__[22:])


@pytest.fixture
def refused(monkeypatch, capsys):
    """Run a command that must end at once; what it says."""
    for module, name in ((mnist, "mnist"), (mnist, "digits"), (single_cell, "read"), (synthetic, "Experiment")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("work before the refusal"))

    def run(command, *arguments):
        with pytest.raises(SystemExit):
            command.main([*map(str, arguments)])
        return capsys.readouterr().err

    return run


@each
@pytest.mark.parametrize(("seeds", "message"), [(["0", "-1"], "must not be negative, but -1 is"), (["a"], "whole")])
def test_seeds_that_are_none_are_refused(command, refused, tmp_path, seeds, message):
    assert message in refused(command, "--seeds", *seeds, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@each
def test_a_file_is_no_folder_to_write_to(command, refused, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    for out in (file, file / "below"):
        assert f"{file} is a file; name a folder" in refused(command, "--out", out)
    assert file.read_text() == "mine"


@each
def test_finished_runs_of_a_folder_that_is_not_there_are_refused(command, refused, tmp_path):
    assert f"there is no folder {tmp_path / 'new'}" in refused(command, "--finished", "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@each
def test_finished_runs_of_a_folder_without_any_are_refused(command, monkeypatch, tmp_path, capsys):
    toy = simulated_cytokines(cells_per_condition=2, n_genes=100)
    monkeypatch.setattr(single_cell, "read", lambda _: ("toy", toy))
    options = {mnist: ["--digits"], single_cell: ["--comps", "8"], synthetic: []}[command]
    with pytest.raises(ValueError, match="has no finished run of th"):
        command.main([*options, "--finished", "--out", str(tmp_path)])
    assert "are in" not in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
