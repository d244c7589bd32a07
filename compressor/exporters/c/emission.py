"""The files of a network in C: header, code, weights, self-test and how to build them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import numpy as np

from compressor.errors import ModelError
from compressor.exporters.c import stages, text, weighted
from compressor.exporters.c.lanes import LANES, VECTORS
from compressor.exporters.c.layout import lay_out
from compressor.exporters.c.narrowing import pool_first
from compressor.exporters.c.network import Constant, Network, Tensor
from compressor.exporters.c.plan import ALIGNMENT, Plan, make_plan
from compressor.exporters.c.stack import frame_of, stack_of
from compressor.exporters.c.written import Row, Written

TARGETS = tuple(LANES)
DECODING = tuple(target for target in TARGETS if target not in VECTORS)
"""Processors whose code may decode weights while it computes."""
_WRITERS = weighted.WRITERS | stages.WRITERS
_MOST_SIDE = 2**15
"""of a map: positions are counted in 16 bits"""


@dataclasses.dataclass(frozen=True)
class Source:
    """A network as C code."""

    name: str
    files: dict[str, str]
    """by file name"""
    workspace: int
    """bytes that a run needs"""
    constants: int
    """bytes of weights, their positions, biases, scales and tables"""
    rows: tuple[Row, ...]
    stack: int
    """bytes of stack that a run takes at most"""


def emit(
    network: Network, name: str, target: str, optimize: str, vectors: tuple[np.ndarray, np.ndarray]
) -> Source:
    """The C code of a network; `name` is any text, `vectors` are inputs and outputs, int8 (n, ...).

    The same arguments give the same text. Raises ModelError for a map too large for the code.
    """
    name = text.identifier(name)
    for tensor in network.tensors:
        if max(tensor.shape) >= _MOST_SIDE:
            raise ModelError("a map is too large for C code", value=tensor.shape)
    plan = make_plan(lay_out(pool_first(network)), target, optimize)
    written = Written(plan, target)
    written.need("common.c")
    for number, layer in enumerate(plan.laid.layers):
        _WRITERS[type(layer)](layer, written, number)
    ports = network.tensors[network.input], network.tensors[network.output]
    files = {
        f"{name}.h": _header(name, plan, stack_of(plan, target), *ports),
        f"{name}_weights.h": _weights(name, written),
        f"{name}.c": _code(name, written, *ports),
        f"{name}_selftest.c": _selftest(name, *vectors),
        f"{name}_library.c": _library(name, network.ranks, *ports),
        "Makefile": text.template("Makefile.in", name=name, frame=frame_of(plan, target)),
        "CMakeLists.txt": text.template("CMakeLists.txt.in", name=name),
    }
    return Source(
        name, files, plan.workspace, written.constants, tuple(written.rows), stack_of(plan, target)
    )


def _header(name: str, plan: Plan, stack: int, given: Tensor, made: Tensor) -> str:
    values: dict[str, object] = {
        "input": given.size,
        "output": made.size,
        "input_shape": " x ".join(map(str, given.shape)),
        "output_shape": " x ".join(map(str, made.shape)),
        "input_scale": text.real(given.scale),
        "output_scale": text.real(made.scale),
        "input_zero": given.zero,
        "output_zero": made.zero,
        "workspace": plan.workspace,
        "stack": stack,
        "float_workspace": plan.workspace + _aligned(given.size) + _aligned(made.size),
    }
    return text.template("header.h.in", name=name, NAME=name.upper(), **values)


def _weights(name: str, written: Written) -> str:
    guard = f"{name.upper()}_WEIGHTS_H"
    head = f"/* Weights and tables of {name}; included by {name}.c only. */\n"
    body = text.joined(written.data)
    return f"{head}#ifndef {guard}\n#define {guard}\n\n{body}\n#endif\n"


def _code(name: str, written: Written, given: Tensor, made: Tensor) -> str:
    calls = []
    laid = written.plan.laid
    for number in written.plan.steps:
        layer = laid.layers[number]
        if isinstance(layer, Constant):
            continue
        call, height = written.name(number), laid.tensors[layer.output].shape[0]
        if written.plan.by_row(number):
            calls.append(f"    for (y = 0; y < {height}; y++)\n        {call}(&run, y);")
        else:
            calls.append(f"    {call}(&run);")
    by_row = any(written.plan.by_row(number) for number in written.plan.steps)
    counters = 2 * written.plan.state
    return text.template(
        "code.c.in",
        name=name,
        NAME=name.upper(),
        kernels=text.joined(list(written.kernels.values())),
        layers=text.joined(written.code),
        y="    unsigned y;\n" if by_row else "",
        counters=f"    memset(workspace, 0, {counters});\n" if counters else "",
        calls="\n".join(calls),
        workspace=written.plan.workspace,
        space=_aligned(given.size),
    )


def _selftest(name: str, inputs: np.ndarray, outputs: np.ndarray) -> str:
    return text.template(
        "selftest.c.in",
        name=name,
        NAME=name.upper(),
        count=len(inputs),
        inputs=text.array("inputs", inputs.astype(np.int8)),
        outputs=text.array("outputs", outputs.astype(np.int8)),
    )


def _library(name: str, ranks: tuple[int, int], given: Tensor, made: Tensor) -> str:
    """What a program that loads the compiled library asks of it."""
    facts = {"name": name, "input": _port(given), "output": _port(made), "ranks": ranks}
    literal = json.dumps(json.dumps(facts, separators=(",", ":")))
    return text.template("library.c.in", name=name, NAME=name.upper(), facts=literal)


def _port(tensor: Tensor) -> Mapping[str, object]:
    shape = list(tensor.shape)
    return {"shape": shape, "scale": tensor.scale, "zero_point": tensor.zero}


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
