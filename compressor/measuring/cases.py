"""The rows of a measurement: which artefact is run in which runtime, and how."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

from compressor import runtimes
from compressor.errors import MissingRuntimeError, UsageError
from compressor.measuring.subjects import Subject
from deploy.machine import usable_cores
from deploy.runner.protocol import MOST_ROWS

GPU_RUNTIMES = ("cuda", "tensorrt")
BENCH_RUNTIMES = (
    *("litert", "tflite-runtime", "tflite-micro", "onnxruntime"),
    *GPU_RUNTIMES,
    "c",
)
_GPU_TRANSFERS = ("copies", "device", "graph")
_DEFAULT = {"tflite": "litert", "onnx": "onnxruntime", "c": "c"}
# Runtimes that are measured under another name.
_EXECUTED_BY = {"onnxruntime-gpu": "cuda"}


@dataclasses.dataclass(frozen=True)
class Case:
    """One row: an artefact in a runtime, at a thread count and a batch size."""

    artefact: int
    """number of the subject"""
    subject: Subject
    runtime: str
    threads: int
    batch: int
    transfer: str
    """copies, device or graph: where inputs come from and outputs go"""

    @property
    def copies(self) -> bool:
        """Whether a run takes its inputs from numpy, and gives its outputs to it."""
        return self.transfer == "copies"

    @property
    def on_gpu(self) -> bool:
        """Whether an accelerator computes it."""
        return self.runtime in GPU_RUNTIMES


def plan_cases(
    subjects: Sequence[Subject],
    chosen: Sequence[str] | None,
    threads: Sequence[int],
    batches: Sequence[int],
    cores: Sequence[Sequence[int]] | None = None,
) -> list[list[Case]]:
    """The cases in tables: one table for each thread count and each batch size.

    Without `chosen` runtimes each artefact is run in the one that it was exported for. Raises
    UsageError for a runtime that is not known or has nothing to run, an artefact that none of them
    runs, and for more threads than there are CPUs in `cores`, by default this machine's.
    """
    for what, given in (("--threads", threads), ("--batch", batches)):
        if not given:
            raise UsageError(f"{what} names no number", value="an empty list")
    cores = usable_cores() if cores is None else cores
    most = sum(map(len, cores)) or os.cpu_count() or 1
    for count in threads:
        if not 1 <= count <= most:
            raise UsageError(
                "cannot use this number of threads",
                value=count,
                hint=f"this process may use 1 to {most}",
            )
    for batch in batches:
        if not 1 <= batch <= MOST_ROWS:
            raise UsageError(f"a batch holds 1 to {MOST_ROWS:,} examples", value=batch)
    for what, values in (("thread count", threads), ("batch", batches), ("runtime", chosen or ())):
        if len(set(values)) < len(values):
            raise UsageError(f"a {what} is given twice", value=", ".join(map(str, values)))
    pairs = [
        (number, subject, runtime)
        for number, subject in enumerate(subjects)
        for runtime in _runtimes_of(subject, chosen)
    ]
    for runtime in chosen or ():
        if not any(runtime == used for _, _, used in pairs):
            raise UsageError(
                f"none of the artefacts is for {runtime}",
                value=f"it runs {runtimes.find(runtime).format} files",
            )
    return [
        [
            Case(number, subject, runtime, count, batch, transfer)
            for number, subject, runtime in pairs
            for transfer in (_GPU_TRANSFERS if runtime in GPU_RUNTIMES else ("copies",))
        ]
        for count in threads
        for batch in batches
    ]


def _runtimes_of(subject: Subject, chosen: Sequence[str] | None) -> list[str]:
    if chosen is None:
        return [_own_runtime(subject)]
    for name in chosen:
        if name not in BENCH_RUNTIMES:
            raise UsageError(
                "this runtime cannot be measured",
                value=name,
                hint=f"choose from {', '.join(BENCH_RUNTIMES)}",
            )
    found = [name for name in chosen if runtimes.find(name).format == subject.format]
    if not found:
        raise UsageError(
            f"none of {', '.join(chosen)} runs {subject.format} files",
            value=subject.path,
            hint=f"add {_DEFAULT[subject.format]} to --runtime",
        )
    return found


def _own_runtime(subject: Subject) -> str:
    """The runtime that the artefact was exported for."""
    if subject.artifact is None:
        return _DEFAULT[subject.format]
    said = subject.artifact.runtime
    name = _EXECUTED_BY.get(said, said)
    if name not in BENCH_RUNTIMES or runtimes.find(name).format != subject.format:
        raise MissingRuntimeError(
            f"{said} cannot be measured here",
            value=subject.path,
            hint=f"--runtime {_DEFAULT[subject.format]} measures the file in that",
        )
    return name
