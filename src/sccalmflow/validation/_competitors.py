"""The models that the paper compares with: conditional flow matching and diffusion."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Literal

from sccalmflow.baselines import Diffusion, FlowMatching
from sccalmflow.baselines._coupling import CouplingName

MethodName = Literal["cfm", "cfm_ot", "cfm_sb", "ddpm"]
LABELS: dict[MethodName, str] = {"cfm": "CFM", "cfm_ot": "CFM-OT", "cfm_sb": "CFM-SB", "ddpm": "DDPM"}
_COUPLINGS: dict[MethodName, CouplingName] = {"cfm": "independent", "cfm_ot": "ot", "cfm_sb": "schroedinger"}


@dataclass(frozen=True)
class Competitor:
    """Conditional flow matching or diffusion, and how it is trained.

    Parameters
    ----------
    method
        Flow matching with independent, optimal-transport or Schrödinger-bridge pairs, or diffusion.
    width, n_layers
        Its multilayer perceptron.
    n_updates, batch_size
        Updates of the weights, and samples of an update.
    lr
        Highest learning rate of AdamW.
    """

    method: MethodName
    width: int
    n_layers: int
    n_updates: int
    batch_size: int = 256
    lr: float = 1e-3

    def n_parameters(self, dim: int) -> int:
        """Weights of a network of state and time."""
        return (dim + 2) * self.width + (self.n_layers - 1) * (self.width + 1) * self.width + (self.width + 1) * dim

    def with_parameters(self, n: int, dim: int) -> Competitor:
        """The same with the width that brings it nearest to ``n`` parameters."""
        # n_parameters is quadratic in the width: a w² + b w + c.
        a, b, c = self.n_layers - 1, 2 * dim + self.n_layers + 1, dim - n
        width = (-b + math.sqrt(max(0.0, b * b - 4 * a * c))) / (2 * a) if a else -c / b
        return replace(self, width=max(1, round(width)))

    def model(self) -> FlowMatching | Diffusion:
        """The model, not yet fitted; needs the ``baselines`` extra."""
        settings = asdict(self)
        del settings["method"]
        if self.method == "ddpm":
            return Diffusion(**settings)
        return FlowMatching(coupling=_COUPLINGS[self.method], **settings)
