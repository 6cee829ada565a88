"""JSON files that are written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def write_json(path: Path, content: Any) -> None:
    """Write beside the file and put it in place: neither an interruption nor another process leaves or reads a half."""
    own = path.with_suffix(f".{os.getpid()}")
    own.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(own, path)


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same with NumPy's scalars, which JSON does not know, as Python's."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
