"""One model, prepared once and exported as several variants."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor import runtimes
from compressor.data import Dataset, Inputs, TrainingData, draw_examples, take
from compressor.errors import (
    CheckFailedError,
    CheckpointError,
    CompressorError,
    ModelError,
    UsageError,
)
from compressor.exporters import parity
from compressor.exporters.made_inputs import MadeInputs
from compressor.exporters.open_inputs import OpenInputs
from compressor.exporters.parity import Reference
from compressor.exporters.processes import Processes
from compressor.exporters.request import ExportedFile, Request, checked_labels
from compressor.exporters.speed import Speed
from compressor.exporters.tracing import cause, refuse_tables
from compressor.exporters.verdict import Verdict
from compressor.foundation import quiet_tensorflow, release_memory
from compressor.importing import load_model
from compressor.models import (
    FLOAT32_BYTES,
    ROUNDING,
    InputSize,
    Preprocessing,
    check_fit,
    count_parameters,
    framed,
    half_types,
    input_names,
    layer_macs,
    objective_of,
    predict_scores,
    preprocessing_of,
    sizes_fed,
    sizes_given,
)
from compressor.shrinking import Shrunk, shrink
from deploy import CheckVectors

CALIBRATION = 256
"""Examples on which the ranges of activations are found: of the training set, or made up."""
RANDOM_INPUTS, LEAST_INPUTS = 256, 32
"""Random inputs on which an artefact is compared without data: fewer of a large network."""
RANDOM_MACS = 32 * 10**9
"""Multiply-accumulates that random inputs may take: a second or two."""
CHOSEN_ON = round(1 / min(parity.ACCURACY_TOLERANCE.values()))
"""Examples that tell a difference as small as is tolerated: where the validation set has fewer,
training examples are added."""
BATCH = 32
"""Batch size when the accuracy of an artefact is measured."""
SINGLE = 256
"""Examples that are also run one by one, as on a device: drawn over all classes."""
PLAIN, PLAIN_SINGLE = 64, 16
"""Examples that plain kernels run, too: in batches, and one by one."""
PLAIN_MACS = 4 * 10**9
"""Multiply-accumulates that plain kernels are given at most: some ten seconds."""
VECTORS = 16
"""Validation examples that go with the artefact, drawn over all classes."""

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
    speed: Speed | None = None
    """None where it was not measured"""

    @property
    def size(self) -> int:
        return len(self.file.content)


class ExportJob:
    """A model with the data that its artefacts are compared on; the model is shrunk once.

    `model` is a Keras model or a model file; where its own code keeps the graph of its layers
    hidden, or a layer cannot be rebuilt, it is exported as it is, and `notes` say so. Without
    `data` the artefacts are compared, and maybe calibrated, on inputs that are `made` up.
    `labels` name the classes. Raises ModelError or DataError where model and data do not fit,
    ModelError where the model's own outputs are no numbers, and UsageError where there is not one
    label a class, or a range that nothing can be drawn in.
    """

    def __init__(
        self,
        model: Any,
        data: Dataset | None = None,
        *,
        labels: Sequence[str] | None = None,
        threads: int | None = None,
        input_size: InputSize | None = None,
        made: MadeInputs | None = None,
    ) -> None:
        self.labels = checked_labels(labels)
        self.made = made or MadeInputs()
        quiet_tensorflow.load(threads)
        self.source = Path(model) if isinstance(model, (str, Path)) else None
        self.threads = threads
        self.processes = Processes(threads)
        self.model = load_model(self.source) if self.source else framed(model)
        refuse_tables(self.model)
        self.made.refuse_idle(self.model, data)
        self.data = data
        objective = objective_of(self.model)
        classes = max(objective.classes, 2)
        if self.labels is not None and len(self.labels) != classes:
            count = f"{len(self.labels)} labels, {classes} classes"
            raise UsageError("there is not one label a class", value=count)
        if data is None:
            x = self.made.draw(self.model, RANDOM_INPUTS, sizes_given(self.model, input_size))
            feed, y = preprocessing_of(self.model, x), None
        else:
            feed = check_fit(self.model, data)
            x, y = TrainingData.of(data).choosing_part(CHOSEN_ON)
        self.open = OpenInputs(self.model, sizes_fed(self.model, feed, input_size), self.made)
        if data is None:
            affordable = self._affordable(self.model, RANDOM_MACS, LEAST_INPUTS, RANDOM_INPUTS)
            x = take(x, np.arange(affordable))
        halves = half_types(self.model, "compute_dtype")
        rounding = max((4 * ROUNDING[dtype] for dtype in halves), default=0.0)
        scores = self._scores(x, feed, "random inputs" if data is None else "examples")
        self.reference = Reference(x, feed, scores, y, objective, rounding)
        self.notes: tuple[str, ...] = ()
        self.shrunk = self._shrunk()
        release_memory(self.dense_bytes)
        self._calibration: tuple[np.ndarray, ...] | None = None

    def _shrunk(self) -> Shrunk:
        try:
            sizes = self.open.sizes or None
            return shrink(self.model, input_size=sizes)
        except ModelError as error:
            self.notes += (f"no unit or channel was removed: {error}",)
            return Shrunk(self.model, {}, (), 0.0, {})

    def _scores(self, x: Inputs, feed: Preprocessing, called: str) -> np.ndarray:
        """The outputs of the model on these examples, which messages call so."""
        try:
            scores = predict_scores(self.model.predict_on_batch, x, feed)
        except CompressorError:
            raise
        except Exception as error:  # its layers raise what they like
            what = f"the model fails on {called}"
            raise ModelError(what, value=cause(error)) from error
        broken = int(np.sum(~np.isfinite(scores).all(axis=1)))
        if broken:
            what = "the model's own outputs are NaN or infinite"
            raise ModelError(what, value=f"for {broken} of {len(scores)} {called}")
        return scores

    @functools.cached_property
    def test(self) -> Reference | None:
        """The outputs of the model on the test examples; None without data."""
        if self.data is None:
            return None
        x, labels = self.data.x_test, self.data.y_test
        scores = self._scores(x, self.reference.feed, "test examples")
        return dataclasses.replace(self.reference, x=x, scores=scores, labels=labels)

    def _affordable(self, model: Any, operations: int, least: int, most: int) -> int:
        """How many examples take `operations` multiply-accumulates, within bounds."""
        macs = sum(found.dense for found in layer_macs(self.open.closed(model)).values() if found)
        return int(np.clip(operations // max(macs, 1), least, most))

    @functools.cached_property
    def _plain_examples(self) -> int:
        """How many examples plain kernels run."""
        return self._affordable(self.shrunk.model, PLAIN_MACS, 2, PLAIN)

    def __enter__(self) -> ExportJob:
        """Keep one process for each runtime, instead of one for each file."""
        self.processes.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.processes.__exit__(*error)

    @property
    def dense_bytes(self) -> int:
        """Bytes of the model's weights, dense in float32, before anything was removed."""
        return FLOAT32_BYTES * count_parameters(self.model)

    def request(self, runtime: str, quantize: Any, optimize: Any, encoding: str | None) -> Request:
        """A request, with the calibration data of this job where the quantisation needs them."""
        calibration = self._calibration_data() if quantize == "int8" else ()
        return Request(runtime, quantize, optimize, encoding, calibration)

    def calibrated_on(self, request: Request) -> str:
        """What the calibration data are, where they are made up, else empty."""
        return self.made.shown if request.calibration else ""

    def build(self, file_format: str, request: Request) -> ExportedFile:
        """The artefact in memory, not yet run."""
        exporter = importlib.import_module(f"compressor.exporters.{file_format}")

        def exported(model: Any, note: str = "") -> ExportedFile:
            file: ExportedFile = exporter.export(model, request)
            release_memory(self.dense_bytes)
            made = self.calibrated_on(request)
            if made:
                made = f"Calibrated on {made}: give data for the accuracy of real ones."
            return dataclasses.replace(file, notes=(*filter(None, (note, made)), *file.notes))

        if not self.open.sizes:
            return exported(self.shrunk.model)
        if file_format == "onnx" and self._elsewhere is not None:
            return exported(self.shrunk.model, self.open.proven(self._elsewhere))
        return exported(self.open.closed(self.shrunk.model), self.open.fixed)

    @functools.cached_property
    def _elsewhere(self) -> Reference | None:
        """The model's outputs at another size, where an ONNX file that is open gives them, too."""
        reference = self.open.elsewhere(self.reference)
        if reference is None:
            return None
        from compressor.exporters import onnx

        try:
            file = onnx.export(self.shrunk.model, Request(FORMATS["onnx"]))
            with self.processes.loaded(FORMATS["onnx"], "onnx", file) as (_, run):
                passed = parity.judge(run(reference, BATCH), reference, "none").passed
        except (ModelError, CheckFailedError):
            return None
        return reference if passed else None

    def check(self, file_format: str, request: Request, file: ExportedFile) -> Checked:
        """Read the file back, run it in its runtime and in plain kernels, and judge it.

        It is run on the examples to choose on, never on test examples. A file that our reader or
        the runtime refuses, or that crashes it, does not pass. Raises MissingRuntimeError where the
        runtime is not available.
        """
        quantize, whole = request.quantize, self.reference
        single, vectors = self._drawn(SINGLE), self._drawn(VECTORS)
        count = self._plain_examples
        few = [(self._drawn(count), BATCH), (self._drawn(min(count, PLAIN_SINGLE)), 1)]
        runtime = runtimes.find(request.runtime).verified_in
        facts = {"runtime": runtime, "version": runtimes.state(runtime).version or ""}
        other = self._elsewhere if file_format == "onnx" and self.open.sizes else None
        away: np.ndarray | None = None
        try:
            _read_back(file_format, file.content)
            with self.processes.loaded(runtime, file_format, file) as (facts, run):
                scores = run(whole, BATCH)
                one_by_one = run(whole.only(single), 1)
                found = [run(whole.only(drawn), batch) for drawn, batch in few]
                away = None if other is None else run(other, BATCH)
        except (CheckFailedError, CheckpointError) as error:
            failed = parity.failure(str(error), whole, quantize)
            return Checked(file_format, request, file, failed, facts, None)
        default = FORMATS[file_format]
        plain: list[np.ndarray] = []
        plain_away: np.ndarray | None = None
        # Without plain kernels for it, outputs are held against the model's alone.
        with (
            contextlib.suppress(CheckFailedError),
            self.processes.loaded(default, file_format, file, reference=True) as (_, run),
        ):
            plain += [run(whole.only(drawn), batch) for drawn, batch in few]
            plain_away = None if other is None else run(other, BATCH)
        model = [whole.only(drawn).scores for drawn, _ in few]
        by_both = list(zip(found, plain, model, strict=True)) if plain else []
        verdict = parity.judge(scores, whole, quantize, by_both)
        if verdict.passed:
            part = whole.only(single)
            verdict = parity.judge_single(verdict, one_by_one, scores[single], part)
        if verdict.passed and other is not None and away is not None:
            both = [] if plain_away is None else [(away, plain_away, other.scores)]
            if reason := parity.judge(away, other, quantize, both).reason:
                verdict = verdict.failed(f"with inputs of another size, {reason}")
        tolerance = VECTOR_TOLERANCE.get(quantize, OTHER_VECTOR_TOLERANCE)
        check = CheckVectors(
            whole.only(vectors).inputs(file.inputs, slice(None)),
            scores[vectors],
            tolerance * max(verdict.chosen_on.scale, 1e-6),
        )
        return Checked(file_format, request, file, verdict, facts, check)

    def on_test(self, checked: Checked) -> Checked:
        """An artefact that passed, with its verdict on the test examples, which choose nothing."""
        if self.test is None or not checked.verdict.passed:
            return checked
        runtime = runtimes.find(checked.request.runtime).verified_in
        try:
            with self.processes.loaded(runtime, checked.format, checked.file) as (_, run):
                verdict = parity.report(checked.verdict, run(self.test, BATCH), self.test)
        except CheckFailedError as error:
            verdict = checked.verdict.failed(str(error))
        return dataclasses.replace(checked, verdict=verdict)

    def _drawn(self, count: int) -> np.ndarray:
        return draw_examples(self.reference.x, self.reference.labels, count)

    def _calibration_data(self) -> tuple[np.ndarray, ...]:
        if self._calibration is None:
            if self.data is None:
                x, labels = self.made.calibration(self.model, CALIBRATION, self.open.sizes), None
            else:
                x, labels = TrainingData.of(self.data).training_part(CALIBRATION)
            examples = dataclasses.replace(self.reference, x=x, labels=labels)
            names = input_names(self.model)
            self._calibration = tuple(examples.inputs(names, slice(None)).values())
        return self._calibration


def _read_back(file_format: str, content: bytes) -> None:
    """Raise CheckpointError for a file that violates its format; nothing is executed."""
    reading = importlib.import_module(f"compressor.exporters.{file_format}.reading")
    getattr(reading, f"read_{file_format}")(content)
