"""What a user meets before calling anything: the import, the names, the version."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pytest

import sccalmflow

HEAVY = ["lightning", "matplotlib", "ot", "pertpy", "scanpy", "scvi", "sklearn", "torch", "transformers", "umap"]


def test_importing_the_package_loads_no_heavy_dependency():
    code = f"import sys, sccalmflow; dir(sccalmflow); print(*[m for m in {HEAVY} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_version_is_that_of_the_installed_distribution():
    assert sccalmflow.__version__ == version("sccalmflow")


def test_dir_lists_the_public_names_alone():
    assert dir(sccalmflow) == ["CaLMFlowModel", "__version__", "baselines", "datasets", "pl", "pp", "tl"]


@pytest.mark.parametrize("name", sccalmflow.__all__)
def test_every_public_name_resolves(name):
    assert getattr(sccalmflow, name) is not None


def test_unknown_attribute_raises_and_names_it():
    with pytest.raises(AttributeError, match="CalmflowModel"):
        _ = sccalmflow.CalmflowModel


def test_the_package_ships_its_type_marker():
    assert files("sccalmflow").joinpath("py.typed").is_file()


def test_dependencies_have_lower_bounds_and_no_upper_ones_and_jax_is_none_of_them():
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert re.fullmatch(r">=3\.\d+", project["requires-python"])
    for requirement in project["dependencies"]:
        assert re.fullmatch(r"[a-z-]+>=[\d.]+", requirement), requirement
    assert not any(re.match("(jax|flax|tensorflow)", requirement) for requirement in project["dependencies"])
