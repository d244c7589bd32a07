"""A graph file as the source of a job: run once as it came, in its own runtime, to compare with."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data import Dataset, Inputs, TrainingData, draw_examples, judged_part, rows, take
from compressor.errors import CheckFailedError, UsageError
from compressor.exporters import parity
from compressor.exporters.checking import (
    CALIBRATION,
    CHOSEN_ON,
    FORMATS,
    PLAIN,
    PLAIN_MACS,
    RANDOM_INPUTS,
    Checked,
    Job,
    factors_of,
    finite,
    task_notes,
)
from compressor.exporters.graphs.file import GraphFile, read_graph_file
from compressor.exporters.graphs.heads import graph_objective
from compressor.exporters.graphs.inputs import check_ports, draw, output_widths, real_ports
from compressor.exporters.made_inputs import CALIBRATED, MadeInputs
from compressor.exporters.processes import Processes
from compressor.exporters.reference import Reference
from compressor.exporters.request import MICRO, ExportedFile, Request
from compressor.models import (
    Asked,
    InputSize,
    Objective,
    Preprocessing,
    Sizes,
    named_sizes,
    port_preprocessing,
)
from compressor.models.outputs import Output
from deploy import Artifact, ArtifactError, read_artifact
from deploy.artifact_parts import Port, is_scores, scores_first

_COMPARED = 8
"""Examples that are run both in a batch and one by one, to find out whether that is the same."""
_USES = 100
"""How often a weight of a small network is multiplied, roughly, for each example."""


class GraphJob(Job):
    """A .tflite or .onnx file with the data that its variants are compared on.

    The file as it came, in the default runtime of its format, says what is right; for the `runtime`
    TFLite Micro in that one, if it runs the file. All its outputs are compared, and
    `graph_objective` says what they mean. Arguments as of `ExportJob`. Raises CheckpointError for a
    damaged file, ModelError for one without outputs, or whose outputs are no numbers,
    CheckFailedError where the runtime refuses it, DataError where the data do not fit it, and
    UsageError as `ExportJob` does.
    """

    seed = 0
    """of the draw of training inputs that a pruning looks at"""

    def __init__(
        self,
        path: Path,
        data: Dataset | None = None,
        *,
        labels: Sequence[str] | None = None,
        threads: int | None = None,
        input_size: InputSize | None = None,
        made: MadeInputs | None = None,
        validation: int | None = None,
        runtime: str | None = None,
        task: Asked = None,
        metric: Asked = None,
        max_drop: float | None = None,
        described: Path | None = None,
    ) -> None:
        """`described` is the file whose description says what the outputs mean: by default this
        one, otherwise that which it was made of."""
        self.made, self.max_drop = made or MadeInputs(), max_drop
        self.source, self.data = path, data
        self.split = None if data is None else TrainingData.of(data, validation)
        self.graph: GraphFile = read_graph_file(path)
        self.integers_already = self.graph.is_quantized
        self.threads, self.processes = threads, Processes(threads)
        self.notes, self.removed = (), {}
        self.own_runtime = self._fitting(runtime)
        with self.processes.loaded(self.own_runtime, self.graph.format, self._file(())) as (
            facts,
            _,
        ):
            self.ports, outputs = (
                [Port(**port | {"shape": tuple(port["shape"])}) for port in facts[side]]
                for side in ("inputs", "outputs")
            )
        check_ports(self.ports, outputs)
        self._outputs = outputs
        self._factors: np.ndarray | None = None
        if self.made.given is not None:
            self.made.refuse_idle(self.real_inputs, data)
        self.original = self._file(tuple(port.name for port in self.ports))
        said: Artifact | None = None
        with contextlib.suppress(ArtifactError):
            said = read_artifact(described or path)
        if self.split is None:
            self.sizes = named_sizes(self._open, input_size)
            x = draw(self.ports, RANDOM_INPUTS, self.sizes, self.made)
            feed, y = port_preprocessing(self.ports, x), None
        else:
            feed = port_preprocessing(self.ports, self.split.data.x_train, said)
            port_preprocessing(self.ports, self.split.data.x_test, said)
            x, y = self.split.choosing_part(CHOSEN_ON)
            self.sizes = self._sizes_fed(feed, input_size)
        x, y, scores = self._first_scores(x, y, feed)
        scored = is_scores(self._outputs[scores_first(self._outputs)[0]])
        objective = graph_objective(said, self._shapes, feed, data, task, metric, scored=scored)
        self.labels = self._named(labels, objective, None if said is None else said.labels)
        self.notes += task_notes(objective)
        if data is not None:
            objective.stored_targets(data.y_train)
            objective.stored_targets(data.y_test)
        self.reference = Reference(
            *(x, feed, scores, y, objective), factors=self._factors, made_up=data is None
        )
        self.notes += self.reference.notes

    def _sizes_fed(self, feed: Preprocessing, given: InputSize | None) -> Sizes:
        """The open sizes as the data have them; UsageError where the user named others."""
        each = zip(feed.rules, feed.row_shapes, strict=True)
        fed = {rule.name: shape for rule, shape in each if rule.name in self._open}
        if given is not None and (named := named_sizes(self._open, given)) != fed:
            value = f"named {named}, data {fed}"
            raise UsageError("the data have another size than was named", value=value)
        return fed

    @property
    def real_inputs(self) -> tuple[str, ...]:
        return real_ports(self.ports)

    @property
    def open_sizes(self) -> Mapping[str, Any]:
        return self.sizes

    @property
    def sparsity(self) -> float | None:
        return self.graph.sparsity

    @property
    def dense_bytes(self) -> int:
        return self.graph.dense_bytes

    def packages(self, file_format: str) -> tuple[str, ...]:
        return ("ai-edge-litert",) if file_format == "tflite" else ("onnx",)

    def unrolled(self) -> Sequence[int | None]:
        return (None,)

    def as_it_came(self, runtime: str | None = None) -> Checked:
        """The file itself, run and judged in `runtime`, by default that of its format."""
        request = Request(runtime or self.own_runtime, self.graph.quantized)
        return self.check(self.graph.format, request, self.original)

    def request(self, runtime: str, quantize: Any, optimize: Any, encoding: str | None) -> Request:
        if self.graph.is_quantized:
            plain = super().request(runtime, "none", optimize, encoding)
            return dataclasses.replace(plain, quantize=self.graph.quantized)
        return super().request(runtime, quantize, optimize, encoding)

    def build(self, file_format: str, request: Request) -> ExportedFile:
        if file_format != self.graph.format:
            raise UsageError(
                f"a .{self.graph.format} file does not become .{file_format}",
                value=self.source,
                hint=f"export it as .{self.graph.format}, or the model that it was made of",
            )
        exporter = importlib.import_module(f"compressor.exporters.{file_format}")
        note, asked = "", request
        if self.graph.is_quantized and request.value_bits < 8:
            raise UsageError(
                "the weights of a quantised file keep their values",
                value=f"--values {request.value_bits}",
                hint="leave it out, or export the model that the file was made of",
            )
        if self.graph.is_quantized:
            note = (
                f"It is quantised already ({self.graph.quantized}): its weights keep their values."
            )
            asked = dataclasses.replace(request, quantize="none")
        elif request.quantize == "none" and self.graph.quantized == "float16":
            note = "Its weights are float16 already, and stay so."
            asked = dataclasses.replace(request, quantize="float16", exact=True)
        inputs = self.original.inputs
        file: ExportedFile = exporter.export_graph(self.graph.content, asked, inputs)
        if file.size >= len(self.graph.content) and not self.may_grow:
            left = "It is left as it came: this would not make it smaller."
            return dataclasses.replace(self.original, notes=(left,))
        return self.noted(file, request, note)

    def check(self, file_format: str, request: Request, file: ExportedFile) -> Checked:
        """As of any job; what was to keep its values is held to the outputs of full precision."""
        if file.content == self.graph.content:
            request = dataclasses.replace(request, quantize=self.graph.quantized, calibration=())
        checked = super().check(file_format, request, file)
        verdict = checked.verdict
        allowed = parity.OUTPUT_TOLERANCE["none"] * max(verdict.chosen_on.scale, 1e-6)
        if file.origin is not None:  # C code, proven against its own reference
            return checked
        if self.graph.is_quantized and verdict.passed and verdict.chosen_on.difference > allowed:
            value = verdict.chosen_on.difference
            reason = f"outputs differ by {value:.3g}, although no weight has another value"
            return dataclasses.replace(checked, verdict=verdict.failed(reason))
        return checked

    def _fitting(self, runtime: str | None) -> str:
        """The runtime that says what is right: TFLite Micro for itself, where it runs the file, as
        its kernels round otherwise than LiteRT's, else the default one."""
        if runtime == MICRO and self.processes.arena(MICRO, self.graph.content) is not None:
            return MICRO
        return FORMATS[self.graph.format]

    @property
    def _open(self) -> dict[str, tuple[int | None, ...]]:
        """The inputs with open sizes, the batch excepted."""
        return {port.name: port.shape[1:] for port in self.ports if None in port.shape[1:]}

    def _file(self, inputs: tuple[str, ...]) -> ExportedFile:
        return ExportedFile(self.graph.content, inputs, self.graph.tensors, self.graph.needs)

    @property
    def _plain_examples(self) -> int:
        return int(np.clip(PLAIN_MACS // max(_USES * self.graph.parameters, 1), 2, PLAIN))

    def _first_scores(
        self, x: Inputs, y: Any, feed: Preprocessing
    ) -> tuple[Inputs, Any, np.ndarray]:
        """The examples to judge on of these, with the outputs.

        Settles whether several can be run at once.
        """
        few = take(x, draw_examples(x, None, _COMPARED))
        single = self._run(few, feed, 1)
        try:
            together = self._run(few, feed, self.batch)
            scale = max(float(np.max(np.abs(single), initial=0.0)), 1e-6)
            same = together.shape == single.shape and bool(
                np.max(np.abs(together - single), initial=0.0)
                <= parity.OUTPUT_TOLERANCE["float16"] * scale
            )
        except CheckFailedError:
            same = False
        if not same:
            self.batch = 1
            self.notes += ("It was run one example at a time: it does not take several at once.",)
        called = "random inputs" if self.data is None else "examples"
        x, y = judged_part(x, y, single.shape[1])
        scores = self._scores(x, feed, called)
        widths = output_widths(self._outputs, scores.shape[1])
        self._shapes = self._outputs_as(widths)
        if len(self._outputs) > 1:
            self._factors = factors_of(scores, widths)
            scores = scores * self._factors
        return x, y, scores

    def _outputs_as(self, widths: Sequence[int]) -> list[Output]:
        """The outputs in the order of their columns, with the sizes that they have here."""
        found = []
        for place, width in zip(scores_first(self._outputs), widths, strict=True):
            port = self._outputs[place]
            known = math.prod(size for size in port.shape[1:] if size)
            sizes = [size or width // max(known, 1) for size in port.shape[1:]]
            shape = tuple(sizes) if sizes and math.prod(sizes) == width else (width,)
            activations = self.graph.activations
            activation = activations[place] if place < len(activations) else ""
            found.append(Output(port.name, shape, activation))
        return found

    def _scores(self, x: Inputs, feed: Preprocessing, called: str) -> np.ndarray:
        return finite(self._run(x, feed, self.batch), called)

    def _run(self, x: Inputs, feed: Preprocessing, batch: int) -> np.ndarray:
        nothing = np.zeros((rows(x), 1), np.float32)
        examples = Reference(
            x, feed, nothing, None, Objective((), "inferred"), factors=self._factors
        )
        loaded = self.processes.loaded(self.own_runtime, self.graph.format, self.original)
        with loaded as (_, run):
            scores: np.ndarray = run(examples, batch)
            return scores

    def _made_calibration(self) -> Inputs:
        self.made.check_calibrates()
        return draw(self.ports, CALIBRATION, self.sizes, self.made, CALIBRATED)
