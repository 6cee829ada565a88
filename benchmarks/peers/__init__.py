"""Other systems for perturbation prediction, each in an environment of its own, spoken to through files."""

from .registry import PEERS, Peer
from .run import PeerUnavailable, environment, predict

__all__ = ["PEERS", "Peer", "PeerUnavailable", "environment", "predict"]
