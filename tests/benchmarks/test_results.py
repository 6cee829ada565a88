import dataclasses
import json
from pathlib import Path

import pytest

from sccalmflow.flow import FlowConfig

RUNS = Path(__file__).parents[2] / "benchmarks" / "results" / "reproduction"


@pytest.mark.parametrize("part", ["synthetic", "mnist", "digits", "cells"])
def test_runs_that_are_kept_have_every_setting_of_the_flow(part):
    """A run without one that was added later counts as another, and `--finished` would leave it out of the tables."""
    stored = [json.loads(file.read_text())["settings"].get("recipe") or {} for file in (RUNS / part).glob("*.json")]
    flows = [recipe["flow"] for recipe in stored if "flow" in recipe]
    expected = {field.name for field in dataclasses.fields(FlowConfig)}
    assert flows
    assert all(set(flow) == expected for flow in flows)
