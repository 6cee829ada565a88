"""Images to generate: MNIST from files or from OpenML, or the small digits that scikit-learn brings along."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .idx import read_idx

_N_TRAIN_OF_MNIST = 60_000
_HELD_OUT = 0.2


@dataclass(frozen=True, eq=False)
class Images:
    """Square grey images and their labels.

    Parameters
    ----------
    name
        What they are called in tables.
    train, test
        Pixels from 0 to 1, (n, side²) float32.
    train_labels, test_labels
        Integers, (n,).
    """

    name: str
    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray

    @property
    def side(self) -> int:
        """Pixels of an edge."""
        return int(self.train.shape[1] ** 0.5)

    def standardise(self, pixels: np.ndarray) -> np.ndarray:
        """States of a flow: one shift and one scale for all pixels, so that training images have mean 0, variance 1."""
        return (pixels - self.train.mean()) / self.train.std()

    def pixels(self, states: np.ndarray) -> np.ndarray:
        """Images of states, cut at black and white."""
        return np.clip(states * self.train.std() + self.train.mean(), 0, 1)


def mnist(folder: Path | None = None) -> Images:
    """MNIST from its four idx files, or from OpenML (which needs the network, and keeps a copy).

    Parameters
    ----------
    folder
        Where the files are, gzipped or not. By default ``mnist`` in the folder that the environment variable
        SCCALMFLOW_DATA names; OpenML where there is no such folder.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing, damaged, or does not fit the others.
    ConnectionError
        OpenML cannot be reached.
    """
    if folder is None:
        usual = Path(os.environ.get("SCCALMFLOW_DATA", ""), "mnist")
        if "SCCALMFLOW_DATA" not in os.environ or not usual.is_dir():
            return _from_openml()
        folder = usual
    images, labels = ([read_idx(_find(folder, f"{part}-{kind}")) for part in ("train", "t10k")] for kind in _KINDS)
    for pixels, label in zip(images, labels, strict=True):
        if pixels.ndim != 3 or pixels.shape[1] != pixels.shape[2] or label.shape != pixels.shape[:1]:
            raise ValueError(
                f"the files in {folder} hold {pixels.shape} pixels and {label.shape} labels, not square images with a "
                "label each."
            )
    flat = [pixels.reshape(len(pixels), -1).astype(np.float32) / 255 for pixels in images]
    return Images("MNIST", flat[0], labels[0].astype(int), flat[1], labels[1].astype(int))


_KINDS = ("images-idx3-ubyte", "labels-idx1-ubyte")


def digits() -> Images:
    """The 1,797 digits of 8 x 8 pixels that scikit-learn brings along; every fifth, at random, is a test image."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    held_out = np.zeros(len(pixels), dtype=bool)
    held_out[np.random.default_rng(0).permutation(len(pixels))[: round(_HELD_OUT * len(pixels))]] = True
    pixels = (pixels / 16).astype(np.float32)
    return Images("8 x 8 digits", pixels[~held_out], labels[~held_out], pixels[held_out], labels[held_out])


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise FileNotFoundError(f"there is neither {name} nor {name}.gz in the folder {str(folder)!r}.")


def _from_openml() -> Images:
    from sklearn.datasets import fetch_openml

    try:
        pixels, labels = fetch_openml("mnist_784", version=1, as_frame=False, return_X_y=True)
    except OSError as error:
        raise ConnectionError(
            f"MNIST cannot be fetched from OpenML ({error}). Give the folder of its four idx files with --data, or "
            "take the digits that scikit-learn brings along with --digits."
        ) from error
    flat, numbers, n = (pixels / 255).astype(np.float32), labels.astype(int), _N_TRAIN_OF_MNIST
    return Images("MNIST", flat[:n], numbers[:n], flat[n:], numbers[n:])
