"""What an ONNX file leaves to others to put together: external data, and functions of its own.

The file may be hostile. External data are read from regular files in its folder only, each as long
as its tensor says; functions are refused where they call themselves, or would grow out of bounds.
"""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from compressor.errors import CheckpointError, ModelError
from compressor.exporters.onnx.reading import messages_in
from compressor.exporters.onnx.tensor_reading import TYPES, damaged_onnx, is_external, read_tensor
from compressor.foundation import deploy_errors
from deploy.artifact import MOST_ARTIFACT_BYTES
from deploy.files import open_regular

_MOST_NODES = 2**20
"""of a model whose functions were put in their places"""


_MOST_DEPTH = 64


def whole_model(content: bytes, folder: Path) -> Any:
    """The onnx.ModelProto of a file in `folder`, with its external data inside; None without any.

    Requires: `read_onnx(content, folder)` accepts it. Raises CheckpointError for external data that
    are missing or too short, and for functions that call themselves; ModelError where more than
    2 GB would come together.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise CheckpointError("this is not an ONNX file", value="it cannot be parsed") from None
    check_functions(model)
    outside = [
        message
        for message in messages_in(model)
        if isinstance(message, onnx.TensorProto) and is_external(message)
    ]
    if not outside:
        return None
    sizes = [_size(tensor) for tensor in outside]
    if len(content) + sum(sizes) > MOST_ARTIFACT_BYTES:
        value = f"{len(content) + sum(sizes):,} bytes, at most {MOST_ARTIFACT_BYTES:,}"
        raise ModelError("the model and its external data are too large for one file", value=value)
    for tensor, size in zip(outside, sizes, strict=True):
        read_tensor(tensor, folder)  # its place is in the folder
        tensor.raw_data = _external(tensor, folder, size)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
    return model


def check_functions(model: Any) -> None:
    """Raise CheckpointError for functions that call themselves or come to too many nodes."""
    functions = {(one.domain, one.name): one for one in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def visit(key: tuple[str, str], above: tuple[tuple[str, str], ...]) -> int:
        if key in above:
            raise damaged_onnx(f"the function {key[1][:80]!r} calls itself")
        if len(above) > _MOST_DEPTH:
            raise damaged_onnx(f"functions in functions, more than {_MOST_DEPTH} deep")
        if key not in sizes:
            sizes[key] = _nodes(functions[key].node, (*above, key))
        return sizes[key]

    def _nodes(nodes: Any, above: tuple[tuple[str, str], ...]) -> int:
        counted = collections.Counter(
            (message.domain, message.op_type)
            for node in nodes
            for message in messages_in(node)
            if isinstance(message, onnx.NodeProto)
        )
        total = 0
        for key, times in counted.items():
            total += times * (visit(key, above) if key in functions else 1)
            if total > _MOST_NODES:
                raise damaged_onnx(f"its functions come to more than {_MOST_NODES:,} nodes")
        return total

    if functions:
        _nodes(model.graph.node, ())


def _size(tensor: Any) -> int:
    count = 1
    for size in tensor.dims:
        count *= size
    return TYPES[tensor.data_type].size(count)


def _external(tensor: Any, folder: Path, size: int) -> bytes:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    with (
        deploy_errors(CheckpointError),
        open_regular(folder / entries["location"], failure="cannot read the external data") as (
            file,
            length,
        ),
    ):
        file.seek(min(int(entries.get("offset", "0")), length))
        found = file.read(size) or b""
    if len(found) < size:
        where = f"tensor {tensor.name[:80]!r}"
        raise damaged_onnx(f"{where}: {len(found)} bytes of external data, not {size}")
    return found
