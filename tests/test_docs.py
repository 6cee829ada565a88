"""What the documentation promises: answers of the FAQ name tests that exist, the API reference names all there is."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FAQ = ROOT / "docs" / "faq.md"
API = ROOT / "docs" / "api.md"
# Whatever is written in a file of tests counts, so that a slip of the pen is a wrong name and not none.
NAMED = re.compile(r"(tests/[^\s`]*?)::([^\s`]*)")
AT_LEAST = 15


def named_tests(text: str) -> list[tuple[str, str]]:
    """File and function of every test that a text names, each once."""
    return list(dict.fromkeys(NAMED.findall(text)))


def problem(path: str, function: str, root: Path = ROOT) -> str | None:
    """What is wrong with the name of a test, or None."""
    if not (root / path).is_file():
        return f"there is no file {path}"
    defined = {
        node.name
        for node in ast.parse((root / path).read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    if not function.startswith("test_") or function not in defined:
        return f"{path} defines no test {function!r}"
    return None


def test_the_faq_names_enough_tests_and_each_of_them_exists() -> None:
    named = named_tests(FAQ.read_text(encoding="utf-8"))
    problems = [found for path, function in named if (found := problem(path, function)) is not None]
    assert problems == []
    assert len(named) >= AT_LEAST


def test_every_file_of_tests_that_the_faq_mentions_comes_with_a_function() -> None:
    text = FAQ.read_text(encoding="utf-8")
    assert text.count("tests/") == len(NAMED.findall(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("see `tests/nowhere.py::test_x`", "no file tests/nowhere.py"),
        ("see `tests/a.py::test_two`", "defines no test 'test_two'"),
        ("see `tests/a.py::test_on`", "defines no test 'test_on'"),
        ("see `tests/a.py::test_one()`", r"defines no test 'test_one\(\)'"),
        ("see `tests/a.py::helper`", "defines no test 'helper'"),
        ("see `tests/a.py::test_inner`", "defines no test 'test_inner'"),
        ("see `tests/a.py::`", "defines no test ''"),
    ],
)
def test_a_wrong_name_is_found(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "a.py").write_text("def test_one():\n    def test_inner(): ...\n\n\ndef helper(): ...\n")
    assert problem("tests/a.py", "test_one", tmp_path) is None
    ((path, function),) = named_tests(text)
    found = problem(path, function, tmp_path)
    assert found is not None
    assert re.search(message, found)


@pytest.mark.parametrize("module", ["baselines", "datasets", "flow", "pl", "pp", "tl"])
def test_the_api_reference_has_every_public_name_of(module: str) -> None:
    listed = set(
        re.findall(r"^(?:   |\.\. auto\w+:: sccalmflow\.)([\w.]+)$", API.read_text(encoding="utf-8"), re.MULTILINE)
    )
    public = import_module(f"sccalmflow.{module}").__all__
    assert public
    assert [name for name in public if f"{module}.{name}" not in listed] == []


def test_the_api_reference_has_the_model_and_every_public_name_of_prompts() -> None:
    listed = API.read_text(encoding="utf-8").split()
    prompts = import_module("sccalmflow.prompts")
    public = [name for name, value in vars(prompts).items() if getattr(value, "__module__", "") == prompts.__name__]
    public = [f"prompts.{name}" for name in public if not name.startswith("_")]
    assert "prompts.PromptTemplate" in public
    assert [name for name in ("CaLMFlowModel", *public) if name not in listed] == []
