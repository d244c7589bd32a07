"""From a model to C code that was compiled, and proven against its reference."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from compressor.errors import CheckFailedError, ModelError
from compressor.exporters.c import reference
from compressor.exporters.c.bits import narrow_values, scores
from compressor.exporters.c.compiling import compile_library
from compressor.exporters.c.emission import DECODING, Source, emit
from compressor.exporters.c.narrowing import narrow
from compressor.exporters.c.network import Network
from compressor.exporters.c.reading import read_network
from compressor.exporters.checking import Checked, Job, numbers_of
from compressor.exporters.reference import Reference
from compressor.exporters.request import EncodedTensor, ExportedFile, Optimize, Request
from compressor.foundation import Listener
from deploy.compiled import levels

_VECTORS = 8
"""check vectors in the self-test, which also runs where there is little memory"""
_RANDOM, _EXAMPLES = 16, 256
"""inputs on which the compiled code must compute what the reference does"""
_BATCH = 32
PACKING = ("cortex-m0", "cortex-m4", "host")
"""Processors on which sums of 16 bits are faster."""


def export_c(
    job: Job, name: str, target: str, optimize: Optimize, listener: Listener, values: int = 8
) -> Checked:
    """The code of a model as an artefact whose file is the compiled library, run and judged.

    `name` is any text, `target` one of `TARGETS`. The artefact's `beside` are the source files.
    Weights have at most `values` bits; with 8, as few as cost no accuracy.
    Raises ModelError for what C code cannot compute, MissingRuntimeError without a C compiler,
    CheckFailedError where the compiled code computes anything but what the reference does.
    """
    if len(job.reference.heads) > 1:
        raise ModelError("C code has one output", value=numbers_of(job.reference.heads))
    listener.stage("c, int8: build")
    asked = job.request("litert", "int8", optimize, "dense")
    asked = dataclasses.replace(asked, value_bits=values)
    job.may_grow = True
    graph = job.build("tflite", asked)
    network = read_network(graph.content)
    request = Request("c", "int8", optimize, calibration=asked.calibration)

    def checked(network: Network, *notes: str) -> Checked:
        inputs = _inputs(job, network)
        outputs = reference.run(network, inputs)
        source = emit(network, name, target, optimize, (inputs[:_VECTORS], outputs[:_VECTORS]))
        file = ExportedFile(
            content=compile_library(source),
            inputs=("input",),
            tensors=_tensors(source),
            needs={},
            notes=(*graph.notes, *notes),
            beside={path: text.encode() for path, text in source.files.items()},
            origin=graph,
            details=_details(source, target),
        )
        listener.stage("c, int8: verify")
        _prove(job, file, network, inputs, outputs)
        return job.check("c", request, file)

    # Without data nothing says what fewer bits cost.
    if job.data is None:
        return checked(network)
    listener.stage("c, int8: narrow")
    narrowed = narrow(network) if target in PACKING else network
    candidates: list[tuple[Network, tuple[str, ...]]] = [(narrowed, ())]
    if target in DECODING and values == 8:
        taken = _levels(job.reference, narrowed)
        fewer = narrow_values(
            narrowed,
            job.reference,
            taken,
            optimize,
            lambda few: scores(network, reference.run(network, _levels(few, network))),
        )
        candidates.insert(0, (fewer, _told(narrowed, fewer)))
    if narrowed is not network:
        note = "Sums of 16 bits, which are faster, cost too much accuracy."
        candidates.append((network, (note,)))
    tried: list[Network] = []
    for candidate, notes in candidates:
        if any(candidate is one for one in tried):
            continue
        tried.append(candidate)
        found = checked(candidate, *notes)
        if found.verdict.passed:
            break
    return found


def _told(network: Network, fewer: Network) -> tuple[str, ...]:
    """What is said of the weights that have fewer bits than in `network`."""
    pairs = zip(network.layers, fewer.layers, strict=True)
    changed = sum(one is not other for one, other in pairs)
    if not changed:
        return ()
    layers = f"{changed} layer{'s' * (changed > 1)}"
    return (f"Weights of {layers} have fewer bits, which costs no accuracy on validation data.",)


def _inputs(job: Job, network: Network) -> np.ndarray:
    """int8 (n, height, width, channels): examples of the check, and any integers."""
    shape = network.tensors[network.input].shape
    real = _levels(job.reference.only(job.drawn(_EXAMPLES)), network)
    made = np.random.default_rng(0).integers(-128, 128, (_RANDOM, *shape)).astype(np.int8)
    return np.concatenate([real, made])


def _levels(examples: Reference, network: Network) -> np.ndarray:
    """The inputs as the network takes them, int8 (n, height, width, channels)."""
    tensor = network.tensors[network.input]
    given = next(iter(examples.inputs(("input",), slice(None)).values()))
    return levels(given, tensor.scale, tensor.zero).reshape(-1, *tensor.shape)


def _prove(
    job: Job, file: ExportedFile, network: Network, inputs: np.ndarray, outputs: np.ndarray
) -> None:
    """Raise CheckFailedError where the compiled code differs from the reference."""
    given, made = network.tensors[network.input], network.tensors[network.output]
    fed = ((inputs.astype(np.float64) - given.zero) * given.scale).astype(np.float32)
    fed = fed.reshape(len(fed), *given.shape[len(given.shape) - network.ranks[0] :])
    found = job.processes.outputs("c", "c", file, {"input": fed}, _BATCH)
    integers = np.rint(found.astype(np.float64) / made.scale) + made.zero
    wrong = int((integers.reshape(outputs.shape) != outputs).sum())
    if wrong:
        raise CheckFailedError(
            "the compiled code does not compute what its reference does",
            value=f"{wrong:,} of {outputs.size:,} values",
        )


def _tensors(source: Source) -> tuple[EncodedTensor, ...]:
    return tuple(
        EncodedTensor(row.name, row.shape, row.zeros, row.encoding, "int8", row.bytes)
        for row in source.rows
    )


def _details(source: Source, target: str) -> dict[str, Any]:
    return {
        "target": target,
        "workspace_bytes": source.workspace,
        "stack_bytes": source.stack,
        "constant_bytes": source.constants,
        "macs": sum(row.macs for row in source.rows),
        "files": sorted(source.files),
    }
