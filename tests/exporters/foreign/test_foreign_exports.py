"""Exporting models that nobody tuned the code for: right, or refused with a reason."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stock_runtimes import run_artefact

import compressor
from compressor import PruningSpec, TrainingOptions
from compressor.data import Dataset, TrainingData
from compressor.exporters.checking import CHOSEN_ON
from compressor.models.files import load_model
from compressor.models.preprocessing import preprocessing_of
from deploy import read_artifact

RETRAINED = TrainingOptions(steps=60, batch_size=32, learning_rate=5e-3)
NAMES = (
    "two inputs",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("residual", "mobile", "lstm")),
)
TOLERANCE = {"none": 0.001, "float16": 0.001, "dynamic": 0.001}
LEAST = {"tflite": {"none", "float16"}, "onnx": {"none", "float16", "dynamic", "codebook"}}
"""What every one of them can be exported as."""


@pytest.fixture(scope="module", params=NAMES)
def exported(
    foreign: Callable, request: Any, tmp_path_factory: Any
) -> tuple[Any, Dataset, list[dict[str, Any]]]:
    given = foreign(request.param)
    model = load_model(given.path)
    pruned = compressor.prune(model, given.data, PruningSpec(0.8), options=RETRAINED)
    folder = tmp_path_factory.mktemp("exported")
    rows = compressor.export_all(pruned.model, folder, given.data)
    return pruned.model, given.data, rows


@pytest.mark.slow
def test_what_is_written_does_what_the_model_does(exported: Any) -> None:
    model, data, rows = exported
    x, labels = TrainingData.of(data).choosing_part(CHOSEN_ON)
    feed = preprocessing_of(model, x)
    fed = feed(x)
    names = [rule.name for rule in feed.rules]
    arrays = dict(zip(names, fed if isinstance(fed, list) else [fed], strict=True))
    expected = np.asarray(model.predict(fed, verbose=0))
    accuracy = np.mean(expected.argmax(axis=1) == labels)

    for row in rows:
        if "error" in row:
            continue
        found = run_artefact(Path(row["path"]), arrays)
        name = f"{row['format']}, {row['quantize']}"
        assert found.shape == expected.shape, name
        least = max(TOLERANCE.get(row["quantize"], 0.002), 1 / len(found))
        assert np.mean(found.argmax(axis=1) == labels) >= accuracy - least - 1e-9, name
        if row["quantize"] == "none":
            np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_what_is_not_written_has_a_reason(exported: Any) -> None:
    _, _, rows = exported

    for file_format, least in LEAST.items():
        made = {row["quantize"] for row in rows if row["format"] == file_format} - {
            row["quantize"] for row in rows if row["format"] == file_format and "error" in row
        }
        refused = [row["error"] for row in rows if "error" in row]
        # What rounds weights may cost more than it is allowed, as training comes out here or there.
        costs = {
            row["quantize"]
            for row in rows
            if row["format"] == file_format and "points less" in row.get("error", "")
        }
        assert made | (costs - {"none", "float16"}) >= least, refused
    for row in rows:
        if "error" in row:
            assert row["error"].isprintable()
            assert row["exit_code"] in (1, 2)


@pytest.mark.slow
def test_each_description_is_of_its_file(exported: Any) -> None:
    _, data, rows = exported

    for row in rows:
        if "error" not in row:
            artifact = read_artifact(row["path"])
            assert artifact.verified[0].accuracy == row["verdict"]["accuracy"]
            assert artifact.provenance.data_sha256 == data.digest


@pytest.mark.slow
def test_float32_is_never_larger_than_the_dense_model(exported: Any, tmp_path: Path) -> None:
    model, data, rows = exported

    for row in rows:
        if row["quantize"] == "none" and "error" not in row:
            dense = compressor.export(
                model, tmp_path / f"dense.{row['format']}", data, encoding="dense"
            )
            assert row["bytes"] <= dense["bytes"]
    shutil.rmtree(tmp_path)
