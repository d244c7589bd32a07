"""Exporting models with classes and functions of the user's own, from memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from own_models import KINDS, subclassed

import compressor
from compressor.data import Dataset
from compressor.errors import ModelError


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_they_compute_the_same_in_their_runtime(
    keras: Any, tiny_data: Dataset, tmp_path: Path, kind: str, file_format: str
) -> None:
    target = tmp_path / f"model.{file_format}"

    record = compressor.export(KINDS[kind](keras), target, tiny_data)

    assert record["verdict"]["passed"]
    assert target.is_file()
    assert "scores/kernel" in {tensor["name"] for tensor in record["tensors"]}
    told = [note for note in record["notes"] if "no unit or channel was removed" in note]
    assert bool(told) == (kind != "own_parts")


def test_shrinking_a_subclassed_model_is_refused_in_a_line(
    keras: Any, rejected: Callable[..., str]
) -> None:
    message = rejected(ModelError, compressor.shrink, subclassed(keras))

    assert "exact removal needs the graph of the layers" in message
    assert "keras.Model(inputs, outputs)" in message
