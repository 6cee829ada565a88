import pytest

from sccalmflow import demo


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--seed", "-1"], "must not be negative, but -1 is"), (["--out", __file__], "is a file; name a folder")],
)
def test_what_would_fail_after_training_is_refused_at_once(monkeypatch, tmp_path, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "run", lambda *_, **__: pytest.fail("ran"))
    with pytest.raises(SystemExit):
        demo.main(arguments)
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
