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
    """Settings worth trying, the first being those of the peer's own tutorial; choose on validation conditions."""

    @property
    def setup(self) -> str:
        """The command that makes the environment, from the root of the repository."""
        return f"python -m benchmarks.peers.setup {self.name}"


def _peer(name: str, *grid: dict) -> Peer:
    return Peer(name, Path(__file__).parent / name, grid)


PEERS = {
    "cpa": _peer("cpa", {}),
    "cellflow": _peer("cellflow", {}),
    "scgen": _peer("scgen", {}),
}
