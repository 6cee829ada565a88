"""Which peers there are, and what of each is tuned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Peer:
    """A system in a folder with an ``adapter.py``, a ``requirements.txt`` and a ``README.md``."""

    name: str
    folder: Path
    grid: tuple[dict, ...]
    """Settings worth trying, the first being the adapter's defaults; choose on validation conditions."""

    @property
    def setup(self) -> str:
        """The command that makes the environment, from the root of the repository."""
        return f"python -m benchmarks.peers.setup {self.name}"


def _peer(name: str, *grid: dict) -> Peer:
    return Peer(name, Path(__file__).parent / name, grid)


PEERS = {
    peer.name: peer
    for peer in (
        _peer("cpa", {}, {"batch_size": 512}, {"learning_rate": 1e-3}, {"adversary": 2.0}),
        _peer("cellflow", {}, {"iterations": 500}, {"iterations": 3000}, {"covariates": False}),
        _peer("scgen", {}, {"epochs": 10}, {"n_hidden": 256, "n_latent": 30}),
        _peer("scgpt", {}, {"steps": 300}, {"learning_rate": 3e-4}, {"steps": 300, "genes": 300}),
    )
}
