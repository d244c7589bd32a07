"""The contents of a .tflite or .onnx file, weight by weight, read without its runtime."""

from __future__ import annotations

import collections
import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.errors import CheckpointError, CompressorError
from compressor.foundation import deploy_errors, read_json
from compressor.runs import REJECTED
from deploy import ArtifactError, read_artifact
from deploy.artifact import DESCRIPTION_SUFFIX, MOST_ARTIFACT_BYTES
from deploy.files import open_regular, read_regular

if TYPE_CHECKING:
    from compressor.exporters.onnx.reading import OnnxFile, OnnxValue
    from compressor.exporters.onnx.stored_weights import OnnxWeight
    from compressor.exporters.tflite.file_contents import (
        Decoded,
        Subgraph,
        TFLiteFile,
        TFLiteTensor,
    )

_ANOTHER = "the description belongs to another file"

Row = dict[str, Any]


def artifact_format(path: Path) -> str | None:
    """`tflite`, `onnx` or `c` by a file's suffix (before .rejected) or first bytes, else None."""
    suffix = Path(path.name.removesuffix(REJECTED)).suffix.lower()
    start = b""
    with contextlib.suppress(ArtifactError), open_regular(path) as (file, _):
        start = file.read(8) or b""
    if start[4:8] == b"TFL3" or suffix == ".tflite":
        return "tflite"
    return {".onnx": "onnx", ".so": "c"}.get(suffix)


def describe_artifact_file(path: Path, file_format: str) -> dict[str, Any]:
    """The part of `report.inspection.inspect` about an artefact.

    Raises CheckpointError, in one line that names the file, when it is damaged.
    """
    if file_format == "c":
        what = "a compiled library cannot be inspected"
        raise CheckpointError(what, value=path, hint="its sources and its description can be read")
    with deploy_errors(CheckpointError):
        content = read_regular(path, MOST_ARTIFACT_BYTES)
    try:
        described = describe_content(content, file_format, path.parent)
    except CheckpointError as error:
        raise CheckpointError(error.what, value=f"{path}: {error.value}") from error
    return {
        "kind": file_format,
        **described,
        "optimizer_values": 0,
        "macs": None,
        "macs_nonzero": None,
        **_description(path),
    }


def describe_content(content: bytes, file_format: str, folder: Path) -> dict[str, Any]:
    """What the bytes of an artefact in `folder` hold; raises CheckpointError."""
    if file_format == "tflite":
        return _describe_tflite(content)
    return _describe_onnx(content, folder)


def _description(path: Path) -> dict[str, Any]:
    """The description beside the file, or in one line why it does not apply."""
    if not path.with_name(path.name + DESCRIPTION_SUFFIX).is_file():
        return {"description": None, "description_error": None}
    if path.name.endswith(REJECTED):
        return {"description": None, "description_error": _rejection(path)}
    try:
        return {"description": read_artifact(path).describe(), "description_error": None}
    except ArtifactError as error:
        another = error.what.startswith("the description is of another file")
        return {"description": None, "description_error": _ANOTHER if another else str(error)}


def _rejection(path: Path) -> str:
    """Why the file was rejected, from the report beside it."""
    try:
        verdict = read_json(path.with_name(path.name + DESCRIPTION_SUFFIX))["verdict"]
        return f"it was rejected: {CompressorError(str(verdict['reason']))}"
    except (CompressorError, KeyError, TypeError):
        return "it was rejected, and the report beside it is damaged"


def _describe_tflite(content: bytes) -> dict[str, Any]:
    from compressor.exporters.tflite.reading import read_tflite

    file = read_tflite(content)
    main = file.subgraphs[0]
    operators = collections.Counter(
        (operator.name, operator.version, operator.custom)
        for subgraph in file.subgraphs
        for operator in subgraph.operators
    )
    return {
        "layers": [
            *(_tflite_row(file, tensor, name) for name, tensor in _tflite_weights(file.subgraphs)),
            *(_decoded_row(graph, one) for graph in file.subgraphs for one in graph.decoded),
        ],
        "inputs": [_tflite_port(main.tensors[number]) for number in main.inputs],
        "outputs": [_tflite_port(main.tensors[number]) for number in main.outputs],
        "operators": [
            {"name": name, "version": version, "custom": custom, "count": count}
            for (name, version, custom), count in sorted(operators.items())
        ],
        "signatures": list(file.signatures),
    }


def _tflite_weights(subgraphs: Iterable[Subgraph]) -> list[tuple[str, TFLiteTensor]]:
    """The constants that are weights, with a name or number; shared values are listed once."""
    found: dict[Any, tuple[str, TFLiteTensor]] = {}
    for subgraph in subgraphs:
        for number, tensor in enumerate(() if subgraph.decodes else subgraph.tensors):
            kind = tensor.type.name
            weight = "float" in kind or tensor.quantization is not None or 0 < tensor.type.bits < 8
            held = tensor.is_constant or tensor.external
            if held and tensor.shape and (weight or tensor.sparsity is not None):
                place = (tensor.data, kind) if tensor.data[1] else id(tensor)
                found.setdefault(place, (tensor.name or f"tensor {number}", tensor))
    return list(found.values())


