"""The tutorials run when the site is built, and not here. What that build checks of them is tested."""

import importlib.util
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
TUTORIALS = sorted((ROOT / "tutorials").glob("*.md"))
PAGE = "It stops:\n\n```text\nKeyError: there is no column\n'dose' here.\n```\n"


@pytest.fixture(scope="module")
def checks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_build", ROOT / "docs" / "site_build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def executed(*, tags: tuple[str, ...] = ("raises-exception",), figure: bool = True, error: object = "") -> Any:
    """An executed notebook of one cell; ``error`` is the message of its KeyError, None for none."""
    message = "there is no column 'dose' here." if error == "" else error
    outputs: list[Any] = [{"output_type": "display_data", "data": {"image/png": ""}}] if figure else []
    if message is not None:
        outputs.append({"output_type": "error", "ename": "KeyError", "evalue": repr(message), "traceback": []})
    cell = {"cell_type": "code", "source": ["fail()"], "metadata": {"tags": list(tags)}, "outputs": outputs}
    return {"cells": [{"cell_type": "markdown", "source": [PAGE], "metadata": {}}, cell]}


def test_an_executed_tutorial_without_fault_passes(checks: ModuleType) -> None:
    assert checks.problems(executed(), PAGE) == []


@pytest.mark.parametrize(("value", "n_problems"), [("2937.96", 0), ("2837.95", 1)])
def test_numbers_of_a_message_may_differ_by_rounding_alone(value: str, n_problems: int, checks: ModuleType) -> None:
    page = "```text\nKeyError: X reaches 2937.95.\n```"
    assert len(checks.problems(executed(error=f"X reaches {value}."), page)) == n_problems


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"error": None}, "should raise and does not:\nfail()"),
        ({"error": "there is no column 'donor' here."}, "KeyError: there is no column 'donor' here."),
        ({"error": "another", "tags": ()}, "another message than the page shows"),
        ({"figure": False}, "there is no figure"),
    ],
)
def test_a_fault_of_an_executed_tutorial_is_found(change: dict[str, Any], message: str, checks: ModuleType) -> None:
    (problem,) = checks.problems(executed(**change), PAGE)
    assert message in problem


def test_ci_builds_the_site_and_a_failing_cell_fails_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")  # put back what the configuration changes
    monkeypatch.setattr(sys, "path", sys.path.copy())
    configuration = runpy.run_path(str(ROOT / "docs" / "conf.py"))
    assert configuration["nb_execution_mode"] == "cache"
    assert configuration["nb_execution_raise_on_error"] is True
    assert "site_build" in configuration["extensions"]
    assert "make docs" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["README.md", "docs/tutorials.md"])
def test_the_page_names_every_tutorial(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert len(TUTORIALS) == 6
    for tutorial in TUTORIALS:
        assert f"(tutorials/{tutorial.name})" in text


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (["Cells of each", "condition."], ["", "", ":returns: Cells of each", "    condition.", ""]),
        ([".X", "    log1p."], ["Returns", "-------", ".X", "    log1p.", ""]),
    ],
)
def test_the_reference_shows_prose_as_prose(section: list[str], expected: list[str], checks: ModuleType) -> None:
    before, after = ["Predict.", ""], ["Raises", "------", "ValueError", "    No cells."]
    lines = [*before, "Returns", "-------", *section, "", *after]
    checks.returns_as_prose(None, "function", "f", None, None, lines)
    assert lines == [*before, *expected, *after]
