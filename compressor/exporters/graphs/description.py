"""A description and check vectors for a .tflite or .onnx file that came without."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from compressor.data import Dataset
from compressor.errors import CheckFailedError
from compressor.exporters.description import describe_artifact
from compressor.exporters.graphs.job import GraphJob
from compressor.exporters.made_inputs import MadeInputs
from compressor.models import InputSize
from deploy.answers import proven
from deploy.artifact import Artifact


@dataclasses.dataclass(frozen=True)
class Described:
    """A file as it came, with what was found out about it."""

    artifact: Artifact
    content: bytes
    """of the file; with the external data of an ONNX model inside"""
    vectors: bytes
    """of its check vectors"""
    notes: tuple[str, ...]
    """for the user, a sentence each"""


def describe_graph_file(
    path: Path,
    data: Dataset | None = None,
    *,
    runtime: str | None = None,
    labels: Sequence[str] | None = None,
    input_size: InputSize | None = None,
    input_range: tuple[float, float] | None = None,
) -> Described:
    """Run a .tflite or .onnx file of any origin once, in `runtime`, and describe it.

    By default the runtime is that of the format; the others are as in `export`. Raises as
    `GraphJob` does, and CheckFailedError where the runtime does not compute what its own plain
    kernels do.
    """
    made = MadeInputs.within(input_range)
    options = {"labels": labels, "input_size": input_size, "made": made, "runtime": runtime}
    with GraphJob(path, data, **options) as job:  # type: ignore[arg-type]
        checked = job.on_test(job.as_it_came(runtime))
        if not checked.verdict.passed or checked.vectors is None:
            what = f"the file does not compute in {checked.facts['runtime']} what it says"
            raise CheckFailedError(what, value=f"{path}: {checked.verdict.reason}")
        vectors = checked.vectors.to_bytes()
        artifact = describe_artifact(job, checked, path.name, vectors)
    ran = f"{path.name} had no description: it was run in {artifact.verified[0].runtime}"
    found = proven(artifact.tasks, artifact.verified[0])
    title = artifact.tasks[0].decides.title
    measured = f"{found} of {artifact.verified[0].examples:,} examples"
    measured = measured if found else f"{title} not measured (give --data)"
    return Described(artifact, job.graph.content, vectors, (f"{ran}; {measured}", *job.notes))
