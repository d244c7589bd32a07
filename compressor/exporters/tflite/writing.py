"""Writing a TFLite graph as a file, without anything unused.

Equal buffers, vectors and names are written once, since a flatbuffer may refer to one place twice.
Buffers start at multiples of 16. The same graph gives the same bytes.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from compressor.exporters.tflite.schema import indices, schema

ALIGNMENT = 16
"""of buffers within the file, in bytes: `force_align` in the schema of TFLite"""

_IDENTIFIER = b"TFL3"


def write_graph(graph: Any) -> bytes:
    """The file of a graph, which is not changed: identifier TFL3, no metadata, nothing unused."""
    written = _compacted(graph)
    data = sum(
        len(buffer.data) + ALIGNMENT for buffer in written.buffers if buffer.data is not None
    )
    builder = _sharing_builder()(data + 2**16)
    builder.Finish(written.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def copied(graph: Any) -> Any:
    """A deep copy, except that it shares the data of the buffers."""
    return copy.deepcopy(graph, {id(buffer.data): buffer.data for buffer in graph.buffers})


def _compacted(graph: Any) -> Any:
    found = copied(graph)
    found.metadata = found.metadataBuffer = found.description = None
    for number, subgraph in enumerate(found.subgraphs):
        _drop_tensors(found, number, subgraph)
        for tensor in subgraph.tensors:
            _drop_fields(tensor)
        for operator in subgraph.operators or []:
            if isinstance(operator.builtinOptions, schema().ReshapeOptionsT):
                _drop_shape(operator)
    _drop_codes(found)
    _merge_buffers(found)
    _share_tables(found)
    return found


def _drop_tensors(graph: Any, number: int, subgraph: Any) -> None:
    maps = [
        tensor_map
        for signature in graph.signatureDefs or []
        if signature.subgraphIndex == number
        for tensor_map in [*(signature.inputs or []), *(signature.outputs or [])]
    ]
    vectors = [(subgraph, "inputs"), (subgraph, "outputs")]
    for operator in subgraph.operators or []:
        vectors += [(operator, name) for name in ("inputs", "outputs", "intermediates")]
    used = {tensor_map.tensorIndex for tensor_map in maps}
    used.update(index for owner, name in vectors for index in indices(getattr(owner, name)))
    kept = sorted(index for index in used if index >= 0)
    position = {-1: -1} | {index: new for new, index in enumerate(kept)}
    subgraph.tensors = [subgraph.tensors[index] for index in kept]
    for owner, name in vectors:
        if getattr(owner, name) is not None:
            moved = [position[index] for index in indices(getattr(owner, name))]
            setattr(owner, name, np.asarray(moved, np.int32))
    for tensor_map in maps:
        tensor_map.tensorIndex = position[tensor_map.tensorIndex]


def _drop_fields(tensor: Any) -> None:
    """Remove what says nothing: a rank beside a shape, and quantization without a scale."""
    if tensor.shape is not None and len(tensor.shape):
        tensor.hasRank = False
    quantization = tensor.quantization
    if quantization is not None and quantization.scale is None and quantization.details is None:
        tensor.quantization = None


def _drop_shape(operator: Any) -> None:
    """Remove the options of a RESHAPE that has its shape as an input, too."""
    if len(indices(operator.inputs)) > 1:
        operator.builtinOptionsType, operator.builtinOptions = 0, None


def _drop_codes(graph: Any) -> None:
    operators = [op for subgraph in graph.subgraphs for op in subgraph.operators or []]
    kept = sorted({operator.opcodeIndex for operator in operators})
    graph.operatorCodes = [graph.operatorCodes[index] for index in kept]
    for operator in operators:
        operator.opcodeIndex = kept.index(operator.opcodeIndex)


def _merge_buffers(graph: Any) -> None:
    """Merge equal buffers; computed tensors get buffer 0."""
    buffers = [_AlignedBuffer()]
    positions = {b"": 0}
    for subgraph in graph.subgraphs:
        for tensor in subgraph.tensors:
            data = graph.buffers[tensor.buffer].data
            raw = b"" if data is None else np.ascontiguousarray(data, np.uint8).tobytes()
            if raw not in positions:
                positions[raw] = len(buffers)
                buffers.append(_AlignedBuffer(raw))
            tensor.buffer = positions[raw]
    graph.buffers = buffers


def _share_tables(graph: Any) -> None:
    """Let equal options, quantizations and levels of sparse tensors be one table each."""
    shared: dict[str, _OneTable] = {}

    def one(table: Any) -> Any:
        return table and shared.setdefault(_described(table), _OneTable(table))

    for subgraph in graph.subgraphs:
        for operator in subgraph.operators or []:
            operator.builtinOptions = one(operator.builtinOptions)
        for tensor in subgraph.tensors:
            tensor.quantization = one(tensor.quantization)
            if tensor.sparsity is not None:
                levels = tensor.sparsity.dimMetadata
                tensor.sparsity.dimMetadata = [one(level) for level in levels]


def _described(value: Any) -> str:
    """The same text for equal tables only."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str}{value.tolist()}"
    if not hasattr(value, "Pack"):
        return repr(value)
    fields = ",".join(f"{name}={_described(field)}" for name, field in vars(value).items())
    return f"{type(value).__name__}({fields})"


class _OneTable:
    """A table that is written once, and that several others refer to."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._offset: int | None = None

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the object API calls it so
        if self._offset is None:
            self._offset = int(self._table.Pack(builder))
        return self._offset


class _AlignedBuffer:
    """A BufferT whose data start at a multiple of `ALIGNMENT`."""

    def __init__(self, data: bytes | None = None) -> None:
        self.data = data

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the object API calls it so
        vector = None
        if self.data is not None:
            builder.StartVector(1, len(self.data), ALIGNMENT)
            builder.head -= len(self.data)
            builder.Bytes[builder.head : builder.head + len(self.data)] = self.data
            vector = builder.EndVector()
        schema().BufferStart(builder)
        if vector is not None:
            schema().BufferAddData(builder, vector)
        return int(schema().BufferEnd(builder))


@functools.cache
def _sharing_builder() -> type:
    import flatbuffers

    class SharingBuilder(flatbuffers.Builder):
        """A builder that writes equal vectors and strings once."""

        def __init__(self, size: int) -> None:
            super().__init__(size)
            self._written: dict[tuple[str, bytes], int] = {}

        def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802 - flatbuffers calls it so
            return self._once((x.dtype.str, x.tobytes()), super().CreateNumpyVector, x)

        def CreateString(self, s: Any, *options: Any) -> int:  # noqa: N802 - as above
            raw = s.encode() if isinstance(s, str) else bytes(s)
            return self._once(("string", raw), super().CreateString, s, *options)

        def _once(self, key: tuple[str, bytes], create: Callable[..., int], *given: Any) -> int:
            if key not in self._written:
                self._written[key] = create(*given)
            return self._written[key]

    return SharingBuilder
