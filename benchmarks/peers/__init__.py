"""Other systems for perturbation prediction, each in an environment of its own, spoken to through files."""

from .run import PeerUnavailable, environment, predict
from .registry import PEERS, Peer

__all__ = ["PEERS", "Peer", "PeerUnavailable", "environment", "predict"]
