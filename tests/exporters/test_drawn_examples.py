"""What of a data set that is sorted by class goes with an artefact, and is run one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compressor
from compressor.data import Dataset
from compressor.runtimes import Runner
from deploy import CheckVectors


@pytest.fixture(scope="module")
def sorted_data(tiny_data: Dataset) -> Dataset:
    """400 training images, of the test images of `tiny_data`, and as many to test on, by class."""
    order = np.argsort(np.tile(tiny_data.y_test, 10), kind="stable")
    x = np.tile(np.asarray(tiny_data.x_test), (10, 1, 1))[order]
    y = np.tile(tiny_data.y_test, 10)[order]
    return Dataset.from_arrays("sorted", x, y, x, y)


def _classes(images: np.ndarray) -> np.ndarray:
    """The quarter that is bright."""
    return images.reshape(-1, 2, 4, 2, 4).mean(axis=(2, 4)).reshape(-1, 4).argmax(axis=1)


def test_check_vectors_and_single_runs_are_of_all_classes(
    pruned_file: Path, sorted_data: Dataset, tmp_path: Path, monkeypatch: Any
) -> None:
    alone = []
    predict = Runner.predict

    def spied(self: Runner, inputs: Any, *, batch: int) -> np.ndarray:
        if batch == 1:
            alone.append(_classes(inputs["quarters"]))
        return predict(self, inputs, batch=batch)

    monkeypatch.setattr(Runner, "predict", spied)
    path = tmp_path / "model.tflite"

    compressor.export(pruned_file, path, sorted_data)

    vectors = CheckVectors.read(tmp_path / "model.tflite.check.npz")
    shown = np.bincount(_classes(vectors.inputs["quarters"]), minlength=4)
    assert shown.tolist() == [4, 4, 4, 4]
    run = np.bincount(np.concatenate(alone), minlength=4)
    assert run.min() == run.max() >= 64
