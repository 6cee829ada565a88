"""Make the environment of a peer: ``python -m benchmarks.peers.setup cpa``, from the root of the repository."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys

from .registry import PEERS, Peer
from .run import environment

# The versions in the requirements were seen to work together there.
_PYTHON = "3.11"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", nargs="+", choices=list(PEERS))
    for name in parser.parse_args().peers:
        make(PEERS[name])


def make(peer: Peer) -> None:
    """A virtual environment with the peer's requirements, which name every package with its version."""
    python = environment(peer)
    subprocess.run([interpreter(), "-m", "venv", "--clear", str(python.parent.parent)], check=True)
    requirements = peer.folder / "requirements.txt"
    install = [str(python), "-m", "pip", "install", "--quiet"]
    torch = [line for line in requirements.read_text().splitlines() if line.startswith("torch==")]
    if torch:
        # First and with what it depends on, which differs between its builds and is not in the list.
        subprocess.run([*install, *torch], check=True)
    # Peers pin older versions, of Python too, than they run with.
    subprocess.run([*install, "--no-deps", "--ignore-requires-python", "-r", str(requirements)], check=True)
    print(f"{peer.name} is in {python.parent.parent}")


def interpreter() -> str:
    """A Python of the version that the requirements were made with."""
    if sys.version_info[:2] == tuple(int(part) for part in _PYTHON.split(".")):
        return sys.executable
    found = shutil.which(f"python{_PYTHON}")
    if found is None:
        raise SystemExit(f"The peers need Python {_PYTHON}; there is no python{_PYTHON} on the path.")
    return found


if __name__ == "__main__":
    main()
