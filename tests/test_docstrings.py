"""What every public name must say: what it takes, gives and raises, and an example that a reader can paste.

The examples themselves are run as doctests. Public is

- what the ``__all__`` of a package lists, which speaks for the modules inside it; of a module without one, what it
  defines without a leading underscore;
- of a class, the methods and properties that classes of ours define for it. A property needs a docstring alone, and
  the example of a method may be that of its class, where this calls it.

Of a command, what is public is run from a shell: the command in the docstring of its module is the example of all.
"""

import ast
import builtins
import doctest
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import pytest

import sccalmflow

SECTION = re.compile(r"^(\w+)\n-{3,}$", re.MULTILINE)
# "Shapes as for :meth:`Other.loss`": what is the same is said there, and not again.
AS_FOR = re.compile(r"[Aa]s for\s+:(?:meth|func|class):`~?(?:sccalmflow\.)?([\w.]+)`")
AT_LEAST = 100


@dataclass(frozen=True)
class Documented:
    """A public function, method, property or class."""

    name: str
    item: Any
    owner: "Documented | None" = None
    command: bool = False

    @cached_property
    def text(self) -> str:
        return inspect.getdoc(self.item) or ""

    @cached_property
    def sections(self) -> dict[str, str]:
        parts = SECTION.split(self.text)
        return dict(zip(parts[1::2], parts[2::2], strict=True))

    @cached_property
    def own_examples(self) -> list[doctest.Example]:
        found = doctest.DocTestParser().get_examples(self.sections.get("Examples", ""))
        # What needs a package that is not installed here cannot run, and says so by an ImportError of its own.
        return [example for example in found if not example.options.get(doctest.SKIP) or "ImportError" in self.raised]

    @cached_property
    def examples(self) -> list[doctest.Example]:
        """Those that run; a method without any is shown in its class."""
        return self.own_examples or (self.owner.own_examples if self.owner else [])

    @cached_property
    def described(self) -> set[str]:
        """Names at the margin of the section of parameters."""
        lines = self.sections.get("Parameters", "").splitlines()
        return {name.strip() for line in lines if line[:1].strip() for name in line.split(":")[0].split(",")}

    @property
    def parameters(self) -> list[str]:
        return [name for name in inspect.signature(self.item).parameters if name != "self"]

    @property
    def bodies(self) -> list[Callable[..., Any]]:
        """The functions of ours that run when it is called."""
        if not inspect.isclass(self.item):
            return [self.item]
        return [vars(self.item)[name] for name in ("__init__", "__post_init__") if name in vars(self.item)]

    @property
    def raised(self) -> set[str]:
        """Exceptions that the bodies raise themselves."""
        found: set[str] = set()
        for body in self.bodies:
            for node in ast.walk(tree_of(body)):
                if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                    found.add(ast.unparse(node.exc.func))
        return found

    @property
    def returns_something(self) -> bool:
        return not inspect.isclass(self.item) and inspect.signature(self.item).return_annotation not in (None, "None")


