"""TFLite graphs of one layer, made without a converter, and LiteRT to run them in."""

from __future__ import annotations

from typing import Any

import numpy as np

from compressor.exporters.tflite import graph as graphs

VECTOR, IMAGE, DEPTHWISE = "FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"
OPEN = -1


def layer_graph(kind: str, weights: np.ndarray, bias: np.ndarray | None, inputs: tuple) -> Any:
    """A graph of one float32 layer with an open batch axis; `inputs` is the shape of an example.

    Convolutions are SAME, with stride 1.
    """
    graph, source, target = _empty(kind, weights, inputs)
    kernel = graphs.add_tensor(graph, "kernel", weights.shape, np.float32, values=weights)
    shift = -1
    if bias is not None:
        shift = graphs.add_tensor(graph, "bias", bias.shape, np.float32, values=bias)
    _layer(graph, kind, 1, [source, kernel, shift], target)
    return graph


def integer_graph(
    kind: str, weights: np.ndarray, scale: np.ndarray, inputs: tuple, output_scale: float
) -> Any:
    """The same in int8, between QUANTIZE and DEQUANTIZE, with a bias of zeros.

    `weights` are int8 with one `scale`, or one a unit; inputs are within -4 to 4.
    """
    graph, source, target = _empty(kind, weights, inputs)
    tensors = graphs.main(graph).tensors
    input_scale = np.asarray([4 / 127], np.float32)
    before = graphs.add_tensor(
        graph, None, tensors[source].shapeSignature, np.int8, quantization=_scaled(input_scale)
    )
    after = graphs.add_tensor(
        graph,
        None,
        tensors[target].shapeSignature,
        np.int8,
        quantization=_scaled(np.asarray([output_scale], np.float32)),
    )
    kernel = graphs.add_tensor(
        graph, "kernel", weights.shape, np.int8, values=weights, quantization=_scaled(scale)
    )
    zeros = np.zeros(len(weights), np.int32)
    bias = graphs.add_tensor(
        graph,
        "bias",
        zeros.shape,
        np.int32,
        values=zeros,
        quantization=_scaled(input_scale * scale),
    )
    graphs.add_operator(graph, "QUANTIZE", [source], [before], before=None)
    _layer(graph, kind, 4 if kind == VECTOR else 3, [before, kernel, bias], after)
    graphs.add_operator(graph, "DEQUANTIZE", [after], [target], version=2, before=None)
    return graph


def run(graph: Any, inputs: np.ndarray) -> np.ndarray:
    """What LiteRT computes, from the bytes of the file; called twice, since caches may be wrong."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=graphs.write_graph(graph), num_threads=1)
    source = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(source, inputs.shape)
    interpreter.allocate_tensors()
    outputs = []
    for example in (-inputs if inputs.dtype.kind == "f" else inputs, inputs, inputs):
        interpreter.set_tensor(source, example)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).copy())
    np.testing.assert_array_equal(outputs[1], outputs[2])
    return outputs[2]


def expected(kind: str, weights: np.ndarray, bias: Any, inputs: np.ndarray) -> np.ndarray:
    """What a layer of `layer_graph` computes, by numpy."""
    bias = 0 if bias is None else bias
    if kind == VECTOR:
        return inputs @ weights.T + bias
    height, width = weights.shape[1:3]
    rows, columns = inputs.shape[1:3]
    pads = [(0, 0), (height // 2, height // 2), (width // 2, width // 2), (0, 0)]
    padded = np.pad(inputs, pads)
    total = 0.0
    for row in range(height):
        for column in range(width):
            patch = padded[:, row : row + rows, column : column + columns]
            if kind == IMAGE:
                total = total + patch @ weights[:, row, column].T
            else:
                total = total + patch * weights[0, row, column]
    return total + bias


def decoded(graph: Any, index: int) -> np.ndarray:
    """The stored values of a sparse tensor, made dense by a decoder of the test's own."""
    tensor = graphs.main(graph).tensors[index]
    types = {"FLOAT32": np.float32, "FLOAT16": np.float16, "INT8": np.int8}
    data = np.asarray(graph.buffers[tensor.buffer].data, np.uint8)
    return decode(data.view(types[graphs.type_name(tensor)]), tensor.sparsity, tuple(tensor.shape))


def decode(values: np.ndarray, sparsity: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Walk the levels one after another, with the coordinates of all visits so far."""
    order = [int(axis) for axis in sparsity.traversalOrder]
    places = np.zeros((1, 0), np.int64)
    for level in sparsity.dimMetadata:
        if level.arraySegments is None:
            visits = np.repeat(np.arange(len(places)), level.denseSize)
            steps = np.tile(np.arange(level.denseSize), len(places))
        else:
            segments = np.asarray(level.arraySegments.values).astype(np.int64)
            assert len(segments) == len(places) + 1 and segments[0] == 0
            steps = np.asarray(level.arrayIndices.values).astype(np.int64)
            assert (np.diff(segments) >= 0).all() and segments[-1] == len(steps)
            visits = np.repeat(np.arange(len(places)), np.diff(segments))
        places = np.column_stack([places[visits], steps])
    rank = len(shape)
    coordinates = np.zeros((len(places), rank), np.int64)
    for position, axis in enumerate(order[:rank]):
        coordinates[:, axis] = places[:, position]
    for position, axis in enumerate(order[rank:], start=rank):
        target = int(sparsity.blockMap[axis - rank])
        size = sparsity.dimMetadata[position].denseSize
        coordinates[:, target] = coordinates[:, target] * size + places[:, position]
    dense = np.zeros(shape, values.dtype)
    assert len(values) == len(places)
    dense[tuple(coordinates.T)] = values
    return dense


def _empty(kind: str, weights: np.ndarray, inputs: tuple) -> tuple[Any, int, int]:
    schema = graphs.schema()
    graph = schema.ModelT(version=3, operatorCodes=[], buffers=[schema.BufferT()])
    graph.subgraphs = [schema.SubGraphT(tensors=[], operators=[])]
    units = weights.shape[3] if kind == DEPTHWISE else weights.shape[0]
    source = graphs.add_tensor(graph, "in", (OPEN, *inputs), np.float32)
    target = graphs.add_tensor(graph, "out", (OPEN, *inputs[:-1], units), np.float32)
    graphs.main(graph).inputs = np.asarray([source], np.int32)
    graphs.main(graph).outputs = np.asarray([target], np.int32)
    return graph, source, target


def _layer(graph: Any, kind: str, version: int, inputs: list[int], target: int) -> None:
    schema = graphs.schema()
    if kind == VECTOR:
        options = schema.FullyConnectedOptionsT()
    elif kind == IMAGE:
        options = schema.Conv2DOptionsT(strideW=1, strideH=1)
    else:
        options = schema.DepthwiseConv2DOptionsT(strideW=1, strideH=1, depthMultiplier=1)
    graphs.add_operator(
        graph, kind, inputs, [target], version=version, options=options, before=None
    )


def _scaled(scale: np.ndarray) -> Any:
    return graphs.schema().QuantizationParametersT(
        scale=np.asarray(scale, np.float32), zeroPoint=np.zeros(len(scale), np.int64)
    )
