"""benchmarks._tflm: a file for TFLM's interpreter, and where its library must lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compressor
from benchmarks import _tflm
from compressor.exporters.c import reference
from compressor.exporters.c.reading import read_network
from compressor.exporters.tflite import graph as graphs


def test_a_file_with_integer_ports_computes_the_same(keras: Any, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    layers = [
        keras.layers.DepthwiseConv2D(3, activation="relu"),
        keras.layers.AveragePooling2D(2),
        keras.layers.Flatten(),
        keras.layers.Dense(4),
    ]
    model = keras.Sequential([keras.Input((9, 8, 2)), *layers])
    file = tmp_path / "net.tflite"
    compressor.export(model, file, quantize="int8", encoding="dense", input_range=(-1, 1))
    before = file.read_bytes()
    after = _tflm.with_integer_ports(before)

    assert all(kind in str(_tflm._kinds(before)) for kind in ("AddQuantize", "AddDequantize"))
    count, calls = _tflm._kinds(after)
    kinds = ("DepthwiseConv2D", "AveragePool2D", "FullyConnected")
    assert all(f"resolver->Add{kind}()" in calls for kind in kinds)
    assert "uantize" not in calls and int(count.split("=")[1]) == calls.count("resolver")
    main = graphs.main(graphs.read_graph(after))
    ports = [*graphs.indices(main.inputs), *graphs.indices(main.outputs)]
    assert {graphs.type_name(main.tensors[index]) for index in ports} == {"INT8"}
    x = np.random.default_rng(2).integers(-128, 128, (5, 9, 8, 2)).astype(np.int8)
    found = [reference.run(read_network(content), x) for content in (before, after)]
    assert np.array_equal(*found) and found[0].std() > 0


def test_a_library_outside_a_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not lie in a checkout"):
        _tflm._root(tmp_path / "libtensorflow-microlite.a")
