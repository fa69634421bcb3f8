"""The photographs of Fashion-MNIST, read from the files that Debian's package installs.

    photographs = load(DEBIAN_FOLDER, "train")

28 x 28 grey levels on black; 60,000 to train with, 10,000 to test. Format: IDX, as Yann LeCun's
MNIST page describes it. Xiao et al., 2017, https://arxiv.org/abs/1708.07747.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where `apt-get install dataset-fashion-mnist` puts the files."""

SPLITS = {"train": "train", "test": "t10k"}

SIDE = 28

# By label. Left out are shirts, coats and T-shirts: at 28 pixels neither people nor networks tell
# them well from pullovers, dresses and each other (by the data set's README, people get 83.5 % of
# all ten kinds right).
KINDS = {
    1: "trousers",
    2: "pullover",
    3: "dress",
    5: "sandal",
    7: "sneaker",
    8: "bag",
    9: "boot",
}

_UNSIGNED_BYTE = 8


class DatasetError(Exception):
    """A file of the data set that is missing or isn't what it should be."""


@dataclass(frozen=True)
class Photographs:
    """pixels: uint8[N, 28, 28], 0 where there is no garment. kinds: N names of KINDS."""

    pixels: np.ndarray
    kinds: tuple[str, ...]


def load(folder: Path, split: str) -> Photographs:
    """The photographs of a split, "train" or "test", of KINDS alone. Raises DatasetError."""
    if split not in SPLITS:
        raise DatasetError(f"split {split!r}; expected one of {', '.join(SPLITS)}")
    pixels = _read_idx(folder / f"{SPLITS[split]}-images-idx3-ubyte.gz", axes=3)
    labels = _read_idx(folder / f"{SPLITS[split]}-labels-idx1-ubyte.gz", axes=1)
    if len(pixels) != len(labels) or pixels.shape[1:] != (SIDE, SIDE):
        raise DatasetError(
            f"{folder}: {split} has pictures {pixels.shape} and {len(labels)} labels; expected as "
            f"many labels as pictures of {SIDE} x {SIDE}"
        )
    kept = np.isin(labels, list(KINDS))
    return Photographs(pixels[kept], tuple(KINDS[label] for label in labels[kept].tolist()))


def _read_idx(path: Path, axes: int) -> np.ndarray:
    """An array of bytes: a magic number, the length of each axis as 32 bits, the elements."""
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise DatasetError(
            f"{path}: can't be read ({error}). Install Debian's dataset-fashion-mnist, or name "
            "the folder of the data set's four files with --dataset"
        ) from error
    head = 4 + 4 * axes
    shape = np.frombuffer(data[4:head], ">u4")
    if data[:4] != bytes([0, 0, _UNSIGNED_BYTE, axes]) or len(data) - head != shape.prod():
        raise DatasetError(f"{path}: isn't an IDX file of bytes with {axes} axes, or is cut short")
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)
