"""Sphinx configuration."""

from __future__ import annotations

import os
import sys
from importlib.metadata import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

info = metadata("sccalmflow")
project = info["Name"]
author = "The sccalmflow developers"
project_copyright = f"2026, {author}"
version = release = info["Version"]

extensions = [
    "site_build",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_autodoc_typehints",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
templates_path = ["_templates"]

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # sphinx_autodoc_typehints writes them into the parameters
typehints_defaults = "braces"
always_use_bars_union = True
# Fields that a dataclass inherits have their types in the module of its base.
suppress_warnings = ["sphinx_autodoc_typehints.forward_reference"]
napoleon_google_docstring = False
napoleon_include_init_with_doc = False
napoleon_use_rtype = False

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# The tutorials are executed once for each state of their cells; `make clean` forgets the outputs.
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 900
nb_output_stderr = "remove"  # progress bars
os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # another one would show no figure
myst_url_schemes = ("http", "https", "mailto")

intersphinx_mapping = {
    "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
    "matplotlib": ("https://matplotlib.org/stable/", None),
    "numpy": ("https://numpy.org/doc/stable/", None),
    "pandas": ("https://pandas.pydata.org/docs/", None),
    "python": ("https://docs.python.org/3", None),
    "scanpy": ("https://scanpy.readthedocs.io/en/stable/", None),
    "scipy": ("https://docs.scipy.org/doc/scipy/", None),
    "scvi": ("https://docs.scvi-tools.org/en/stable/", None),
    "torch": ("https://docs.pytorch.org/docs/stable/", None),
}
intersphinx_timeout = 5
if os.environ.get("DOCS_OFFLINE"):  # the same pages, without links to other projects
    intersphinx_mapping = {}

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_theme_options = {
    "path_to_docs": "docs/",
    "repository_branch": "main",
    "repository_url": "https://github.com/sccalmflow/sccalmflow",
    "use_repository_button": True,
}
