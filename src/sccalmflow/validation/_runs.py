"""Results in one JSON file each, so that an interrupted experiment goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sccalmflow._files import write_json


def run_file(folder: Path, *parts: str, suffix: str) -> Path:
    """A file of a folder, named by the parts that are not empty."""
    return folder / ("-".join(filter(None, parts)) + suffix)


def once(path: Path, settings: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Results of a run: from its file where the same settings have finished before, else computed and written.

    Parameters
    ----------
    path
        The JSON file. It holds ``settings`` and ``results``, and appears only when the run has finished.
    settings
        Everything the results depend on. A file with other settings is replaced.
    compute
        Does the work.

    Raises
    ------
    ValueError
        The file is not one that this function wrote.
    """
    results = finished(path, settings)
    if results is not None:
        return results
    results = compute()
    write_json(path, {"settings": settings, "results": results})
    return results


def finished(path: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Results of a run that has finished with these settings, or None; parameters and errors as for :func:`once`."""
    if not path.exists():
        return None
    try:
        stored = json.loads(path.read_text())
        # Tuples become lists, as in the file.
        return stored["results"] if stored["settings"] == json.loads(json.dumps(settings)) else None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the result of a run; move it away or choose another folder.") from error
