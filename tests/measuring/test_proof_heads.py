"""How a bench proves artefacts that are no classifiers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from descriptions import DESCRIPTION

from compressor.data import Dataset
from compressor.errors import DataError
from compressor.measuring.proof import Examples, outcome, verdict
from compressor.measuring.subjects import Subject
from compressor.models.targets import stored_targets
from deploy import Artifact

_COUNT = 50


@pytest.fixture
def data() -> Dataset:
    """Numbers, and twice their sum."""
    x = np.random.default_rng(0).normal(size=(_COUNT, 4)).astype(np.float32)
    y = 2 * x.sum(axis=1)
    return Dataset.from_arrays("made", x, y, x, y)


def _subject(data: Dataset, promised: float, **head: Any) -> Subject:
    content = copy.deepcopy(DESCRIPTION)
    content["schema"]["version"] = 3
    port = {"name": "x", "shape": [None, 4], "dtype": "float32", "scale": None, "zero_point": None}
    rule = {"name": "x", "source": "", "shape": [4], "dtype": "float32", "scale": 1.0}
    content["inputs"], content["outputs"] = [port], [port | {"name": "y", "shape": [None, 1]}]
    content["preprocessing"] = [rule | {"reason": "as stored"}]
    content |= {"outputs_are": "numbers", "classes": 0, "threshold": None, "labels": None}
    content["heads"] = [
        {"name": "", "task": "regression", "shape": [1], "classes": 0, "threshold": None}
        | {"metric": "mean_absolute_error", "shown": ["mean_absolute_error"]}
    ]
    run = content["verified"][0]
    for key in [key for key in run if key.endswith("accuracy")]:
        del run[key]
    run |= {"examples": _COUNT, "mean_absolute_error": promised}
    content["provenance"]["data_sha256"] = data.digest
    artifact = Artifact.parse(content)
    return Subject(Path("x.onnx"), "onnx", "x.onnx", 1, "0" * 64, artifact)


def _values(subject: Subject, data: Dataset, added: float) -> Any:
    assert subject.artifact is not None

    def predict(fed: Any) -> np.ndarray:
        return np.asarray(2 * fed["x"].sum(axis=1, keepdims=True) + added, np.float32)

    rules = subject.artifact.preprocessing
    return outcome(predict, rules, Examples.of(data, None), subject, [], 16)


@pytest.mark.parametrize(
    ("added", "status"), [(0.5, "right"), (0.49, "right"), (0.6, "wrong"), (0.4, "wrong")]
)
def test_an_error_must_be_as_described(data: Dataset, added: float, status: str) -> None:
    subject = _subject(data, 0.5)

    found = _values(subject, data, added)

    assert found.count == _COUNT and found.classes is None
    assert found.values["mean_absolute_error"] == pytest.approx(added, abs=1e-5)
    said, reason = verdict(subject, Examples.of(data, None), found.values, None)
    assert said == status
    if status == "wrong":
        assert reason == f"mean absolute error {added:g}, its description says 0.5"


def test_outputs_that_are_no_numbers_are_wrong(data: Dataset) -> None:
    subject = _subject(data, 0.5)

    found = _values(subject, data, float("nan"))

    assert found.values == {}
    said, reason = verdict(subject, Examples.of(data, None), found.values, None)
    assert said == "wrong" and reason == "mean absolute error -, its description says 0.5"


def test_what_a_row_of_the_document_holds(data: Dataset) -> None:
    described = _subject(data, 0.5).describe(Path.cwd())

    assert described["mean_absolute_error"] == 0.5 and described["accuracy"] is None
    assert described["heads"][0]["task"] == "regression"


def test_targets_of_another_task_are_refused_by_the_task(data: Dataset) -> None:
    subject = _subject(data, 0.5)
    assert subject.artifact is not None

    with pytest.raises(DataError, match=r"this model gives 1 number, not classes \(regression\)"):
        stored_targets(np.zeros((_COUNT, 3), np.float32), subject.artifact.tasks)
