"""What keeps TFLite files of small models small: tables of few bytes."""

from __future__ import annotations

import numpy as np
from layer_graphs import IMAGE, layer_graph, run

from compressor.exporters.tflite import graph as graphs


def test_what_says_nothing_takes_no_bytes():
    weights = np.ones((24, 3, 3, 24), np.float32)
    single = layer_graph(IMAGE, weights, np.zeros(24, np.float32), (8, 8, 24))
    deep = graphs.copied(single)
    main = graphs.main(deep)
    (layer,) = main.operators
    for _ in range(20):  # the same once more, with a range, options and a rank that say nothing
        (last,) = graphs.indices(main.outputs)
        more = graphs.add_tensor(deep, None, (-1, 8, 8, 24), np.float32)
        main.tensors[more].quantization = graphs.schema().QuantizationParametersT()
        twin = graphs.copied(deep).subgraphs[0].operators[0]
        twin.inputs = np.asarray([last, *layer.inputs[1:]], np.int32)
        twin.outputs = np.asarray([more], np.int32)
        main.operators.append(twin)
        main.outputs = np.asarray([more], np.int32)
    added = len(graphs.write_graph(deep)) - len(graphs.write_graph(single))
    assert added < 20 * 75
    inputs = np.random.default_rng(5).random((1, 8, 8, 24), np.float32)
    assert run(deep, inputs).shape == (1, 8, 8, 24)
