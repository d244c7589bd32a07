"""Building and checking the variants of one model: what jobs on any kind of model share."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import functools
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from compressor import runtimes
from compressor.data import Dataset, Inputs, TrainingData, draw_examples, judged_part, listed
from compressor.data.labels import check_label_names
from compressor.errors import CheckFailedError, CheckpointError, ModelError, UsageError
from compressor.exporters import parity
from compressor.exporters.conversions import Conversions
from compressor.exporters.made_inputs import MadeInputs
from compressor.exporters.processes import Processes
from compressor.exporters.reference import Reference
from compressor.exporters.request import MICRO, ExportedFile, Request, checked_labels
from compressor.exporters.rounding import Rounder
from compressor.exporters.speed import Speed
from compressor.exporters.verdict import Verdict
from compressor.models import Objective, Preprocessing
from deploy import CheckVectors
from deploy.answers import gives
from deploy.artifact_parts import Port, scores_first
from deploy.tasks import Head, is_plain

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
        return self.file.size


class Job(abc.ABC):
    """A model with the data that its artefacts are compared on, and the processes that run them.

    `reference` are the model's outputs; `notes` are for the user, a sentence each; `removed` says
    how many units of a layer were removed; `packages` made the artefact, and made the model run.
    """

    labels: tuple[str, ...] | None
    made: MadeInputs
    source: Path | None
    processes: Processes
    data: Dataset | None
    split: TrainingData | None
    """the data with what is set aside to choose on: it calibrates nothing"""
    reference: Reference
    notes: tuple[str, ...]
    removed: dict[str, int]
    may_grow = False
    """whether `build` may return a file larger than that of the source: C code is made of it"""
    integers_already = False
    """whether what says what is right computes in integers, which C code rounds in its own way"""
    floor: Mapping[str, float] | None = None
    """the metrics that are enough for an artefact, by `Head.key`; None: nearly the model's"""
    max_drop: float | None = None
    """what every head may lose, see `Metric.loss`; None: as little as a quantisation should cost"""
    batch = BATCH
    """how many examples are run at once, where not one by one"""

    @abc.abstractmethod
    def build(self, file_format: str, request: Request) -> ExportedFile:
        """The artefact in memory, not yet run."""

    @property
    @abc.abstractmethod
    def dense_bytes(self) -> int:
        """Bytes of the model's weights, dense in float32, before anything was removed."""

    @property
    @abc.abstractmethod
    def sparsity(self) -> float | None:
        """The fraction of the model's weights that is zero; None without weights."""

    @property
    @abc.abstractmethod
    def real_inputs(self) -> tuple[str, ...]:
        """The names of the inputs that take real numbers."""

    @abc.abstractmethod
    def packages(self, file_format: str) -> tuple[str, ...]: ...

    @abc.abstractmethod
    def unrolled(self) -> Sequence[int | None]:
        """The values of `Request.unrolled` that are worth measuring."""

    @property
    @abc.abstractmethod
    def _plain_examples(self) -> int:
        """How many examples plain kernels run."""

    @abc.abstractmethod
    def _scores(self, x: Inputs, feed: Preprocessing, called: str) -> np.ndarray:
        """The outputs of the model on these examples, which messages call so."""

    @abc.abstractmethod
    def _made_calibration(self) -> Inputs:
        """Made-up inputs to calibrate int8 on."""

    @functools.cached_property
    def conversions(self) -> Conversions:
        """Graphs that the variants of this model have in common."""
        return Conversions()

    @functools.cached_property
    def rounder(self) -> Rounder | None:
        """What rounds weights by what enters their layers; None where nothing can."""
        return None

    def elsewhere(self, file_format: str) -> Reference | None:
        """The model's outputs at another size that a file of this format takes, too."""
        return None

    def _named(
        self,
        labels: Sequence[str] | None,
        objective: Objective,
        said: tuple[str, ...] | None = None,
    ) -> tuple[str, ...] | None:
        """The names of the classes of the first head that has any.

        Those given, else those of the data, else what was `said` of the file, if it fits. Raises
        UsageError where there is not one a class, DataError where the data have names of more
        classes, or of fewer.
        """
        classes = next((head.classes for head in objective.heads if head.classes), 0)
        if self.data is not None:
            check_label_names(self.data, classes)
        if labels is None:
            own = None if self.data is None or not classes else self.data.labels
            return said if own is None and said and len(said) == classes else own
        given = checked_labels(labels)
        if given is not None and not classes:
            what = f"labels name classes, and this model gives {numbers_of(objective.heads)}"
            raise UsageError(what, value=f"{len(given)} labels", hint="leave them out")
        if given is not None and len(given) != classes:
            what = "there is not one label a class"
            raise UsageError(what, value=f"{len(given)} labels, {classes} classes")
        return given

    @functools.cached_property
    def test(self) -> Reference | None:
        """The outputs of the model on the test examples; None without data."""
        if (data := self.data) is None:
            return None
        x, labels = judged_part(data.x_test, data.y_test, self.reference.scores.shape[1])
        scores = self._scores(x, self.reference.feed, "test examples")
        return dataclasses.replace(self.reference, x=x, scores=scores, labels=labels)

    def __enter__(self) -> Self:
        """Keep one process for each runtime, instead of one for each file."""
        self.processes.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.processes.__exit__(*error)

    def request(self, runtime: str, quantize: Any, optimize: Any, encoding: str | None) -> Request:
        """A request, with the calibration data of this job where the quantisation needs them."""
        calibration = self._calibration if quantize == "int8" else ()
        arena = functools.partial(self.processes.arena, runtime) if runtime == MICRO else None
        return Request(
            *(runtime, quantize, optimize, encoding, calibration),
            conversions=self.conversions,
            arena=arena,
        )

    def calibrated_on(self, request: Request) -> str:
        """What the calibration data are, where they are made up, else empty."""
        return self.made.shown if request.calibration else ""

    def check(self, file_format: str, request: Request, file: ExportedFile) -> Checked:
        """Read the file back, run it in its runtime and in plain kernels, and judge it.

        It is run on the examples to choose on, never on test examples. A file that our reader or
        the runtime refuses, or that crashes it, does not pass. Raises MissingRuntimeError where the
        runtime is not available.
        """
        quantize, whole = request.quantize, self.reference
        single, vectors = self.drawn(SINGLE), self.drawn(VECTORS)
        count = self._plain_examples
        few = [(self.drawn(count), self.batch), (self.drawn(min(count, PLAIN_SINGLE)), 1)]
        runtime = runtimes.find(request.runtime).verified_in
        facts = {"runtime": runtime, "version": runtimes.state(runtime).version or ""}
        other = self.elsewhere(file_format)
        away: np.ndarray | None = None
        try:
            if file_format in FORMATS:  # what was compiled is no data
                _read_back(file_format, file.content)
            with self.processes.loaded(runtime, file_format, file) as (facts, run):
                scores = run(whole, self.batch)
                one_by_one = run(whole.only(single), 1)
                found = [run(whole.only(drawn), batch) for drawn, batch in few]
                away = None if other is None else run(other, self.batch)
            if file.origin is not None and file_format in FORMATS:
                with self.processes.loaded(runtime, file_format, file.origin) as (_, run):
                    dense = [run(whole.only(drawn), batch) for drawn, batch in few]
                if not all(map(np.array_equal, found, dense)):
                    what = "outputs are not those of the same values stored dense"
                    raise CheckFailedError(what, value=runtime)
        except (CheckFailedError, CheckpointError) as error:
            failed = parity.failure(str(error), whole, quantize, self.max_drop)
            return Checked(file_format, request, file, failed, facts, None)
        origin = file.origin or file
        plain_format = file_format if file.origin is None else "tflite"
        plain: list[np.ndarray] = []
        plain_away: np.ndarray | None = None
        # Without plain kernels for it, outputs are held against the model's alone.
        with contextlib.suppress(CheckFailedError), contextlib.ExitStack() as stack:
            if file.origin is None or not self.integers_already:
                loaded = self.processes.loaded(
                    FORMATS[plain_format], plain_format, origin, reference=True
                )
                _, run = stack.enter_context(loaded)
                plain += [run(whole.only(drawn), batch) for drawn, batch in few]
                plain_away = None if other is None else run(other, self.batch)
        model = [whole.only(drawn).scores for drawn, _ in few]
        by_both = list(zip(found, plain, model, strict=True)) if plain else []
        verdict = parity.judge(scores, whole, quantize, by_both, self.floor, self.max_drop)
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
            whole.factors,
        )
        notes = (*file.notes, *whole.class_notes(scores, self.labels))
        file = dataclasses.replace(file, notes=notes)
        return Checked(file_format, request, file, verdict, facts, check)

    def on_test(self, checked: Checked) -> Checked:
        """An artefact that passed, with its verdict on the test examples, which choose nothing."""
        if self.test is None or not checked.verdict.passed:
            return checked
        runtime = runtimes.find(checked.request.runtime).verified_in
        try:
            with self.processes.loaded(runtime, checked.format, checked.file) as (_, run):
                verdict = parity.report(checked.verdict, run(self.test, self.batch), self.test)
        except CheckFailedError as error:
            verdict = checked.verdict.failed(str(error))
        return dataclasses.replace(checked, verdict=verdict)

    def noted(self, file: ExportedFile, request: Request, *notes: str) -> ExportedFile:
        """The file with further notes first, and with what it was calibrated on if made up."""
        made = self.calibrated_on(request)
        if made:
            made = f"Calibrated on {made}: give data for the accuracy of real ones."
        return dataclasses.replace(file, notes=(*filter(None, (*notes, made)), *file.notes))

    @functools.cached_property
    def _calibration(self) -> tuple[np.ndarray, ...]:
        if self.split is None:
            x, labels = self._made_calibration(), None
        else:
            x, labels = self.split.training_part(CALIBRATION)
        examples = dataclasses.replace(self.reference, x=x, labels=labels)
        names = tuple(rule.name for rule in self.reference.feed.rules)
        return tuple(examples.inputs(names, slice(None)).values())

    def timed_on(self, file: ExportedFile) -> dict[str, Any]:
        """What a measurement feeds `file`, as arguments: an example, where its sizes are open."""
        if not self.open_sizes:
            return {}
        return {"inputs": self.reference.inputs(file.inputs, slice(0, 1))}

    @property
    @abc.abstractmethod
    def open_sizes(self) -> Mapping[str, Any]:
        """The sizes that the examples have where inputs leave them open, by input."""

    def drawn(self, count: int) -> np.ndarray:
        """The numbers of `count` examples to choose on, int64, over all classes."""
        return draw_examples(self.reference.x, self.reference.labels, count)


