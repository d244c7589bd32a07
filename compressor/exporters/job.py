"""One model, prepared once and exported as several variants."""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data import Dataset, Inputs, TrainingData, judged_part, take
from compressor.errors import CheckFailedError, CompressorError, ModelError
from compressor.exporters import parity
from compressor.exporters.checking import (
    BATCH,
    CALIBRATION,
    CHOSEN_ON,
    FORMATS,
    LEAST_INPUTS,
    PLAIN,
    PLAIN_MACS,
    RANDOM_INPUTS,
    RANDOM_MACS,
    Job,
    factors_of,
    file_order,
    finite,
    task_notes,
)
from compressor.exporters.conversions import Conversions
from compressor.exporters.made_inputs import MadeInputs
from compressor.exporters.open_inputs import OpenInputs
from compressor.exporters.processes import Processes
from compressor.exporters.recurrence import worth_measuring
from compressor.exporters.reference import Reference
from compressor.exporters.request import ExportedFile, Request
from compressor.exporters.rounding import Rounder
from compressor.exporters.tracing import cause, refuse_tables
from compressor.foundation import quiet_tensorflow, release_memory
from compressor.importing import load_model
from compressor.models import (
    FLOAT32_BYTES,
    ROUNDING,
    Asked,
    InputSize,
    Objective,
    Preprocessing,
    count_parameters,
    framed,
    half_types,
    layer_macs,
    objective_for,
    objective_of,
    predict_scores,
    preprocessing_of,
    real_inputs,
    sizes_fed,
    sizes_given,
)
from compressor.pruning import all_kernels
from compressor.shrinking import Shrunk, shrink

_PACKAGES = {"tflite": ("ai-edge-litert",), "onnx": ("tf2onnx", "onnx"), "c": ("ai-edge-litert",)}
"""format -> what makes its files, besides Keras and TensorFlow"""


