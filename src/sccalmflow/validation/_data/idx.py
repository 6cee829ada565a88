"""The file format of MNIST."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

_UNSIGNED_BYTES = 0x08


def read_idx(path: Path) -> np.ndarray:
    """Read an idx file of unsigned bytes, gzipped or not.

    Four bytes (0, 0, the type, the number of dimensions), the size of each dimension as a big-endian 32-bit number, and
    the values, the last dimension fastest.

    Parameters
    ----------
    path
        The file; one that ends in ``.gz`` is unpacked on the way.

    Returns
    -------
    Array of uint8 in the shape that the file says.

    Raises
    ------
    ValueError
        It is not such a file, or a damaged one.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} cannot be unpacked ({error}); fetch it again.") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTES or not content[3]:
        raise ValueError(f"{path} is not an idx file of unsigned bytes: it starts with {content[:4].hex(' ')}.")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4 : min(start, len(content) // 4 * 4)], dtype=">u4").astype(int).tolist()
    if len(shape) < content[3] or len(content) != start + math.prod(shape):
        raise ValueError(f"{path} says it holds {shape} values, but {len(content)} bytes are there; fetch it again.")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
