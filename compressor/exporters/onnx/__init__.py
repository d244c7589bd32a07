"""ONNX files that run as fast as dense ones: their weights are decoded when they are loaded."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from compressor.errors import ModelError, UsageError
from compressor.exporters import half_precision
from compressor.exporters.isolation import quantize_apart
from compressor.exporters.onnx import apart, integer
from compressor.exporters.onnx.canonical import keep_names, name_after_layers, put_in_order
from compressor.exporters.onnx.chain import Chain
from compressor.exporters.onnx.channels import without_unread
from compressor.exporters.onnx.compact import compact, weight_names
from compressor.exporters.onnx.convert import convert
from compressor.exporters.onnx.decoding import (
    CHOSEN_FROM,
    ENCODINGS,
    SPARSE_INITIALIZER,
    choose_all,
    insert,
)
from compressor.exporters.onnx.defaults import omit_defaults
from compressor.exporters.onnx.foreign import opset_of, standard_form
from compressor.exporters.onnx.graphs import all_nodes, array_of, unique
from compressor.exporters.onnx.passes import tidy
from compressor.exporters.onnx.weights import (
    MIN_SIZE,
    Stored,
    float_weights,
    raw_weights,
    value_types,
)
from compressor.exporters.request import EncodedTensor, ExportedFile, Request
from compressor.exporters.tracing import LARGEST
from compressor.models import input_names

__all__ = ["ENCODINGS", "export", "export_graph"]

_MOST_WEIGHTS = LARGEST - 2**24
"""Bytes of the weights in a file, at most: nodes and names take some, too."""


def export(model: Any, request: Request) -> ExportedFile:
    """The ONNX file of a Keras model, opset 18, valid for `onnx.checker` and not yet run.

    Inputs of any float type become float32, others stay; the output `scores` is float32; the batch
    size is open. `int8` computes in integers, with the ranges of `request.calibration`; `dynamic`
    has int8 weights, and unless it is for the size integer products where they are faster; the
    others compute in float32. Each weight is stored in `request.encoding`, or in the smallest of
    `CHOSEN_FROM`; small ones stay dense. Raises ModelError for what ONNX or Keras's exporter
    cannot hold, UsageError for an unknown encoding, one that cannot hold such values, and int8
    without calibration data.
    """
    _check(request)
    with apart.kept_apart():
        if request.conversions.keeps:
            content, named = request.conversions.of(model, "onnx", lambda: _kept(model))
            proto = onnx.load_model_from_string(content)
            for entry in proto.graph.initializer:
                if apart.payload(entry) >= apart.LARGE:
                    entry.CopyFrom(apart.tensor(entry.name, apart.array(entry)))
        else:
            proto, named = _converted(model)
        return _finished(proto, named, request, input_names(model), half_precision.notes(model))


def _converted(model: Any) -> tuple[Any, set[str]]:
    """The onnx.ModelProto of a Keras model, and the names of its weights."""
    proto = convert(model)
    put_in_order(proto.graph)
    return proto, name_after_layers(proto.graph, model)


def _kept(model: Any) -> tuple[bytes, set[str]]:
    """The bytes of the onnx.ModelProto of a Keras model, and the names of its weights."""
    proto, named = _converted(model)
    return apart.serialized(proto), named


def export_graph(content: bytes, request: Request, inputs: tuple[str, ...]) -> ExportedFile:
    """The ONNX file of a whole ONNX model of any origin, as `export` makes it of a Keras model.

    Its inputs, with these names, and its output stay as they are, and so does an operator set that
    is newer. Raises as `foreign.standard_form` does, too.
    """
    _check(request)
    with apart.kept_apart():
        proto, notes = standard_form(content)
        put_in_order(proto.graph)
        return _finished(proto, keep_names(proto.graph), request, inputs, notes, shrunk=False)


def _finished(
    proto: Any,
    named: set[str],
    request: Request,
    inputs: tuple[str, ...],
    notes: tuple[str, ...],
    *,
    shrunk: bool = True,
) -> ExportedFile:
    """The file of a model of which the weights are `named`; no unit is dead if it was `shrunk`."""
    tidy(proto, channels_last=request.quantize == "int8")
    if not shrunk:
        proto = without_unread(proto)
    if request.quantize == "int8":
        if (size := _weight_bytes(proto)) >= _MOST_WEIGHTS:
            raise ModelError(
                "ONNX Runtime quantises at most 2 GB of weights to int8",
                value=f"{size / 1e9:.2f} GB in float32",
                hint="choose --quantize dynamic, or remove channels first",
            )
        if shrunk:
            proto = integer.quantize_static(proto, request.calibration)
        else:  # nobody vouches for it
            content = quantize_apart("onnx", apart.serialized(proto), request.calibration)
            proto = onnx.load_model_from_string(content)
    elif request.quantize == "dynamic" and request.optimize != "size":
        integer.multiply_integers(proto)
    domain = unique("c", {one.domain for one in proto.opset_import})
    chains, functions = _encode(proto.graph, request, domain, opset_of(proto))
    tensors = _describe(proto.graph, chains, named)
    if request.quantize == "int8":
        tensors = tuple(map(integer.described, tensors))
    weights = weight_names(proto.graph)
    insert(proto.graph, chains)
    del chains
    apart.keep_only(proto.graph)
    omit_defaults(proto)
    compact(proto, weights)
    if functions:
        proto.functions.extend(functions)
        proto.opset_import.append(onnx.helper.make_opsetid(domain, 1))
    content, data = _content(proto)
    for name, part in data.items():
        shown = f"{len(part) / 1e9:.2f} GB"
        said = f"the weights, {shown}, are in {name}, which belongs beside the file"
        notes = (*notes, f"An ONNX file holds at most 2 GB: {said}.")
    standard = [one for one in proto.opset_import if not functions or one.domain != domain]
    needs = {one.domain or "ai.onnx": int(one.version) for one in standard}
    return ExportedFile(content, inputs, tensors, needs, notes, data=data)


def _check(request: Request) -> None:
    if request.encoding not in (None, *ENCODINGS):
        raise UsageError(
            "ONNX has no such encoding",
            value=request.encoding,
            hint=f"one of {', '.join(ENCODINGS)}",
        )
    if request.encoding == SPARSE_INITIALIZER and request.quantize in (
        "int4",
        "codebook",
        "ternary",
    ):
        raise UsageError(
            "a sparse initializer holds no values of 4 bits or fewer",
            value=request.quantize,
            hint="choose another encoding, or --quantize dynamic",
        )
    if request.quantize == "int8" and not request.calibration:
        raise UsageError("int8 needs calibration data", value="none", hint="give a data set")


def _encode(
    graph: Any, request: Request, domain: str, version: int
) -> tuple[list[Chain], list[Any]]:
    """A chain for each weight, and their functions; a plain initializer is a chain, too."""
    encodings = CHOSEN_FROM if request.encoding is None else (request.encoding,)
    wanted: list[tuple[str, int, Callable[[], list[Stored]]]] = [
        (
            weight.name,
            weight.values.size,
            functools.partial(value_types, weight, request.quantize, exact=request.exact),
        )
        for weight in float_weights(graph)
    ]
    for name, stored in raw_weights(graph):
        wanted.append((name, stored.codes.size, functools.partial(list, [stored])))
    wanted.sort(key=lambda one: -one[1])
    return choose_all(
        (
            (name, values(), encodings if size >= MIN_SIZE else ("dense",))
            for name, size, values in wanted
        ),
        domain,
        version,
    )


def _describe(graph: Any, chains: list[Chain], named: set[str]) -> tuple[EncodedTensor, ...]:
    found = [
        EncodedTensor(
            chain.name,
            chain.stored.shape,
            int(chain.stored.codes.size - chain.stored.nonzero.sum()),
            chain.encoding,
            chain.stored.kind,
            chain.payload_bytes,
        )
        for chain in chains
    ]
    done = {chain.name for chain in chains}
    for entry in graph.initializer:
        if entry.name in named - done:
            values = array_of(entry)
            zeros = int(values.size - np.count_nonzero(values))
            kind = values.dtype.name
            found.append(
                EncodedTensor(entry.name, values.shape, zeros, "dense", kind, values.nbytes)
            )
    return tuple(sorted(found, key=lambda tensor: (-tensor.dense_bytes, tensor.name)))


def _content(proto: Any) -> tuple[bytes, dict[str, bytes]]:
    """The file: the operator sets that it needs, and nothing about this machine.

    And, where it would be too large, the one with its weights, by its name.
    """
    opset, used = opset_of(proto), {node.domain for node in all_nodes(proto.graph)}
    others = {one.domain: one.version for one in proto.opset_import if one.domain in used}
    proto.producer_name = "compressor"
    del proto.opset_import[:]
    for domain, version in others.items():
        if domain not in ("", "ai.onnx"):
            proto.opset_import.append(onnx.helper.make_opsetid(domain, version))
    proto.opset_import.add().version = opset
    try:
        onnx.checker.check_model(apart.without_large(proto), full_check=True)
    except Exception as error:  # the checker raises errors of several kinds
        reason = " ".join(str(error).split())[:200]
        raise ModelError("the model is no valid ONNX model", value=reason) from error
    if _weight_bytes(proto) < _MOST_WEIGHTS:
        return apart.serialized(proto), {}
    content, name, data = apart.split(proto)
    return content, {name: data}


def _weight_bytes(proto: Any) -> int:
    return sum(map(apart.byte_size, proto.graph.initializer))
