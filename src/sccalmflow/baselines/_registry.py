"""All baselines, in the order of the report. A new baseline is one file and one entry here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ._additive import ADDITIVE
from ._baseline import Baseline
from ._control import CONTROL
from ._linear import LINEAR
from ._nearest import NEAREST
from ._perturbed_mean import PERTURBED_MEAN

BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {baseline.name: baseline for baseline in (CONTROL, ADDITIVE, PERTURBED_MEAN, NEAREST, LINEAR)}
)
