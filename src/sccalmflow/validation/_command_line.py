"""What the command lines have in common: they refuse at once what would fail, or mislead, after minutes."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path


def read_seed(text: str) -> int:
    """A seed: a whole number, not negative."""
    try:
        value = int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a whole number") from None
    if value < 0:
        raise ArgumentTypeError(f"a seed must not be negative, but {value} is")
    return value


def read_folder(text: str) -> Path:
    """A folder to write to, which need not exist."""
    path = Path(text)
    for part in (path, *path.parents):
        if part.exists() and not part.is_dir():
            raise ArgumentTypeError(f"{part} is a file; name a folder")
    return path


def refuse_finished_of_nothing(parser: ArgumentParser, options: Namespace) -> None:
    """End the command where ``--finished`` asks for tables of a folder that does not exist."""
    if options.finished and not options.out.is_dir():
        parser.error(f"--finished makes tables of the runs in a folder, and there is no folder {options.out}.")