def _tflite_row(file: TFLiteFile, tensor: TFLiteTensor, name: str) -> Row:
    encoding = "dense" if tensor.sparsity is None else tensor.sparsity.encoding
    shape = [size or 0 for size in tensor.shape]
    known = tensor.is_constant and bool(tensor.type.dtype)
    zeros = tensor.elements - _tflite_nonzeros(file, tensor) if known else None
    storage = encoding if tensor.is_constant else "external"
    return _row(name, shape, zeros, tensor.bytes, storage, tensor.type.name)


def _decoded_row(graph: Subgraph, found: Decoded) -> Row:
    tensor = graph.tensors[found.tensor]
    scales = 0 if tensor.quantization is None else tensor.quantization.bytes
    zeros = int(found.values.size - np.count_nonzero(found.values))
    return _row(
        tensor.name or f"tensor {found.tensor}",
        found.values.shape,
        zeros,
        found.bytes + scales,
        found.encoding,
        tensor.type.name,
    )


def _tflite_nonzeros(file: TFLiteFile, tensor: TFLiteTensor) -> int:
    from compressor.exporters.tflite.reading import stored_values

    values = stored_values(file, tensor)
    zero = None if tensor.quantization is None else tensor.quantization.zero_point
    # What a sparse tensor does not store is the integer zero, whatever the zero point.
    if zero is None or not zero.any() or tensor.sparsity is not None:
        return int(np.count_nonzero(values))
    if zero.size > 1:
        assert tensor.quantization is not None
        shape = tuple(size or 0 for size in tensor.shape)
        values = np.moveaxis(values.reshape(shape), tensor.quantization.dimension, -1)
    return int(np.count_nonzero(values != zero))


def _tflite_port(tensor: TFLiteTensor) -> dict[str, Any]:
    # Quantised inputs and outputs have one scale.
    of = tensor.quantization if tensor.type.name.startswith(("int", "uint")) else None
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": tensor.type.name,
        "scale": None if of is None or not np.isfinite(of.scale[0]) else float(of.scale[0]),
        "zero_point": None if of is None else int(of.zero_point[0]) if of.zero_point.size else 0,
    }


def _describe_onnx(content: bytes, folder: Path) -> dict[str, Any]:
    from compressor.exporters.onnx.reading import read_onnx

    file = read_onnx(content, folder)
    return {
        "layers": [_onnx_row(file, weight) for weight in file.weights],
        "inputs": [_onnx_port(value) for value in file.inputs],
        "outputs": [_onnx_port(value) for value in file.outputs],
        "operators": [
            {
                "name": kind if domain == "ai.onnx" else f"{domain}.{kind}",
                "version": file.opsets.get(domain),
                "custom": domain not in ("ai.onnx", "ai.onnx.ml"),
                "count": count,
            }
            for (domain, kind), count in file.operators.items()
        ],
        "ir_version": file.ir_version,
        "opsets": file.opsets,
        "producer": file.producer,
        "functions": list(file.functions),
    }


def _onnx_row(file: OnnxFile, weight: OnnxWeight) -> Row:
    from compressor.exporters.onnx.evaluation import NotDecodedError
    from compressor.exporters.onnx.reading import weight_values

    shape, zeros = weight.shape, None
    with contextlib.suppress(NotDecodedError):  # what is known is shown, the rest is not guessed
        values = weight_values(file, weight)
        shape, zeros = values.shape, values.size - int(np.count_nonzero(values))
    return _row(weight.name, shape, zeros, weight.bytes, weight.encoding, weight.values)


def _onnx_port(value: OnnxValue) -> dict[str, Any]:
    free = None if value.shape is None else [s if isinstance(s, int) else None for s in value.shape]
    described = {"name": value.name, "shape": free, "dtype": value.type}
    return described | {"scale": None, "zero_point": None}


def _row(
    name: str, shape: Sequence[int] | None, zeros: int | None, size: int, storage: str, values: str
) -> Row:
    # Converters join the names of merged operators; the first is the weight's own.
    first = name.split(";")[0]
    layer, _, variable = first.rpartition("/")
    return {
        "layer": layer or first,
        "variable": variable if layer else "",
        "paper_name": None,
        "shape": None if shape is None else list(shape),
        "parameters": None if shape is None else math.prod(shape),
        "zeros": zeros,
        "masked": None,
        "threshold": None,
        "bytes": size,
        "storage": storage,
        "values": values,
        "macs": None,
        "macs_nonzero": None,
    }


def weight_totals(rows: Iterable[Mapping[str, Any]]) -> dict[str, int | None]:
    """`parameters` and `nonzeros` of all rows; None where one is unknown."""
    rows = list(rows)
    known = all(row["parameters"] is not None for row in rows)
    counted = known and all(row["zeros"] is not None for row in rows)
    return {
        "parameters": sum(row["parameters"] for row in rows) if known else None,
        "nonzeros": sum(row["parameters"] - row["zeros"] for row in rows) if counted else None,
    }