def numbers_of(heads: Sequence[Head]) -> str:
    """What a model gives that is no classifier: "78 numbers, not classes", or its outputs."""
    if len(heads) > 1:
        return "several outputs: " + listed(f"{head.name} ({head.task})" for head in heads)
    return gives(heads[0]) + ("" if heads[0].classes else ", not classes")


def task_notes(objective: Objective) -> tuple[str, ...]:
    """Which task a model has, and why, where it is no classifier judged by its accuracy alone."""
    return () if is_plain(objective.heads) else (f"Task: {objective.reason}.",)


def file_order(objective: Objective) -> tuple[Objective, np.ndarray]:
    """The objective with its heads as a file's outputs follow each other, and those columns.

    The runner puts the first output of scores, (n, k), first (`deploy.artifact_parts`). The columns
    are int64, for each of a file the one of the model.
    """
    ports = [Port("", (None, *head.shape), "float32") for head in objective.heads]
    ends = np.cumsum([head.width for head in objective.heads])
    order = scores_first(ports)
    places = [np.arange(ends[n] - objective.heads[n].width, ends[n]) for n in order]
    aims = tuple(objective.aims[place] for place in order)
    return dataclasses.replace(objective, aims=aims), np.concatenate(places)


def factors_of(scores: np.ndarray, widths: Sequence[int]) -> np.ndarray:
    """float32 (columns,): 1 for the first output; others get the same largest magnitude."""
    starts = np.cumsum([0, *widths[:-1]])
    largest = np.maximum(np.maximum.reduceat(np.abs(scores).max(axis=0), starts), 1e-6)
    return np.repeat(largest[0] / largest, widths).astype(np.float32)


def finite(scores: np.ndarray, called: str) -> np.ndarray:
    broken = int(np.sum(~np.isfinite(scores).all(axis=1)))
    if broken:
        what = "the model's own outputs are NaN or infinite"
        raise ModelError(what, value=f"for {broken} of {len(scores)} {called}")
    return scores


_READERS = {"tflite": "read_tflite", "onnx": "check_onnx"}


def _read_back(file_format: str, content: bytes) -> None:
    """Raise CheckpointError for a file that violates its format; nothing is executed."""
    reading = importlib.import_module(f"compressor.exporters.{file_format}.reading")
    getattr(reading, _READERS[file_format])(content)
