"""What a user meets before calling anything: the import, the names, the version."""

import subprocess
import sys
from importlib.metadata import version
from importlib.resources import files

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
