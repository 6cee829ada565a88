"""The shape of a flow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from .decoders import DecoderName
from .paths import PathName
from .tokens import MemoryName, SpaceMaskName


@dataclass(frozen=True)
class FlowConfig:
    """Shape of the flow around the language model.

    Parameters
    ----------
    dim
        Scores in a state, D.
    path
        ``"resampled"`` or ``"straight"``, see :mod:`sccalmflow.flow.paths`.
    decoder
        ``"energy"``, ``"gaussian"`` and ``"mixture"`` (need the resampled path), ``"variational"`` or
        ``"regression"``, see :mod:`sccalmflow.flow.decoders`.
    n_steps
        Time steps T from the source to the data.
    n_space_tokens
        Space tokens K of each state.
    n_trajectories
        Trajectories M that share a sequence.
    n_context_cells
        Control cells shown after the prompt.
    n_hidden
        Width of the decoder's hidden layer.
    n_latent
        Latent size of the variational and the energy decoder.
    kl_weight
        Weight of the variational decoder's divergence; 0.3 is what public research code of the paper's group used.
    nll_weight
        Weight of the Gaussian decoder's likelihood.
    precision_power
        Power of the predicted precision that weights its squared errors, from 0 to 1.
    n_components
        Components of the mixture decoder.
    memory
        ``"full"``: a state sees all earlier ones. ``"markov"``, for ablation: the prompt and its own time only.
    space_mask
        ``"block"``: the tokens of a time see each other. ``"causal"``, for ablation: only those before them.

    Raises
    ------
    ValueError
        A number is out of bounds, there are more space tokens than scores, a mask has an unknown name, or a decoder
        that needs the resampled path is asked for on a straight one.

    Examples
    --------
    >>> from sccalmflow.flow import FlowConfig
    >>> config = FlowConfig(dim=50, n_steps=8)
    >>> config.path, config.decoder
    ('resampled', 'gaussian')
    >>> FlowConfig(dim=50, path="straight")
    Traceback (most recent call last):
    ValueError: decoder="gaussian" needs path="resampled": ...
    """

    dim: int
    path: PathName = "resampled"
    decoder: DecoderName = "gaussian"
    n_steps: int = 4
    n_space_tokens: int = 1
    n_trajectories: int = 1
    n_context_cells: int = 0
    n_hidden: int = 384
    n_latent: int = 16
    kl_weight: float = 0.3
    nll_weight: float = 0.2
    precision_power: float = 0.5
    n_components: int = 4
    memory: MemoryName = "full"
    space_mask: SpaceMaskName = "block"

    def __post_init__(self) -> None:
        for name in ("dim", "n_steps", "n_space_tokens", "n_trajectories", "n_hidden", "n_latent", "n_components"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        if not 0 <= self.precision_power <= 1:
            raise ValueError(f"precision_power={self.precision_power} must lie between 0 and 1.")
        if self.n_context_cells < 0:
            raise ValueError(f"n_context_cells={self.n_context_cells} must not be negative.")
        for name in ("kl_weight", "nll_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} must be a number of at least 0.")
        if self.n_space_tokens > self.dim:
            raise ValueError(
                f"n_space_tokens={self.n_space_tokens} does not fit a state of {self.dim} scores: a space token holds "
                "at least one. Use fewer space tokens."
            )
        for name, kind in (
            ("path", PathName),
            ("decoder", DecoderName),
            ("memory", MemoryName),
            ("space_mask", SpaceMaskName),
        ):
            choices = get_args(kind)
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r} is not one of {', '.join(map(repr, choices))}.")
        if self.decoder in ("energy", "gaussian", "mixture") and self.path != "resampled":
            raise ValueError(
                f'decoder="{self.decoder}" needs path="resampled": on a straight path two states in sequence give the '
                'endpoint away, and its posterior has no spread to learn. Choose path="resampled" or '
                'decoder="variational".'
            )
