"""What the build of the site does beyond Sphinx: bring the tutorials in, check them and the names of this package."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def copy_tutorials(app: Sphinx, config: Any) -> None:
    """Copy the tutorials beside the pages, since links do not follow a symbolic link; their times stay."""
    folder = Path(app.srcdir) / "tutorials"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(folder.parent.parent / "tutorials", folder)


def problems(notebook: dict[str, Any], page: str) -> list[str]:
    """What is wrong with an executed tutorial: an error that does not come, or reads otherwise than on the page."""
    found = []
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for cell in cells:
        source = "".join(cell["source"])
        errors = [output for output in cell["outputs"] if output["output_type"] == "error"]
        if "raises-exception" in cell["metadata"].get("tags", []) and not errors:
            found.append(f"this cell should raise and does not:\n{source}")
        for error in errors:
            # The text of a KeyError is the representation of its message.
            message = ast.literal_eval(error["evalue"]) if error["ename"] == "KeyError" else error["evalue"]
            shown = _one_line(f"{error['ename']}: {message}")
            if shown not in _one_line(page):
                found.append(f"this cell raises another message than the page shows:\n{source}\n{shown}")
    if not any("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"]):
        found.append("there is no figure")
    return found


def _one_line(text: str) -> str:
    """Without line breaks, and fractions to three digits: on another processor sums are rounded otherwise."""
    return re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.3g}", " ".join(text.split()))


def check_tutorials(app: Sphinx, exception: Exception | None) -> None:
    """Fail the build where an executed tutorial has a problem or has left a file behind."""
    import nbformat
    from jupyter_cache import get_cache
    from sphinx.errors import SphinxError

    if exception is not None or app.builder.name != "html":
        return
    found = []
    folder, built = Path(app.srcdir) / "tutorials", Path(app.outdir).parent
    cache = get_cache(built / ".jupyter_cache")
    for page in sorted(folder.glob("*.md")):
        # myst-nb leaves the outputs out of this file where it takes them from its cache.
        notebook = nbformat.read(built / "jupyter_execute" / "tutorials" / f"{page.stem}.ipynb", as_version=4)
        _, notebook = cache.merge_match_into_notebook(notebook)
        found += [f"{page.name}: {problem}" for problem in problems(notebook, page.read_text(encoding="utf-8"))]
    found += [f"{file.name} was left behind in tutorials/" for file in folder.iterdir() if file.suffix != ".md"]
    if found:
        raise SphinxError("\n".join(found))


def warn_of_unknown_name(app: Sphinx, env: Any, node: Any, contnode: Any) -> None:
    """Warn of a link to a name of this package that the API reference does not have."""
    from sphinx.util import logging

    target = node.get("reftarget", "")
    is_private = any(part.startswith("_") for part in target.split("."))
    if target.startswith("sccalmflow.") and not is_private:
        logging.getLogger(__name__).warning("the API reference has no %s", target, location=node)


def returns_as_prose(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Set "Returns" as the sentences that it is: napoleon would take every line of it for a type.

    A section with a list of types, whose descriptions are indented, stays.
    """
    if "Returns" not in lines:
        return
    start = lines.index("Returns")
    end = next((i for i in range(start + 2, len(lines) - 1) if set(lines[i + 1]) == {"-"}), len(lines))
    prose = [line for line in lines[start + 2 : end] if line]
    if not any(line.startswith(" ") for line in prose):
        # Two empty lines end the section before.
        lines[start:end] = ["", "", f":returns: {prose[0]}", *(f"    {line}" for line in prose[1:]), ""]


def skip_alias(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of a named tuple, which its parameters describe."""
    return True if (getattr(obj, "__doc__", "") or "").startswith("Alias for field number") else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register all of them."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("config-inited", copy_tutorials)
    app.connect("build-finished", check_tutorials)
    app.connect("autodoc-process-docstring", returns_as_prose, priority=400)  # before napoleon
    app.connect("autodoc-skip-member", skip_alias)
    app.connect("missing-reference", warn_of_unknown_name, priority=900)  # after intersphinx
    return {"parallel_read_safe": True}
