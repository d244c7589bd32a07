"""One model, prepared once and exported as several variants."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor import runtimes
from compressor.data import Dataset, TrainingData
from compressor.errors import CheckFailedError, CheckpointError, UsageError
from compressor.exporters import parity
from compressor.exporters.parity import Reference, Verdict
from compressor.exporters.request import ExportedFile, Request
from compressor.foundation import quiet_tensorflow
from compressor.models import (
    FLOAT32_BYTES,
    ROUNDING,
    check_fit,
    count_parameters,
    half_types,
    input_names,
    load_model,
    objective_of,
    predict_scores,
    preprocessing_of,
    random_inputs,
)
from compressor.runtimes import Runner
from compressor.shrinking import Shrunk, shrink
from deploy import CheckVectors, describe_machine
from deploy.fields import LONGEST_TEXT

CALIBRATION = 256
"""Training examples on which the ranges of activations are found."""
RANDOM_INPUTS = 256
"""Random inputs on which an artefact is compared without data."""
BATCH = 32
"""Batch size when the accuracy of an artefact is measured."""
SINGLE = 256
"""Examples that are also run one by one, as on a device, with the same results."""
VECTORS = 16
"""Test examples that go with the artefact."""

FORMATS = {"tflite": "litert", "onnx": "onnxruntime"}
"""Format -> its default runtime."""

VECTOR_TOLERANCE = {"none": 1e-3, "float16": 1e-2}
OTHER_VECTOR_TOLERANCE = 2e-2
"""Of the check vectors, as a fraction of the largest output: another processor adds in another
order, may compute in half precision, and may round an activation to the next integer. One step of
an int8 output is up to 2/255 of the largest; emulated arm64 and armhf differed by one step from
x86-64 in int8, by 0.0001 with dynamic ranges, and not measurably in float32."""


@dataclasses.dataclass(frozen=True)
class Checked:
    """An artefact with the result of its parity check."""

    format: str
    request: Request
    file: ExportedFile
    verdict: Verdict
    facts: dict[str, Any]
    """what the runner said when it loaded the file"""
    vectors: CheckVectors | None
    """None where the runtime did not run it"""

    @property
    def size(self) -> int:
        return len(self.file.content)


class ExportJob:
    """A model with the data that its artefacts are compared on; the model is shrunk once.

    `model` is a Keras model or a .keras file. Without `data` the artefacts are compared on random
    inputs, and there is no calibration. `labels` name the classes. Raises ModelError or DataError
    where model and data do not fit, UsageError where there is not one label a class.
    """

    def __init__(
        self,
        model: Any,
        data: Dataset | None = None,
        *,
        labels: Sequence[str] | None = None,
        threads: int | None = None,
    ) -> None:
        self.labels = _checked(labels)
        quiet_tensorflow.load(threads)
        self.source = Path(model) if isinstance(model, (str, Path)) else None
        self.threads = threads
        self.model = load_model(self.source) if self.source else model
        self.data = data
        objective = objective_of(self.model)
        classes = max(objective.classes, 2)
        if self.labels is not None and len(self.labels) != classes:
            count = f"{len(self.labels)} labels, {classes} classes"
            raise UsageError("there is not one label a class", value=count)
        if data is None:
            x = _stored(self.model)
            feed, y = preprocessing_of(self.model, x), None
        else:
            feed, x, y = check_fit(self.model, data), data.x_test, data.y_test
        scores = predict_scores(self.model.predict_on_batch, x, feed)
        halves = half_types(self.model, "compute_dtype")
        rounding = max((4 * ROUNDING[dtype] for dtype in halves), default=0.0)
        self.reference = Reference(x, feed, scores, y, objective, rounding)
        self.shrunk: Shrunk = shrink(self.model)
        self._calibration: tuple[np.ndarray, ...] | None = None

    @property
    def dense_bytes(self) -> int:
        """Bytes of the model's weights, dense in float32, before anything was removed."""
        return FLOAT32_BYTES * count_parameters(self.model)

    def request(self, runtime: str, quantize: Any, optimize: Any, encoding: str | None) -> Request:
        """A request, with the calibration data of this job where the quantisation needs them."""
        calibration = self._calibration_data() if quantize == "int8" else ()
        return Request(runtime, quantize, optimize, encoding, calibration)

    def build(self, file_format: str, request: Request) -> ExportedFile:
        """The artefact in memory, not yet run."""
        exporter = importlib.import_module(f"compressor.exporters.{file_format}")
        exported: ExportedFile = exporter.export(self.shrunk.model, request)
        return exported

    def check(self, file_format: str, request: Request, file: ExportedFile) -> Checked:
        """Read the file back, run it in its runtime on all examples, and judge it.

        A file that our reader or the runtime refuses, or that crashes it, does not pass. Raises
        MissingRuntimeError where the runtime is not available.
        """
        runtime = runtimes.find(request.runtime).verified_in
        threads = self.threads or describe_machine()["cores"]
        facts = {"runtime": runtime, "version": runtimes.state(runtime).version or ""}
        with tempfile.TemporaryDirectory() as folder, Runner(runtime, threads=threads) as runner:
            path = Path(folder) / f"artefact.{file_format}"
            path.write_bytes(file.content)
            try:
                _read_back(file_format, file.content)
                facts = runner.load(path)
                predict = [functools.partial(runner.predict, batch=size) for size in (BATCH, 1)]
                scores = parity.run(predict[0], file.inputs, self.reference)
                single = parity.run(predict[1], file.inputs, self.reference, slice(SINGLE))
            except (CheckFailedError, CheckpointError) as error:
                failed = parity.failure(str(error), self.reference, request.quantize)
                return Checked(file_format, request, file, failed, facts, None)
        verdict = parity.judge(scores, self.reference, request.quantize)
        if verdict.passed:
            verdict = parity.judge_single(verdict, single, scores, self.reference, request.quantize)
        tolerance = VECTOR_TOLERANCE.get(request.quantize, OTHER_VECTOR_TOLERANCE)
        vectors = CheckVectors(
            self.reference.inputs(file.inputs, slice(VECTORS)),
            scores[:VECTORS],
            tolerance * max(verdict.scale, 1e-6),
        )
        return Checked(file_format, request, file, verdict, facts, vectors)

    def _calibration_data(self) -> tuple[np.ndarray, ...]:
        if self._calibration is None:
            if self.data is None:
                raise UsageError(
                    "int8 needs examples to find the ranges of activations on",
                    value="no data",
                    hint="give the data that the model was trained on",
                )
            x, labels = TrainingData.of(self.data).training_part(CALIBRATION)
            examples = dataclasses.replace(self.reference, x=x, labels=labels)
            names = input_names(self.model)
            self._calibration = tuple(examples.inputs(names, slice(None)).values())
        return self._calibration


def _checked(labels: Sequence[str] | None) -> tuple[str, ...] | None:
    if labels is None:
        return None
    for place, label in enumerate(labels):
        if not label.isprintable() or not 0 < len(label) <= LONGEST_TEXT:
            raise UsageError("a label is a printable text", value=repr(label))
        if label in labels[:place]:
            raise UsageError("two classes have one label", value=label)
    return tuple(labels)


def _read_back(file_format: str, content: bytes) -> None:
    """Raise CheckpointError for a file that violates its format; nothing is executed."""
    reading = importlib.import_module(f"compressor.exporters.{file_format}.reading")
    getattr(reading, f"read_{file_format}")(content)


def _stored(model: Any) -> Any:
    """Random inputs for `model`, as a data set stores them."""
    _, keras = quiet_tensorflow.load()
    arrays = keras.tree.flatten(random_inputs(model, RANDOM_INPUTS))
    names = input_names(model)
    return arrays[0] if len(arrays) == 1 else dict(zip(names, arrays, strict=True))
