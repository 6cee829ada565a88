"""The network of the generative baselines."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

ActivationName = Literal["selu", "gelu"]
ACTIVATIONS: dict[ActivationName, type[nn.Module]] = {"selu": nn.SELU, "gelu": nn.GELU}


class ConditionalMLP(nn.Module):
    """A multilayer perceptron of a state, a time and a condition, concatenated as in torchcfm's.

    Parameters
    ----------
    dim
        Dimension D of a state, and of the output.
    width, n_layers
        Units of a hidden layer, and how many there are.
    activation
        What follows each hidden layer.
    encoder
        Turns conditions (B, c) into vectors (B, e); None takes them as they are.
    example
        Conditions (B, c) that show how long these vectors are; None where there are no conditions.

    Raises
    ------
    ValueError
        The encoder does not return one vector a condition.

    Examples
    --------
    >>> import torch
    >>> network = ConditionalMLP(dim=2, width=8, n_layers=3, activation="selu", encoder=None, example=torch.eye(3))
    >>> network(torch.zeros(3, 2), torch.rand(3), network.encode(torch.eye(3))).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        *,
        dim: int,
        width: int,
        n_layers: int,
        activation: ActivationName,
        encoder: nn.Module | None,
        example: Tensor | None,
    ) -> None:
        super().__init__()
        self.encoder = nn.Identity() if encoder is None else encoder
        n_encoded = 0
        if example is not None:
            with torch.no_grad():
                encoded = self.encoder(example)
            if encoded.shape[:-1] != example.shape[:1]:
                raise ValueError(
                    f"condition_encoder must turn conditions (B, c) into one vector each, (B, e), but it made "
                    f"{tuple(encoded.shape)} of {tuple(example.shape)}."
                )
            n_encoded = encoded.shape[1]
        sizes = [dim + 1 + n_encoded, *[width] * n_layers]
        hidden = [
            part
            for before, after in zip(sizes[:-1], sizes[1:], strict=True)
            for part in (nn.Linear(before, after), ACTIVATIONS[activation]())
        ]
        self.layers = nn.Sequential(*hidden, nn.Linear(sizes[-1], dim))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def encode(self, condition: Tensor | None) -> Tensor | None:
        """Vectors (B, e) of conditions (B, c); apart from the rest, since a sampler needs them once."""
        return None if condition is None else self.encoder(condition.to(self.device))

    def forward(self, state: Tensor, time: Tensor, encoded: Tensor | None) -> Tensor:
        """Velocity or noise (B, D) of states (B, D) at times (B,) between 0 and 1, where the network is."""
        parts = [state, time[:, None]] if encoded is None else [state, time[:, None], encoded]
        return self.layers(torch.cat([part.to(self.device) for part in parts], dim=1))