class ExportJob(Job):
    """A model with the data that its artefacts are compared on; the model is shrunk once.

    `model` is a Keras model or a model file; where its own code keeps the graph of its layers
    hidden, or a layer cannot be rebuilt, it is exported as it is, and `notes` say so. Without
    `data` the artefacts are compared, and maybe calibrated, on inputs that are `made` up.
    `labels` name the classes, by default those of the data; `task` and `metric` are asked for as in
    `objective_of`, and every head may lose `max_drop`; `seed` draws the inputs that weights are
    rounded on; `validation` is how many training examples are set aside to choose on, by default as
    in `TrainingData`: where they are fewer than `choose_on`, training examples are added. Raises
    ModelError or DataError where model and data do not fit, ModelError where the model's own
    outputs are no numbers, and UsageError where there is not one label a class, or an empty range.
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
        seed: int = 0,
        validation: int | None = None,
        choose_on: int = CHOSEN_ON,
        task: Asked = None,
        metric: Asked = None,
        max_drop: float | None = None,
    ) -> None:
        self.seed, self.max_drop = seed, max_drop
        self.made = made or MadeInputs()
        quiet_tensorflow.load(threads, frugal=True)
        self.source = Path(model) if isinstance(model, (str, Path)) else None
        self.threads = threads
        self.processes = Processes(threads)
        self.model = load_model(self.source) if self.source else framed(model)
        refuse_tables(self.model)
        if self.made.given is not None:
            self.made.refuse_idle(self.real_inputs, data)
        self.data = data
        self.split = None if data is None else TrainingData.of(data, validation)
        objective = self._objective(task, metric)
        self._trained = objective
        objective, self._columns = file_order(objective)
        self.labels = self._named(labels, objective)
        if self.split is None:
            x = self.made.draw(self.model, RANDOM_INPUTS, sizes_given(self.model, input_size))
            feed, y = preprocessing_of(self.model, x), None
        else:
            feed = preprocessing_of(self.model, self.split.data.x_train)
            x, y = self.split.choosing_part(choose_on)
            x, y = judged_part(x, y, objective.classes)
        self.open = OpenInputs(self.model, sizes_fed(self.model, feed, input_size), self.made)
        if data is None:
            affordable = self._affordable(
                self.open.closed(self.model), RANDOM_MACS, LEAST_INPUTS, RANDOM_INPUTS
            )
            x = take(x, np.arange(affordable))
        halves = half_types(self.model, "compute_dtype")
        rounding = max((4 * ROUNDING[dtype] for dtype in halves), default=0.0)
        self._factors: np.ndarray | None = None
        scores = self._scores(x, feed, "random inputs" if data is None else "examples")
        if len(objective.heads) > 1:
            self._factors = factors_of(scores, [head.width for head in objective.heads])
            scores = scores * self._factors
        self.reference = Reference(
            *(x, feed, scores, y, objective, rounding, self._factors), made_up=data is None
        )
        self.notes = task_notes(objective) + self.reference.notes
        self.shrunk = self._shrunk()
        self.removed = self.shrunk.removed
        release_memory(self.dense_bytes)

    @functools.cached_property
    def real_inputs(self) -> tuple[str, ...]:
        return real_inputs(self.model)

    @property
    def open_sizes(self) -> Mapping[str, Any]:
        return self.open.sizes

    @property
    def sparsity(self) -> float | None:
        kernels = all_kernels(self.model).values()
        size = sum(math.prod(kernel.shape) for kernel in kernels)
        zeros = size - sum(kernel.nonzeros for kernel in kernels)
        return zeros / size if size else None

    def packages(self, file_format: str) -> tuple[str, ...]:
        return ("keras", "tensorflow", *_PACKAGES[file_format])

    def _shrunk(self) -> Shrunk:
        try:
            sizes = self.open.sizes or None
            return shrink(self.model, input_size=sizes, share=True)
        except ModelError as error:
            self.notes += (f"no unit or channel was removed: {error}",)
            return Shrunk(self.model, {}, (), 0.0, {})

    def _scores(self, x: Inputs, feed: Preprocessing, called: str) -> np.ndarray:
        try:
            scores = predict_scores(self.model.predict_on_batch, x, feed)
        except CompressorError:
            raise
        except Exception as error:  # its layers raise what they like
            what = f"the model fails on {called}"
            raise ModelError(what, value=cause(error)) from error
        scores = finite(scores, called)
        if len(self._trained.heads) == 1:
            return scores
        ordered = scores[:, self._columns]
        return ordered if self._factors is None else ordered * self._factors

    def _objective(self, task: Asked, metric: Asked) -> Objective:
        if self.data is None:
            return objective_of(self.model, task=task, metric=metric)
        preprocessing_of(self.model, self.data.x_test)
        return objective_for(self.model, self.data, task, metric)

    def _affordable(self, closed: Any, operations: int, least: int, most: int) -> int:
        """How many examples take `operations` multiply-accumulates, within bounds."""
        macs = sum(found.dense for found in layer_macs(closed).values() if found)
        return int(np.clip(operations // max(macs, 1), least, most))

    @functools.cached_property
    def _plain_examples(self) -> int:
        """How many examples plain kernels run."""
        return self._affordable(self._closed, PLAIN_MACS, 2, PLAIN)

    def unrolled(self) -> Sequence[int | None]:
        return worth_measuring(self.shrunk.model)

    @property
    def dense_bytes(self) -> int:
        return FLOAT32_BYTES * count_parameters(self.model)

    def build(self, file_format: str, request: Request) -> ExportedFile:
        exporter = importlib.import_module(f"compressor.exporters.{file_format}")

        def exported(model: Any, note: str = "") -> ExportedFile:
            file: ExportedFile = exporter.export(model, request)
            release_memory(self.dense_bytes)
            return self.noted(file, request, note)

        if not self.open.sizes:
            return exported(self.shrunk.model)
        if file_format == "onnx" and self._elsewhere is not None:
            return exported(self.shrunk.model, self.open.proven(self._elsewhere))
        return exported(self._closed, self.open.fixed)

    @functools.cached_property
    def _closed(self) -> Any:
        """The model that is exported, with the sizes of its inputs."""
        return self.open.closed(self.shrunk.model)

    def elsewhere(self, file_format: str) -> Reference | None:
        return self._elsewhere if file_format == "onnx" and self.open.sizes else None

    @functools.cached_property
    def conversions(self) -> Conversions:
        return Conversions(self.dense_bytes)

    @functools.cached_property
    def rounder(self) -> Rounder | None:
        if self.split is None:
            return None
        return Rounder(self.shrunk.model, self.split, self._trained, self.seed)

    @functools.cached_property
    def _elsewhere(self) -> Reference | None:
        """The model's outputs at another size, where an ONNX file that is open gives them, too."""
        reference = self.open.elsewhere(self.reference, self._scores)
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

    def _made_calibration(self) -> Inputs:
        return self.made.calibration(self.model, CALIBRATION, self.open.sizes)