def tree_of(body: Callable[..., Any]) -> ast.AST:
    """Its syntax; nothing of what a decorator wrote, such as the constructor of a dataclass."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(body)))
    except OSError:
        return ast.Module([], [])


def modules(root: ModuleType = sccalmflow) -> Iterator[ModuleType]:
    """Modules without a leading underscore, down to the packages whose ``__all__`` speaks for what is inside."""
    yield root
    if root is sccalmflow or not hasattr(root, "__all__"):
        for found in pkgutil.iter_modules(getattr(root, "__path__", [])):
            if not found.name.startswith("_"):
                yield from modules(importlib.import_module(f"{root.__name__}.{found.name}"))


def public_values(module: ModuleType) -> dict[str, Any]:
    """Public names of a module, and what they stand for."""
    if hasattr(module, "__all__"):
        return {name: getattr(module, name) for name in module.__all__}
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and has_docstring_of_its_own(value) and value.__module__ == module.__name__
    }


def is_command(module: ModuleType) -> bool:
    return 'if __name__ == "__main__":' in inspect.getsource(module)


def has_docstring_of_its_own(item: Any) -> bool:
    """Whether it is a function or a class; all else is a constant, or a name of a type."""
    return inspect.isfunction(item) or inspect.isclass(item)


def documented() -> list[Documented]:
    """Every public function and class, and the methods of the latter."""
    found = []
    for module in modules():
        for name, value in public_values(module).items():
            if not has_docstring_of_its_own(value):
                continue
            item = Documented(
                f"{module.__name__}.{name}".removeprefix("sccalmflow."), value, command=is_command(module)
            )
            found.append(item)
            found += methods(item) if inspect.isclass(value) else []
    return found


def methods(owner: Documented) -> list[Documented]:
    """What classes of ours define for a class, not what it takes from torch, scvi-tools or ``dataclasses``."""
    found = {}
    for base in reversed(owner.item.__mro__):
        if base.__module__.split(".")[0] == "sccalmflow":
            found |= {
                name: value
                for name, value in vars(base).items()
                if not name.startswith("_") and isinstance(value, property | classmethod | staticmethod | Callable)
            }
    bound = {
        name: value if isinstance(value, property) else getattr(owner.item, name)
        for name, value in found.items()
        if not inspect.isclass(value)
    }
    return [Documented(f"{owner.name}.{name}", value, owner, owner.command) for name, value in bound.items()]


PUBLIC = documented()
BY_NAME = {item.name: item for item in PUBLIC}


def complete(item: Documented) -> tuple[set[str], set[str]]:
    """Parameters and titles of sections, with those of what the docstring refers to by "as for"."""
    described, titles = set(item.described), set(item.sections)
    for target in AS_FOR.findall(item.text):
        for other in PUBLIC:
            if other is not item and (other.name == target or other.name.endswith(f".{target}")):
                described |= complete(other)[0]
                titles |= complete(other)[1]
    return described, titles


def problems(item: Documented) -> list[str]:
    """What a docstring lacks."""
    if not item.text:
        return ["no docstring"]
    if isinstance(item.item, property):
        return []
    described, titles = complete(item)
    found = [f"parameter {name} is not described" for name in item.parameters if name not in described]
    if item.returns_something and not {"Returns", "Yields"} & titles:
        found.append("no section Returns")
    raises = item.sections.get("Raises", "")
    found += [f"{name} is not in Raises" for name in sorted(item.raised) if name not in raises]
    return found + ([] if item.command else problems_of_examples(item))


def problems_of_examples(item: Documented) -> list[str]:
    """What the examples of a docstring lack; those marked to be skipped do not count."""
    if not item.examples:
        return ["no example that runs"]
    code = ast.parse("".join(example.source for example in item.examples))
    found = []
    if not uses(code, item.name.rpartition(".")[2]):
        found.append("no example uses it")
    if not any(example.want for example in item.examples):
        found.append("no example shows what comes out")
    return found + [f"the example does not say what {name} is" for name in sorted(unbound(code))]


def uses(code: ast.AST, name: str) -> bool:
    """Whether the name is used; torch calls ``forward`` where a module itself is called."""
    nodes = list(ast.walk(code))
    if name == "forward":
        return any(isinstance(node, ast.Call) for node in nodes)
    return any(name in (getattr(node, "id", None), getattr(node, "attr", None)) for node in nodes)


def unbound(code: ast.AST) -> set[str]:
    """Names that are read, but neither assigned, imported, defined nor built in."""
    nodes = list(ast.walk(code))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    bound = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
    return {node.id for node in names} - bound - set(dir(builtins))


def constants() -> list[tuple[ModuleType, str]]:
    """Public names that are no functions, classes or modules."""
    return [
        (module, name)
        for module in modules()
        for name, value in public_values(module).items()
        if not (has_docstring_of_its_own(value) or inspect.ismodule(value) or name == "__version__")
    ]


def has_text_below(module: ModuleType, name: str) -> bool:
    """Whether a string follows the assignment of a name, in the module or in the one it is imported from."""
    body = ast.parse(inspect.getsource(module)).body
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            origin = importlib.import_module("." * node.level + (node.module or ""), module.__name__)
            return has_text_below(origin, name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return isinstance(following, ast.Expr) and isinstance(getattr(following.value, "value", None), str)
    return False


def test_the_walk_finds_what_is_public() -> None:
    assert len(PUBLIC) >= AT_LEAST
    assert {
        "CaLMFlowModel.predict_perturbation",
        "baselines.Diffusion.fit",
        "flow.GaussianDecoder.sample",
        "pp.PCA.from_anndata",
        "prompts.PromptTemplate.sentence",
        "tl.edistance",
        "validation.mnist.table_6",
    } <= set(BY_NAME)
    # Neither what scvi-tools gives the model, nor what torch gives a network.
    assert not {"CaLMFlowModel.get_anndata_manager", "flow.VolterraFlow.parameters"} & set(BY_NAME)


def test_every_public_function_class_and_method_is_fully_documented() -> None:
    found = {item.name: lacking for item in PUBLIC if (lacking := problems(item))}
    assert not found, "\n".join(f"{name}: {'; '.join(lacking)}" for name, lacking in found.items())


def test_every_public_constant_and_type_is_explained_below_it() -> None:
    assert constants()
    assert [f"{module.__name__}.{name}" for module, name in constants() if not has_text_below(module, name)] == []


def test_every_module_says_what_it_is_for_and_a_command_how_it_is_run() -> None:
    assert [module.__name__ for module in modules() if not module.__doc__ and public_values(module)] == []
    commands = [module for module in modules() if is_command(module)]
    assert commands
    assert [module.__name__ for module in commands if f"python -m {module.__name__}" not in module.__doc__] == []


def sqrt(x: float) -> float:
    """Square root of a number.

    Parameters
    ----------
    x
        The number.

    Returns
    -------
    The root that is not negative.

    Raises
    ------
    ValueError
        It is negative.

    Examples
    --------
    >>> from math import sqrt
    >>> sqrt(4)
    2.0
    """
    if x < 0:
        raise ValueError(f"x={x} is negative.")
    return x**0.5


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("    x\n", "    y\n", "parameter x is not described"),
        ("Returns\n    -------", "Result:", "no section Returns"),
        ("ValueError\n", "KeyError\n", "ValueError is not in Raises"),
        (">>>", "...", "no example that runs"),
        ("sqrt(4)\n", "sqrt(4)  # doctest: +SKIP\n", "no example shows what comes out"),
        ("sqrt(4)", "1 + 1", "no example uses it"),
        ("    2.0\n", "", "no example shows what comes out"),
        ("from math import sqrt", "pass", "the example does not say what sqrt is"),
    ],
)
def test_what_a_docstring_lacks_is_found(old: str, new: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(Documented("math.sqrt", sqrt)) == []
    assert old in sqrt.__doc__
    monkeypatch.setattr(sqrt, "__doc__", sqrt.__doc__.replace(old, new))
    assert problem in problems(Documented("math.sqrt", sqrt))
